package bus_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/targets/pull"
)

const (
	simPullers  = 12
	simLease    = 20 * time.Second
	simAttempts = 5
	simWorkers  = 3 // of each pull target
)

// puller is a pull target with its workers, and the checks of what they are
// leased.
type puller struct {
	t      *testing.T
	name   string
	random *rand.Rand
	policy bus.TargetPlan
	heals  time.Time

	mu    sync.Mutex
	next  map[string]int       // the number of each event's next attempt
	until map[string]time.Time // not to be leased before: it is leased, or was given back with a delay
	done  map[string]time.Time
	final map[string]bool // all attempts were used up
	keys  map[string]string
	last  map[string]uint64 // the newest sequence taken of each key
	lost  map[string]int    // the attempt of each event whose lease was let end
	ended int               // leases that were let end
	halts time.Time         // when the engine was last stopped
}

func newPuller(t *testing.T, name string, seed uint64, order store.Order, heals time.Time) *puller {
	config := pull.NewConfig()
	config.Lease = component.Duration(simLease)
	built, err := config.Build(targets.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return &puller{t: t, name: name, random: rand.New(rand.NewPCG(seed, 77)), heals: heals,
		policy: bus.TargetPlan{Target: built, Fingerprint: "1", Order: order, Concurrency: 8,
			Retry: bus.RetryPolicy{Attempts: simAttempts, Initial: time.Second, Max: 10 * time.Second}},
		next: map[string]int{}, until: map[string]time.Time{}, done: map[string]time.Time{}, final: map[string]bool{},
		keys: map[string]string{}, lost: map[string]int{}, last: map[string]uint64{}}
}

// chance is a number below n.
func (p *puller) chance(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.random.IntN(n)
}

// takes checks that a delivery may be leased now.
func (p *puller) takes(l *bus.Leased) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, id, key := time.Now(), l.Event.ID(), l.Event.Subject()
	if _, taken := p.done[id]; taken || p.final[id] {
		p.t.Errorf("%s: event %s is leased after it was settled", p.name, id)
	}
	if want := max(1, p.next[id]); l.Attempt != want {
		p.t.Errorf("%s: event %s is leased as attempt %d, want %d", p.name, id, l.Attempt, want)
	}
	if left := p.until[id].Sub(now); left > 0 {
		p.t.Errorf("%s: event %s is leased %v too early", p.name, id, left)
	}
	switch p.policy.Order {
	case store.OrderNone:
		key = id
	case store.OrderStrict:
		key = ""
	}
	if other := p.keys[key]; other != "" && other != id {
		p.t.Errorf("%s: event %s is leased while %s of the same key is owed", p.name, id, other)
	}
	p.keys[key] = id
	delete(p.lost, id)
	p.next[id], p.until[id] = l.Attempt, now.Add(simLease)
}

// counted notes that an attempt has failed.
func (p *puller) counted(l *bus.Leased, again time.Time) {
	id := l.Event.ID()
	p.next[id], p.until[id] = l.Attempt+1, again
	if l.Attempt >= simAttempts {
		p.final[id] = true
		p.settled(id)
	}
}

// settled forgets what an event held back.
func (p *puller) settled(id string) {
	for key, of := range p.keys {
		if of == id {
			delete(p.keys, key)
		}
	}
}

// work is a worker of an engine.
func (p *puller) work(ctx context.Context, e *bus.Engine) {
	for ctx.Err() == nil {
		got, err := e.Receive(ctx, "r"+p.name, p.name, bus.Receive{Max: 1 + p.chance(5), Wait: 5 * time.Minute})
		if err != nil {
			return
		}
		for i := range got.Deliveries {
			p.takes(&got.Deliveries[i])
		}
		for i := range got.Deliveries {
			p.workOn(ctx, e, &got.Deliveries[i])
		}
	}
}

// workOn acknowledges what it was leased, gives it back with or without a
// delay, or loses it.
func (p *puller) workOn(ctx context.Context, e *bus.Engine, l *bus.Leased) {
	fate := p.chance(10)
	if time.Now().After(p.heals) {
		fate = 9
	}
	time.Sleep(time.Duration(1+p.chance(300)) * time.Millisecond)
	p.mu.Lock() // so that none of the others sees it in between
	defer p.mu.Unlock()
	id, now := l.Event.ID(), time.Now()
	if ctx.Err() != nil {
		return
	}
	if fate == 0 { // its lease ends, which counts
		p.ended++
		p.lost[id] = l.Attempt
		p.counted(l, p.until[id])
		return
	}
	var answer bus.Leases
	var err error
	delay := time.Duration(-1)
	switch fate {
	case 1:
		delay = time.Duration(p.random.IntN(60)) * time.Second
		answer, err = e.Nack(ctx, "r"+p.name, p.name, []string{l.Lease}, bus.Nack{Delay: &delay})
	case 2:
		answer, err = e.Nack(ctx, "r"+p.name, p.name, []string{l.Lease}, bus.Nack{})
	default:
		answer, err = e.Ack(ctx, "r"+p.name, p.name, []string{l.Lease})
	}
	switch {
	case err != nil:
		if ctx.Err() == nil {
			p.t.Errorf("%s: event %s: %v", p.name, id, err)
		}
	case len(answer.Valid) == 0:
		p.t.Errorf("%s: the lease of event %s is not valid %v before its end", p.name, id, p.until[id].Sub(now))
	case fate == 1 || fate == 2:
		p.counted(l, now.Add(max(delay, 0)))
	default:
		p.done[id] = now
		p.ordered(l)
		p.settled(id)
	}
}

// ordered checks that the events of a key are taken in their order.
func (p *puller) ordered(l *bus.Leased) {
	key := l.Event.Subject()
	switch p.policy.Order {
	case store.OrderNone:
		return
	case store.OrderStrict:
		key = ""
	}
	var sequence uint64
	if _, err := fmt.Sscan(l.Event.ID(), &sequence); err != nil {
		p.t.Error(err)
	}
	if sequence < p.last[key] {
		p.t.Errorf("%s: %d of key %q is taken after %d", p.name, sequence, key, p.last[key])
	}
	p.last[key] = sequence
}

// stops notes that the engine is about to stop.
func (p *puller) stops() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.halts = time.Now()
}

// restarted forgets the leases: those out when the engine stopped have ended
// without counting.
func (p *puller) restarted() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, attempt := range p.lost {
		if p.until[id].After(p.halts) {
			p.next[id] = attempt
			delete(p.final, id)
		}
	}
	clear(p.until)
	clear(p.lost)
	clear(p.keys)
}
