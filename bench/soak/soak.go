package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// settings are what one seed is run with.
type settings struct {
	inMemory bool
	faults   int
	program  string // of a process; "" with inMemory
	dir      string // for a process's data
	progress io.Writer
	log      *slog.Logger // of an engine in memory
	stuck    time.Duration
}

// result is what came of one seed.
type result struct {
	Seed       uint64         `json:"seed"`
	Mode       string         `json:"mode"`
	Faults     map[string]int `json:"faults"`
	Operations map[string]int `json:"operations"`
	Made       int            `json:"faultsMade"`
	Sent       int            `json:"sent"`         // events
	Acked      int            `json:"acknowledged"` // of these
	Attempts   int            `json:"attempts"`     // that receivers saw
	Restarts   int            `json:"restarts"`     // that a failed disk made necessary
	Seconds    float64        `json:"seconds"`
	report
}

// Names of the modes.
const (
	modeProcess = "process"
	modeMemory  = "memory"
)

// operationTime bounds what an operator does: a call may have to wait until the
// server is ready again.
const operationTime = time.Minute

// run is a soak of one seed.
type run struct {
	settings
	pace      pace
	history   *history
	receivers receivers
	server    server
	all       []route
	out       map[string]bool // optional subscriptions that are left out
	since     map[string]uint64
	orders    *transactions
	result    result
	began     time.Time
	random    *rand.Rand // of what operators choose
	sick      time.Time  // since then the store could not write
	mended    time.Time  // when that ended
	markers   int
	replay    *replay // the last
	last      map[string]uint64
	logs      map[string][]stored
}

// soak runs one seed: it breaks a server again and again while producers
// publish, mends everything, waits until all is settled, and checks.
func soak(ctx context.Context, seed uint64, s settings) (res result, err error) {
	r := &run{
		settings: s, history: newHistory(), all: routes(), out: map[string]bool{}, since: map[string]uint64{}, began: time.Now(),
		orders: &transactions{groups: map[string]string{}}, random: rand.New(rand.NewPCG(seed, 3)),
		last: map[string]uint64{}, logs: map[string][]stored{},
		result: result{Seed: seed, Mode: modeProcess, Faults: map[string]int{}, Operations: map[string]int{}},
	}
	r.pace = processPace()
	if s.inMemory {
		r.pace, r.result.Mode = memoryPace(), modeMemory
	}
	r.receivers = newReceivers(r.all, r.history, r.pace, seed)
	if s.inMemory {
		r.server, err = newMemory(r.pace, r.receivers, seed, s.log)
	} else {
		r.server, err = newProcess(r.pace, r.receivers, seed, s.program, s.dir)
	}
	if err != nil {
		return r.result, err
	}
	defer func() {
		err = errors.Join(err, r.server.close())
		res.Seconds = time.Since(r.began).Seconds()
	}()
	if err := r.server.start(ctx, r.inForce()); err != nil {
		return r.result, err
	}
	for _, one := range r.all {
		if one.optional {
			r.since[one.name] = 1
		}
	}
	producing, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	for i := range producers {
		p := &producer{
			name: fmt.Sprintf("p%d", i), api: r.server.caller(), history: r.history, pace: r.pace, orders: r.orders,
			random: rand.New(rand.NewPCG(seed, uint64(i)+10)),
		}
		all.Go(func() { p.run(producing) })
	}
	err = r.steps(ctx, schedule(rand.New(rand.NewPCG(seed, 1)), s.faults, r.server, r.receivers.names(), r.pace, s.inMemory))
	stop()
	all.Wait()
	if err != nil {
		return r.result, err
	}
	f, err := r.settle(ctx)
	if err != nil {
		return r.result, err
	}
	r.result.report = check(r.history, r.checked(), f, r.pace.tolerance)
	r.result.Sent, r.result.Acked, r.result.Attempts = r.history.counts()
	return r.result, nil
}

// inForce is the routes that are not left out.
func (r *run) inForce() []route {
	return slices.DeleteFunc(slices.Clone(r.all), func(one route) bool { return r.out[one.name] })
}

// checked is the subscriptions whose promises are checked.
func (r *run) checked() []subscription {
	subs := make([]subscription, len(r.all))
	for i, one := range r.all {
		subs[i] = one.subscription
	}
	return subs
}

// steps makes them one after another.
func (r *run) steps(ctx context.Context, steps []step) error {
	told := time.Now()
	for i, s := range steps {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		limited, cancel := context.WithTimeout(ctx, operationTime)
		err := r.step(limited, s)
		cancel()
		if err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, s.kind, err)
		}
		if s.fault {
			r.result.Faults[s.kind]++
			r.result.Made++
		} else {
			r.result.Operations[s.kind]++
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			r.tell("step %d of %d", i+1, len(steps))
		}
		if err := pause(ctx, s.dwell); err != nil {
			return err
		}
	}
	return nil
}

// tell shows how far the run is.
func (r *run) tell(format string, args ...any) {
	sent, acked, attempts := r.history.counts()
	fmt.Fprintf(r.progress, "seed %d (%s): %s, %d faults, %d events sent, %d acknowledged, %d attempts seen, %v\n",
		r.result.Seed, r.result.Mode, fmt.Sprintf(format, args...), r.result.Made, sent, acked, attempts, time.Since(r.began).Round(time.Second))
}

// step makes one.
func (r *run) step(ctx context.Context, s step) error {
	switch s.kind {
	case stepKill:
		return r.restart(ctx, killed, nil)
	case stepPowerCut:
		return r.restart(ctx, powerCut, nil)
	case stepTear:
		how := killed
		if r.inMemory && s.n%2 == 0 {
			how = powerCut
		}
		return r.restart(ctx, how, r.server.tear)
	case stepStop:
		return r.restart(ctx, stopped, nil)
	case stepBroken:
		if p, ok := r.server.(*process); ok {
			return p.reloadBroken(r.inForce())
		}
		return nil
	case stepHeal:
		return r.receivers[s.target].set(isWell)
	case stepReload:
		return r.reload(ctx, s)
	case stepPause, stepResume:
		return r.operate(ctx, "/v1/subscriptions/"+s.target+"/"+s.kind, nil, nil)
	case stepRedrive:
		return r.operate(ctx, "/v1/subscriptions/"+s.target+"/deadletters/redrive", map[string]any{}, nil)
	case stepReplay:
		return r.startReplay(ctx, s)
	case stepCancel:
		return r.cancelReplay(ctx)
	case stepSeek:
		return r.operate(ctx, "/v1/subscriptions/sought/sought/seek", map[string]any{"to": "start"}, nil)
	}
	if s.mood != "" {
		return r.receivers[s.target].set(s.mood)
	}
	return r.trouble(ctx, s)
}

// restart ends the server and starts it again.
func (r *run) restart(ctx context.Context, how outageKind, between func() error) error {
	o, err := r.server.restart(ctx, how, between)
	o.from = o.at
	if !r.sick.IsZero() && (r.mended.IsZero() || o.at.Sub(r.mended) < r.pace.tolerance.killed) {
		o.from = r.sick
	}
	r.sick, r.mended = time.Time{}, time.Time{}
	r.history.outage(o)
	return err
}

// trouble makes the disk fail for a time, and may kill the server while it does.
func (r *run) trouble(ctx context.Context, s step) error {
	if r.sick.IsZero() || time.Since(r.mended) > r.pace.tolerance.killed {
		r.sick = time.Now()
	}
	r.mended = time.Time{}
	if err := r.server.trouble(s.trouble); err != nil {
		return err
	}
	mend := func() error { return r.server.trouble(noTrouble) }
	if err := pause(ctx, s.dwell); err != nil {
		return err
	}
	if s.n%4 == 0 {
		return r.restart(ctx, killed, mend)
	}
	if err := mend(); err != nil {
		return err
	}
	r.mended = time.Now()
	if err := r.server.ready(ctx, r.pace.heals()); err != nil {
		if ctx.Err() != nil {
			return err
		}
		r.result.Restarts++
		r.mended = time.Time{}
		return r.restart(ctx, killed, nil)
	}
	return nil
}

// heals is how long a server may take until it is ready after its disk is well.
// One whose state failed needs a restart, which is made then.
func (p pace) heals() time.Duration { return p.dwell * 25 / 2 }

// operate makes a call of an operator, which may be repeated. A subscription
// whose rule is left out may be gone.
func (r *run) operate(ctx context.Context, path string, body, into any) error {
	contentType, text := "", []byte(nil)
	if body != nil {
		contentType, text = "application/json", mustJSON(body)
	}
	got, _, err := r.server.caller().insist(ctx, http.MethodPost, path, contentType, text)
	switch {
	case err != nil:
		return fmt.Errorf("POST %s: %w; last %s", path, err, got.body)
	case got.ok() && into != nil:
		return json.Unmarshal(got.body, into)
	case got.ok(), got.status == http.StatusNotFound && strings.Contains(path, "/extra-"):
		return nil
	}
	r.history.wrong("answered", "POST %s was answered with %d: %s", path, got.status, got.body)
	return nil
}

// reload leaves an optional rule out, or brings it back.
func (r *run) reload(ctx context.Context, s step) error {
	var optional []route
	for _, one := range r.all {
		if one.optional {
			optional = append(optional, one)
		}
	}
	one := optional[s.n%len(optional)]
	if !r.out[one.name] {
		// What was seen was routed while the rule was in force, and a reload
		// makes that durable.
		if to, from := r.routed(one.bus), r.since[one.name]; from > 0 && to >= from {
			r.history.inForce(one.name, period{from, to})
		}
	}
	r.out[one.name] = !r.out[one.name]
	r.since[one.name] = 0
	if err := r.server.reload(ctx, r.inForce()); err != nil {
		return err
	}
	if !r.out[one.name] {
		// What is recorded from now on is routed with the rule in force.
		if e := r.marker(ctx, one.bus); e != nil {
			r.since[one.name] = e.sequence
		}
	}
	return nil
}

// routed is the highest sequence that is known to be routed in this life of the
// server.
func (r *run) routed(bus string) uint64 {
	on := map[string]bool{}
	for _, one := range r.all {
		on[one.name] = one.bus == bus
	}
	return r.history.routed(bus, on)
}

// marker publishes one event; nil if that was not answered.
func (r *run) marker(ctx context.Context, bus string) *event {
	r.markers++
	e := &event{id: fmt.Sprintf("marker-%d", r.markers), bus: bus, kind: plainKind, n: r.markers, key: "marker"}
	p := &producer{api: r.server.caller(), history: r.history, pace: r.pace, random: r.random}
	for ctx.Err() == nil {
		if p.publish(ctx, e) {
			return e
		}
	}
	return nil
}

// startReplay asks for some of what is stored again.
func (r *run) startReplay(ctx context.Context, s step) error {
	rules := []string{"all", "keyed", "thirds", "second"}
	rule := rules[s.n%len(rules)]
	bus := "a"
	if rule == "second" {
		bus = "b"
	}
	last := r.history.seen(bus)
	if last == 0 {
		return nil
	}
	from := 1 + uint64(s.n)%last
	one := &replay{name: fmt.Sprintf("replay-%d", len(r.history.replays)+1), bus: bus, rule: rule, from: from, to: min(last, from+100), void: true}
	r.replay = one
	r.history.replayed(one)
	body := mustJSON(map[string]any{"from": one.from, "to": one.to, "rules": []string{rule}, "name": one.name})
	got, err := r.server.caller().call(ctx, http.MethodPost, "/v1/buses/"+bus+"/replay", "application/json", body)
	switch {
	case err != nil, got.again(): // it is not known whether it began
	case got.ok():
		var begun struct{ ID string }
		if err := json.Unmarshal(got.body, &begun); err != nil {
			return err
		}
		one.id, one.void = begun.ID, false
	default:
		r.history.wrong("answered", "a replay of rule %s, sequences %d to %d of bus %s, was answered with %d: %s", rule, one.from, one.to, bus, got.status, got.body)
	}
	return nil
}

// cancelReplay ends the last one.
func (r *run) cancelReplay(ctx context.Context) error {
	if r.replay == nil || r.replay.void {
		return nil
	}
	r.replay.void = true
	got, _, err := r.server.caller().insist(ctx, http.MethodDelete, "/v1/replays/"+r.replay.id, "", nil)
	if err == nil && !got.ok() {
		r.history.wrong("answered", "cancelling replay %s was answered with %d: %s", r.replay.id, got.status, got.body)
	}
	return err
}

// settle mends everything, waits until nothing is left to do, and reads what
// the server says then.
func (r *run) settle(ctx context.Context) (final, error) {
	for _, name := range r.receivers.names() {
		if err := r.receivers[name].set(isWell); err != nil {
			return final{}, err
		}
	}
	clear(r.out)
	if err := r.server.reload(ctx, r.inForce()); err != nil {
		return final{}, fmt.Errorf("the last reload: %w", err)
	}
	for _, one := range r.all {
		if err := r.operate(ctx, "/v1/subscriptions/"+one.name+"/resume", nil, nil); err != nil {
			return final{}, err
		}
	}
	for _, bus := range busNames() {
		r.marker(ctx, bus)
	}
	if err := r.drain(ctx); err != nil {
		return final{}, err
	}
	for _, one := range r.all {
		if one.optional && r.since[one.name] > 0 {
			r.history.inForce(one.name, period{r.since[one.name], r.routed(one.bus)})
		}
	}
	return r.read(ctx)
}

// state is what a server has left to do.
type state struct {
	Depth     int64
	Dead      int64
	Scheduled int
	Running   int // replays
	Routed    bool
	Last      string
	waiting   string // what it waits for, for people
}

// drain waits until nothing is left to do. It gives up when nothing has changed
// for a time, however long it takes otherwise.
func (r *run) drain(ctx context.Context) error {
	before, changed, told := "", time.Now(), time.Now()
	done := 0
	for {
		s, err := r.state(ctx)
		if err != nil {
			return err
		}
		_, _, attempts := r.history.counts()
		if s.Depth == 0 && s.Scheduled == 0 && s.Running == 0 && s.Routed {
			if done++; done == 2 { // what was delivered may have been published again
				return nil
			}
		} else {
			done = 0
		}
		if now := fmt.Sprint(*s, attempts); now != before {
			before, changed = now, time.Now()
		} else if time.Since(changed) > r.stuck {
			return fmt.Errorf("nothing happens any more for %v, and not all is settled: %s", r.stuck, s.waiting)
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			r.tell("draining, %s", s.waiting)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// state asks a server what it has left to do.
func (r *run) state(ctx context.Context) (*state, error) {
	s := &state{Routed: true}
	c := r.server.caller()
	var waiting []string
	err := list(ctx, c, "/v1/subscriptions", func(one struct {
		Name, State, Reason, LastError string
		Depth, DeadLetters, InFlight   int64
	}) {
		s.Depth += one.Depth
		s.Dead += one.DeadLetters
		if one.Depth > 0 {
			waiting = append(waiting, fmt.Sprintf("%s owes %d (%d in flight; %s, %s, last error %q)", one.Name, one.Depth, one.InFlight, one.State, one.Reason, one.LastError))
		}
	})
	for _, bus := range busNames() {
		if err == nil {
			err = list(ctx, c, "/v1/buses/"+bus+"/scheduled", func(one struct{ ID string }) { s.Scheduled++ })
		}
		if err == nil {
			err = r.readLog(ctx, bus)
		}
		var trace struct{ Routed bool }
		if err == nil && r.last[bus] > 0 {
			err = c.get(ctx, fmt.Sprintf("/v1/buses/%s/events/%d/trace", bus, r.last[bus]), &trace)
			s.Routed = s.Routed && trace.Routed
			if !trace.Routed {
				waiting = append(waiting, fmt.Sprintf("bus %s is not routed up to %d", bus, r.last[bus]))
			}
		}
	}
	if err == nil {
		err = list(ctx, c, "/v1/replays", func(one struct{ Name, State string }) {
			if one.State == "running" {
				s.Running++
				waiting = append(waiting, "replay "+one.Name+" runs")
			}
		})
	}
	s.Last = fmt.Sprint(r.last)
	if s.Scheduled > 0 {
		waiting = append(waiting, fmt.Sprintf("%d events are scheduled", s.Scheduled))
	}
	s.waiting = strings.Join(waiting, "; ")
	return s, err
}

// readLog reads what a bus has got since it was read last.
func (r *run) readLog(ctx context.Context, bus string) error {
	for {
		var page []struct {
			ID, Sequence string
			RecordedTime time.Time
		}
		if err := r.server.caller().get(ctx, fmt.Sprintf("/v1/buses/%s/events?limit=1000&from=%d", bus, r.last[bus]+1), &page); err != nil {
			return err
		}
		for _, e := range page {
			sequence, err := strconv.ParseUint(e.Sequence, 10, 64)
			if err != nil {
				return fmt.Errorf("bus %s: event %s: sequence %q is no number", bus, e.ID, e.Sequence)
			}
			r.logs[bus] = append(r.logs[bus], stored{sequence, e.ID, e.RecordedTime})
			r.last[bus] = sequence
		}
		if len(page) == 0 {
			return nil
		}
	}
}

// read reads what a server says in the end.
func (r *run) read(ctx context.Context) (final, error) {
	f := final{logs: r.logs, dead: map[string]map[string][]string{}, traces: map[string]map[uint64][]traced{}, replays: map[string]string{}, answered: map[string]string{}}
	c := r.server.caller()
	for _, one := range r.all {
		dead := map[string][]string{}
		err := list(ctx, c, "/v1/subscriptions/"+one.name+"/deadletters", func(d struct {
			ID    string
			Event struct{ ID string }
		}) {
			dead[d.Event.ID] = append(dead[d.Event.ID], d.ID)
		})
		if err != nil {
			return f, err
		}
		f.dead[one.name] = dead
	}
	for _, bus := range busNames() {
		f.traces[bus] = map[uint64][]traced{}
		for _, e := range r.logs[bus] {
			var trace struct {
				Deliveries []struct {
					ID, Rule, Target, State string
					Attempts                []struct{ Number int }
				}
			}
			if err := c.get(ctx, fmt.Sprintf("/v1/buses/%s/events/%d/trace", bus, e.sequence), &trace); err != nil {
				return f, err
			}
			for _, d := range trace.Deliveries {
				f.traces[bus][e.sequence] = append(f.traces[bus][e.sequence], traced{d.Rule + "/" + d.Target, d.ID, d.State, len(d.Attempts)})
			}
		}
	}
	err := list(ctx, c, "/v1/replays", func(one struct{ ID, State string }) { f.replays[one.ID] = one.State })
	if err == nil {
		err = list(ctx, c, "/v1/transactions", func(one struct{ ID, State string }) { f.answered[r.orders.group(one.ID)] = one.State })
	}
	return f, err
}
