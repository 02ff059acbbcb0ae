package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// How many file descriptors connections leave to the store, to targets and to
// everything else: half of them, within these bounds. An idle server has 22.
const (
	leastReserved = 48
	mostReserved  = 512
)

// fewestConnections may be open under any limit.
const fewestConnections = 8

// leastFiles is the limit of file descriptors below which the server's own files
// leave few to connections.
const leastFiles = 128

// connectionsFor is how many connections may be open under a limit of file
// descriptors; 0 is no limit.
func connectionsFor(files uint64) int {
	if files == 0 || files > 1<<30 {
		return 0
	}
	return max(int(files)-int(min(max(files/2, leastReserved), mostReserved)), fewestConnections)
}

// boundedListener keeps connections from using up the process's file
// descriptors, which the store needs to go on. One too many is answered 503 and
// closed, whatever it asks for.
type boundedListener struct {
	net.Listener
	most int
	log  *slog.Logger

	open    atomic.Int64
	refused chan struct{} // a place for each that is being told so
	full    atomic.Bool   // since one was refused, fewer than most/2 were never open
}

// refusedMost is how many connections are told at a time that there are too
// many; others are just closed.
const refusedMost = 8

func boundConnections(l net.Listener, most int, log *slog.Logger) net.Listener {
	if most <= 0 {
		return l
	}
	return &boundedListener{Listener: l, most: most, log: log, refused: make(chan struct{}, refusedMost)}
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		open := l.open.Add(1)
		if open <= int64(l.most) {
			if open < int64(l.most)/2 {
				l.full.Store(false)
			}
			return &boundedConn{Conn: c, done: func() { l.open.Add(-1) }}, nil
		}
		l.open.Add(-1)
		if !l.full.Swap(true) {
			l.log.Warn("connections are refused: as many are open as the limit of file descriptors bears; raise it (ulimit -n)", "connections", l.most)
		}
		select {
		case l.refused <- struct{}{}:
			go func() {
				defer func() { <-l.refused }()
				l.refuse(c)
			}()
		default:
			_ = c.Close()
		}
	}
}

// refuse answers a connection before anything of its request is read.
func (l *boundedListener) refuse(c net.Conn) {
	defer c.Close()
	body := fmt.Sprintf(`{"type":"/problems/unavailable","title":"Service Unavailable","status":503,"detail":"%d connections are open, as many as the limit of file descriptors bears; close some, or raise the limit (ulimit -n)"}`, l.most)
	_ = c.SetDeadline(time.Now().Add(time.Second))
	_, err := fmt.Fprintf(c, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\nRetry-After: 1\r\nConnection: close\r\n\r\n%s", len(body), body)
	if tcp, ok := c.(*net.TCPConn); ok && err == nil {
		// A connection that is closed with something unread loses the answer.
		_ = tcp.CloseWrite()
		_, _ = io.Copy(io.Discard, io.LimitReader(c, 1<<20))
	}
}

// boundedConn gives its place back when it is closed.
type boundedConn struct {
	net.Conn
	once sync.Once
	done func()
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	c.once.Do(c.done)
	return c.Conn.Close()
}
