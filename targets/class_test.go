package targets_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/switchyard-dev/switchyard/targets"
)

func TestErrorsHaveTheClassOfWhatTheyWrap(t *testing.T) {
	for _, c := range []struct {
		err  error
		want targets.Class
	}{
		{context.DeadlineExceeded, targets.Timeout},
		{os.ErrDeadlineExceeded, targets.Timeout},
		{&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, targets.Timeout},
		{&net.DNSError{Err: "no such host", Name: "nowhere"}, targets.DNS},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "i/o timeout", IsTimeout: true}}, targets.DNS},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, targets.Connect},
		{&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}, targets.Connect},
		{&tls.CertificateVerificationError{Err: x509.HostnameError{}}, targets.TLS},
		{tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, targets.TLS},
		{&net.OpError{Op: "remote error", Err: tls.AlertError(40)}, targets.TLS},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, targets.Reset},
		{io.ErrUnexpectedEOF, targets.Reset},
		{errors.New("strange"), targets.Other},
	} {
		for _, err := range []error{c.err, fmt.Errorf("wrapped: %w", c.err)} {
			if got := targets.ClassOf(err); got != c.want {
				t.Errorf("%v is %q, want %q", err, got, c.want)
			}
		}
	}
}
