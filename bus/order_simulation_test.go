package bus_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/targets/pull"
)

// TestOrderHoldsInTheHistoryOfAllReceivers sends events to receivers with order
// key and strict that are pushed to, one by one and in batches, and pulled from,
// and that fail, refuse, hang, lose leases; dead letters are redriven, all is
// replayed, and the engine is restarted meanwhile, on the embedded store also
// after crashes that lose what was not synced. The history of all attempts is then held
// against the promise of order.
func TestOrderHoldsInTheHistoryOfAllReceivers(t *testing.T) {
	seeds := []uint64{1, 2}
	if *simulationSeed != 0 {
		seeds = []uint64{*simulationSeed}
	}
	for i, seed := range seeds {
		simulated := func(w *world, st store.Store) {
			(&orderly{world: w, st: st, history: newHistory(), random: rand.New(rand.NewPCG(seed, 9))}).run()
		}
		t.Run(fmt.Sprintf("seed %d on the model", seed), func(t *testing.T) {
			within(t, func(w *world) {
				w.engine.Close()
				simulated(w, w.store)
			})
		})
		if i > 0 {
			continue // the crashes take their time
		}
		t.Run(fmt.Sprintf("seed %d on the embedded store", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{t: t, env: (*world)(nil).envOf(t)}
				o := &orderly{world: w, history: newHistory(), random: rand.New(rand.NewPCG(seed, 9)), disk: vfs.NewCrashableMem()}
				o.openStore()
				o.run()
				w.stop()
				if err := errors.Join(w.engine.Close(), o.st.Close()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

const (
	orderlyEvents   = 800
	orderlyKeys     = 12
	orderlyAttempts = 4
	orderlyLease    = 20 * time.Second
)

// orderly is the simulation.
type orderly struct {
	*world
	st      store.Store
	history *history
	disk    *vfs.MemFS // nil on the model

	mu     sync.Mutex
	random *rand.Rand
	well   bool // all receivers are

	rules   []string // named as their targets
	redrive int
	replays map[uint32]string // by run, as they are marked
	workers sync.WaitGroup
	quit    context.CancelFunc
}

// chance is a number below n.
func (o *orderly) chance(n int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.random.IntN(n)
}

// outcome decides what becomes of an attempt, and how long it takes.
func (o *orderly) outcome() (takes time.Duration, err error) {
	takes = time.Duration(1+o.chance(50_000_000)) * time.Nanosecond
	o.mu.Lock()
	well := o.well
	o.mu.Unlock()
	if well {
		return takes, nil
	}
	switch o.chance(12) {
	case 0:
		return takes, &targets.Permanent{Err: errors.New("refused")}
	case 1, 2:
		return takes, errors.New("failed")
	case 3:
		return takes, &targets.RetryAfter{Err: errors.New("busy"), After: time.Duration(o.chance(3000)) * time.Millisecond}
	case 4:
		return 10 * takes, context.DeadlineExceeded
	}
	return takes, nil
}

// key is what the order of a target goes by: rules are named KIND-ORDER-n.
func key(name string, ev *event.Event) string {
	if strings.Contains(name, "strict") {
		return ""
	}
	return ev.Subject()
}

// seen notes an attempt that ends now.
func (o *orderly) seen(epoch int, name string, ev *event.Event, sequence uint64, redriven bool, attempt int, began time.Time, err error) {
	lane, _ := ev.Extension("replayname")
	o.history.add(try{sub: name, key: key(name, ev), lane: lane.Text(), sequence: sequence, epoch: epoch, marked: redriven, began: began, ended: time.Now(),
		taken: err == nil, dead: err != nil && (targets.IsPermanent(err) || attempt >= orderlyAttempts)})
}

// pushed is a receiver that is pushed to.
type pushed struct {
	o     *orderly
	name  string
	epoch int
}

func (*pushed) Start(context.Context) error { return nil }
func (*pushed) Close() error                { return nil }

func (p *pushed) Deliver(ctx context.Context, d *targets.Delivery) error {
	return p.deliver(ctx, []*targets.Delivery{d})[0]
}

func (p *pushed) deliver(_ context.Context, ds []*targets.Delivery) []error {
	began, longest := time.Now(), time.Duration(0)
	errs := make([]error, len(ds))
	for i := range ds {
		var takes time.Duration
		takes, errs[i] = p.o.outcome()
		longest = max(longest, takes)
	}
	time.Sleep(longest)
	for i, d := range ds {
		p.o.seen(p.epoch, p.name, d.Event, d.Sequence, d.Redriven, d.Attempt, began, errs[i])
	}
	return errs
}

// batched is one that takes batches, and names the members that failed.
type batched struct{ pushed }

func (b *batched) DeliverBatch(ctx context.Context, ds []*targets.Delivery) []error {
	return b.deliver(ctx, ds)
}

// work is a worker that pulls until the engine or the simulation ends.
func (o *orderly) work(ctx context.Context, e *bus.Engine, epoch int, name string) {
	for ctx.Err() == nil {
		got, err := e.Receive(ctx, name, name, bus.Receive{Max: 1 + o.chance(4), Wait: time.Minute})
		if err != nil {
			return
		}
		var each sync.WaitGroup
		for _, l := range got.Deliveries {
			each.Go(func() { o.workOn(ctx, e, epoch, name, l) })
		}
		each.Wait()
	}
}

// workOn works on what a worker leased, and acknowledges it, gives it back,
// extends the lease first or loses it.
func (o *orderly) workOn(ctx context.Context, e *bus.Engine, epoch int, name string, l bus.Leased) {
	began := time.Now()
	if ctx.Err() != nil {
		return // perhaps in a crash
	}
	takes, outcome := o.outcome()
	sequence := o.sequenceOf(l.Event)
	switch {
	case errors.Is(outcome, context.DeadlineExceeded): // is too slow
		time.Sleep(orderlyLease - time.Nanosecond)
		if ctx.Err() != nil {
			return // the engine was stopped meanwhile, and the lease ended without counting
		}
		o.seen(epoch, name, l.Event, sequence, l.Redriven, l.Attempt, began, outcome)
		time.Sleep(takes)
		if answer, err := e.Ack(ctx, name, name, []string{l.Lease}); err == nil && len(answer.Valid) > 0 {
			o.t.Errorf("%s: a lease was valid after its end", name)
		}
		return
	case o.chance(4) == 0:
		time.Sleep(orderlyLease / 2)
		if _, err := e.Extend(ctx, name, name, []string{l.Lease}); err != nil {
			return
		}
	}
	time.Sleep(takes)
	attempt := l.Attempt
	if targets.IsPermanent(outcome) { // workers cannot refuse for good
		outcome = errors.New("failed")
	}
	var answer bus.Leases
	var err error
	if outcome == nil {
		answer, err = e.Ack(ctx, name, name, []string{l.Lease})
	} else {
		delay := time.Duration(o.chance(2000)) * time.Millisecond
		answer, err = e.Nack(ctx, name, name, []string{l.Lease}, bus.Nack{Delay: &delay})
	}
	if err == nil && len(answer.Valid) == 1 {
		o.seen(epoch, name, l.Event, sequence, l.Redriven, attempt, began, outcome)
	}
}

// sequenceOf is the sequence of an event, whose id it is.
func (o *orderly) sequenceOf(ev *event.Event) (sequence uint64) {
	if _, err := fmt.Sscan(ev.ID(), &sequence); err != nil {
		o.t.Error(err)
	}
	return sequence
}

func (o *orderly) plan() bus.Plan {
	p := bus.Plan{Buses: map[string]bus.BusPlan{"orders": {}}, Rules: map[string]bus.RulePlan{}, Targets: map[string]bus.TargetPlan{}}
	o.rules = nil
	for _, kind := range []string{"push", "batch", "pull"} {
		for order, of := range map[string]store.Order{"key": store.OrderKey, "strict": store.OrderStrict} {
			name := kind + "-" + order
			to := bus.TargetPlan{Fingerprint: "1", Order: of, Concurrency: 16,
				Retry: bus.RetryPolicy{Attempts: orderlyAttempts, Initial: time.Second, Max: 5 * time.Second}}
			switch kind {
			case "push":
				to.Target = &pushed{o, name, o.history.epoch()}
			case "batch":
				to.Target = &batched{pushed{o, name, o.history.epoch()}}
				to.Batch = bus.BatchPolicy{Events: 8, Wait: 20 * time.Millisecond}
			case "pull":
				config := pull.NewConfig()
				config.Lease = component.Duration(orderlyLease)
				to.Target, _ = config.Build(targets.Env{})
			}
			o.rules = append(o.rules, name)
			p.Targets[name] = to
			p.Rules[name] = bus.RulePlan{Bus: "orders", Matcher: o.matcher(fmt.Sprintf("event.to.contains(%q)", "/"+name+"/")), Targets: []string{name}}
		}
	}
	return p
}

// open starts the engine and the workers that pull.
func (o *orderly) open() {
	var err error
	if o.engine, err = bus.New(bus.Options{Store: o.st}); err != nil {
		o.t.Fatal(err)
	}
	o.apply(o.plan())
	o.world.run()
	ctx, cancel := context.WithCancel(context.Background())
	o.quit = cancel
	epoch := o.history.epoch() // what this engine does after its crash counts for none
	for _, name := range o.rules {
		if strings.HasPrefix(name, "pull") {
			for range 5 {
				o.workers.Go(func() { o.work(ctx, o.engine, epoch, name) })
			}
		}
	}
}

// close stops the engine in order.
func (o *orderly) close() {
	o.quit()
	o.stop()
	o.workers.Wait()
	if err := o.engine.Close(); err != nil {
		o.t.Fatal(err)
	}
}

func (o *orderly) openStore() {
	var err error
	if o.st, err = embedded.Open(embedded.Options{FS: o.disk, Dir: "data", DiskReserve: -1}); err != nil {
		o.t.Fatal(err)
	}
}

// crash goes on with what a power cut leaves of the disk.
func (o *orderly) crash() {
	left := o.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: o.chance(101), RNG: rand.New(rand.NewPCG(uint64(o.chance(1<<30)), 3))})
	o.history.crashed(time.Now())
	o.close()
	if err := o.st.Close(); err != nil {
		o.t.Fatal(err)
	}
	o.disk = left
	o.openStore()
	o.open()
}

// replayAll replays everything to some rules.
func (o *orderly) replayAll() {
	name := fmt.Sprint("again-", len(o.replays)+1)
	var names []string
	for _, rule := range o.rules {
		if o.chance(2) == 0 || len(names) == 0 {
			names = append(names, rule)
			o.history.replays(rule, name)
		}
	}
	r, err := o.engine.StartReplay(context.Background(), bus.ReplayRequest{Bus: "orders", Rules: names, Name: name})
	if err != nil {
		o.t.Fatal(err)
	}
	o.replays[r.Run] = name
}

// redriveAll brings the dead letters of all back.
func (o *orderly) redriveAll() (n int) {
	o.redrive++
	for _, name := range o.rules {
		info := o.info(name + "/" + name)
		letters, _, err := o.st.ListDead(context.Background(), info.ID, "", 10*orderlyEvents)
		if err != nil {
			o.t.Fatal(err)
		}
		ids := make([]store.DeliveryID, len(letters))
		for i := range letters {
			ids[i] = letters[i].ID
			o.history.redrives(name, o.replays[letters[i].ID.Run], letters[i].Record.Sequence, o.redrive)
		}
		if len(ids) == 0 {
			continue
		}
		moved, err := o.engine.Redrive(context.Background(), info.ID, bus.Selection{IDs: ids})
		if err != nil || moved != len(ids) {
			o.t.Fatalf("%s: %d of %d redriven, %v", name, moved, len(ids), err)
		}
		n += moved
	}
	return n
}

func (o *orderly) run() {
	o.replays = map[uint32]string{}
	o.open()
	redriven, crashes := 0, 0
	for i := 1; i <= orderlyEvents; i++ {
		to, subject := "/", fmt.Sprint("key", o.chance(orderlyKeys))
		for _, name := range o.rules {
			if o.chance(3) == 0 {
				to += name + "/"
			}
		}
		ev := o.event(fmt.Sprint(i), "to", to, "subject", subject)
		for _, name := range o.rules {
			if strings.Contains(to, "/"+name+"/") {
				o.history.owes(name, key(name, ev), uint64(i))
			}
		}
		o.publish(ev)
		switch n := o.chance(100); {
		case i == orderlyEvents/4: // at least once in each history
			o.replayAll()
		case i == orderlyEvents/2 && o.disk != nil:
			crashes++
			o.crash()
		case n < 60:
			time.Sleep(time.Duration(o.chance(400)) * time.Millisecond)
		case n == 60:
			redriven += o.redriveAll()
		case n == 61 && o.chance(8) == 0:
			o.close()
			o.open()
		case n == 62 && o.chance(3) == 0:
			o.replayAll()
		case n == 63 && o.disk != nil && o.chance(2) == 0:
			crashes++
			o.crash()
		}
	}
	o.after(8 * time.Hour)
	o.mu.Lock()
	o.well = true
	o.mu.Unlock()
	redriven += o.redriveAll()
	o.after(8 * time.Hour)
	for _, name := range o.rules {
		if info := o.info(name + "/" + name); info.Depth != 0 || info.Dead != 0 || info.Paused {
			o.t.Errorf("%s: %+v", name, info)
		}
	}
	broken := o.history.check()
	for _, one := range broken[:min(len(broken), 20)] {
		o.t.Error(one)
	}
	o.quit()
	o.workers.Wait()
	o.t.Logf("%d attempts, %d redriven, %d replays, %d crashes", len(o.history.tries), redriven, len(o.replays), crashes)
	if redriven < 50 || len(o.replays) == 0 || o.disk != nil && crashes == 0 {
		o.t.Errorf("%d dead letters were redriven, %d replays, %d crashes: too few to tell", redriven, len(o.replays), crashes)
	}
}
