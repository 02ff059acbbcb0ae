package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Of each seed.
const (
	producers = 4
	keys      = 12
)

// producer publishes events in every way, until it is told to stop. One that
// gets no answer publishes the same again, as a good producer does.
type producer struct {
	name    string
	api     *caller
	history *history
	pace    pace
	random  *rand.Rand
	next    int
	before  *event // an acknowledged one, to be published again
	orders  *transactions
}

// transactions are those of all producers: their groups by id.
type transactions struct {
	mu     sync.Mutex
	groups map[string]string
}

func (t *transactions) add(id, group string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.groups[id] = group
}

func (t *transactions) group(id string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.groups[id]
}

// run publishes until ctx is done.
func (p *producer) run(ctx context.Context) {
	for ctx.Err() == nil {
		switch n := p.random.IntN(100); {
		case n < 55:
			p.publish(ctx, p.event(p.bus()))
		case n < 70:
			p.batch(ctx)
		case n < 80:
			p.schedule(ctx)
		case n < 88:
			e := p.event(p.bus())
			e.kind = plainKind // what is chained must not expire on its way
			e.expires = time.Now().Add(time.Duration(p.random.Int64N(int64(p.pace.expiry))))
			p.publish(ctx, e)
		case n < 95:
			p.transact(ctx)
		case p.before != nil:
			p.publish(ctx, p.before)
		}
		_ = pause(ctx, time.Duration(p.random.Int64N(int64(p.pace.rest))))
	}
}

func (p *producer) bus() string { return busNames()[p.random.IntN(3)/2] }

// event makes one for a bus.
func (p *producer) event(bus string) *event {
	p.next++
	kind := plainKind
	switch n := p.random.IntN(10); {
	case n < 3:
		kind = hotKind
	case n < 5 && bus == "a":
		kind = chainKind
	}
	return &event{id: fmt.Sprintf("%s-%d", p.name, p.next), bus: bus, kind: kind, n: p.next, key: fmt.Sprint("key-", p.random.IntN(keys))}
}

// encode is an event as structured JSON.
func encode(e *event) map[string]any {
	out := map[string]any{
		"specversion": "1.0", "id": e.id, "source": "/soak", "type": "soak." + e.kind, "subject": e.key,
		"data": map[string]any{"n": e.n, "fill": strings.Repeat("x", 20+37*e.n%700)},
	}
	if !e.due.IsZero() {
		out["deliverytime"] = e.due.UTC().Format(time.RFC3339Nano)
	}
	if !e.expires.IsZero() {
		out["expirytime"] = e.expires.UTC().Format(time.RFC3339Nano)
	}
	return out
}

func encodeAll(events []*event) []byte {
	all := make([]map[string]any, len(events))
	for i, e := range events {
		all[i] = encode(e)
		all[i]["bus"] = e.bus
	}
	return mustJSON(all)
}

func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // only what cannot be JSON at all, which is a fault of this program
	}
	return text
}

// results is what a publication is answered with.
type results struct {
	Results []struct {
		ID        string
		Sequence  *uint64
		Duplicate bool
	}
}

// publish publishes one event until it is acknowledged; some producers give up.
func (p *producer) publish(ctx context.Context, e *event) bool {
	p.history.send(e)
	return p.post(ctx, "/v1/buses/"+e.bus+"/events", "application/cloudevents+json", mustJSON(encode(e)), []*event{e})
}

// post publishes and notes the answer; false says that there was none.
func (p *producer) post(ctx context.Context, path, contentType string, body []byte, events []*event) bool {
	for {
		got, err := p.api.call(ctx, http.MethodPost, path, contentType, body)
		switch {
		case err == nil && got.ok():
			return p.acknowledged(got, events)
		case err == nil && !got.again():
			p.history.wrong("answered", "publishing %s, ... was answered with %d: %s", events[0].id, got.status, got.body)
			return false
		case p.random.IntN(10) == 0:
			return false // gives up, not knowing
		}
		if pause(ctx, again) != nil {
			return false
		}
	}
}

func (p *producer) acknowledged(got answer, events []*event) bool {
	var r results
	if err := json.Unmarshal(got.body, &r); err != nil || len(r.Results) != len(events) {
		p.history.wrong("answered", "%d events were answered with %s", len(events), got.body)
		return false
	}
	for i, e := range events {
		sequence := uint64(0)
		if s := r.Results[i].Sequence; s != nil {
			sequence = *s
		}
		p.history.ack(e, sequence)
	}
	if events[0].due.IsZero() {
		p.before = events[0]
	}
	return true
}

// batch publishes several events across buses, all or nothing.
func (p *producer) batch(ctx context.Context) {
	events := p.group(fmt.Sprintf("%s-batch-%d", p.name, p.next))
	p.history.send(events...)
	if p.post(ctx, "/v1/events", "application/cloudevents-batch+json", encodeAll(events), events) {
		p.history.settle(events[0].group, committed)
	}
}

func (p *producer) group(name string) []*event {
	events := make([]*event, 2+p.random.IntN(5))
	for i := range events {
		events[i] = p.event(busNames()[p.random.IntN(2)])
		events[i].group = name
	}
	return events
}

// schedule publishes an event that is due later, and may cancel it.
func (p *producer) schedule(ctx context.Context) {
	e := p.event(p.bus())
	e.group = e.id
	e.due = time.Now().Add(time.Duration(p.random.Int64N(int64(p.pace.ahead))))
	if !p.publish(ctx, e) {
		return
	}
	if p.random.IntN(4) > 0 {
		p.history.settle(e.group, committed)
		return
	}
	got, once, err := p.api.insist(ctx, http.MethodDelete, "/v1/buses/"+e.bus+"/scheduled?source=/soak&id="+e.id, "", nil)
	switch {
	case err != nil: // it is not known
	case got.ok():
		p.history.settle(e.group, rolledBack)
	case got.status == http.StatusNotFound && once:
		p.history.settle(e.group, committed) // it was recorded before
	case got.status != http.StatusNotFound:
		p.history.wrong("answered", "cancelling event %s was answered with %d: %s", e.id, got.status, got.body)
	}
}

// transact begins a transaction and commits it, rolls it back, or leaves it.
func (p *producer) transact(ctx context.Context) {
	group := fmt.Sprintf("%s-transaction-%d", p.name, p.next)
	events := p.group(group)
	p.history.send(events...)
	p.history.settle(group, left)
	body := mustJSON(map[string]any{"events": json.RawMessage(encodeAll(events))})
	got, err := p.api.call(ctx, http.MethodPost, "/v1/transactions", "application/json", body)
	if err != nil || got.again() {
		return // nobody knows its id, so it stays open for ever
	}
	var begun struct{ ID string }
	if err := json.Unmarshal(got.body, &begun); err != nil || !got.ok() {
		p.history.wrong("answered", "beginning a transaction was answered with %d: %s", got.status, got.body)
		return
	}
	p.orders.add(begun.ID, group)
	act, to := "/commit", committed
	switch n := p.random.IntN(10); {
	case n < 2:
		return // left open
	case n < 4:
		act, to = "/rollback", rolledBack // and left until that is answered
	default:
		p.history.settle(group, unknown)
	}
	_ = pause(ctx, time.Duration(p.random.Int64N(int64(p.pace.rest))))
	got, _, err = p.api.insist(ctx, http.MethodPost, "/v1/transactions/"+begun.ID+act, "", nil)
	switch {
	case err != nil: // it is not known, or open
	case !got.ok():
		p.history.wrong("answered", "%s of %s was answered with %d: %s", act, begun.ID, got.status, got.body)
	default:
		if to == committed {
			p.acknowledged(got, events)
		}
		p.history.settle(group, to)
	}
}
