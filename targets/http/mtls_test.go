package http

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log"
	"log/slog"
	"math/big"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/targets/auth"
)

// authority issues certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
	n    int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key, a.pem, _ = a.issue("authority", nil)
	return a
}

func (a *authority) issue(name string, parent *authority) (*x509.Certificate, *ecdsa.PrivateKey, []byte, []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.n++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.n), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true,
	}
	signer, signerKey := template, key
	if parent == nil {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	} else {
		signer, signerKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, &key.PublicKey, signerKey)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// write puts a client certificate in the files of m.
func (a *authority) write(name string, m auth.MTLS) {
	a.t.Helper()
	_, _, cert, key := a.issue(name, a)
	a.file(m.Cert, cert)
	a.file(m.Key, key)
}

func (a *authority) file(name component.File, text []byte) {
	a.t.Helper()
	if err := os.WriteFile(string(name), text, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// mutualServer wants certificates of an authority and notes their names.
func mutualServer(t *testing.T, a *authority, http2 bool) (url string, names <-chan string) {
	_, _, cert, key := a.issue("server", a)
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	seen := make(chan string, 100)
	s := httptest.NewUnstartedServer(nethttp.HandlerFunc(func(_ nethttp.ResponseWriter, r *nethttp.Request) {
		seen <- r.Proto + " " + r.TLS.PeerCertificates[0].Subject.CommonName
	}))
	s.EnableHTTP2 = http2
	s.Config.SetKeepAlivesEnabled(http2) // or else each delivery makes a connection
	s.Config.ErrorLog = log.New(&strings.Builder{}, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, seen
}

func TestMutualTLS(t *testing.T) {
	a := newAuthority(t)
	url, names := mutualServer(t, a, false)
	dir := t.TempDir()
	file := func(name string) component.File { return component.File(filepath.Join(dir, name)) }
	m := auth.MTLS{Cert: file("cert.pem"), Key: file("key.pem"), CA: file("ca.pem")}
	c := NewConfig()
	c.URL, c.Auth = url, &auth.Config{MTLS: &m}
	var logged strings.Builder
	target := newTarget(t, c, targets.Env{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	fails := func(want string) {
		t.Helper()
		err := target.Deliver(t.Context(), deliveryOf(order(t)))
		if err == nil || targets.IsPermanent(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v; want %q", err, want)
		}
	}
	succeeds := func(want string) {
		t.Helper()
		d := deliveryOf(order(t))
		if err := target.Deliver(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if got := <-names; got != want || d.Answer.Address != strings.TrimPrefix(url, "https://") {
			t.Errorf("the receiver saw %s, %+v", got, d.Answer)
		}
	}
	fails("cert.pem: no such file")
	a.write("first", m)
	fails("ca.pem: no such file")
	a.file(m.CA, []byte("not PEM"))
	fails("ca.pem holds no certificate in PEM")
	a.file(m.CA, a.pem)
	succeeds("HTTP/1.1 first")
	a.write("the second", m)
	succeeds("HTTP/1.1 the second")

	a.file(m.Key, []byte("half of a change"))
	succeeds("HTTP/1.1 the second")
	if !strings.Contains(logged.String(), "the one before stays in use") {
		t.Errorf("the log has %q", logged.String())
	}
	newAuthority(t).write("a stranger", m)
	fails("") // as the server's alert or as a connection that is cut
	a.write("the third", m)
	a.file(m.CA, newAuthority(t).pem)
	fails("the certificate is not accepted")
}

func TestMutualTLSOverHTTP2(t *testing.T) {
	a := newAuthority(t)
	url, names := mutualServer(t, a, true)
	dir := t.TempDir()
	m := auth.MTLS{Cert: component.File(filepath.Join(dir, "cert")), Key: component.File(filepath.Join(dir, "key")), CA: component.File(filepath.Join(dir, "ca"))}
	a.write("client", m)
	a.file(m.CA, a.pem)
	c := NewConfig()
	c.URL, c.Auth = url, &auth.Config{MTLS: &m}
	if err := newTarget(t, c, targets.Env{}).Deliver(t.Context(), deliveryOf(order(t))); err != nil {
		t.Fatal(err)
	}
	if got := <-names; got != "HTTP/2.0 client" {
		t.Errorf("the receiver saw %s", got)
	}
}

func TestMutualTLSThatHangsEndsWithTheAttempt(t *testing.T) {
	address, _ := rawServer(t, func(net.Conn) {})
	a := newAuthority(t)
	dir := t.TempDir()
	m := auth.MTLS{Cert: component.File(filepath.Join(dir, "cert")), Key: component.File(filepath.Join(dir, "key"))}
	a.write("client", m)
	c := NewConfig()
	c.URL, c.Timeout, c.Auth = "https://"+address, 200*time.Millisecond, &auth.Config{MTLS: &m}
	target := newTarget(t, c, targets.Env{})
	begun := time.Now()
	if err := target.Deliver(t.Context(), deliveryOf(order(t))); err == nil || targets.IsPermanent(err) || time.Since(begun) > 2*time.Second {
		t.Errorf("after %v: %v", time.Since(begun), err)
	}
}
