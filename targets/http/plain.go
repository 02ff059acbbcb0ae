package http

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	nethttp "net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/switchyard-dev/switchyard/targets"
)

const (
	maxPlainBody = 64 << 10 // above it, reading only once all is written could wait for ever
	defaultPort  = "80"
)

var errHeaders = fmt.Errorf("server response headers exceeded %d bytes", maxAnswerHeaders)

// plain makes requests without TLS on HTTP/1.1 connections of its own: the
// goroutine that delivers writes the request and reads the answer itself.
// net/http's Transport has two more goroutines a connection for that, which
// cost a third of the CPU of a small request and most of the memory of one
// that hangs. The protocol's text is read by net/http. It is safe for
// concurrent use.
type plain struct {
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	address string // host and port
	host    string // the header

	mu     sync.Mutex
	idle   []*plainConn // the longest idle first
	closed bool
	sweep  *time.Timer // nil while nothing is idle
}

// plainConn is a connection, used by one request at a time.
type plainConn struct {
	net.Conn
	raw    syscall.RawConn // nil if the connection has none
	answer *bufio.Reader
	head   []byte // space for the next request
	left   int64  // how much may still be read
	read   bool   // something of the answer has been
	since  time.Time
}

// newPlain makes the pool for the receiver of a target; nil if its address is
// not for it.
func newPlain(t *target) *plain {
	if t.url.Scheme != "http" {
		return nil
	}
	host, err := httpguts.PunycodeHostPort(t.url.Host)
	if err != nil {
		return nil
	}
	name, port := t.url.Hostname(), t.url.Port()
	if name, err = httpguts.PunycodeHostPort(name); err != nil {
		return nil
	}
	if port == "" {
		port = defaultPort
	}
	return &plain{dial: t.transport.DialContext, address: net.JoinHostPort(name, port), host: host}
}

// takes reports whether a request can go this way.
func (p *plain) takes(req *nethttp.Request) bool {
	return p != nil && req.Method == nethttp.MethodPost && req.ContentLength <= maxPlainBody
}

// roundTrip makes a request with a body that it writes as it is. The body of
// the answer must be read to its end for the connection to be used again, and
// closed before ctx ends. A request that a connection fails which lay idle,
// before anything of an answer has come, is made again on a new one; the
// receiver knows it by its webhook-id, should both have reached it. The steps
// and the address that was reached are noted.
func (p *plain) roundTrip(ctx context.Context, req *nethttp.Request, body []byte, steps *clock, note *targets.Answer) (*nethttp.Response, error) {
	if err := checkHeaders(req.Header); err != nil {
		return nil, err
	}
	c, err := p.take(ctx)
	for again := false; ; again = true {
		reused := c != nil
		if !reused && err == nil {
			c, err = p.connect(steps.trace(ctx, note))
		}
		if err != nil {
			return nil, err
		}
		note.Address = remote(c.Conn)
		res, err := p.exchange(ctx, c, req, body, steps)
		// What a receiver sends on an idle connection that it gives up is no answer.
		stale := reused && !again && ctx.Err() == nil &&
			(err != nil && !c.read || err == nil && res.StatusCode == nethttp.StatusRequestTimeout && res.Close)
		if !stale {
			return res, err
		}
		if err == nil {
			res.Body.Close()
		}
		c = nil
	}
}

// exchange writes a request and reads the head of its answer.
func (p *plain) exchange(ctx context.Context, c *plainConn, req *nethttp.Request, body []byte, steps *clock) (*nethttp.Response, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	res, err := c.exchange(req, p.host, body, steps)
	if err != nil {
		stop()
		c.Close()
		return nil, endOf(ctx, err)
	}
	out := &plainBody{body: res.Body, p: p, c: c, ctx: ctx, stop: stop,
		reuse: !res.Close && res.StatusCode != nethttp.StatusSwitchingProtocols}
	if res.Body == nethttp.NoBody {
		out.release(true)
	} else {
		res.Body = out
	}
	return res, nil
}

// endOf is the error of a request: that of its context if it is what ended it.
func endOf(ctx context.Context, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		<-ctx.Done() // its deadline is the connection's, and only its end sets another
	}
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	return err
}

// take returns an idle connection that still stands, nil if there is none.
func (p *plain) take(ctx context.Context) (*plainConn, error) {
	for {
		p.mu.Lock()
		n := len(p.idle)
		if n == 0 {
			p.mu.Unlock()
			return nil, ctx.Err()
		}
		c := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		if c.begin(ctx) && quiet(c.raw) {
			return c, nil
		}
		c.Close()
	}
}

// begin makes c ready for a request that ends with ctx.
func (c *plainConn) begin(ctx context.Context) bool {
	c.left, c.read = maxAnswerHeaders, false
	deadline, _ := ctx.Deadline()
	return c.SetDeadline(deadline) == nil
}

// connect makes a new connection.
func (p *plain) connect(ctx context.Context) (*plainConn, error) {
	made, err := p.dial(ctx, "tcp", p.address)
	if err != nil {
		return nil, err
	}
	c := &plainConn{Conn: made, raw: rawOf(made)}
	c.answer = bufio.NewReader(c)
	if !c.begin(ctx) {
		c.Close()
		return nil, net.ErrClosed
	}
	return c, nil
}

// put takes back a connection whose answer was read.
func (p *plain) put(c *plainConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= maxIdle {
		c.Close()
		return
	}
	c.since = time.Now()
	p.idle = append(p.idle, c)
	if p.sweep == nil {
		p.sweep = time.AfterFunc(idleTimeout, p.expire)
	}
}

// expire closes the connections that have been idle for too long.
func (p *plain) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, n := time.Now(), 0
	for n < len(p.idle) && now.Sub(p.idle[n].since) >= idleTimeout {
		p.idle[n].Close()
		n++
	}
	p.idle = append([]*plainConn(nil), p.idle[n:]...)
	p.sweep = nil
	if len(p.idle) > 0 && !p.closed {
		p.sweep = time.AfterFunc(idleTimeout-now.Sub(p.idle[0].since), p.expire)
	}
}

// close closes what is idle, and what comes back from now on.
func (p *plain) close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		c.Close()
	}
	p.idle, p.closed = nil, true
	if p.sweep != nil {
		p.sweep.Stop()
	}
}

// exchange writes a request, with one write, and reads the head of its answer.
func (c *plainConn) exchange(req *nethttp.Request, host string, body []byte, steps *clock) (*nethttp.Response, error) {
	c.head = append(appendHead(c.head[:0], req, host, len(body)), body...)
	if _, err := c.Write(c.head); err != nil {
		// A receiver may answer, and close, before it has read everything.
		if res, early := c.readAnswer(req); early == nil {
			res.Close = true
			return res, nil
		}
		return nil, err
	}
	if cap(c.head) > maxPlainBody/4 {
		c.head = nil
	}
	if _, err := c.answer.Peek(1); err != nil {
		return nil, err
	}
	steps.firstByte.Store(steps.since())
	return c.readAnswer(req)
}

// readAnswer reads the head of an answer, past those of status 1xx.
func (c *plainConn) readAnswer(req *nethttp.Request) (*nethttp.Response, error) {
	for { // what may be read bounds it
		res, err := nethttp.ReadResponse(c.answer, req)
		if err != nil && c.left <= 0 { // whatever the cut made of it
			return nil, errHeaders
		}
		if err != nil {
			return nil, err
		}
		if res.StatusCode >= 200 || res.StatusCode == nethttp.StatusSwitchingProtocols {
			c.left = math.MaxInt64 // who reads the body has a bound of its own
			return res, nil
		}
	}
}

// Read is what the answer is read through.
func (c *plainConn) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, errHeaders
	}
	n, err := c.Conn.Read(b[:min(int64(len(b)), c.left)])
	c.left -= int64(n)
	c.read = c.read || n > 0
	return n, err
}

// appendHead appends the request line and the headers (RFC 9112 §3).
func appendHead(b []byte, req *nethttp.Request, host string, length int) []byte {
	b = append(b, req.Method...)
	b = append(b, ' ')
	b = append(b, req.URL.RequestURI()...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(length), 10)
	for name, values := range req.Header {
		for _, value := range values {
			b = append(b, "\r\n"...)
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, value...)
		}
	}
	return append(b, "\r\n\r\n"...)
}

// checkHeaders refuses what cannot stand in the head of a request.
func checkHeaders(header nethttp.Header) error {
	for name, values := range header {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("invalid header field name %q", name)
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return fmt.Errorf("invalid header field value for %q", name)
			}
		}
	}
	return nil
}

// plainBody is the body of an answer; it gives the connection back.
type plainBody struct {
	body  io.ReadCloser
	p     *plain
	c     *plainConn
	ctx   context.Context
	stop  func() bool // ends the watch over ctx
	reuse bool
	done  bool
}

// Read implements io.Reader.
func (b *plainBody) Read(buf []byte) (int, error) {
	if b.done {
		return 0, io.EOF
	}
	n, err := b.body.Read(buf)
	if errors.Is(err, io.EOF) {
		b.release(true)
	} else if err != nil {
		b.release(false)
		err = endOf(b.ctx, err)
	}
	return n, err
}

// Close implements io.Closer. An answer that was not read to its end costs the
// connection.
func (b *plainBody) Close() error {
	if !b.done {
		b.release(false)
	}
	return nil
}

// release gives the connection back, for another request if it is whole.
func (b *plainBody) release(whole bool) {
	b.done = true
	if b.stop() && whole && b.reuse && b.c.answer.Buffered() == 0 {
		b.p.put(b.c)
		return
	}
	b.c.Close()
}
