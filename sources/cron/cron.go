// Package cron is the source that makes events by the clock.
//
// The tick that was handled last is kept in the source's State, so that ticks
// missed while Switchyard was down are known after the next start. An event's
// id follows from the source's name and the tick, so that a crash between
// publishing an event and noting its tick repeats the event under the same id.
//
// Run is one loop in one goroutine.
package cron

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	_ "time/tzdata" // time zones on machines that have none

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/sources"
)

// Config is the settings of a cron source.
type Config struct {
	Schedule string `yaml:"schedule" doc:"When: a cron expression of five fields, of six with seconds first, or @hourly, @daily, @weekly, @monthly or @yearly."`
	Timezone string `yaml:"timezone" doc:"The time zone of the schedule by its IANA name, such as Europe/Berlin."`
	Missed   string `yaml:"missed" doc:"What to do for ticks that passed while Switchyard was not running: once for one event in place of all of them, skip for none, all for one event each, for the latest 1,000."`
	Event    Event  `yaml:"event" doc:"The event of each tick."`
}

// Event is what the events of all ticks have in common.
type Event struct {
	Type    string `yaml:"type" doc:"The event's type."`
	Source  string `yaml:"source" doc:"The event's source, a URI reference; the default is /cron/ and the source's name."`
	Subject string `yaml:"subject" doc:"The event's subject; the default is none."`
	Data    any    `yaml:"data" doc:"The event's data, which becomes JSON; the default is none."`
}

// The policies for missed ticks.
const (
	once = "once"
	skip = "skip"
	all  = "all"
)

// Spec describes the kind.
func Spec() sources.Spec {
	return sources.Spec{
		Spec: component.Spec{
			Kind:    "cron",
			Summary: "Makes events by the clock.",
			Doc:     doc,
		},
		New: func() sources.Config {
			return &Config{Timezone: "UTC", Missed: once, Event: Event{Type: "cron.tick"}}
		},
		Dedupe: 7 * 24 * time.Hour,
	}
}

const doc = `An event's ` + "`time`" + ` is that of its tick, not of its making, and its id follows
from the source's name and the tick: a tick never becomes two events.

The first start of a source begins with the next tick; so does a change of its
schedule or time zone. Ticks that passed while Switchyard was not running, or
while the machine slept, are handled as ` + "`missed`" + ` says. A tick whose event cannot
be stored is tried again until it can be.

When clocks change: a schedule that names hours ticks once for each time that it
names. A time that is skipped ticks at the moment of the change, a time that
comes twice ticks the first time. A schedule for every hour (` + "`*`" + `) goes on ticking by
what the clock shows.

If both the day of the month and the day of the week are restricted, either is
enough, as in every cron.
`

// Validate implements component.Config.
func (c *Config) Validate(p *component.Problems) {
	zone, err := location(c.Timezone)
	if err != nil {
		p.Add(err.Error(), "timezone")
		zone = time.UTC
	}
	if c.Schedule == "" {
		p.Add("a schedule is required, such as 0 2 * * * for every night at two", "schedule")
	} else if _, err := ParseSchedule(c.Schedule, zone); err != nil {
		p.Add(err.Error(), "schedule")
	}
	switch c.Missed {
	case once, skip, all:
	default:
		p.Add(fmt.Sprintf("%q is not known; use once, skip or all", c.Missed), "missed")
	}
	b := event.NewBuilder()
	for _, f := range c.Event.fields() {
		if f.value == "" {
			if f.name == "type" {
				p.Add("the type must not be empty", "event", "type")
			}
			continue
		}
		var bad *event.DecodeError
		if err := b.Set(f.name, event.StringValue(f.value)); errors.As(err, &bad) {
			p.Add(bad.Reason, "event", f.name)
		}
	}
	if _, err := dataOf(c.Event.Data); err != nil {
		p.Add(err.Error(), "event", "data")
	}
}

func (e *Event) fields() []field {
	return []field{{"type", e.Type}, {"source", e.Source}, {"subject", e.Subject}}
}

type field struct{ name, value string }

// location is time.LoadLocation without the zone of the machine, which changes
// the meaning of a configuration from one machine to the next.
func location(name string) (*time.Location, error) {
	if name == "" {
		return time.UTC, nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, fmt.Errorf("%q is not a time zone; use an IANA name such as Europe/Berlin, or UTC", name)
	}
	return zone, nil
}

// Build implements sources.Config.
func (c *Config) Build(env sources.Env) (sources.Source, error) {
	zone, err := location(c.Timezone)
	if err != nil {
		return nil, fmt.Errorf("cron: %w", err)
	}
	schedule, err := ParseSchedule(c.Schedule, zone)
	if err != nil {
		return nil, fmt.Errorf("cron: %w", err)
	}
	data, err := dataOf(c.Event.Data)
	if err != nil {
		return nil, fmt.Errorf("cron: %w", err)
	}
	s := &source{env: env, schedule: schedule, settings: c.Schedule + " " + zone.String(), missed: c.Missed, event: c.Event, data: data}
	if s.event.Source == "" {
		s.event.Source = "/cron/" + env.Name
	}
	if s.missed == "" {
		s.missed = once
	}
	if _, err := s.make(time.Unix(0, 0)); err != nil {
		return nil, fmt.Errorf("cron: %w", err)
	}
	return s, nil
}

type source struct {
	env      sources.Env
	schedule *Schedule
	settings string // what ticks depend on, to notice a change
	missed   string
	event    Event
	data     []byte
}

var _ sources.Runner = (*source)(nil)

// Close implements sources.Source.
func (s *source) Close() error { return nil }

const (
	// maxMissed is how many missed ticks policy all makes events for.
	maxMissed = 1000
	// lateness is how late a running source may be for a tick that is not missed.
	lateness = time.Minute
	// nap is how long Run sleeps at most: a machine that was suspended, or whose
	// clock was set, is noticed after it.
	nap = time.Minute
	// batch is how many events are published together.
	batch = 100
)

// Run implements sources.Runner.
func (s *source) Run(ctx context.Context) error {
	started := time.Now()
	last, ok := s.load(ctx, started)
	for ok {
		next, err := s.schedule.Next(last)
		if err != nil {
			return fmt.Errorf("cron: the schedule has no tick after %s: %w", last.Format(time.RFC3339), err)
		}
		now, here := until(ctx, next)
		if !here {
			return nil
		}
		last, ok = s.handle(ctx, last, now, started)
	}
	return nil
}

// until waits until the clock shows t and returns what it shows then; false
// when ctx is done first.
func until(ctx context.Context, t time.Time) (now time.Time, ok bool) {
	for now = time.Now(); t.After(now); now = time.Now() {
		if !sources.Sleep(ctx, min(t.Sub(now), nap)) {
			return now, false
		}
	}
	return now, ctx.Err() == nil
}

// handle makes the events that are due and notes the last tick. It returns
// false when ctx is done.
func (s *source) handle(ctx context.Context, last, now, started time.Time) (time.Time, bool) {
	due, more := s.due(ctx, last, now)
	if len(due) == 0 {
		return last, ctx.Err() == nil
	}
	newest := due[len(due)-1]
	overdue := 0
	for overdue < len(due) && (due[overdue].Before(started) || now.Sub(due[overdue]) > lateness) {
		overdue++
	}
	if overdue > 0 {
		count := fmt.Sprint(overdue)
		if more {
			count = "more than " + count
		}
		s.env.Logger.Warn("ticks were missed", "source", s.env.Name, "missed", count, "policy", s.missed,
			"after", last, "until", due[overdue-1])
		switch s.missed {
		case skip:
			due = due[overdue:]
		case once:
			due = due[overdue-1:]
		}
	}
	for len(due) > 0 {
		n := min(len(due), batch)
		if !s.publish(ctx, due[:n]) {
			return last, false
		}
		s.save(ctx, due[n-1])
		due = due[n:]
	}
	if s.missed == skip && overdue > 0 {
		s.save(ctx, newest)
	}
	return newest, true
}

// due are the latest ticks after last until now, in order; more says that there
// were others before them.
func (s *source) due(ctx context.Context, last, now time.Time) (ticks []time.Time, more bool) {
	// Look back from now in steps that double, so that years of ticks every
	// second cost no more than the latest ones.
	for span := time.Minute; ; span *= 2 {
		from := last
		if span > 0 && now.Sub(last) > span {
			from = now.Add(-span)
		}
		ticks, more = ticks[:0], false
		for t := from; ctx.Err() == nil; {
			next, err := s.schedule.Next(t)
			if err != nil || next.After(now) {
				break
			}
			if ticks = append(ticks, next); len(ticks) >= 2*maxMissed {
				ticks, more = append(ticks[:0], ticks[len(ticks)-maxMissed:]...), true
			}
			t = next
		}
		if len(ticks) > maxMissed {
			ticks, more = ticks[len(ticks)-maxMissed:], true
		}
		if more || from.Equal(last) || ctx.Err() != nil {
			return ticks, more
		}
	}
}

// publish makes and publishes the events of some ticks. It returns false when
// ctx is done before they are kept.
func (s *source) publish(ctx context.Context, ticks []time.Time) bool {
	events := make([]*event.Event, 0, len(ticks))
	for _, t := range ticks {
		e, err := s.make(t)
		if err != nil { // Build has made one before
			s.refused(t, err)
			continue
		}
		events = append(events, e)
	}
	if len(events) == 0 {
		return true
	}
	err := sources.PublishUntil(ctx, s.env.Sink, s.env.Logger.With("source", s.env.Name), events...)
	var never *sources.InvalidError
	if errors.As(err, &never) {
		for _, t := range ticks {
			s.refused(t, err)
		}
		return true
	}
	return err == nil
}

func (s *source) refused(tick time.Time, err error) {
	s.env.Rejected("invalid")
	s.env.Logger.Error("tick refused", "source", s.env.Name, "tick", tick, "error", err)
}

// make makes the event of a tick.
func (s *source) make(tick time.Time) (*event.Event, error) {
	b := event.NewBuilder()
	for _, f := range append(s.event.fields(), field{"id", s.env.Name + "/" + tick.UTC().Format(time.RFC3339)}) {
		if f.value != "" {
			_ = b.Set(f.name, event.StringValue(f.value)) // Build reports it
		}
	}
	_ = b.Set("time", event.TimeValue(tick.In(s.schedule.zone), ""))
	if s.data != nil {
		b.SetJSON(s.data)
	}
	return b.Build()
}

// position is what the source keeps in its State.
type position struct {
	Tick     time.Time `json:"tick"`     // the last one that was handled
	Settings string    `json:"settings"` // what it was a tick of
}

const stateKey = "last"

// load returns the instant after which ticks are due. It returns false when ctx
// is done.
func (s *source) load(ctx context.Context, now time.Time) (time.Time, bool) {
	var pause sources.Backoff
	for {
		text, err := s.env.State.Load(ctx, stateKey)
		if err == nil {
			var p position
			switch err := json.Unmarshal(text, &p); {
			case text == nil:
			case err != nil || p.Tick.IsZero():
				s.env.Logger.Error("the last tick cannot be read; starting anew", "source", s.env.Name, "error", err)
			case p.Settings != s.settings:
				s.env.Logger.Info("the schedule has changed; starting with its next tick", "source", s.env.Name)
			case p.Tick.After(now.Add(lateness)):
				s.env.Logger.Warn("the last tick is in the future; starting anew", "source", s.env.Name, "tick", p.Tick)
			default:
				return p.Tick, true
			}
			s.save(ctx, now) // what is missed from now on is missed
			return now, ctx.Err() == nil
		}
		if ctx.Err() != nil {
			return time.Time{}, false
		}
		s.env.Logger.Warn("the last tick cannot be loaded; trying again", "source", s.env.Name, "error", err)
		if !pause.Wait(ctx) {
			return time.Time{}, false
		}
	}
}

// save notes a tick as handled. A failure is not fatal: the next tick is saved
// again, and a tick that is repeated has the same id.
func (s *source) save(ctx context.Context, tick time.Time) {
	text, err := json.Marshal(position{Tick: tick.UTC(), Settings: s.settings})
	if err == nil {
		err = s.env.State.Save(ctx, stateKey, text)
	}
	if err != nil && ctx.Err() == nil {
		s.env.Logger.Warn("the last tick could not be saved", "source", s.env.Name, "tick", tick, "error", err)
	}
}
