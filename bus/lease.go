package bus

import (
	"container/heap"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/targets"
)

// A lease is in memory only, as the claim under it is: after a restart its
// delivery is queued again and its token is worth nothing.
type lease struct {
	token    string
	dl       store.Delivery // without its event if that is large
	consumer string
	started  time.Time
	expires  time.Time
	pos      int // in the heap
}

// leaseKeeps is the largest event that a lease keeps in memory, in bytes. A
// larger one is read again should its delivery fail.
const leaseKeeps = 4 << 10

// leaseRandom is how many bytes of a token nobody can guess.
const leaseRandom = 18

// againAfter is a failure after which the delivery is due again in exactly
// that time.
type againAfter struct {
	err   error
	after time.Duration
}

// Error implements error.
func (e *againAfter) Error() string { return e.err.Error() }

// Unwrap gives the cause.
func (e *againAfter) Unwrap() error { return e.err }

// newLease makes a lease of a delivery. Its token begins with the subscription,
// so that it can be found, and is random beyond that.
func newLease(sub store.SubscriptionID, dl *store.Delivery, consumer string) *lease {
	var raw [4 + leaseRandom]byte
	binary.BigEndian.PutUint32(raw[:], uint32(sub))
	rand.Read(raw[4:])
	l := &lease{token: base64.RawURLEncoding.EncodeToString(raw[:]), dl: *dl, consumer: consumer}
	if dl.Record.Event.Size() > leaseKeeps {
		l.dl.Record.Event = nil
	}
	return l
}

// leaseSubscription is the subscription that a token names, 0 if it is none.
func leaseSubscription(token string) store.SubscriptionID {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) != 4+leaseRandom {
		return 0
	}
	return store.SubscriptionID(binary.BigEndian.Uint32(raw))
}

// keep puts new leases in force; false if it is too late for that.
func (p *pulls) keep(leases []*lease, lasts time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isEnded() {
		return false
	}
	now := time.Now()
	for _, l := range leases {
		l.started, l.expires = now, now.Add(lasts)
		p.leases[l.token] = l
		heap.Push(&p.byExpiry, l)
	}
	p.arm()
	return true
}

// take removes the lease of a token, if it is valid; p.mu is held.
func (p *pulls) take(token string, now time.Time) *lease {
	l := p.leases[token]
	if l == nil || !now.Before(l.expires) {
		return nil
	}
	delete(p.leases, token)
	heap.Remove(&p.byExpiry, l.pos)
	return l
}

// arm sets the timer to the first lease that ends; p.mu is held.
func (p *pulls) arm() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	if len(p.byExpiry) > 0 {
		p.timer = time.AfterFunc(time.Until(p.byExpiry[0].expires), p.expire)
	}
}

// expire settles the leases that have ended: each was an attempt, and is due
// again at once.
func (p *pulls) expire() {
	if !p.d.begin() {
		return // end gives them back
	}
	defer p.d.runners.Done()
	p.mu.Lock()
	var gone []*lease
	for now := time.Now(); len(p.byExpiry) > 0 && !now.Before(p.byExpiry[0].expires); {
		l := heap.Pop(&p.byExpiry).(*lease)
		delete(p.leases, l.token)
		gone = append(gone, l)
	}
	if !p.isEnded() {
		p.arm()
	}
	p.mu.Unlock()
	if len(gone) == 0 {
		return
	}
	spec := p.s.spec.Load()
	out := settler{d: p.d}
	for _, l := range gone {
		p.d.e.readLeased(l)
		out.settle(p.s, spec, &claimed{Delivery: l.dl}, l.result(&againAfter{
			err: targets.Classify(targets.Lease, fmt.Errorf("the lease expired after %s", time.Since(l.started).Round(time.Millisecond)))}))
	}
	out.flush()
	p.d.e.metrics.leases(spec, leaseExpired, len(gone))
	p.freed(len(gone))
}

// result is what came of the attempt that a lease is.
func (l *lease) result(err error) attemptResult {
	return attemptResult{started: l.started, took: time.Since(l.started), err: err, answer: targets.Answer{Address: l.consumer}}
}

// readLeased gives a lease its event again. It is for logs and copies, so that
// the delivery is settled even if it cannot be read.
func (e *Engine) readLeased(l *lease) {
	if l.dl.Record.Event != nil {
		return
	}
	r, err := e.store.Get(context.Background(), l.dl.ID.Bus, l.dl.ID.Sequence)
	if err != nil {
		e.log.Warn("the event of a lease cannot be read", "delivery", e.DeliveryID(l.dl.ID), "error", err)
		return
	}
	l.dl.Record.Event = r.Event
}

// Leases says which leases of a request were still valid.
type Leases struct {
	Valid   []string
	Invalid []string // unknown, expired, settled before, or of another subscription
}

// Nack says why a worker gives deliveries back, and when they are due again.
type Nack struct {
	Delay  *time.Duration // nil: by the target's retry policy
	Reason string
}

// Ack settles leased deliveries: they are done.
func (e *Engine) Ack(ctx context.Context, rule, target string, tokens []string) (Leases, error) {
	return e.settleLeases(ctx, rule, target, tokens, leaseAcked, nil)
}

// Nack gives leased deliveries back as failed attempts. Those whose attempts
// are used up become dead letters.
func (e *Engine) Nack(ctx context.Context, rule, target string, tokens []string, n Nack) (Leases, error) {
	text := "the consumer gave it back"
	if n.Reason != "" {
		text += ": " + n.Reason
	}
	err := targets.Classify(targets.Nack, errors.New(text))
	if n.Delay != nil {
		err = &againAfter{err, *n.Delay}
	}
	return e.settleLeases(ctx, rule, target, tokens, leaseNacked, err)
}

// Extend lets leases last, from now on, as long as new ones.
func (e *Engine) Extend(_ context.Context, rule, target string, tokens []string) (Leases, error) {
	var valid []string
	groups, err := e.leaseGroups(rule, target, tokens)
	if err != nil {
		return Leases{}, err
	}
	for p, mine := range groups {
		spec := p.s.spec.Load()
		p.mu.Lock()
		now := time.Now()
		p.seen = now
		n := len(valid)
		for _, token := range mine {
			if l := p.leases[token]; l != nil && now.Before(l.expires) {
				l.expires = now.Add(spec.target.leaseTime())
				heap.Fix(&p.byExpiry, l.pos)
				valid = append(valid, token)
			}
		}
		p.arm()
		p.mu.Unlock()
		p.d.e.metrics.leases(spec, leaseExtended, len(valid)-n)
	}
	return sortLeases(tokens, valid), nil
}

// settleLeases settles leases with the same outcome. If the store fails, those
// that it did not take stay valid.
func (e *Engine) settleLeases(ctx context.Context, rule, target string, tokens []string, event string, outcome error) (Leases, error) {
	groups, err := e.leaseGroups(rule, target, tokens)
	if err != nil {
		return Leases{}, err
	}
	var valid []string
	for p, mine := range groups {
		settled, err := p.settle(ctx, mine, event, outcome)
		if err != nil {
			return Leases{}, err
		}
		valid = append(valid, settled...)
	}
	return sortLeases(tokens, valid), nil
}

// settle settles the valid ones of leases of p with the same outcome.
func (p *pulls) settle(ctx context.Context, tokens []string, event string, outcome error) (valid []string, err error) {
	if !p.d.begin() {
		return nil, ErrStopping
	}
	defer p.d.runners.Done()
	p.mu.Lock()
	now := time.Now()
	p.seen = now
	taken := make([]*lease, 0, len(tokens))
	for _, token := range tokens {
		if l := p.take(token, now); l != nil {
			taken = append(taken, l)
			valid = append(valid, token)
		}
	}
	p.arm()
	p.mu.Unlock()
	if len(taken) == 0 {
		return nil, nil
	}
	spec := p.s.spec.Load()
	out := settler{d: p.d, outcomes: make([]store.Settlement, 0, len(taken)), attempts: make([]store.Attempt, 0, len(taken))}
	for _, l := range taken {
		if outcome != nil {
			p.d.e.readLeased(l)
		}
		out.settle(p.s, spec, &claimed{Delivery: l.dl}, l.result(outcome))
	}
	if err := p.d.e.store.Settle(context.WithoutCancel(ctx), out.outcomes); err != nil {
		p.restore(taken)
		return nil, fmt.Errorf("settle leases: %w", err)
	}
	p.d.e.metrics.leases(spec, event, len(taken))
	p.freed(len(taken))
	return valid, nil
}

// restore puts leases back in force that could not be settled, or gives their
// deliveries back if it is too late for that.
func (p *pulls) restore(leases []*lease) {
	p.mu.Lock()
	if p.isEnded() {
		p.mu.Unlock()
		out := settler{d: p.d}
		for _, l := range leases {
			out.release(&l.dl)
		}
		out.flush()
		p.d.wake(p.s) // whoever delivers now
		return
	}
	defer p.mu.Unlock()
	for _, l := range leases {
		p.leases[l.token] = l
		heap.Push(&p.byExpiry, l)
	}
	p.arm()
}

// leaseGroups sorts the tokens of a request by whom they belong to: the
// subscription itself or, in a broadcast, its consumers. What is none of theirs
// is left out, and so are repeats.
func (e *Engine) leaseGroups(rule, target string, tokens []string) (map[*pulls][]string, error) {
	s, _, err := e.pulledSubscription(rule, target)
	if err != nil {
		return nil, err
	}
	groups := map[*pulls][]string{}
	seen := make(map[string]bool, len(tokens))
	for _, token := range tokens {
		if seen[token] {
			continue
		}
		seen[token] = true
		of := e.subscription(leaseSubscription(token))
		if of == nil || of != s && !strings.HasPrefix(of.name, s.name+"/") {
			continue
		}
		if p := of.pull.Load(); p != nil {
			groups[p] = append(groups[p], token)
		}
	}
	return groups, nil
}

// sortLeases answers in the order of the request, each lease once.
func sortLeases(tokens, valid []string) Leases {
	is := make(map[string]bool, len(tokens))
	for _, token := range valid {
		is[token] = true
	}
	out := Leases{Valid: []string{}, Invalid: []string{}}
	seen := make(map[string]bool, len(tokens))
	for _, token := range tokens {
		switch {
		case seen[token]:
		case is[token]:
			out.Valid = append(out.Valid, token)
		default:
			out.Invalid = append(out.Invalid, token)
		}
		seen[token] = true
	}
	return out
}

// leaseHeap has the lease that ends first on top.
type leaseHeap []*lease

func (h leaseHeap) Len() int           { return len(h) }
func (h leaseHeap) Less(i, j int) bool { return h[i].expires.Before(h[j].expires) }
func (h leaseHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}

// Push implements heap.Interface.
func (h *leaseHeap) Push(x any) {
	l := x.(*lease)
	l.pos = len(*h)
	*h = append(*h, l)
}

// Pop implements heap.Interface.
func (h *leaseHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return l
}
