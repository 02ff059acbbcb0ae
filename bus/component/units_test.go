package component

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "90s": 90 * time.Second, "7d": 7 * day, "1d12h": 36 * time.Hour, "-5m": -5 * time.Minute, "1h30m": 90 * time.Minute,
	} {
		if got, err := ParseDuration(text); err != nil || got.Std() != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "7", "1.5d", "-1d", "1d-2h", "week", "200000000d", "106751d24h"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v; want an error", text, got)
		}
	}
}

func TestDurationStringReadsBackTheSame(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 7 * day: "7d", 36 * time.Hour: "1d12h", 10 * time.Minute: "10m", 90 * time.Second: "1m30s",
		time.Hour: "1h", 1500 * time.Millisecond: "1.5s", 3601 * time.Second: "1h0m1s",
	} {
		if got := Duration(d).String(); got != want {
			t.Errorf("Duration(%d).String() = %q; want %q", d, got, want)
		}
		if back, err := ParseDuration(want); err != nil || back.Std() != d {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", want, back, err, d)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "1024": 1024, "256KiB": 256 << 10, "10 MiB": 10 << 20, "1GiB": 1 << 30, "5B": 5} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %v, %v; want %v", text, int64(got), err, int64(want))
		}
	}
	for _, text := range []string{"", "10MB", "-1", "1.5GiB", "99999999999GiB", "GiB"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %v; want an error", text, got)
		}
	}
	for size, want := range map[Size]string{0: "0", 1: "1", 1000: "1000", 256 << 10: "256KiB", 1 << 30: "1GiB"} {
		if got := size.String(); got != want {
			t.Errorf("Size(%d).String() = %q; want %q", int64(size), got, want)
		}
	}
}
