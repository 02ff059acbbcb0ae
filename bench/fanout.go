package main

import (
	"context"
	"fmt"
	"strings"
)

// fanOutScenario is one event delivered to many subscriptions.
func fanOutScenario(subscriptions int) *scenario {
	return &scenario{
		name: named("fanout", subscriptions),
		about: fmt.Sprintf("deliveries of events that one rule sends to %d targets, over HTTP to a local receiver, beside the same requests of a bare client",
			subscriptions),
		rows: []row{{measure: perSecond, limit: bareClient, bar: bar{value: 0.7}}, {measure: cpuAnEvent, limit: bareClient}},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			r, err := newReceiver(c)
			if err != nil {
				return nil, err
			}
			one, err := r.delivered(ctx, e, c, ours, withTargets(r.url, subscriptions), float64(subscriptions), cycle(1))
			if err != nil {
				return nil, err
			}
			return []contender{one, {bareClient, r.bareClient}}, nil
		},
	}
}

// withTargets is a rule with n targets that send to url.
func withTargets(url string, n int) string {
	var names, all strings.Builder
	for i := range n {
		fmt.Fprintf(&names, "t%d,", i)
		fmt.Fprintf(&all, "  t%d: {http: {url: '%s'}, concurrency: %d}\n", i, url, deliverers)
	}
	return placed(names.String(), all.String())
}

// delivered is a contender: Switchyard with a configuration, under which each
// event is delivered to the receiver owed times on average. Keys come from key.
func (r *receiver) delivered(ctx context.Context, e *environment, c *closer, name, config string, owed float64, key func() int) (contender, error) {
	data, err := e.folder(c, "delivered")
	if err != nil {
		return contender{}, err
	}
	server, err := startSwitchyard(ctx, e, c, data, config)
	if err != nil {
		return contender{}, err
	}
	return r.deliveredBy(e, c, server, name, owed, key)
}

// deliveredBy is delivered for a server that runs.
func (r *receiver) deliveredBy(e *environment, c *closer, server *process, name string, owed float64, key func() int) (contender, error) {
	n := max(1, min(feedBatch, int(feedAhead/2/max(owed, 1))))
	clients, err := newClients(c, server.Addr, feeders, n)
	if err != nil {
		return contender{}, err
	}
	return withCPU(contender{name, r.feeding(e, keyed(clients, &e.ids, key), owed)}, server.cpu), nil
}

// The contenders of order/N and signing.
const (
	unordered = "unordered"
	unsigned  = "unsigned"
	ed25519   = "ed25519"
)

// orderScenario is deliveries in order per key.
func orderScenario(keys int, atLeast float64) *scenario {
	return &scenario{
		name:  named("order", keys),
		about: fmt.Sprintf("deliveries with order: key and %d keys, beside the same without order", keys),
		rows:  []row{{measure: perSecond, limit: unordered, bar: bar{value: atLeast}}, {measure: cpuAnEvent, limit: unordered}},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			return compared(ctx, e, c, cycle(keys), []variant{{ours, ", order: key"}, {unordered, ""}})
		},
	}
}

// signingScenario is what signatures cost.
func signingScenario() *scenario {
	return &scenario{
		name:  "signing",
		about: "deliveries signed with HMAC-SHA256, and with ed25519, beside unsigned ones",
		rows: []row{
			{measure: perSecond, limit: unsigned, bar: bar{value: 0.95}},
			{measure: cpuAnEvent, limit: unsigned},
			{measure: perSecond, of: ed25519, limit: unsigned},
			{measure: cpuAnEvent, of: ed25519, limit: unsigned},
		},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			return compared(ctx, e, c, cycle(1), []variant{
				{ours, "; secret: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'"},
				{ed25519, "; secret: 'whsk_c3dpdGNoeWFyZCBiZW5jaG1hcmsga2V5IDMyYnl0ZXNe03SNH8CUG1iXxK0Mq+1DGpkgtFUqJpIT8RioM39cSA=='"},
				{unsigned, ""},
			})
		},
	}
}

// variant is a contender whose target has settings of its own: more keys of the
// target, and after a semicolon of its http block.
type variant struct{ name, settings string }

// compared starts a Switchyard for each variant.
func compared(ctx context.Context, e *environment, c *closer, key func() int, all []variant) ([]contender, error) {
	r, err := newReceiver(c)
	if err != nil {
		return nil, err
	}
	var contenders []contender
	for _, v := range all {
		outer, inner, _ := strings.Cut(v.settings, ";")
		if inner != "" {
			inner = "," + inner
		}
		config := placed("receiver", fmt.Sprintf("  receiver: {http: {url: '%s'%s}, concurrency: %d%s}\n", r.url, inner, deliverers, outer))
		one, err := r.delivered(ctx, e, c, v.name, config, 1, key)
		if err != nil {
			return nil, err
		}
		contenders = append(contenders, one)
	}
	return contenders, nil
}
