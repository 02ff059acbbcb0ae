package bus

import (
	"strings"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// Kinds of Origin.
const (
	OriginHTTP        = "http"        // a publisher's request
	OriginTransaction = "transaction" // a publisher's transaction, which was committed
	OriginSource      = "source"      // a source of the configuration
	OriginBus         = "bus"         // a target that publishes to a bus
	OriginReply       = "reply"       // what a receiver answered to a delivery, by replyTo
	OriginDeadLetter  = "deadletter"  // a dead letter, by deadLetter
	OriginSystem      = "system"      // Switchyard itself
	OriginOther       = "other"       // what a program that embeds the engine says in PublishOptions.Via
)

// Origin says who brought an event. It is kept with the event, as the text
// store.Record.Via:
//
//	http/PRINCIPAL
//	transaction/PRINCIPAL
//	source/NAME/KIND
//	subscription/RULE/TARGET/DELIVERY
//	reply/RULE/TARGET/DELIVERY
//	deadletter/RULE/TARGET/DELIVERY
//	system
//
// The last part may be missing. A principal is who published: as requests are
// not authenticated, the address that the request came from.
type Origin struct {
	Kind       string // OriginHTTP, …
	Principal  string // of a request: the address that it came from; else "" (a source answers for itself)
	Source     string // the name of the source
	SourceKind string // webhook, cron, …
	Rule       string // of the delivery that it was made of
	Target     string
	Delivery   string // the id of that delivery
}

// ParseOrigin reads a record's Via. What it does not know is OriginOther.
func ParseOrigin(via string) Origin {
	kind, rest, _ := strings.Cut(via, "/")
	switch kind {
	case OriginHTTP, OriginTransaction:
		return Origin{Kind: kind, Principal: rest}
	case OriginSource:
		name, of, _ := strings.Cut(rest, "/")
		return Origin{Kind: kind, Source: name, SourceKind: of}
	case "subscription", OriginReply, OriginDeadLetter:
		if kind == "subscription" {
			kind = OriginBus
		}
		o := Origin{Kind: kind}
		o.Rule, rest, _ = strings.Cut(rest, "/")
		o.Target, o.Delivery, _ = strings.Cut(rest, "/")
		return o
	case OriginSystem:
		return Origin{Kind: kind}
	}
	return Origin{Kind: OriginOther, Source: via}
}

// Via is the origin in few words: http, transaction, source/NAME,
// subscription/RULE/TARGET, reply/RULE/TARGET, deadletter/RULE/TARGET or system.
func (o Origin) Via() string {
	switch o.Kind {
	case OriginSource:
		return "source/" + o.Source
	case OriginBus:
		return "subscription/" + o.Rule + "/" + o.Target
	case OriginReply, OriginDeadLetter:
		return o.Kind + "/" + o.Rule + "/" + o.Target
	case OriginOther:
		return o.Source
	}
	return o.Kind
}

// originOf is the Via of what is made of a delivery.
func originOf(kind, subscription, delivery string) string {
	rule, target := SplitSubscription(subscription)
	return kind + "/" + rule + "/" + target + "/" + delivery
}

// From is the event whose delivery an event was made of; ok is false if it was
// made of none.
func (e *Engine) From(o Origin) (id store.DeliveryID, ok bool) {
	if o.Delivery == "" {
		return id, false
	}
	id, err := e.ParseDeliveryID(o.Delivery)
	return id, err == nil
}
