package event

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestTimesAreReadStrictly(t *testing.T) {
	for _, good := range []string{
		"2026-11-05T17:31:00Z", "2026-11-05t17:31:00z", "2026-11-05T17:31:00.1+01:00", "2024-02-29T00:00:00-23:59",
		"2000-02-29T00:00:00Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "2016-12-31T23:59:60Z",
		"2017-01-01T00:59:60+01:00", "2026-11-05T17:31:00.123456789012Z", "2026-11-05T17:31:00-00:00",
	} {
		if _, _, ok := parseTime(good); !ok {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{
		"", "yesterday", "2026-11-05", "2026-11-05T17:31:00", "2026-11-05 17:31:00Z", "2026-11-05T17:31Z", "2026-11-05T7:31:00Z",
		"2026-11-05T24:00:00Z", "2026-11-05T17:60:00Z", "2026-11-05T17:31:61Z", "2016-12-31T22:59:60Z", "2026-02-29T00:00:00Z",
		"1900-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z", "2026-04-31T00:00:00Z",
		"2026-11-05T17:31:00,5Z", "2026-11-05T17:31:00.Z", "2026-11-05T17:31:00+1:00", "2026-11-05T17:31:00+0100",
		"2026-11-05T17:31:00+24:00", "2026-11-05T17:31:00+01:60", "2026-11-05T17:31:00Z ", "+026-11-05T17:31:00Z", "20é6-11-05T17:31:00Z",
		"2026-11-05T17:31:00.1", "-2026-11-05T17:31:00Z",
	} {
		if _, _, ok := parseTime(bad); ok {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestTimesAreReadAsTheStandardLibraryReadsThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := time.FixedZone("", 60*rapid.IntRange(-1439, 1439).Draw(t, "zone"))
		at := time.Unix(rapid.Int64Range(-62135596800+86400, 253402300799-86400).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos")).In(zone)
		seconds, nanos, ok := parseTime(at.Format(time.RFC3339Nano))
		if !ok || seconds != at.Unix() || int(nanos) != at.Nanosecond() {
			t.Fatalf("%v is read as %d.%d, %v", at, seconds, nanos, ok)
		}
	})
}
