package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/sources"
)

type source struct {
	env    sources.Env
	config Config
	health health
}

// health is what keeps the source from working.
type health struct {
	mu      sync.Mutex
	report  func(error)
	conn    error // of the connection
	consume error // of the consumer of a stream
}

// set notes in one of the fields what is wrong, nil if nothing is any more.
func (h *health) set(field *error, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*field = err
	h.report(cmp.Or(h.conn, h.consume))
}

var _ sources.Runner = (*source)(nil)

// Close implements sources.Source. Run has closed the connection.
func (s *source) Close() error { return nil }

const (
	// maxBatch is how many messages are published together.
	maxBatch = 256
	// maxBatchBytes ends a batch early.
	maxBatchBytes = 4 << 20
	// flushTime bounds how long acknowledgements may take to leave at the end.
	flushTime = 2 * time.Second
)

// Run implements sources.Runner.
func (s *source) Run(ctx context.Context) error {
	nc, err := s.connect()
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("nats: %w", err)
	}
	defer nc.Close()
	if s.config.Stream != "" {
		err = s.runStream(ctx, nc)
	} else {
		err = s.runSubject(ctx, nc)
	}
	if nc.IsConnected() {
		if err := nc.FlushTimeout(flushTime); err != nil {
			s.env.Logger.Warn("the last acknowledgements may not have arrived", "error", err)
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// connect makes a connection that connects and reconnects by itself, for ever.
func (s *source) connect() (*nats.Conn, error) {
	log := s.env.Logger
	options := []nats.Option{
		nats.Name("switchyard source " + s.env.Name),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(),
		nats.Timeout(5 * time.Second),
		nats.ReconnectWait(time.Second),
		nats.ReconnectJitter(500*time.Millisecond, 500*time.Millisecond),
		nats.ConnectHandler(func(nc *nats.Conn) {
			log.Info("connected", "server", nc.ConnectedUrlRedacted())
			s.health.set(&s.health.conn, nil)
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("connected again", "server", nc.ConnectedUrlRedacted())
			s.health.set(&s.health.conn, nil)
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("disconnected; trying again", "error", err)
				s.health.set(&s.health.conn, fmt.Errorf("disconnected: %w", err))
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			log.Warn("cannot connect; trying again", "error", err)
			s.health.set(&s.health.conn, fmt.Errorf("cannot connect: %w", err))
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrSlowConsumer) { // that one is counted where it is read
				return
			}
			log.Warn("the server reports an error", "error", err)
			if errors.Is(err, nats.ErrPermissionViolation) {
				s.health.set(&s.health.conn, err) // until the next connection
			}
		}),
	}
	c := &s.config
	switch {
	case !c.Token.IsZero():
		options = append(options, nats.Token(c.Token.Reveal()))
	case c.Username != "":
		options = append(options, nats.UserInfo(c.Username, c.Password.Reveal()))
	case c.CredsFile != "":
		options = append(options, nats.UserCredentials(c.CredsFile))
	}
	return nats.Connect(c.URL, options...)
}

// runSubject takes the messages of a subject. They cannot be offered again, so
// a batch is held until it is kept.
func (s *source) runSubject(ctx context.Context, nc *nats.Conn) error {
	sub, err := nc.QueueSubscribeSync(s.config.Subject, s.config.Queue) // no queue is no group
	if err != nil {
		return err
	}
	if err := sub.SetPendingLimits(max(s.config.InFlight, maxBatch), 16*maxBatchBytes); err != nil {
		return err
	}
	dropped := 0
	for {
		m, err := sub.NextMsgWithContext(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, nats.ErrSlowConsumer):
			dropped = s.countDropped(sub, dropped)
			continue
		case err != nil:
			return err
		}
		batch, size := []*nats.Msg{m}, len(m.Data)
		for len(batch) < maxBatch && size < maxBatchBytes {
			if m, err = sub.NextMsg(time.Nanosecond); err != nil {
				break // what is wrong comes again above
			}
			batch, size = append(batch, m), size+len(m.Data)
		}
		if errors.Is(err, nats.ErrSlowConsumer) {
			dropped = s.countDropped(sub, dropped)
		}
		s.keep(ctx, batch)
	}
}

func (s *source) countDropped(sub *nats.Subscription, before int) int {
	now, err := sub.Dropped()
	if err != nil || now <= before {
		return before
	}
	s.env.Logger.Error("messages came faster than they could be stored and are lost", "messages", now-before)
	for range now - before {
		s.env.Rejected("dropped")
	}
	return now
}

// keep publishes messages until they are kept or ctx is done.
func (s *source) keep(ctx context.Context, batch []*nats.Msg) {
	var all []*event.Event
	for _, m := range batch {
		events, err := s.events(message{subject: m.Subject, header: m.Header, data: m.Data})
		if err != nil {
			s.refused(m.Subject, err)
			continue
		}
		all = append(all, events...)
	}
	if len(all) == 0 {
		return
	}
	err := sources.PublishUntil(ctx, s.env.Sink, s.env.Logger, all...)
	if !isInvalid(err) || len(all) == 1 {
		s.lost(all, err)
		return
	}
	for _, e := range all { // one of them is at fault
		s.lost([]*event.Event{e}, sources.PublishUntil(ctx, s.env.Sink, s.env.Logger, e))
	}
}

// lost reports events of core NATS that were not kept.
func (s *source) lost(events []*event.Event, err error) {
	if err == nil {
		return
	}
	for _, e := range events {
		if isInvalid(err) {
			s.refused(e.Subject(), err)
		} else {
			s.env.Logger.Error("an event is lost: the source was stopped before it could be stored", "event_id", e.ID(), "error", err)
		}
	}
}

// refused counts a message that can never be accepted.
func (s *source) refused(subject string, err error) {
	s.env.Rejected("invalid")
	s.env.Logger.Error("message refused", "subject", subject, "error", err)
}

func isInvalid(err error) bool {
	var never *sources.InvalidError
	return errors.As(err, &never)
}
