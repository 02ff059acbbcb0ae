package rules

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // the same time zones on every machine

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/itchyny/timefmt-go"
)

const (
	maxLayout = 256  // of a time layout, in bytes
	maxTime   = 1024 // of a text that is parsed as a time
)

// timeFunctions format, parse and cut times. Layouts are those of strftime.
// Without a zone, they count in UTC.
func timeFunctions() []cel.EnvOption {
	var z zones
	timestamp, str, num := cel.TimestampType, cel.StringType, cel.IntType
	return []cel.EnvOption{
		zoned("time.format", []*cel.Type{timestamp, str}, str, &z, func(args []ref.Val, zone *time.Location) ref.Val {
			t, layout := args[0].(types.Timestamp), text(args[1])
			if err := checkLayout(layout); err != nil {
				return callError("time.format", err)
			}
			return types.String(timefmt.Format(t.In(zone), layout))
		}),
		zoned("time.parse", []*cel.Type{str, str}, timestamp, &z, func(args []ref.Val, zone *time.Location) ref.Val {
			t, err := parseTime(text(args[0]), text(args[1]), zone)
			if err != nil {
				return callError("time.parse", err)
			}
			return stamp("time.parse", t)
		}),
		zoned("time.startOf", []*cel.Type{timestamp, str}, timestamp, &z, func(args []ref.Val, zone *time.Location) ref.Val {
			t, err := startOf(args[0].(types.Timestamp).In(zone), text(args[1]))
			if err != nil {
				return callError("time.startOf", err)
			}
			return stamp("time.startOf", t)
		}),
		cel.Function("time.unix", cel.Overload("time_unix_timestamp", []*cel.Type{timestamp}, num,
			cel.UnaryBinding(func(v ref.Val) ref.Val { return types.Int(v.(types.Timestamp).Unix()) }))),
		cel.Function("time.unixMillis", cel.Overload("time_unixMillis_timestamp", []*cel.Type{timestamp}, num,
			cel.UnaryBinding(func(v ref.Val) ref.Val { return types.Int(v.(types.Timestamp).UnixMilli()) }))),
		fromNumber("time.fromUnix", time.Second),
		fromNumber("time.fromUnixMillis", time.Millisecond),
	}
}

// zoned declares a function whose last argument, the time zone, may be left out.
func zoned(name string, args []*cel.Type, result *cel.Type, z *zones, f func([]ref.Val, *time.Location) ref.Val) cel.EnvOption {
	call := cel.FunctionBinding(func(args ...ref.Val) ref.Val {
		zone := time.UTC
		if len(args) > 2 {
			var err error
			if zone, err = z.find(text(args[2])); err != nil {
				return callError(name, err)
			}
		}
		return f(args, zone)
	})
	utc := cel.BinaryBinding(func(a, b ref.Val) ref.Val { return f([]ref.Val{a, b}, time.UTC) })
	return cel.Function(name,
		cel.Overload(overload(name, "utc"), args, result, utc),
		cel.Overload(overload(name, "zone"), append(args[:len(args):len(args)], cel.StringType), result, call))
}

// fromNumber declares a function that makes a time of a count of units since
// 1970.
func fromNumber(name string, unit time.Duration) cel.EnvOption {
	const most = 1e15 // far beyond the year 9999 and within what int64 counts
	perSecond := int64(time.Second / unit)
	return cel.Function(name,
		cel.Overload(overload(name, "int"), []*cel.Type{cel.IntType}, cel.TimestampType, cel.UnaryBinding(func(v ref.Val) ref.Val {
			n := int64(v.(types.Int))
			return stamp(name, time.Unix(n/perSecond, n%perSecond*int64(unit)))
		})),
		cel.Overload(overload(name, "double"), []*cel.Type{cel.DoubleType}, cel.TimestampType, cel.UnaryBinding(func(v ref.Val) ref.Val {
			n := float64(v.(types.Double))
			if !(math.Abs(n) < most) {
				return callError(name, fmt.Errorf("%v is out of range", n))
			}
			// A double does not hold nanoseconds of our days: those digits would be noise.
			whole := math.Floor(n)
			micros := int64(math.Round((n - whole) * float64(unit/time.Microsecond)))
			i := int64(whole)
			return stamp(name, time.Unix(i/perSecond, i%perSecond*int64(unit)).Add(time.Duration(micros)*time.Microsecond))
		})))
}

// stamp is a time as a value. CEL's times are of the years 1 to 9999.
func stamp(name string, t time.Time) ref.Val {
	if y := t.UTC().Year(); y < 1 || y > 9999 {
		return callError(name, fmt.Errorf("the year %d is out of range", y))
	}
	return types.Timestamp{Time: t.UTC()}
}

func checkLayout(layout string) error {
	if len(layout) > maxLayout {
		return fmt.Errorf("the layout is %d bytes long; at most %d", len(layout), maxLayout)
	}
	// A width, as in %900d, could make much of little.
	for rest := layout; ; {
		i := strings.IndexByte(rest, '%')
		if i < 0 || i+1 == len(rest) {
			return nil
		}
		n := i + 1
		for n < len(rest) && strings.IndexByte("-_^#0:", rest[n]) >= 0 {
			n++
		}
		if n < len(rest) && rest[n] >= '1' && rest[n] <= '9' {
			return errors.New("the layout has a width, which is not supported")
		}
		rest = rest[min(n+1, len(rest)):]
	}
}

// parseTime reads a time; zone is where it is when its text does not say.
func parseTime(s, layout string, zone *time.Location) (time.Time, error) {
	switch {
	case len(s) > maxTime:
		return time.Time{}, fmt.Errorf("the text is %d bytes long; at most %d", len(s), maxTime)
	case strings.Contains(layout, "%Z"):
		return time.Time{}, errors.New("names of time zones (%Z) are ambiguous; use %z for an offset, or give the zone as the third argument")
	}
	if err := checkLayout(layout); err != nil {
		return time.Time{}, err
	}
	t, err := timefmt.ParseInLocation(s, layout, zone)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is not as %q says", shorten(s), layout)
	}
	return t, nil
}

// startOf is the beginning of the unit of time that t is in, in t's zone.
func startOf(t time.Time, unit string) (time.Time, error) {
	year, month, day := t.Date()
	switch unit {
	case "second":
		return t.Truncate(time.Second), nil
	case "minute", "hour":
		// By what the clock shows, for some zones are off by half an hour.
		past := time.Duration(t.Second())*time.Second + time.Duration(t.Nanosecond())
		if unit == "hour" {
			past += time.Duration(t.Minute()) * time.Minute
		}
		return t.Add(-past), nil
	case "day":
	case "week":
		day -= (int(t.Weekday()) + 6) % 7
	case "month":
		day = 1
	case "quarter":
		month, day = (month-1)/3*3+1, 1
	case "year":
		month, day = 1, 1
	default:
		return t, fmt.Errorf("%q is no unit; use second, minute, hour, day, week, month, quarter or year", shorten(unit))
	}
	return time.Date(year, month, day, 0, 0, 0, 0, t.Location()), nil
}

// zones keeps the time zones that were asked for; reading one takes long. Only
// real ones are kept, of which there are some hundreds. It is safe for
// concurrent use.
type zones struct{ known sync.Map }

// find is the zone with an IANA name, or with an offset such as +02:00.
func (z *zones) find(name string) (*time.Location, error) {
	if found, ok := z.known.Load(name); ok {
		return found.(*time.Location), nil
	}
	if len(name) == len("+00:00") && (name[0] == '+' || name[0] == '-') {
		t, err := time.Parse("-07:00", name)
		if err != nil {
			return nil, fmt.Errorf("%q is no offset; write it as +02:00", name)
		}
		_, seconds := t.Zone()
		return time.FixedZone(name, seconds), nil
	}
	// "Local" is the zone of the machine, and another on the next.
	if name == "" || strings.EqualFold(name, "local") || len(name) > 64 {
		return nil, fmt.Errorf("%q is no time zone; use a name such as Europe/Berlin, or an offset such as +02:00", shorten(name))
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("there is no time zone %q; use a name such as Europe/Berlin, or an offset such as +02:00", name)
	}
	z.known.Store(name, zone)
	return zone, nil
}
