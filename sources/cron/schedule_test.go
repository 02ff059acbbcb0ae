package cron

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/adhocore/gronx"
)

func mustZone(t testing.TB, name string) *time.Location {
	t.Helper()
	zone, err := location(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func TestTicksWhenClocksChange(t *testing.T) {
	for _, c := range []struct {
		name, schedule, zone, after string
		want                        string // the next ticks, without their date where it is the same
	}{
		{
			"a time that is skipped ticks at the moment of the change", "30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00+01:00",
			"2026-03-29T03:00:00+02:00 2026-03-30T02:30:00+02:00",
		},
		{
			"several that are skipped tick once", "*/10 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00+01:00",
			"2026-03-29T03:00:00+02:00 2026-03-30T02:00:00+02:00",
		},
		{
			"one that is skipped and one at the change tick once", "0,30 2-3 * * *", "Europe/Berlin", "2026-03-28T12:00:00+01:00",
			"2026-03-29T03:00:00+02:00 2026-03-29T03:30:00+02:00 2026-03-30T02:00:00+02:00",
		},
		{
			"a time that comes twice ticks the first time", "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00+02:00",
			"2026-10-25T02:30:00+02:00 2026-10-26T02:30:00+01:00",
		},
		{
			"also when one starts between the two", "30 2 * * *", "Europe/Berlin", "2026-10-25T02:10:00+01:00",
			"2026-10-26T02:30:00+01:00",
		},
		{
			"a schedule for every hour ticks in both of an hour that comes twice", "30 * * * *", "Europe/Berlin", "2026-10-25T01:00:00+02:00",
			"2026-10-25T01:30:00+02:00 2026-10-25T02:30:00+02:00 2026-10-25T02:30:00+01:00 2026-10-25T03:30:00+01:00",
		},
		{
			"and at the very change", "0 * * * *", "Europe/Berlin", "2026-10-25T01:00:00+02:00",
			"2026-10-25T02:00:00+02:00 2026-10-25T02:00:00+01:00 2026-10-25T03:00:00+01:00",
		},
		{
			"and has no tick for an hour that is skipped", "30 * * * *", "Europe/Berlin", "2026-03-29T01:00:00+01:00",
			"2026-03-29T01:30:00+01:00 2026-03-29T03:30:00+02:00",
		},
		{
			"other hours are as ever", "0 4 * * *", "America/New_York", "2026-03-07T12:00:00-05:00",
			"2026-03-08T04:00:00-04:00 2026-03-09T04:00:00-04:00",
		},
		{
			"a change of half an hour", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00+10:30",
			"2026-10-04T02:30:00+11:00 2026-10-05T02:15:00+11:00",
		},
		{
			"a change at midnight", "0 0 * * *", "America/Havana", "2026-03-07T12:00:00-05:00",
			"2026-03-08T01:00:00-04:00 2026-03-09T00:00:00-04:00",
		},
		{
			"a whole day that is skipped", "0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00-10:00",
			"2011-12-31T00:00:00+14:00 2011-12-31T12:00:00+14:00",
		},
		{
			"a zone without changes", "30 2 * * *", "UTC", "2026-03-28T12:00:00Z",
			"2026-03-29T02:30:00Z 2026-03-30T02:30:00Z",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := ParseSchedule(c.schedule, mustZone(t, c.zone))
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(time.RFC3339, c.after)
			if err != nil {
				t.Fatal(err)
			}
			for want := range strings.FieldsSeq(c.want) {
				if at, err = s.Next(at); err != nil {
					t.Fatal(err)
				}
				if got := at.Format(time.RFC3339); got != want {
					t.Fatalf("got %s; want %s", got, want)
				}
			}
		})
	}
}

func TestSchedulesAreRead(t *testing.T) {
	for _, c := range []struct{ schedule, after, want string }{
		{"0 2 * * *", "2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z"},
		{"  0   2 * * *  ", "2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z"},
		{"*/20 * * * * *", "2026-01-01T00:00:05Z", "2026-01-01T00:00:20Z"},
		{"@hourly", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"},
		{"@Daily", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"},
		{"@midnight", "2026-01-01T00:00:00.5Z", "2026-01-02T00:00:00Z"},
		{"@weekly", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"},
		{"@monthly", "2026-01-15T00:00:00Z", "2026-02-01T00:00:00Z"},
		{"@yearly", "2026-01-15T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"0 9 * * MON-FRI", "2026-01-02T09:00:00Z", "2026-01-05T09:00:00Z"},
		{"0 9 * * 7", "2026-01-02T09:00:00Z", "2026-01-04T09:00:00Z"},
		{"0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"},
		{"0 0 29 2 *", "2097-01-01T00:00:00Z", "2104-02-29T00:00:00Z"},
		{"0 0 31 * *", "2026-01-31T00:00:00Z", "2026-03-31T00:00:00Z"},
		{"0 0 13 * FRI", "2026-02-01T00:00:00Z", "2026-02-06T00:00:00Z"},
		{"0 0 L * *", "2026-02-01T00:00:00Z", "2026-02-28T00:00:00Z"},
	} {
		s, err := ParseSchedule(c.schedule, time.UTC)
		if err != nil {
			t.Errorf("%q: %v", c.schedule, err)
			continue
		}
		after, err := time.Parse(time.RFC3339Nano, c.after)
		if err != nil {
			t.Fatal(err)
		}
		next, err := s.Next(after)
		if err != nil || next.Format(time.RFC3339) != c.want {
			t.Errorf("%q after %s: %v, %v; want %s", c.schedule, c.after, next, err, c.want)
		}
	}
	for _, text := range []string{
		"", "* * * *", "* * * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "0 0 31 2 *", "0 0 30 2 *",
		"1,99 * * * *", "0,61 * * * *", "*/0 * * * *", "a * * * *", "1- * * * *", "/5 * * * *", "1,,2 * * * *", "0 0 1 1 * 2026",
		"@reboot", "@every 5m", "5-1 * * * *", "* * * * MOON", "*/ * * * *", "-1 * * * *", "1.5 * * * *", "1-99 * * * *", "*/5/2 * * * *",
	} {
		if s, err := ParseSchedule(text, time.UTC); err == nil {
			next, err := s.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
			t.Errorf("%q was read; its next tick is %v, %v", text, next, err)
		}
	}
}

func TestASchedulesFaultIsNamedWithWhatItsFieldTakes(t *testing.T) {
	for text, want := range map[string]string{
		"61 * * * *":   `"61 * * * *": the minute "61" cannot be read: it takes 0 to 59, and ranges from low to high`,
		"0 22-6 * * *": `"0 22-6 * * *": the hour "22-6" cannot be read: it takes 0 to 23, and ranges from low to high`,
		"0 0 0 * *":    `"0 0 0 * *": the day of the month "0" cannot be read: it takes 1 to 31, and ranges from low to high`,
		"0 0 1 MAI *":  `"0 0 1 MAI *": the month "MAI" cannot be read: it takes 1 to 12, or JAN to DEC, and ranges from low to high`,
		"0 0 * * MOON": `"0 0 * * MOON": the day of the week "MOON" cannot be read: it takes 0 to 7, or SUN to SAT, and ranges from low to high`,
		"1,,2 * * * *": `"1,,2 * * * *": the minute "1,,2" cannot be read: a part is empty`,
		"70 0 0 * * *": `"70 0 0 * * *": the second "70" cannot be read: it takes 0 to 59, and ranges from low to high`,
	} {
		if _, err := ParseSchedule(text, time.UTC); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestTicksAreThoseThatTheClockShows compares with a walk over every minute
// around a change of the clock, in zones of all kinds: a schedule that names hours ticks at the
// first instant at which the clock shows a time, or jumps over it.
func TestTicksAreThoseThatTheClockShows(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Asia/Kathmandu", "Africa/Casablanca", "America/St_Johns"}
	schedules := []string{"30 2 * * *", "0 0 * * *", "*/30 1-3 * * *", "15 2 * * SUN", "0 3 1 * *", "45 23 L * *", "30 * * * *", "0 0 15 * MON", "7 1,2 * 3,10,11 *", "59 1 * * *"}
	for range 4 {
		name, text := zones[r.IntN(len(zones))], schedules[r.IntN(len(schedules))]
		zone := mustZone(t, name)
		s, err := ParseSchedule(text, zone)
		if err != nil {
			t.Fatal(err)
		}
		gron := gronx.New()
		from := time.Date(2025, time.Month(1+r.IntN(12)), 1, 0, 0, 0, 0, zone)
		if _, change := from.ZoneBounds(); !change.IsZero() {
			from = change.In(zone).AddDate(0, 0, -2-r.IntN(3)).Truncate(time.Minute)
		}
		until := from.AddDate(0, 0, 9)
		shown := map[int64]bool{}
		tick := from
		last := s.wall(from)
		for at := from.Add(time.Minute); at.Before(until); at = at.Add(time.Minute) {
			now := s.wall(at)
			want := false
			if s.everyHour {
				want, _ = gron.IsDue(text, now)
			} else {
				for w := last.Add(time.Minute); !w.After(now); w = w.Add(time.Minute) { // what the clock shows or jumps over
					if due, _ := gron.IsDue(text, w); due && !shown[w.Unix()] {
						want, shown[w.Unix()] = true, true
					}
				}
			}
			last = now
			if !want {
				continue
			}
			if tick, err = s.Next(tick); err != nil || !tick.Equal(at) {
				t.Fatalf("%q in %s: %v, %v; want %v", text, name, tick, err, at)
			}
		}
	}
}
