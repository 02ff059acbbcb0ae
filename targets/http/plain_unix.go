//go:build unix

package http

import (
	"net"
	"syscall"
)

// rawOf is the socket of a connection, nil if it has none.
func rawOf(c net.Conn) syscall.RawConn {
	if own, ok := c.(*conn); ok {
		c = own.Conn
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// quiet reports whether an idle connection stands and nothing was sent on it:
// an idle one that can be read was closed, or has what is no answer of ours.
func quiet(raw syscall.RawConn) bool {
	if raw == nil {
		return true
	}
	var failed error
	err := raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, failed = syscall.Read(int(fd), b[:])
		return true
	})
	return err == nil && (failed == syscall.EAGAIN || failed == syscall.EWOULDBLOCK)
}
