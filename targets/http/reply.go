package http

import (
	"context"
	"fmt"
	"io"
	nethttp "net/http"
	"strings"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets"
)

// maxReply bounds the body of a reply that is read.
const maxReply = 1 << 20

// reply reads the event that a 200 answer is, if it is one, into d. An answer
// that is none, or that cannot be read as one, is no failure of the delivery;
// one that breaks off is, or the event in it would be lost.
func (t *target) reply(ctx, limited context.Context, d *targets.Delivery, res *nethttp.Response) error {
	announced := announcesEvent(res.Header)
	if !announced && !t.variant.JSONReplies {
		finish(res.Body)
		return nil
	}
	if encoding := res.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		finish(res.Body)
		t.dropped(d, "its Content-Encoding was not asked for")
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxReply+1))
	if err != nil {
		res.Body.Close()
		return fmt.Errorf("the reply could not be read to its end: %w", t.failure(ctx, limited, d, err))
	}
	finish(res.Body)
	if len(body) > maxReply {
		if !announced {
			return nil
		}
		t.dropped(d, "it is larger than 1 MiB")
		return nil
	}
	if !announced {
		if !isEvent(body) {
			return nil
		}
		res.Header.Set("Content-Type", structuredType)
	}
	// The bound is on the body; the bus that it goes to has its own.
	events, mode, err := event.FromHTTP(res.Header, body, event.Limits{MaxEventSize: 2 * maxReply})
	switch {
	case err != nil:
		t.dropped(d, t.scrub(err.Error()))
	case mode == event.ModeBatched || len(events) != 1:
		t.dropped(d, "it is a batch; reply with one event")
	default:
		d.Reply = events[0]
	}
	return nil
}

// announcesEvent reports whether a message claims to be a CloudEvent.
func announcesEvent(header nethttp.Header) bool {
	return looksLikeEvent(header.Get("Content-Type")) || header.Get("Ce-Specversion") != ""
}

func (t *target) dropped(d *targets.Delivery, why string) {
	d.Answer.ReplyDropped = why
	t.log.Warn("a reply claims to be a CloudEvent and cannot be used; the delivery is done",
		"subscription", d.Subscription, "delivery_id", d.ID, "error", why)
}
