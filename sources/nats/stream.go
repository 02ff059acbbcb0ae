package nats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/sources"
)

// errConsumer is a consumer that exists and cannot be used as it is.
var errConsumer = errors.New("the consumer cannot be used")

const (
	// setupTime bounds one call to the JetStream API.
	setupTime = 5 * time.Second
	// ackWait is after how long the server offers a message again that was not
	// settled, by a consumer that this source made.
	ackWait = 30 * time.Second
	// drainTime bounds the wait for messages that are on their way at the end.
	drainTime = 100 * time.Millisecond
	// maxDelay is the longest pause before a message is offered again.
	maxDelay = 30 * time.Second
)

// runStream consumes a stream; it sets its consumer up anew whenever that is
// lost.
func (s *source) runStream(ctx context.Context, nc *nats.Conn) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	var pause sources.Backoff
	for {
		consumer, err := s.consumer(ctx, js)
		if err == nil {
			pause.Reset()
			s.health.set(&s.health.consume, nil)
			err = s.consume(ctx, consumer)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errConsumer):
			return err
		}
		s.env.Logger.Warn("not consuming the stream; trying again", "stream", s.config.Stream, "error", err)
		s.health.set(&s.health.consume, fmt.Errorf("not consuming the stream %s: %w", s.config.Stream, err))
		if !pause.Wait(ctx) {
			return nil
		}
	}
}

// consumer finds or makes the durable consumer.
func (s *source) consumer(ctx context.Context, js jetstream.JetStream) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, setupTime)
	defer cancel()
	c, err := js.Consumer(ctx, s.config.Stream, s.config.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		c, err = js.CreateConsumer(ctx, s.config.Stream, jetstream.ConsumerConfig{
			Durable:       s.config.Durable,
			Description:   "made by Switchyard for its source " + s.env.Name,
			AckPolicy:     jetstream.AckExplicitPolicy,
			AckWait:       ackWait,
			MaxDeliver:    -1,
			MaxAckPending: max(s.config.InFlight, maxBatch) * 2,
			FilterSubject: s.config.Subject,
		})
	}
	if errors.Is(err, jetstream.ErrNotPullConsumer) {
		return nil, fmt.Errorf("%w: %q of stream %q is a push consumer; use another name", errConsumer, s.config.Durable, s.config.Stream)
	}
	if err != nil {
		return nil, err
	}
	if policy := c.CachedInfo().Config.AckPolicy; policy != jetstream.AckExplicitPolicy {
		return nil, fmt.Errorf("%w: %q of stream %q has the policy %v for acknowledgements; it must be explicit", errConsumer, s.config.Durable, s.config.Stream, policy)
	}
	return c, nil
}

// consume takes messages until ctx is done or the consumer is lost.
func (s *source) consume(ctx context.Context, c jetstream.Consumer) error {
	it, err := c.Messages(jetstream.PullMaxMessages(s.config.InFlight))
	if err != nil {
		return err
	}
	arrived := make(chan jetstream.Msg, maxBatch)
	var lost error
	readCtx, stop := context.WithCancel(ctx)
	go func() {
		defer close(arrived)
		for {
			m, err := it.Next(jetstream.NextContext(readCtx))
			if err != nil {
				lost = err
				return
			}
			arrived <- m // taken to the end below
		}
	}()
	defer func() {
		stop()
		for m := range arrived {
			s.settle(m.Nak())
		}
		// What NATS has delivered and nobody read would wait for ackWait.
		for it.Drain(); ; {
			m, err := it.Next(jetstream.NextMaxWait(drainTime))
			if err != nil {
				break
			}
			s.settle(m.Nak())
		}
		it.Stop()
	}()
	for {
		m, ok := <-arrived
		if !ok {
			return lost
		}
		batch, size := []jetstream.Msg{m}, len(m.Data())
		for more := true; more && len(batch) < maxBatch && size < maxBatchBytes; {
			select {
			case m, ok := <-arrived:
				if more = ok; ok {
					batch, size = append(batch, m), size+len(m.Data())
				}
			default:
				more = false
			}
		}
		s.publish(ctx, batch)
	}
}

// taken is a message with its events.
type taken struct {
	msg       jetstream.Msg
	events    []*event.Event
	delivered uint64 // how often it was offered, this time included
}

// publish publishes messages together and settles each of them.
func (s *source) publish(ctx context.Context, batch []jetstream.Msg) {
	good := make([]taken, 0, len(batch))
	var all []*event.Event
	for _, m := range batch {
		t, err := s.take(m)
		if err != nil {
			s.terminate(m, err)
			continue
		}
		good, all = append(good, t), append(all, t.events...)
	}
	if len(good) == 0 {
		return
	}
	_, err := s.env.Sink.Publish(ctx, all...)
	if isInvalid(err) && len(good) > 1 { // one of them is at fault
		for _, t := range good {
			_, err := s.env.Sink.Publish(ctx, t.events...)
			s.finish(ctx, t, err)
		}
		return
	}
	if err != nil && !isInvalid(err) && ctx.Err() == nil {
		s.env.Logger.Warn("messages not stored; they will be offered again", "messages", len(good), "error", err)
	}
	for _, t := range good {
		s.finish(ctx, t, err)
	}
}

func (s *source) take(m jetstream.Msg) (taken, error) {
	msg := message{subject: m.Subject(), header: m.Headers(), data: m.Data()}
	t := taken{msg: m, delivered: 1}
	if meta, err := m.Metadata(); err == nil {
		t.delivered = meta.NumDelivered
		msg.stored = meta.Timestamp
		// A stream that was deleted and made again counts from 1 again; the
		// time tells its messages from those before.
		msg.place = fmt.Sprintf("%s:%d:%d", meta.Stream, meta.Sequence.Stream, meta.Timestamp.UnixNano())
	}
	var err error
	t.events, err = s.events(msg)
	return t, err
}

// finish settles a message after its events were offered to the sink.
func (s *source) finish(ctx context.Context, t taken, err error) {
	switch {
	case err == nil:
		s.settle(t.msg.Ack())
	case isInvalid(err):
		s.terminate(t.msg, err)
	case ctx.Err() != nil:
		s.settle(t.msg.Nak())
	default:
		s.settle(t.msg.NakWithDelay(delay(t.delivered)))
	}
}

// delay is the pause before a message is offered again.
func delay(delivered uint64) time.Duration {
	d := 200 * time.Millisecond
	for ; delivered > 1 && d < maxDelay; delivered-- {
		d *= 2
	}
	return min(d, maxDelay)
}

func (s *source) terminate(m jetstream.Msg, err error) {
	s.refused(m.Subject(), err)
	s.settle(m.Term()) // without a reason, which servers before 2.10 do not understand
}

// settle reports an answer that could not be sent; the server then offers the
// message again.
func (s *source) settle(err error) {
	if err != nil {
		s.env.Logger.Warn("a message could not be settled; it will be offered again", "error", err)
	}
}
