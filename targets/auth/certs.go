package auth

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
)

// expirySoon is how long before a certificate expires it is warned of.
const expirySoon = 30 * 24 * time.Hour

// check reads the files and reports what is wrong with them, each problem at
// the setting that names the file.
func (m *MTLS) check(p *component.Problems, read func(string) ([]byte, error), now time.Time, path []string) {
	at := func(key string) []string { return append(path[:len(path):len(path)], key) }
	cert, certErr := read(string(m.Cert))
	if certErr != nil {
		p.Addf(at("cert"), "the certificate cannot be read: %v", certErr)
	}
	key, keyErr := read(string(m.Key))
	if keyErr != nil {
		p.Addf(at("key"), "the private key cannot be read: %v", keyErr)
	}
	var chain []*x509.Certificate
	if certErr == nil {
		var err error
		if chain, err = certificates(cert); err != nil {
			p.Addf(at("cert"), "the file cannot be used: %v", err)
		}
		for i, c := range chain {
			what := "the certificate"
			if i > 0 {
				what = "an authority in the file, " + quoteName(c) + ","
			}
			checkTime(p, what, c, now, at("cert"))
		}
	}
	if keyErr == nil && len(chain) > 0 {
		if _, err := tls.X509KeyPair(cert, key); err != nil {
			p.Addf(at("key"), "the private key cannot be used with the certificate: %s", strings.TrimPrefix(err.Error(), "tls: "))
		}
	}
	if m.CA != "" {
		m.checkAuthorities(p, read, now, at("ca"))
	}
}

// checkAuthorities reports a file of which no authority can be used. Those of
// them that have expired do no harm, so the last to expire counts.
func (m *MTLS) checkAuthorities(p *component.Problems, read func(string) ([]byte, error), now time.Time, path []string) {
	text, err := read(string(m.CA))
	if err != nil {
		p.Addf(path, "the authorities cannot be read: %v", err)
		return
	}
	all, err := certificates(text)
	if err != nil {
		p.Addf(path, "the file cannot be used: %v", err)
		return
	}
	best := all[0]
	for _, c := range all {
		usable := !now.Before(c.NotBefore)
		if bestUsable := !now.Before(best.NotBefore); usable && !bestUsable || usable == bestUsable && c.NotAfter.After(best.NotAfter) {
			best = c
		}
	}
	what := "the authority " + quoteName(best)
	if len(all) > 1 {
		what = fmt.Sprintf("the last of the %d authorities, %s,", len(all), quoteName(best))
	}
	checkTime(p, what, best, now, path)
}

// checkTime reports a certificate that is not valid now, or soon.
func checkTime(p *component.Problems, what string, c *x509.Certificate, now time.Time, path []string) {
	day := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	add := func(warning bool, format string, args ...any) {
		p.All = append(p.All, component.Problem{Path: path, Message: what + " " + fmt.Sprintf(format, args...), Warning: warning, Dated: !warning})
	}
	switch left := c.NotAfter.Sub(now); {
	case left <= 0:
		add(false, "expired at %s; replace the file, which is read again when it changes", day(c.NotAfter))
	case now.Before(c.NotBefore):
		add(false, "is not valid before %s; wait until then, or correct the clock", day(c.NotBefore))
	case left <= expirySoon:
		add(true, "expires at %s; renew it in time, and replace the file, which is read again when it changes", day(c.NotAfter))
	}
}

// certificates are those of a file in PEM; none is an error.
func certificates(text []byte) (all []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d in it: %s", len(all)+1, strings.TrimPrefix(err.Error(), "x509: "))
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("it holds no certificate in PEM")
	}
	return all, nil
}

// quoteName is the subject of a certificate.
func quoteName(c *x509.Certificate) string { return fmt.Sprintf("%q", c.Subject.String()) }
