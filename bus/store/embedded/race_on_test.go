//go:build race

package embedded

// raceEnabled says that the race detector makes everything ten times slower.
const raceEnabled = true
