package configs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"strings"
	"testing"
	"time"
)

// certificate is one that signs itself, and its key, in PEM.
func certificate(t *testing.T, name string, from, to time.Time) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func TestFilesOfClientCertificatesAreReadWhenAConfigurationIsLoaded(t *testing.T) {
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	files := map[string][]byte{}
	put := func(name string, from, to time.Duration) {
		files["/c/"+name+".pem"], files["/c/"+name+".key"] = certificate(t, name, now.Add(from), now.Add(to))
	}
	put("good", -day, 90*day)
	put("other", -day, 90*day)
	put("soon", -day, 29*day)
	put("old", -90*day, -day)
	put("early", day, 90*day)
	files["/c/text.pem"] = []byte("no certificate")
	files["/c/broken.pem"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
	files["/c/chain.pem"] = append(append([]byte{}, files["/c/good.pem"]...), files["/c/old.pem"]...)
	files["/c/bundle.pem"] = append(append([]byte{}, files["/c/old.pem"]...), files["/c/good.pem"]...)
	files["/c/olds.pem"] = append(append([]byte{}, files["/c/old.pem"]...), files["/c/old.pem"]...)

	for _, c := range []struct {
		name, mtls string
		want       []string // after the file; an error unless it begins with "warning"
		dated      bool     // a server warns only
	}{
		{"all is well", `{cert: good.pem, key: good.key, ca: other.pem}`, nil, false},
		{"one of several authorities has expired", `{cert: good.pem, key: good.key, ca: bundle.pem}`, nil, false},
		{"a file that is not there", `{cert: good.pem, key: none.key}`,
			[]string{`5:53: targets.t.http.auth.mtls.key: the private key cannot be read: open /c/none.key: file does not exist`}, false},
		{"no certificate", `{cert: text.pem, key: good.key}`,
			[]string{`5:38: targets.t.http.auth.mtls.cert: the file cannot be used: it holds no certificate in PEM`}, false},
		{"a broken certificate", `{cert: broken.pem, key: good.key}`,
			[]string{`5:38: targets.t.http.auth.mtls.cert: the file cannot be used: certificate 1 in it: malformed certificate`}, false},
		{"a key of another certificate", `{cert: good.pem, key: other.key}`,
			[]string{`5:53: targets.t.http.auth.mtls.key: the private key cannot be used with the certificate: private key does not match public key`}, false},
		{"the two in each other's place", `{cert: good.key, key: good.pem}`,
			[]string{`5:38: targets.t.http.auth.mtls.cert: the file cannot be used: it holds no certificate in PEM`}, false},
		{"expired", `{cert: old.pem, key: old.key}`,
			[]string{`5:38: targets.t.http.auth.mtls.cert: the certificate expired at 2026-04-30T00:00:00Z; replace the file`}, true},
		{"not valid yet", `{cert: early.pem, key: early.key}`,
			[]string{`5:38: targets.t.http.auth.mtls.cert: the certificate is not valid before 2026-05-02T00:00:00Z`}, true},
		{"an authority of the client has expired", `{cert: chain.pem, key: good.key}`,
			[]string{`5:38: targets.t.http.auth.mtls.cert: an authority in the file, "CN=old", expired at 2026-04-30T00:00:00Z`}, true},
		{"all authorities of the server have expired", `{cert: good.pem, key: good.key, ca: olds.pem}`,
			[]string{`5:67: targets.t.http.auth.mtls.ca: the last of the 2 authorities, "CN=old", expired at`}, true},
		{"soon", `{cert: soon.pem, key: soon.key, ca: soon.pem}`,
			[]string{`5:38: warning: targets.t.http.auth.mtls.cert: the certificate expires at 2026-05-30T00:00:00Z; renew it`,
				`5:67: warning: targets.t.http.auth.mtls.ca: the authority "CN=soon" expires at 2026-05-30T00:00:00Z; renew it`}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := realLoader(t, nil)
			l.Now = func() time.Time { return now }
			l.ReadFile = func(path string) ([]byte, error) {
				if text, ok := files[path]; ok {
					return text, nil
				}
				return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
			}
			text := []byte("version: 1\ntargets:\n  t:\n    http: {url: \"https://a.example/\",\n      auth:            {mtls: " + c.mtls + "}}\nbuses: {a: {}}\nrules: {r: {bus: a, targets: [t]}}\n")
			_, found := l.LoadBytes("/c/x.yaml", text)
			if len(found) != len(c.want) {
				t.Fatalf("found %v", found)
			}
			for i, want := range c.want {
				if !strings.HasPrefix(fmt.Sprint(found[i]), "/c/x.yaml:"+want) {
					t.Errorf("got  %v\nwant %s", found[i], want)
				}
			}
			l.Serving = true
			if _, served := l.LoadBytes("/c/x.yaml", text); len(served) != len(found) || served.HasErrors() != (found.HasErrors() && !c.dated) {
				t.Errorf("a server finds %v", served)
			}
		})
	}
}

// The API takes no paths, so it must not tell what is in files of the server.
func TestFilesNamedThroughTheAPIAreNotRead(t *testing.T) {
	l := realLoader(t, nil)
	l.ReadFile = func(path string) ([]byte, error) {
		t.Errorf("%s was read", path)
		return nil, fs.ErrNotExist
	}
	_, found := l.ParseObject(Targets, "t", []byte(`{"http":{"url":"https://a.example/","auth":{"mtls":{"cert":"/etc/passwd","key":"/etc/shadow"}}}}`))
	if !found.HasErrors() {
		t.Error("it was taken")
	}
}
