package bus_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/targets"
)

var simulationSeed = flag.Uint64("simulation.seed", 0, "seed of the simulation; 0 takes some fixed ones")

// The simulation sends thousands of events of thousands of keys to hundreds of
// receivers that fail, hang, slow down, ask for pauses, refuse and heal, with
// two restarts on the way, and holds every single attempt against what is
// promised.
func TestASimulationOfReceiversKeepsEveryPromise(t *testing.T) {
	seeds := []uint64{1, 2}
	if *simulationSeed != 0 {
		seeds = []uint64{*simulationSeed}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			within(t, func(w *world) { simulate(w, seed) })
		})
	}
}

const (
	simReceivers = 200
	simEvents    = 8000
	simKeys      = 3000
	simTrouble   = 3 * time.Hour // then all are well
	simEnd       = 40 * time.Hour
)

// receiver is one simulated receiver, with the checks of what it is sent.
type receiver struct {
	t      *testing.T
	name   string
	random *rand.Rand
	policy bus.TargetPlan
	steady bool // always well
	heals  time.Time

	mu       sync.Mutex
	mood     mood
	until    time.Time // of the mood
	inFlight int
	starts   []time.Time          // for the rate
	row      int                  // failures in a row
	opened   int                  // times in a row that the breaker opened
	rest     time.Time            // until then it is open
	hold     time.Time            // the receiver asked for a pause until then
	changed  time.Time            // when rest or hold was set
	trials   map[string]bool      // events whose attempt under way tries the half-open breaker
	alone    map[string]bool      // events to be sent alone, for a batch was refused as a whole
	batches  int                  // requests with more than one event
	partial  int                  // of which some were taken and some were not
	next     map[string]int       // the number of each event's next attempt
	done     map[string]time.Time // when events were taken
	final    map[string]bool      // refused for good
	last     map[string]uint64    // the newest sequence taken of each key
}

type mood int

const (
	isWell mood = iota
	isSlow
	isDown
	isFailing
	isFlaky
	isHanging
	isLimiting
	isPicky
	moods
)

func (r *receiver) Start(context.Context) error { return nil }
func (r *receiver) Close() error                { return nil }

func (r *receiver) Deliver(ctx context.Context, d *targets.Delivery) error {
	return r.answer(ctx, []*targets.Delivery{d})[0]
}

// batchReceiver is a receiver that is sent batches.
type batchReceiver struct{ *receiver }

func (r batchReceiver) DeliverBatch(ctx context.Context, ds []*targets.Delivery) []error {
	return r.answer(ctx, ds)
}

// fate is what becomes of one event of a request.
type fate struct {
	status int
	err    error
}

// answer is a request with one event or a batch of them.
func (r *receiver) answer(ctx context.Context, ds []*targets.Delivery) []error {
	takes, fates := r.begin(ds)
	errs := make([]error, len(ds))
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		r.mu.Lock()
		r.inFlight--
		for i, d := range ds {
			r.next[d.Event.ID()] = d.Attempt // it does not count
			delete(r.trials, d.Event.ID())
			errs[i] = ctx.Err()
		}
		r.mu.Unlock()
		return errs
	}
	for i, d := range ds {
		d.Answer.Status, errs[i] = fates[i].status, fates[i].err
	}
	r.end(ds, fates)
	return errs
}

// members checks what stands in a request.
func (r *receiver) members(ds []*targets.Delivery) {
	keys, bytes := map[string]bool{}, 0
	for _, d := range ds {
		id, key := d.Event.ID(), d.Event.Subject()
		if _, taken := r.done[id]; taken || r.final[id] {
			r.t.Errorf("%s: event %s came again after it was settled", r.name, id)
		}
		if want := max(1, r.next[id]); d.Attempt != want {
			r.t.Errorf("%s: event %s comes as attempt %d, want %d", r.name, id, d.Attempt, want)
		}
		r.next[id] = d.Attempt + 1
		if len(ds) > 1 && (r.alone[id] || r.policy.Order == store.OrderStrict || r.policy.Order == store.OrderKey && keys[key]) {
			r.t.Errorf("%s: event %s of key %q comes in a batch of %d", r.name, id, key, len(ds))
		}
		keys[key] = true
		bytes += d.Event.Size()
	}
	if b := r.policy.Batch; len(ds) > max(1, b.Events) || len(ds) > 1 && bytes > b.Bytes {
		r.t.Errorf("%s: a batch has %d events of %d bytes, more than %+v", r.name, len(ds), bytes, b)
	}
	if len(ds) > 1 {
		r.batches++
	}
}

// begin checks that the attempt may be made, and decides what becomes of it.
func (r *receiver) begin(ds []*targets.Delivery) (takes time.Duration, fates []fate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, id := time.Now(), ds[0].Event.ID()
	if r.inFlight++; r.inFlight > r.policy.Concurrency {
		r.t.Errorf("%s: %d attempts under way of %d", r.name, r.inFlight, r.policy.Concurrency)
	}
	r.members(ds)
	if r.opened > 0 && len(ds) > 1 && !now.Equal(r.changed) {
		r.t.Errorf("%s: a batch of %d tries its half-open breaker", r.name, len(ds))
	}
	switch {
	case now.Equal(r.changed): // it began while the answer was on its way back
	case now.Before(r.hold):
		r.t.Errorf("%s: an attempt %v before the pause ends that it asked for", r.name, r.hold.Sub(now))
	case now.Before(r.rest):
		r.t.Errorf("%s: an attempt %v before the rest of its breaker ends", r.name, r.rest.Sub(now))
	case r.opened > 0 && len(r.trials) > 0:
		r.t.Errorf("%s: two attempts try its half-open breaker", r.name)
	case r.opened > 0:
		r.trials[id] = true
	}
	if r.policy.Rate > 0 {
		for range ds {
			r.starts = append(r.starts, now)
		}
		for i := len(r.starts) - 1; i >= 0 && i >= len(r.starts)-200; i-- {
			n, in := float64(len(r.starts)-i), now.Sub(r.starts[i])
			in += r.policy.Batch.Wait // a batch is gathered before it is sent
			if most := float64(r.policy.Burst) + r.policy.Rate*in.Seconds(); n > most+1 {
				r.t.Errorf("%s: %v attempts in %v at %v/s with a burst of %d", r.name, n, in, r.policy.Rate, r.policy.Burst)
				break
			}
		}
	}
	if now.After(r.until) {
		r.mood, r.until = mood(r.random.IntN(int(moods))), now.Add(time.Duration(r.random.Int64N(int64(15*time.Minute))))
	}
	is := r.mood
	if r.steady || now.After(r.heals) {
		is = isWell
	}
	takes = time.Duration(1+r.random.IntN(20)) * time.Millisecond
	// No two end in the same instant: who came first could not be told.
	defer func() { takes += time.Duration(r.random.IntN(1_000_000)) }()
	switch is {
	case isSlow:
		takes *= 50
	case isHanging:
		takes = 10 * time.Second
	}
	whole := r.fate(is)
	each := len(ds) > 1 && (is == isFlaky || is == isPicky) && r.random.IntN(2) == 0 // the answer names those that failed
	for range ds {
		if each {
			whole = r.fate(is)
		}
		fates = append(fates, whole)
	}
	return takes, fates
}

// fate decides what becomes of an event, or of a whole batch.
func (r *receiver) fate(is mood) (f fate) {
	chance := r.random.IntN(10)
	switch {
	case is == isDown:
		f.err = errors.New("connection refused")
	case is == isFailing, is == isFlaky && chance < 3:
		f = fate{500, &statusError{500}}
	case is == isHanging:
		f.err = context.DeadlineExceeded
	case is == isLimiting && chance < 5:
		f = fate{429, &targets.RetryAfter{Err: &statusError{429}, After: time.Duration(1+r.random.IntN(300)) * time.Second}}
	case is == isLimiting:
		f = fate{429, &statusError{429}}
	case is == isPicky && chance < 2:
		f = fate{400, &targets.Permanent{Err: &statusError{400}}}
	}
	return f
}

// end notes what the attempt's outcome forbids.
func (r *receiver) end(ds []*targets.Delivery, fates []fate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inFlight--
	now, id := time.Now(), ds[0].Event.ID()
	trial := r.trials[id]
	delete(r.trials, id)
	// A batch that is refused as a whole counts for none of its events: each is
	// sent alone.
	apart := len(ds) > 1 && targets.IsPermanent(fates[0].err)
	taken := 0
	for _, f := range fates {
		apart = apart && f.err == fates[0].err
		if f.err == nil {
			taken++
		}
	}
	if taken > 0 && taken < len(ds) {
		r.partial++
	}
	shown := fates[0] // what the batch says of the receiver: it is well if it took any of it
	for i, d := range ds {
		id := d.Event.ID()
		switch err := fates[i].err; {
		case err == nil:
			r.done[id] = now
			r.ordered(d)
			shown = fates[i]
		case apart:
			r.alone[id] = true
			r.next[id] = d.Attempt
		case targets.IsPermanent(err):
			r.final[id] = true
		}
	}
	err, status := shown.err, shown.status
	var after *targets.RetryAfter
	switch {
	case err == nil, targets.IsPermanent(err):
		r.heal()
	case errors.As(err, &after):
		if until := now.Add(after.After); until.After(r.hold) {
			r.hold, r.changed = until, now
		}
	case status == 429:
	default:
		r.row++
		if b := r.policy.Breaker; b.Failures > 0 && (trial || r.opened == 0 && r.row >= b.Failures) {
			r.rest = now.Add(min(b.Open<<min(r.opened, 20), bus.MaxOpen))
			r.opened++
			r.changed = now
		}
	}
}

func (r *receiver) heal() {
	r.row, r.opened, r.rest = 0, 0, time.Time{}
	clear(r.trials)
}

// ordered checks that the events of a key are taken in their order.
func (r *receiver) ordered(d *targets.Delivery) {
	key := d.Event.Subject()
	switch r.policy.Order {
	case store.OrderNone:
		return
	case store.OrderStrict:
		key = ""
	}
	if d.Sequence <= r.last[key] {
		r.t.Errorf("%s: %d of key %q comes after %d", r.name, d.Sequence, key, r.last[key])
	}
	r.last[key] = d.Sequence
}

// restarted forgets what is not kept over a restart.
func (r *receiver) restarted() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.opened == 0 {
		r.row = 0
	}
	if time.Until(r.hold) < 10*time.Second {
		r.hold = time.Time{}
	}
	clear(r.alone)
	clear(r.starts)
	r.starts = r.starts[:0]
}

func simulate(w *world, seed uint64) {
	w.engine.Close()
	random := rand.New(rand.NewPCG(seed, 0))
	heals := time.Now().Add(simTrouble)
	all := make([]*receiver, simReceivers)
	plan := bus.Plan{Buses: map[string]bus.BusPlan{"orders": {}}, Rules: map[string]bus.RulePlan{}, Targets: map[string]bus.TargetPlan{}}
	for i := range all {
		r := &receiver{t: w.t, name: fmt.Sprint("t", i), random: rand.New(rand.NewPCG(seed, uint64(i)+1)), heals: heals,
			trials: map[string]bool{}, alone: map[string]bool{}, next: map[string]int{}, done: map[string]time.Time{}, final: map[string]bool{}, last: map[string]uint64{}, steady: i%4 == 0}
		r.policy = bus.TargetPlan{Target: r, Fingerprint: "1", Concurrency: 1 + random.IntN(32), Order: store.Order(random.IntN(3)),
			Breaker: bus.BreakerPolicy{Failures: []int{0, 3, 10}[random.IntN(3)], Open: time.Duration(5+random.IntN(60)) * time.Second}}
		if !r.steady && random.IntN(3) == 0 {
			r.policy.Rate, r.policy.Burst = float64(1+random.IntN(20)), 1+random.IntN(10)
		}
		if r.steady {
			r.policy.Order, r.policy.Concurrency = store.OrderNone, 32
		}
		if i%4 == 1 {
			r.policy.Target = batchReceiver{r}
			r.policy.Batch = bus.BatchPolicy{Events: 2 + random.IntN(20), Wait: time.Duration(random.IntN(3)) * 300 * time.Millisecond, Bytes: 500 + random.IntN(4000)}
		}
		all[i] = r
		plan.Targets[r.name] = r.policy
		plan.Rules["r"+r.name] = bus.RulePlan{Bus: "orders", Matcher: w.matcher(fmt.Sprintf("event.to == %q", r.name)), Targets: []string{r.name}}
	}
	pullers := map[string]*puller{}
	for i := range simPullers {
		p := newPuller(w.t, fmt.Sprint("p", i), seed+uint64(i), store.Order(i%3), heals)
		pullers[p.name] = p
		plan.Targets[p.name] = p.policy
		plan.Rules["r"+p.name] = bus.RulePlan{Bus: "orders", Matcher: w.matcher(fmt.Sprintf("event.to == %q", p.name)), Targets: []string{p.name}}
	}
	var workers sync.WaitGroup
	quit := func() {}
	open := func() {
		var err error
		if w.engine, err = bus.New(bus.Options{Store: w.store, MaxInFlight: 50}); err != nil {
			w.t.Fatal(err)
		}
		w.apply(plan)
		w.run()
		var ctx context.Context
		ctx, quit = context.WithCancel(context.Background())
		for _, p := range pullers {
			for range simWorkers {
				workers.Go(func() { p.work(ctx, w.engine) })
			}
		}
	}
	open()
	sent := map[string]time.Time{}
	to := map[string]*receiver{}
	pulledBy := map[string]*puller{}
	restarts := 0
	for i := 0; i < simEvents; {
		var name string
		var r *receiver
		if n := random.IntN(len(all) + simPullers); n < len(all) {
			r = all[n]
			name = r.name
		} else {
			name = fmt.Sprint("p", n-len(all))
		}
		var burst []*event.Event
		for range 1 + random.IntN(random.IntN(60)+1) {
			id := fmt.Sprint(i)
			i++
			sent[id] = time.Now()
			if r != nil {
				to[id] = r
			} else {
				pulledBy[id] = pullers[name]
			}
			burst = append(burst, w.event(id, "to", name, "subject", fmt.Sprint("key", random.IntN(simKeys))))
		}
		w.publish(burst...)
		time.Sleep(time.Duration(random.Int64N(2 * int64(simTrouble) / simEvents * int64(len(burst)))))
		if restarts < 2 && i > (restarts+1)*simEvents/3 {
			restarts++
			for _, p := range pullers {
				p.stops()
			}
			quit()
			w.stop()
			workers.Wait()
			if err := w.engine.Close(); err != nil {
				w.t.Fatal(err)
			}
			for _, r := range all {
				r.restarted()
			}
			for _, p := range pullers {
				p.restarted()
			}
			open()
		}
	}
	w.after(simEnd)
	late := 0
	for id, r := range to {
		at, taken := r.done[id]
		switch {
		case !taken && !r.final[id]:
			w.t.Errorf("event %s was neither taken by %s nor refused for good", id, r.name)
		case taken && r.final[id]:
			w.t.Errorf("event %s was taken by %s and refused for good", id, r.name)
		case r.steady && at.Sub(sent[id]) > 10*time.Second: // a restart may take its drain's time
			late++
		}
	}
	quit()
	workers.Wait()
	for id, p := range pulledBy {
		if _, taken := p.done[id]; taken == p.final[id] {
			w.t.Errorf("event %s was taken by %s: %v, and given up: %v", id, p.name, taken, p.final[id])
		}
	}
	if late > 0 {
		w.t.Errorf("%d events of receivers that are always well came late", late)
	}
	dead, batches, partial := 0, 0, 0
	for _, r := range all {
		batches, partial = batches+r.batches, partial+r.partial
		info := w.info("r" + r.name + "/" + r.name)
		if info.Depth != 0 || info.Paused || int(info.Dead) != len(r.final) {
			w.t.Errorf("%s: %+v, with %d refused for good", r.name, info, len(r.final))
		}
		dead += len(r.final)
	}
	ended := 0
	for name, p := range pullers {
		info := w.info("r" + name + "/" + name)
		if info.Depth != 0 || info.Paused || int(info.Dead) != len(p.final) {
			w.t.Errorf("%s: %+v, with %d given up", name, info, len(p.final))
		}
		dead, ended = dead+len(p.final), ended+p.ended
	}
	synctest.Wait()
	if ended < 10 {
		w.t.Errorf("only %d leases were let end: too few to tell", ended)
	}
	if batches < 100 || partial < 10 {
		w.t.Errorf("%d batches, of which %d were taken in part: too few to tell", batches, partial)
	}
	w.t.Logf("seed %d: %d events, %d refused for good, %d batches, %d taken in part, %d leases let end", seed, simEvents, dead, batches, partial, ended)
}
