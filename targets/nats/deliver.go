package nats

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets"
)

const structuredType = "application/cloudevents+json"

type target struct {
	subject   string
	jetStream bool
	binary    bool
	timeout   time.Duration
	link      *link
	run       func() // keeps the link until end
	end       context.CancelFunc
	done      sync.WaitGroup
}

// Start implements targets.Target. It does not wait for the server.
func (t *target) Start(context.Context) error {
	t.done.Go(t.run)
	return nil
}

// Close implements targets.Target.
func (t *target) Close() error {
	t.end()
	t.done.Wait()
	return nil
}

// Deliver implements targets.Target.
func (t *target) Deliver(ctx context.Context, d *targets.Delivery) error {
	limited, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	conn, err := t.link.get(limited)
	if err != nil {
		return err
	}
	d.Answer.Address = conn.address
	msg, err := t.message(d, conn.HeadersSupported())
	if err != nil {
		return err
	}
	before := conn.LastError()
	if t.jetStream {
		_, err = conn.stream.PublishMsg(limited, msg)
	} else if err = conn.PublishMsg(msg); err == nil {
		// The answer to a ping comes after any complaint about the message.
		err = conn.FlushWithContext(limited)
	}
	// The server complains about permissions apart from the message. All
	// messages go to one subject, so a new complaint is about this one, too.
	if after := conn.LastError(); !errors.Is(after, before) && errors.Is(after, natsgo.ErrPermissionViolation) {
		return &plainError{fmt.Sprintf("the server does not permit publishing to %q: %s", t.subject, strings.TrimPrefix(after.Error(), "nats: ")), after}
	}
	if err == nil {
		return nil
	}
	return t.failure(ctx, limited, conn, msg, err)
}

// message makes the message of a delivery.
func (t *target) message(d *targets.Delivery, headers bool) (*natsgo.Msg, error) {
	e := d.Event
	msg := &natsgo.Msg{Subject: t.subject}
	if headers {
		msg.Header = make(natsgo.Header, 10+len(e.Extensions()))
		msg.Header[natsgo.MsgIdHdr] = []string{d.ID}
	}
	if !t.binary {
		msg.Data = event.AppendStructured(make([]byte, 0, e.Size()+len(e.Data())/2+256), e)
		if headers {
			msg.Header["Content-Type"] = []string{structuredType}
		}
		return msg, nil
	}
	if !headers {
		return nil, errors.New("the server has no message headers, which mode: binary needs; use NATS 2.2 or later, or mode: structured")
	}
	for name, value := range e.Attributes() {
		msg.Header["ce-"+name] = []string{event.HeaderValue(value.Text())}
	}
	msg.Data = e.Data()
	return msg, nil
}

// failure is the outcome of a message that was not taken.
func (t *target) failure(ctx, limited context.Context, conn *connection, msg *natsgo.Msg, err error) error {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, natsgo.ErrMaxPayload):
		return targets.Permanentf("the message (%d bytes of payload, and headers) is larger than the server takes (%d bytes)", len(msg.Data), conn.MaxPayload())
	case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return targets.Permanentf("the stream refuses the message: %s", api.Description)
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, natsgo.ErrNoResponders):
		return t.noStream(limited, conn)
	case ctx.Err() != nil:
		return &plainError{"no answer before the attempt was ended", ctx.Err()}
	case limited.Err() != nil:
		return &plainError{fmt.Sprintf("timeout after %v", t.timeout), limited.Err()}
	case conn.IsClosed():
		return lost(conn.LastError())
	}
	return readable(err)
}

// noStream is the outcome of a message that no stream answered to: permanent
// when JetStream says that no stream has the subject. Otherwise the stream may
// be between two leaders.
func (t *target) noStream(ctx context.Context, conn *connection) error {
	_, err := conn.stream.StreamNameBySubject(ctx, t.subject)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return targets.Permanentf("no stream has the subject %q; create one, or leave jetStream out", t.subject)
	}
	return fmt.Errorf("no stream answers on the subject %q at the moment", t.subject)
}
