//go:build !linux

package embedded

// overwritesInPlace is false where it is not known.
func overwritesInPlace(string) bool { return false }
