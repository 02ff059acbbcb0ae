package cron

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/sources"
	"github.com/switchyard-dev/switchyard/sources/sourcetest"
)

// clock is a cron source whose machine may stop and start again.
type clock struct {
	t        *testing.T
	config   *Config
	sink     *sourcetest.Sink
	state    *sourcetest.State
	log      bytes.Buffer
	rejected int
}

func newClock(t *testing.T, schedule string) *clock {
	c := Spec().New().(*Config)
	c.Schedule = schedule
	return &clock{t: t, config: c, sink: &sourcetest.Sink{Dedupe: true}, state: &sourcetest.State{}}
}

// run runs the source for some time.
func (c *clock) run(d time.Duration) {
	c.t.Helper()
	s, err := c.config.Build(sources.Env{
		Name: "nightly", Bus: "test", Logger: slog.New(slog.NewTextHandler(&c.log, nil)), Sink: c.sink, State: c.state,
		Rejected: func(string) { c.rejected++ }, Failing: func(error) {},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	if err := s.(sources.Runner).Run(ctx); err != nil {
		c.t.Error(err)
	}
	if err := s.Close(); err != nil {
		c.t.Error(err)
	}
}

// off lets time pass while the machine is off.
func (c *clock) off(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// ticks are the times of the events that were kept, after the start.
func (c *clock) ticks(begin time.Time) string {
	var all []string
	for _, e := range c.sink.Events() {
		at, _ := e.Time()
		all = append(all, at.Sub(begin).String())
	}
	return strings.Join(all, " ")
}

func TestMissedTicks(t *testing.T) {
	for _, c := range []struct{ policy, want string }{
		{"once", "1h0m0s 2h0m0s 7h0m0s 8h0m0s 9h0m0s"},
		{"skip", "1h0m0s 2h0m0s 8h0m0s 9h0m0s"},
		{"all", "1h0m0s 2h0m0s 3h0m0s 4h0m0s 5h0m0s 6h0m0s 7h0m0s 8h0m0s 9h0m0s"},
	} {
		t.Run(c.policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				k := newClock(t, "@hourly")
				k.config.Missed = c.policy
				k.run(2*time.Hour + 30*time.Minute)
				k.off(5 * time.Hour)
				k.run(time.Hour)
				k.run(time.Hour) // a restart in between misses nothing
				if got := k.ticks(begin); got != c.want {
					t.Errorf("got  %s\nwant %s", got, c.want)
				}
				if !strings.Contains(k.log.String(), "missed=5 policy="+c.policy) {
					t.Errorf("the log does not say it: %s", k.log.String())
				}
			})
		})
	}
}

func TestTooManyMissedTicksAreBounded(t *testing.T) {
	for policy, want := range map[string]int{"all": 1000, "once": 1, "skip": 0} {
		synctest.Test(t, func(t *testing.T) {
			k := newClock(t, "* * * * * *")
			k.config.Missed = policy
			k.run(time.Second / 2)
			k.off(2 * 366 * 24 * time.Hour)
			begin := time.Now()
			k.run(time.Second / 4)
			events := k.sink.Events()
			if len(events) != want {
				t.Fatalf("%s: %d events; want %d", policy, len(events), want)
			}
			for i, e := range events {
				at, _ := e.Time()
				if age := begin.Sub(at); age != time.Duration(want-1-i)*time.Second+time.Second/2 {
					t.Fatalf("%s: event %d is %v old", policy, i, age)
				}
			}
			if !strings.Contains(k.log.String(), `missed="more than 1000"`) {
				t.Errorf("%s: the log does not say it: %s", policy, k.log.String())
			}
		})
	}
}

func TestACrashBetweenPublishingAndSavingRepeatsTheSameEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		k := newClock(t, "@hourly")
		k.config.Missed = "all"
		k.run(90 * time.Minute)
		down := errors.New("no space")
		failing := true
		k.state.Err = func() error {
			if failing && len(k.sink.Events()) >= 2 {
				return down
			}
			return nil
		}
		k.run(time.Hour) // publishes 2h, cannot note it
		failing = false
		k.run(time.Hour)
		if got := k.ticks(begin); got != "1h0m0s 2h0m0s 3h0m0s" {
			t.Errorf("got %s", got)
		}
		ids := map[string]bool{}
		for _, e := range k.sink.Events() {
			ids[e.ID()] = true
		}
		if len(ids) != 3 || !ids["nightly/2000-01-01T02:00:00Z"] {
			t.Errorf("ids %v", ids)
		}
	})
}

func TestTheFirstStartAndANewScheduleBeginWithTheNextTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		k := newClock(t, "@daily")
		k.off(30*time.Hour + 30*time.Minute)
		k.run(time.Hour) // nothing was missed before
		k.off(time.Hour)
		k.config.Schedule = "@hourly"
		k.run(time.Hour)
		k.off(time.Hour)
		k.config.Timezone = "Asia/Kathmandu" // where hours begin at a quarter past
		k.run(time.Hour)
		if got := k.ticks(begin); got != "33h0m0s 35h15m0s" {
			t.Errorf("got %s", got)
		}
	})
}

func TestATickIsTriedUntilItIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		k := newClock(t, "0,30 * * * * *")
		k.sink.Fail(errors.New("disk full"), 8) // for about 20 seconds
		k.run(100 * time.Second)
		if got := k.ticks(begin); got != "30s 1m0s 1m30s" {
			t.Errorf("got %s", got)
		}
	})
}

func TestAnEventThatTheBusRefusesIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		k := newClock(t, "@hourly")
		k.sink.Fail(&sources.InvalidError{Err: errors.New("too large")}, 1)
		k.run(2*time.Hour + time.Minute)
		if got := k.ticks(begin); got != "2h0m0s" || k.rejected != 1 {
			t.Errorf("got %s, %d refused", got, k.rejected)
		}
	})
}

func TestAStateThatCannotBeReadYetHoldsTheSourceUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		k := newClock(t, "@hourly")
		k.run(time.Minute)
		k.off(3 * time.Hour)
		calls := 0
		k.state.Err = func() error {
			if calls++; calls < 4 {
				return errors.New("not ready")
			}
			return nil
		}
		k.run(time.Minute)
		if got := k.ticks(begin); got != "3h0m0s" {
			t.Errorf("got %s", got)
		}
		for _, text := range []string{"{", `{"tick":"2999-01-01T00:00:00Z","settings":"@hourly UTC"}`} {
			if err := k.state.Save(context.Background(), stateKey, []byte(text)); err != nil {
				t.Fatal(err)
			}
			k.run(time.Hour)
		}
		if got := k.ticks(begin); got != "3h0m0s 4h0m0s 5h0m0s" {
			t.Errorf("got %s", got)
		}
	})
}

func TestEventsInSummerAndWinterTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newClock(t, "30 2 * * *")
		k.config.Timezone, k.config.Missed = "Europe/Berlin", "skip"
		// In 2000, clocks change on 26 March and 29 October.
		for _, from := range []time.Time{time.Date(2000, 3, 24, 12, 0, 0, 0, time.UTC), time.Date(2000, 10, 27, 12, 0, 0, 0, time.UTC)} {
			k.off(time.Until(from))
			k.run(4 * 24 * time.Hour)
		}
		events := k.sink.Events()
		if len(events) != 8 {
			t.Fatalf("%d events on 8 days", len(events))
		}
		days := map[string]string{}
		for _, e := range events {
			text := e.TimeText()
			if days[text[:10]] != "" {
				t.Errorf("two events on %s", text[:10])
			}
			days[text[:10]] = text[11:]
		}
		for day, want := range map[string]string{"2000-03-25": "02:30:00+01:00", "2000-03-26": "03:00:00+02:00", "2000-03-27": "02:30:00+02:00", "2000-10-29": "02:30:00+02:00", "2000-10-30": "02:30:00+01:00"} {
			if days[day] != want {
				t.Errorf("%s: %s; want %s", day, days[day], want)
			}
		}
	})
}

func TestDataIsWhatYAMLSays(t *testing.T) {
	c := Spec().New().(*Config)
	text := "schedule: '0 2 * * *'\ntimezone: Europe/Berlin\nmissed: once\nevent: {type: com.example.nightly, subject: s, source: /x, data: {kind: close, n: 12345678901234567, f: 1.5, l: [1, null, true], 2024: y, d: 2024-01-02}}\n"
	dec := yaml.NewDecoder(strings.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(c); err != nil {
		t.Fatal(err)
	}
	var p component.Problems
	if c.Validate(&p); len(p.All) != 0 {
		t.Fatal(p.All)
	}
	s, err := c.Build(sources.Env{Name: "n", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.(*source).make(time.Date(2024, 7, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"specversion":"1.0","id":"n/2024-07-01T00:00:00Z","source":"/x","type":"com.example.nightly","subject":"s","time":"2024-07-01T02:00:00+02:00","datacontenttype":"application/json","data":{"2024":"y","d":"2024-01-02T00:00:00Z","f":1.5,"kind":"close","l":[1,null,true],"n":12345678901234567}}`
	if got := string(event.AppendStructured(nil, e)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSettingsReportWhatIsWrong(t *testing.T) {
	for path, text := range map[string]string{
		"schedule":      "schedule: '* * * *'",
		"timezone":      "schedule: '@daily'\ntimezone: Berlin",
		"missed":        "schedule: '@daily'\nmissed: twice",
		"event.type":    "schedule: '@daily'\nevent: {type: ''}",
		"event.source":  "schedule: '@daily'\nevent: {source: 'a b'}",
		"event.subject": "schedule: '@daily'\nevent: {subject: \"a\\u0001\"}",
		"event.data":    "schedule: '@daily'\nevent: {data: {x: .nan}}",
	} {
		c := Spec().New().(*Config)
		if err := yaml.Unmarshal([]byte(text), c); err != nil {
			t.Fatal(err)
		}
		var p component.Problems
		if c.Validate(&p); len(p.All) != 1 || strings.Join(p.All[0].Path, ".") != path {
			t.Errorf("%s: %+v", path, p.All)
		}
	}
	c := Spec().New().(*Config)
	c.Schedule, c.Timezone = "@daily", "Local"
	var p component.Problems
	if c.Validate(&p); len(p.All) != 1 {
		t.Errorf("the machine's own zone: %+v", p.All)
	}
}
