package component

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Size is a number of bytes. Its text is a number of bytes or of KiB, MiB or
// GiB: 1048576, 256KiB, 10GiB.
type Size int64

// sizeUnits are the units of a Size, largest first.
var sizeUnits = [...]struct {
	suffix string
	bytes  int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// ParseSize reads the text of a Size.
func ParseSize(text string) (Size, error) {
	digits, unit := text, int64(1)
	for _, u := range sizeUnits {
		if d, ok := strings.CutSuffix(text, u.suffix); ok {
			digits, unit = strings.TrimSpace(d), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is not a size; write a number of bytes, or one with a unit such as 256KiB, 10MiB or 1GiB", text)
	}
	return Size(n * unit), nil
}

// String is the size in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits[:3] {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// UnmarshalYAML reads the size from a number or a text.
func (s *Size) UnmarshalYAML(n *yaml.Node) error {
	text, err := scalarText(n, "a size such as 256KiB, 10MiB or 1GiB")
	if err != nil {
		return err
	}
	*s, err = ParseSize(text)
	return err
}

// MarshalYAML writes the size as text.
func (s Size) MarshalYAML() (any, error) { return s.String(), nil }

// MarshalJSON writes the size as text.
func (s Size) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// Duration is a length of time. Its text is a Go duration that may have days:
// 90s, 1h30m, 7d, 1d12h.
type Duration time.Duration

const day = 24 * time.Hour

// ParseDuration reads the text of a Duration.
func ParseDuration(text string) (Duration, error) {
	bad := func() (Duration, error) {
		return 0, fmt.Errorf("%q is not a length of time; write one such as 30s, 5m, 1h30m or 7d", text)
	}
	days, rest, found := strings.Cut(text, "d")
	if !found {
		days, rest = "", text
	}
	var total time.Duration
	if found {
		n, err := strconv.ParseInt(days, 10, 64)
		if err != nil || n < 0 || n > int64(math.MaxInt64/day) {
			return bad()
		}
		total = time.Duration(n) * day
	}
	if rest != "" || !found {
		d, err := time.ParseDuration(rest)
		if err != nil || found && d < 0 || d > math.MaxInt64-total {
			return bad()
		}
		total += d
	}
	return Duration(total), nil
}

// Std is the duration as package time has it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String is the duration without parts that are zero: 7d, 1h30m, 0s.
func (d Duration) String() string {
	rest := time.Duration(d)
	if rest == 0 {
		return "0s"
	}
	text := ""
	if days := rest / day; days > 0 {
		text = strconv.FormatInt(int64(days), 10) + "d"
		rest %= day
	}
	if rest == 0 {
		return text
	}
	s := rest.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return text + s
}

// UnmarshalYAML reads the duration from a text.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	text, err := scalarText(n, "a length of time such as 30s, 5m or 7d")
	if err != nil {
		return err
	}
	*d, err = ParseDuration(text)
	return err
}

// MarshalYAML writes the duration as text.
func (d Duration) MarshalYAML() (any, error) { return d.String(), nil }

// MarshalJSON writes the duration as text.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// scalarText is the text of a scalar node.
func scalarText(n *yaml.Node, want string) (string, error) {
	if n.Kind != yaml.ScalarNode {
		return "", errors.New("expected " + want)
	}
	return n.Value, nil
}
