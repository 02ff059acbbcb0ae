package rules

import (
	"fmt"
	"runtime"
	"testing"
)

// TestPlacesGoWithTheirFilters compiles many filters that nobody keeps, as
// those that are tried through the API.
func TestPlacesGoWithTheirFilters(t *testing.T) {
	env := mustEnv(t)
	const many = 20_000
	for i := range many {
		for _, f := range []Filter{{SQL: fmt.Sprintf("attr%d = 'x'", i)}, {Pattern: fmt.Sprintf(`{"detail": {"p%d": ["x"]}}`, i)}} {
			if _, err := env.Compile(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	places, steps := 0, 0
	for range 100 {
		runtime.GC()
		runtime.Gosched()
		env.places.mu.Lock()
		places, steps = len(env.places.known), len(env.places.steps)
		env.places.mu.Unlock()
		if places < many/2 && steps < many/2 {
			return
		}
	}
	t.Errorf("%d places and %d steps are kept of %d filters that are gone", places, steps, 2*many)
}
