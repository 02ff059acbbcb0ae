package nats

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/switchyard-dev/switchyard/targets"
)

const (
	connectTimeout = 5 * time.Second
	pingInterval   = 20 * time.Second
	firstPause     = 100 * time.Millisecond
	longestPause   = 5 * time.Second
)

// options are what every connection has in common.
func (c *Config) options(env targets.Env) []natsgo.Option {
	options := []natsgo.Option{
		natsgo.Name("switchyard/" + env.Name),
		natsgo.NoReconnect(), // the link connects again, and knows why it could not
		natsgo.Timeout(connectTimeout),
		natsgo.PingInterval(pingInterval),
		natsgo.SkipHostLookup(), // dialling looks up, by the network rules
		natsgo.NoCallbacksAfterClientClose(),
		natsgo.ErrorHandler(func(_ *natsgo.Conn, _ *natsgo.Subscription, err error) {
			env.Logger.Debug("nats connection", "target", env.Name, "error", err)
		}),
	}
	switch {
	case !c.Token.IsZero():
		options = append(options, natsgo.Token(c.Token.Reveal()))
	case c.Username != "":
		options = append(options, natsgo.UserInfo(c.Username, c.Password.Reveal()))
	case c.CredsFile != "":
		options = append(options, natsgo.UserCredentials(c.CredsFile))
	}
	return options
}

// link keeps one connection to the server, replacing it when it is lost.
type link struct {
	options []natsgo.Option
	servers string
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	tried   chan struct{} // closed after the first attempt to connect

	mu   sync.Mutex
	conn *connection // nil while there is none
	err  error       // why there is none
}

// connection is one connection to the server.
type connection struct {
	*natsgo.Conn
	stream  jetstream.JetStream
	address string
}

// run connects, and connects again, until life is done.
func (l *link) run(life context.Context) {
	pause := firstPause
	tried := sync.OnceFunc(func() { close(l.tried) })
	defer tried()
	for life.Err() == nil {
		closed := make(chan struct{})
		conn, err := l.connect(life, closed)
		l.set(conn, err)
		tried()
		if err != nil {
			select {
			case <-time.After(pause/2 + rand.N(pause)):
			case <-life.Done():
			}
			pause = min(2*pause, longestPause)
			continue
		}
		pause = firstPause
		select {
		case <-closed:
			l.set(nil, lost(conn.LastError()))
		case <-life.Done():
			conn.Close()
		}
	}
}

func (l *link) set(conn *connection, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn, l.err = conn, err
}

// connect makes one attempt; closed is closed when the connection has ended.
func (l *link) connect(life context.Context, closed chan struct{}) (*connection, error) {
	d := &dialer{life: life, dial: l.dial}
	if d.dial == nil {
		d.dial = new(net.Dialer).DialContext
	}
	options := append(l.options[:len(l.options):len(l.options)], natsgo.SetCustomDialer(d),
		natsgo.ClosedHandler(func(*natsgo.Conn) { close(closed) }))
	nc, err := natsgo.Connect(l.servers, options...)
	if err != nil {
		if d.err != nil && (errors.Is(err, natsgo.ErrNoServers) || targets.IsPermanent(err)) {
			err = d.err
		}
		return nil, err
	}
	stream, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &connection{Conn: nc, stream: stream, address: d.address}, nil
}

// get is the connection of the moment. It waits for the first attempt to
// connect, and for no other.
func (l *link) get(ctx context.Context) (*connection, error) {
	select {
	case <-l.tried:
	case <-ctx.Done():
		return nil, &plainError{"not connected to " + l.servers + " yet", ctx.Err()}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		return l.conn, nil
	}
	return nil, fmt.Errorf("not connected to %s: %w", l.servers, readable(l.err))
}

func lost(err error) error {
	if err == nil {
		return errors.New("the connection was lost")
	}
	return fmt.Errorf("the connection was lost: %w", readable(err))
}

// plainError is an error with a text for people.
type plainError struct {
	text string
	err  error
}

func (e *plainError) Error() string { return e.text }

func (e *plainError) Unwrap() error { return e.err }

// readable gives an error of the client a shorter or clearer text.
func readable(err error) error {
	var op *net.OpError
	switch {
	case err == nil:
		return errors.New("closed")
	case errors.As(err, &op) && op.Op == "dial":
		return &plainError{strings.TrimPrefix(op.Err.Error(), "connect: "), err}
	case errors.Is(err, natsgo.ErrAuthorization), errors.Is(err, natsgo.ErrAuthExpired),
		errors.Is(err, natsgo.ErrAuthRevoked), errors.Is(err, natsgo.ErrAccountAuthExpired):
		return &plainError{"the server refuses the login (" + strings.TrimPrefix(err.Error(), "nats: ") + "); check token, username, password or credsFile", err}
	}
	return &plainError{strings.TrimPrefix(err.Error(), "nats: "), err}
}

// dialer dials for one attempt to connect and remembers what came of it. Its
// connections end with the target.
type dialer struct {
	life    context.Context // of the attempt: the client's interface passes none
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	err     error // of the dials that failed, one that is worth trying again, if any is
	address string
}

// Dial implements natsgo.CustomDialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(d.life, connectTimeout)
	defer cancel()
	c, err := d.dial(ctx, network, address)
	if err != nil {
		if d.err == nil || targets.IsPermanent(d.err) {
			d.err = err
		}
		return nil, err
	}
	if a := c.RemoteAddr(); a != nil {
		d.address = a.String()
	}
	stop := context.AfterFunc(d.life, func() { c.Close() })
	return &conn{Conn: c, stop: stop}, nil
}

// conn is a connection that ends with its target.
type conn struct {
	net.Conn
	stop func() bool
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.stop()
	return c.Conn.Close()
}
