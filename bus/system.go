package bus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// SystemBus is the bus that Switchyard itself publishes to. It is there with
// every plan; rules may read it, and nobody else publishes to it.
const SystemBus = "system.events"

// SystemPlan is the system bus unless a plan has its own.
func SystemPlan() BusPlan {
	return BusPlan{MaxAge: 7 * 24 * time.Hour, MaxBytes: 64 << 20}
}

// The types of system events about targets. Their subject is the target's
// name, their data is JSON: see systemData.
const (
	TypeBreakerOpened = "com.switchyard.target.breaker.opened"
	TypeBreakerClosed = "com.switchyard.target.breaker.closed"
	TypeTargetPaused  = "com.switchyard.target.paused"
	TypeTargetResumed = "com.switchyard.target.resumed"
)

// The types of system events about endpoints of enrichments. Their subject is
// the rule's name.
const (
	TypeEnrichBreakerOpened = "com.switchyard.enrich.breaker.opened"
	TypeEnrichBreakerClosed = "com.switchyard.enrich.breaker.closed"
)

const (
	systemSource      = "/switchyard/targets"
	enrichSource      = "/switchyard/rules"
	transactionSource = "/switchyard/transactions"
	systemMost        = 10_000 // events that wait for the store
	systemNames       = 100    // subscriptions that one event names
)

// systemEvent is one before it is published.
type systemEvent struct {
	kind        string
	target      string
	rule        string // it is about, in place of a target
	transaction string // it is about, in place of a target
	at          time.Time
	data        systemData
}

// systemData is the data of system events.
type systemData struct {
	Target string `json:"target,omitempty"`
	// Rule and Enrichment name an endpoint that a rule asks.
	Rule       string `json:"rule,omitempty"`
	Enrichment string `json:"enrichment,omitempty"`
	// Transaction is the id of one that was parked.
	Transaction string `json:"transaction,omitempty"`
	// Subscriptions were paused or resumed; at most the first 100 are named.
	Subscriptions []string   `json:"subscriptions,omitempty"`
	Reason        string     `json:"reason,omitempty"`
	Failures      int        `json:"failures,omitempty"` // in a row, when the breaker opened
	Until         *time.Time `json:"until,omitempty"`    // when a breaker that opened lets a delivery try
	Since         *time.Time `json:"since,omitempty"`    // of the first of nothing but failures
	LastError     string     `json:"lastError,omitempty"`
}

// reservedBus reports whether only Switchyard publishes to a bus.
func reservedBus(name string) bool { return strings.HasPrefix(name, "system.") }

// announce notes an event to be published. When too many wait for the store,
// the oldest go.
func (k *keeper) announce(ev systemEvent) {
	ev.at = time.Now()
	k.mu.Lock()
	if len(k.events) >= systemMost {
		k.events = k.events[1:]
	}
	k.events = append(k.events, ev)
	k.mu.Unlock()
	k.wake()
}

// publishSystem publishes events to the system bus. They are news, not facts
// that anything depends on: when the store does not take them, the log has
// them all the same.
func (e *Engine) publishSystem(ctx context.Context, events []systemEvent) {
	b := e.state.Load().buses[SystemBus]
	if b == nil || len(events) == 0 {
		return
	}
	const most = 256
	for len(events) > 0 {
		page := events[:min(most, len(events))]
		events = events[len(page):]
		var batch []store.Entry
		bytes := 0
		for _, s := range page {
			ev, err := s.build()
			if err != nil {
				e.log.Error("a system event cannot be built", "type", s.kind, "target", s.target, "rule", s.rule, "error", err)
				continue
			}
			bytes += ev.Size()
			batch = append(batch, store.Entry{Bus: b.id, Event: ev, Via: "system"})
		}
		results, err := e.store.Append(ctx, batch)
		if err != nil {
			e.log.Warn("system events were not published", "events", len(batch), "error", err)
			continue
		}
		e.metrics.published(SystemBus, bytes, results)
	}
}

// build makes the CloudEvent.
func (s systemEvent) build() (*event.Event, error) {
	s.data.Target = s.target
	source, subject := systemSource, s.target
	switch {
	case s.transaction != "":
		source, subject = transactionSource, s.transaction
	case s.rule != "":
		source, subject = enrichSource, s.rule
	}
	data, err := json.Marshal(s.data)
	if err != nil {
		return nil, err
	}
	b := event.NewBuilder()
	for _, a := range [...][2]string{
		{"id", rand.Text()}, {"source", source}, {"type", s.kind}, {"subject", subject},
		{"time", s.at.UTC().Format(time.RFC3339Nano)}, {"datacontenttype", "application/json"},
	} {
		if err := b.Set(a[0], event.StringValue(a[1])); err != nil {
			return nil, err
		}
	}
	b.SetJSON(data)
	return b.Build()
}

// Resume lifts the pause of a subscription. Its target is tried at once, by one
// delivery at first if its breaker was open, and what it has failed before is
// forgotten.
func (e *Engine) Resume(ctx context.Context, id store.SubscriptionID) error {
	info, err := e.store.Subscription(id)
	if err != nil {
		return err
	}
	s := e.state.Load().subs.At(id)
	var t *target
	if s != nil {
		if spec := s.spec.Load(); spec != nil {
			t = spec.target
		}
	}
	if t != nil && info.Paused {
		t.gate.reset()
		e.keeper.mark(t.gate)
	}
	if err := e.store.Resume(ctx, id); err != nil {
		return err
	}
	if t != nil && info.Paused {
		e.deliverer.wake(s)
		e.keeper.announce(systemEvent{kind: TypeTargetResumed, target: t.name,
			data: systemData{Subscriptions: []string{s.name}, Reason: info.Reason}})
	}
	return nil
}
