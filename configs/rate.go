package configs

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Rate is how many times something may happen in a time: 500/s, 30/m, 1000/h.
// The zero value is no limit.
type Rate struct {
	Count int
	Per   time.Duration // a second, a minute or an hour
	Burst int           // how many at once; 0 is what a tenth of a second brings, and at least one
}

// maxBurst bounds a burst.
const maxBurst = 1_000_000

// ParseRate reads the text of a Rate: 500/s, or 500/s burst 1000.
func ParseRate(text string) (Rate, error) {
	whole := text
	burst := 0
	if before, after, ok := strings.Cut(text, " burst "); ok {
		n, err := strconv.Atoi(strings.TrimSpace(after))
		if err != nil || n < 1 || n > maxBurst {
			return Rate{}, fmt.Errorf("%s is not a rate: a burst is a number from 1 to %d, as in 500/s burst 1000", quote(whole), maxBurst)
		}
		text, burst = before, n
	}
	count, unit, _ := strings.Cut(text, "/")
	per := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[strings.TrimSpace(unit)]
	n, err := strconv.Atoi(strings.TrimSpace(count))
	if err != nil || n < 1 || per == 0 {
		return Rate{}, fmt.Errorf("%s is not a rate; write one such as 500/s, 30/m, 1000/h or 500/s burst 1000", quote(whole))
	}
	return Rate{Count: n, Per: per, Burst: burst}, nil
}

// IsZero reports whether there is no limit.
func (r Rate) IsZero() bool { return r.Per == 0 }

// PerSecond is the rate as a number a second, 0 for no limit.
func (r Rate) PerSecond() float64 {
	if r.Per == 0 {
		return 0
	}
	return float64(r.Count) / r.Per.Seconds()
}

// String is the text of the rate, "" for no limit.
func (r Rate) String() string {
	var unit string
	switch r.Per {
	case time.Second:
		unit = "/s"
	case time.Minute:
		unit = "/m"
	case time.Hour:
		unit = "/h"
	default:
		return ""
	}
	text := strconv.Itoa(r.Count) + unit
	if r.Burst > 0 {
		text += " burst " + strconv.Itoa(r.Burst)
	}
	return text
}

// UnmarshalYAML reads the rate from a text.
func (r *Rate) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return errors.New("expected a rate such as 500/s, 30/m or 1000/h")
	}
	parsed, err := ParseRate(n.Value)
	if err == nil {
		*r = parsed
	}
	return err
}

// MarshalYAML writes the rate as text.
func (r Rate) MarshalYAML() (any, error) { return r.String(), nil }

// MarshalJSON writes the rate as text.
func (r Rate) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }
