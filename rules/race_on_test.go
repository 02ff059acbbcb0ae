//go:build race

package rules

// raceEnabled says that pools forget what they were given now and then.
const raceEnabled = true
