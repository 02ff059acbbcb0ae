package http

import (
	"context"
	"net"
)

// conn is a connection that ends with its target and that knows its address.
type conn struct {
	net.Conn
	address string
	stop    func() bool
}

func newConn(life context.Context, c net.Conn) *conn {
	out := &conn{Conn: c}
	if a := c.RemoteAddr(); a != nil {
		out.address = a.String()
	}
	out.stop = context.AfterFunc(life, func() { c.Close() })
	return out
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// remote is the address at the other end of a connection of the transport.
func remote(c net.Conn) string {
	switch v := c.(type) {
	case *conn:
		return v.address
	case interface{ NetConn() net.Conn }: // a *tls.Conn
		return remote(v.NetConn())
	case nil:
		return ""
	}
	return c.RemoteAddr().String()
}
