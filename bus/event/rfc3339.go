package event

import (
	"errors"
	"time"
)

// ParseTime reads an RFC 3339 time in the way the time attribute is read: all
// digits in their places and with an offset. It is for extensions that hold a time, such as
// expirytime. The time is in UTC.
func ParseTime(s string) (time.Time, error) {
	seconds, nanos, ok := parseTime(s)
	if !ok {
		return time.Time{}, errors.New(quote(s) + " is not an RFC 3339 time")
	}
	return time.Unix(seconds, int64(nanos)).UTC(), nil
}

// parseTime reads an RFC 3339 date-time (§5.6) without leniency: all digits in
// their places, an offset that exists, days that exist. T and Z may be lower
// case, and digits beyond nanoseconds are cut off. A leap second is taken where
// one can stand, at the end of a day in UTC, and counts as the next second.
func parseTime(s string) (seconds int64, nanos int32, ok bool) {
	if len(s) < len("2006-01-02T15:04:05Z") || s[4] != '-' || s[7] != '-' || s[10]|0x20 != 't' || s[13] != ':' || s[16] != ':' {
		return 0, 0, false
	}
	year := twoDigits(s, 0)*100 + twoDigits(s, 2)
	month, day := twoDigits(s, 5), twoDigits(s, 8)
	hour, minute, second := twoDigits(s, 11), twoDigits(s, 14), twoDigits(s, 17)
	if twoDigits(s, 0) > 99 || twoDigits(s, 2) > 99 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		hour > 23 || minute > 59 || second > 60 {
		return 0, 0, false
	}
	i := 19
	if s[i] == '.' {
		scale := int32(100_000_000)
		first := i + 1
		for i++; i < len(s) && s[i]-'0' <= 9; i++ {
			nanos += int32(s[i]-'0') * scale
			scale /= 10
		}
		if i == first {
			return 0, 0, false
		}
	}
	offset, ok := parseOffset(s[i:])
	if !ok {
		return 0, 0, false
	}
	seconds = daysSinceEpoch(year, month, day)*86400 + int64(hour)*3600 + int64(minute)*60 + int64(second) - offset
	if second == 60 && mod(seconds, 86400) != 0 {
		return 0, 0, false
	}
	return seconds, nanos, true
}

// parseOffset reads Z or +hh:mm as seconds east of UTC.
func parseOffset(s string) (int64, bool) {
	if len(s) == 1 && s[0]|0x20 == 'z' {
		return 0, true
	}
	if len(s) != 6 || s[3] != ':' || s[0] != '+' && s[0] != '-' {
		return 0, false
	}
	hours, minutes := twoDigits(s, 1), twoDigits(s, 4)
	if hours > 23 || minutes > 59 {
		return 0, false
	}
	offset := int64(hours)*3600 + int64(minutes)*60
	if s[0] == '-' {
		offset = -offset
	}
	return offset, true
}

// twoDigits reads two digits; it is beyond 99 when they are none.
func twoDigits(s string, i int) int {
	a, b := s[i]-'0', s[i+1]-'0'
	if a > 9 || b > 9 {
		return 100_000
	}
	return int(a)*10 + int(b)
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// daysSinceEpoch counts the days from 1970-01-01 in the Gregorian calendar.
func daysSinceEpoch(year, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	y := int64(year + 400) // positive for the year 0
	return 365*y + y/4 - y/100 + y/400 + int64(153*(month-3)+2)/5 + int64(day) - 1 - 719468 - 146097
}

func mod(a, b int64) int64 { return (a%b + b) % b }
