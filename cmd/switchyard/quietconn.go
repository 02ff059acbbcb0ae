package main

import (
	"net"
	"os"
	"sync"
	"time"
)

// patience is how long a connection is left alone before a client that goes
// away in the middle of a request is looked for.
const patience = 100 * time.Millisecond

// quietListener gives a server connections that cost less; see quietConn.
type quietListener struct{ net.Listener }

// Accept implements net.Listener.
func (l quietListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newQuietConn(c), nil
}

// quietConn asks less of the system than net/http does of it. Of what one small
// request costs, much is for what is rarely needed: while a handler works,
// net/http reads one byte to see whether the client goes away, and gives that up
// when the handler is done; and it sets deadlines over and over.
//
// So a read of one byte without a deadline first waits here for a while: most
// handlers are done before. And a deadline moves later, or goes, without telling
// the connection; a read that the earlier one ends goes on.
//
// As a net.Conn it may be used from many goroutines at once, but for reads: one
// at a time.
type quietConn struct {
	net.Conn

	mu      sync.Mutex
	until   time.Time // the deadline of reads that was asked for; zero is none
	passed  bool      // until is over
	armed   time.Time // what the connection was told: until, or earlier; zero is none
	reading bool      // a read is in the connection
	waiting time.Time // since when a read of one byte waits; zero while none does
	timed   bool      // patient runs
	patient *time.Timer
	wake    chan struct{} // ends the wait
	closed  bool
}

func newQuietConn(c net.Conn) *quietConn { return &quietConn{Conn: c, wake: make(chan struct{}, 1)} }

// Read implements net.Conn.
func (c *quietConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	if len(p) == 1 && c.until.IsZero() && !c.closed {
		c.wait()
		c.mu.Unlock()
		<-c.wake
		c.mu.Lock()
	}
	for {
		if c.passed && !c.closed {
			c.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		}
		c.reading = true
		c.mu.Unlock()
		n, err := c.Conn.Read(p)
		c.mu.Lock()
		c.reading = false
		if n > 0 || err == nil || !os.IsTimeout(err) || !c.rearm() {
			c.mu.Unlock()
			return n, err
		}
	}
}

// rearm tells the connection the deadline that was asked for, after an earlier
// one has passed there. It reports whether a read may go on; c.mu is held.
func (c *quietConn) rearm() bool {
	if c.armed.Equal(c.until) || !c.until.IsZero() && time.Until(c.until) <= 0 {
		return false
	}
	return c.arm(c.until) == nil
}

func (c *quietConn) arm(t time.Time) error {
	c.armed = t
	return c.Conn.SetReadDeadline(t)
}

// wait has wake send once patience is over, or before: c.mu is held. The timer
// runs on from one wait to the next, which is cheaper than to set it each time.
func (c *quietConn) wait() {
	c.waiting = time.Now()
	if c.timed {
		return
	}
	c.timed = true
	if c.patient == nil {
		c.patient = time.AfterFunc(patience, c.tired)
	} else {
		c.patient.Reset(patience)
	}
}

// tired is called when the timer is up.
func (c *quietConn) tired() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timed = false
	if c.waiting.IsZero() {
		return
	}
	if left := patience - time.Since(c.waiting); left > 0 {
		c.timed = true
		c.patient.Reset(left)
		return
	}
	c.resume()
}

// resume ends a wait, if there is one; c.mu is held.
func (c *quietConn) resume() {
	if !c.waiting.IsZero() {
		c.waiting = time.Time{}
		c.wake <- struct{}{}
	}
}

// SetReadDeadline implements net.Conn.
func (c *quietConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.until, c.passed = t, !t.IsZero() && time.Until(t) <= 0
	if t.IsZero() || !c.armed.IsZero() && !t.Before(c.armed) {
		return nil // what is armed comes first, and then this is looked at
	}
	if c.passed && !c.reading {
		c.resume()
		return nil
	}
	return c.arm(t)
}

// SetDeadline implements net.Conn.
func (c *quietConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// Close implements net.Conn.
func (c *quietConn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.resume()
	if c.patient != nil {
		c.patient.Stop()
	}
	c.mu.Unlock()
	return c.Conn.Close()
}
