package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptrace"
	"os"
	"sync"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
)

// MTLS is a client certificate, in files of PEM.
type MTLS struct {
	Cert component.File `yaml:"cert" doc:"The file of the client certificate, in PEM, with those between it and the authority after it."`
	Key  component.File `yaml:"key" doc:"The file of the certificate's private key, in PEM."`
	CA   component.File `yaml:"ca" doc:"A file of certificates, in PEM, of the authorities that the server's certificate may come from; absent, those of the system."`
}

func (m *MTLS) validate(p *component.Problems, path []string) {
	if m.Cert == "" {
		p.Add("is required; give the file of the certificate", append(path, "cert")...)
	}
	if m.Key == "" {
		p.Add("is required; give the file of the private key", append(path, "key")...)
	}
}

// identity is the client certificate of a target. New connections use what is
// in the files at that time; if that cannot be used, as in the middle of a
// change, what was in them before.
type identity struct {
	files MTLS
	log   *slog.Logger

	mu     sync.Mutex
	seen   [3]stamp // of the files when they were last read
	config *tls.Config
}

// stamp tells whether a file has changed.
type stamp struct {
	at   time.Time
	size int64
}

// secure makes c a connection with TLS.
func (i *identity) secure(ctx context.Context, c net.Conn, address string) (net.Conn, error) {
	config, err := i.current()
	if err != nil {
		c.Close()
		return nil, err
	}
	config = config.Clone()
	if config.ServerName, _, err = net.SplitHostPort(address); err != nil {
		config.ServerName = address
	}
	secured := tls.Client(c, config)
	trace := httptrace.ContextClientTrace(ctx) // the transport leaves this handshake to us
	if trace != nil && trace.TLSHandshakeStart != nil {
		trace.TLSHandshakeStart()
	}
	err = secured.HandshakeContext(ctx)
	if trace != nil && trace.TLSHandshakeDone != nil {
		trace.TLSHandshakeDone(secured.ConnectionState(), err)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return secured, nil
}

// current is the configuration by the files as they are now.
func (i *identity) current() (*tls.Config, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var now [3]stamp
	for n, name := range [...]component.File{i.files.Cert, i.files.Key, i.files.CA} {
		if info, err := os.Stat(string(name)); err == nil {
			now[n] = stamp{info.ModTime(), info.Size()}
		}
	}
	if i.config != nil && now == i.seen {
		return i.config, nil
	}
	config, err := i.read()
	switch {
	case err == nil:
		i.config = config
	case i.config == nil:
		return nil, err
	case i.log != nil:
		i.log.Warn("the client certificate has changed and cannot be used; the one before stays in use", "error", err)
	}
	i.seen = now
	return i.config, nil
}

func (i *identity) read() (*tls.Config, error) {
	// What goes wrong is told as text: it is about our files, not the receiver.
	pair, err := tls.LoadX509KeyPair(string(i.files.Cert), string(i.files.Key))
	if err != nil {
		return nil, fmt.Errorf("the client certificate cannot be used: %v", err) //nolint:errorlint // see above
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}
	if i.files.CA != "" {
		text, err := os.ReadFile(string(i.files.CA))
		if err != nil {
			return nil, fmt.Errorf("the authorities of the server cannot be read: %v", err) //nolint:errorlint // see above
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, errors.New("the authorities of the server cannot be read: " + string(i.files.CA) + " holds no certificate in PEM")
		}
	}
	return config, nil
}
