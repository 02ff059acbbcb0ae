package rules

import (
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// nearest is the hint for an unknown name: the known one that is near, else all
// of them.
func nearest(name string, known []string, what string) string {
	best, least := "", 1<<30
	if len(name) <= 64 {
		for _, k := range known {
			d := levenshtein.ComputeDistance(name, k)
			if len(name) > 2 && strings.HasPrefix(k, name) {
				d = 1
			}
			if d < least {
				best, least = k, d
			}
		}
	}
	if least <= 1+len(name)/5 && least < len(name) {
		return "did you mean " + best + "?"
	}
	sorted := slices.Sorted(slices.Values(known))
	return "the " + what + " are " + strings.Join(sorted, ", ")
}
