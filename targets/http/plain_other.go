//go:build !unix

package http

import (
	"net"
	"syscall"
)

// rawOf is nil: connections are not looked at before they are used again here.
func rawOf(net.Conn) syscall.RawConn { return nil }

func quiet(syscall.RawConn) bool { return true }
