package targets

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// Class is what kept an attempt from being answered.
type Class string

// The classes of failures without an answer.
const (
	Timeout Class = "timeout" // it took too long, connecting included
	DNS     Class = "dns"     // the host's name was not resolved
	Connect Class = "connect" // no connection was made
	TLS     Class = "tls"     // the other side's certificate or handshake was not acceptable
	Reset   Class = "reset"   // the connection ended before the answer
	Other   Class = "other"   // any other failure without an answer
)

// Classes are all of them.
func Classes() []Class { return []Class{Timeout, DNS, Connect, TLS, Reset, Other} }

// ClassOf is the class of an attempt's error, by what it wraps.
func ClassOf(err error) Class {
	var (
		lookup  *net.DNSError
		cert    *tls.CertificateVerificationError
		alert   tls.AlertError
		record  tls.RecordHeaderError
		unknown x509.UnknownAuthorityError
		timeout interface{ Timeout() bool }
		op      *net.OpError
	)
	switch {
	case errors.As(err, &lookup):
		return DNS
	case errors.As(err, &cert), errors.As(err, &alert), errors.As(err, &record), errors.As(err, &unknown):
		return TLS
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return Timeout
	case errors.As(err, &op) && op.Op == "dial", errors.Is(err, syscall.ECONNREFUSED):
		return Connect
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF),
		errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return Reset
	}
	return Other
}
