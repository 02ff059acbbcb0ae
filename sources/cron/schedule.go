package cron

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/adhocore/gronx"
)

// Schedule says when ticks are due in one time zone. It does not change and is
// safe for concurrent use.
//
// Ticks are found on the calendar, where no day lacks an hour or has one twice,
// and then placed in the zone:
//
//   - A schedule that names hours ticks once for each time on the calendar. One
//     that the zone skips is due at the instant of the change, and one that it
//     has twice is due at the first.
//   - A schedule for every hour ticks by what the clock shows, in the hour that
//     comes twice also twice, so that a change neither adds a tick nor makes a
//     pause.
type Schedule struct {
	expr      string // six fields
	zone      *time.Location
	everyHour bool
}

// macros are the names that stand for schedules.
func macros(name string) (string, bool) {
	switch strings.ToLower(name) {
	case "@yearly", "@annually":
		return "0 0 1 1 *", true
	case "@monthly":
		return "0 0 1 * *", true
	case "@weekly":
		return "0 0 * * 0", true
	case "@daily", "@midnight":
		return "0 0 * * *", true
	case "@hourly":
		return "0 * * * *", true
	}
	return "", false
}

var (
	fieldNames = [...]string{"second", "minute", "hour", "day of the month", "month", "day of the week"}
	// fieldValues are what the fields may hold, in words.
	fieldValues = [...]string{"0 to 59", "0 to 59", "0 to 23", "1 to 31", "1 to 12, or JAN to DEC", "0 to 7, or SUN to SAT"}
)

// ParseSchedule reads a cron expression of five fields, of six with seconds
// first, or a name such as @hourly.
func ParseSchedule(text string, zone *time.Location) (*Schedule, error) {
	expr := strings.Join(strings.Fields(text), " ")
	if strings.HasPrefix(expr, "@") {
		known, ok := macros(expr)
		if !ok {
			return nil, fmt.Errorf("%q is not known; use @hourly, @daily, @weekly, @monthly or @yearly", expr)
		}
		expr = known
	}
	if n := strings.Count(expr, " ") + 1; expr == "" || n < 5 || n > 6 {
		return nil, fmt.Errorf("%q should have five fields (minute, hour, day of the month, month, day of the week) or six with seconds first", text)
	} else if n == 5 {
		expr = "0 " + expr
	}
	fields, err := gronx.Segments(expr)
	if err != nil {
		return nil, err
	}
	if len(fields) != len(fieldNames) { // a year in place of the day of the week
		return nil, fmt.Errorf("%q: the day of the week is %s", text, fieldValues[len(fieldNames)-1])
	}
	for i, field := range fields {
		if err := checkField(field, i); err != nil {
			return nil, fmt.Errorf("%q: the %s %q cannot be read: %w", text, fieldNames[i], field, err)
		}
	}
	s := &Schedule{expr: strings.Join(fields, " "), zone: zone, everyHour: fields[2] == "*" || fields[2] == "?"}
	if _, err := s.onCalendar(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)); err != nil {
		return nil, fmt.Errorf("%q never comes", text)
	}
	return s, nil
}

// checkField looks at each part of a field by itself, at a time when it may not
// be due: gronx stops at the first part that is.
func checkField(field string, position int) error {
	for part := range strings.SplitSeq(field, ",") {
		if part == "" {
			return errors.New("a part is empty")
		}
		if value, step, ok := strings.Cut(part, "/"); ok && (value == "" || strings.Contains(step, "/") || strings.Trim(step, "0") == "") {
			return errors.New("a step needs a value before the slash and a number after it")
		}
		for _, at := range [...]time.Time{time.Date(2024, 2, 29, 23, 59, 59, 0, time.UTC), time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC)} {
			c := gronx.SegmentChecker{}
			c.SetRef(at)
			if _, err := c.CheckDue(part, position); err != nil {
				return fmt.Errorf("it takes %s, and ranges from low to high", fieldValues[position])
			}
		}
	}
	return nil
}

// Next is the first tick after an instant.
func (s *Schedule) Next(after time.Time) (time.Time, error) {
	if s.everyHour {
		return s.nextByClock(after)
	}
	for wall := s.wall(after); ; {
		var err error
		if wall, err = s.onCalendar(wall); err != nil {
			return time.Time{}, err
		}
		if t := s.instant(wall); t.After(after) {
			return t, nil
		}
	}
}

// nextByClock looks for a tick in each span of time in which the zone has one
// offset from UTC.
func (s *Schedule) nextByClock(after time.Time) (time.Time, error) {
	t := after.In(s.zone)
	for {
		_, offset := t.Zone()
		_, end := t.ZoneBounds()
		wall, err := s.onCalendar(s.wall(t))
		if err != nil {
			return time.Time{}, err
		}
		tick := time.Unix(wall.Unix()-int64(offset), 0).In(s.zone)
		if end.IsZero() || tick.Before(end) {
			return tick, nil
		}
		_, offset = end.Zone()
		first := wallOf(end, offset)
		if wall, err = s.onCalendar(first.Add(-time.Second)); err != nil {
			return time.Time{}, err
		}
		if wall.Equal(first) {
			return end, nil
		}
		t = end
	}
}

// onCalendar is the first time on the calendar after wall; both are written in UTC.
func (s *Schedule) onCalendar(wall time.Time) (time.Time, error) {
	return gronx.NextTickAfter(s.expr, wall, false)
}

// wall is what clocks in the zone show at t, written in UTC.
func (s *Schedule) wall(t time.Time) time.Time {
	_, offset := t.In(s.zone).Zone()
	return wallOf(t, offset)
}

func wallOf(t time.Time, offset int) time.Time {
	return time.Unix(t.Unix()+int64(offset), 0).UTC()
}

// instant is when clocks in the zone first show wall; when they never do, the
// instant at which they skip it.
func (s *Schedule) instant(wall time.Time) time.Time {
	// Any offset that is in force around wall is in force a day before or after.
	for t := time.Unix(wall.Unix(), 0).Add(-36 * time.Hour).In(s.zone); ; {
		_, offset := t.Zone()
		begin, end := t.ZoneBounds()
		at := time.Unix(wall.Unix()-int64(offset), 0).In(s.zone)
		inside := (begin.IsZero() || !at.Before(begin)) && (end.IsZero() || at.Before(end))
		switch {
		case inside:
			return at
		case !begin.IsZero() && at.Before(begin):
			// The span before ended too early for wall, and this one begins after it.
			return begin
		}
		t = end
	}
}
