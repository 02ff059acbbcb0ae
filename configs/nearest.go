package configs

import (
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// DidYouMean ends an error text about an unknown name: with the nearest of the
// known names if one is near, else with all of them when they are few.
func DidYouMean(name string, known []string, what string) string {
	const many = 1000 // more would take long, with as many wrong names
	best, least := "", 1<<30
	for _, k := range known[:min(len(known), many)] {
		if len(k) > 2*len(name)+2 {
			continue
		}
		d := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(k))
		if d == 2 && len(name) == len(k) && sameLetters(name, k) {
			d = 1 // two letters changed places, which is one slip
		}
		if d < least {
			best, least = k, d
		}
	}
	// Near is a slip or two, and never most of the name.
	if least <= 1+len(name)/4 && least < len(name) || strings.HasPrefix(best, name) && len(best) <= len(name)+2 {
		return "; did you mean " + quote(best) + "?"
	}
	const few = 24
	switch sorted := slices.Sorted(slices.Values(known)); {
	case len(sorted) == 0:
		return "; there are no " + what
	case len(sorted) <= few:
		return "; the " + what + " are " + strings.Join(sorted, ", ")
	}
	return ""
}

func sameLetters(a, b string) bool {
	x, y := []byte(strings.ToLower(a)), []byte(strings.ToLower(b))
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}
