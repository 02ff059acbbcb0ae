package rules

import (
	"strings"

	"github.com/agnivade/levenshtein"
)

// nearest is which of the known names was probably meant, "" when none is near.
func nearest(name string, known []string) string {
	if len(name) > 64 {
		return ""
	}
	best, least := "", 1<<30
	for _, k := range known {
		if d := levenshtein.ComputeDistance(strings.ToLower(name), k); d < least {
			best, least = k, d
		}
	}
	if least <= 1+len(name)/4 && least < len(name) {
		return best
	}
	return ""
}

// didYouMean is the hint for an unknown name: the nearest of the known ones, or
// all of them.
func didYouMean(name string, known []string) string {
	if n := nearest(name, known); n != "" {
		return `did you mean "` + n + `"?`
	}
	return "use one of " + strings.Join(known, ", ")
}
