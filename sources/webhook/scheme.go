package webhook

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
)

// scheme proves that a request was made by someone who has the secret. All
// schemes are an HMAC over some text and then the raw body; they differ in
// where the headers hold what.
type scheme struct {
	hash      func() hash.Hash
	keys      [][]byte
	tolerance time.Duration
	parse     func(http.Header) (claim, bool)
}

// claim is what a request's headers say about its signature.
type claim struct {
	macs   [][]byte // any of them may be the one
	before string   // what was signed before the body
	timed  bool     // before holds the time of signing
	at     int64    // in Unix seconds
}

// Why a request is refused; these are also the reasons that are counted.
const (
	badSignature = "signature"
	staleRequest = "stale"
	invalidInput = "invalid"
	tooLarge     = "too_large"
)

// maxMACs bounds the signatures of one request that are looked at.
const maxMACs = 16

// verify returns "" for a good signature of body, else why it is refused. Only
// who signed well learns about the timestamp. It takes the same time whichever
// signature and key match, and wherever a wrong one differs.
func (s *scheme) verify(c claim, body []byte, now time.Time) string {
	good := false
	for _, key := range s.keys {
		m := hmac.New(s.hash, key)
		m.Write([]byte(c.before))
		m.Write(body)
		want := m.Sum(nil)
		for _, mac := range c.macs {
			if hmac.Equal(mac, want) {
				good = true
			}
		}
	}
	if !good {
		return badSignature
	}
	if c.timed {
		age := now.Unix() - c.at
		if limit := int64(s.tolerance / time.Second); age > limit || age < -limit {
			return staleRequest
		}
	}
	return ""
}

// newScheme makes a scheme of HMAC-SHA256 with the texts of the secrets as keys.
func newScheme(c *Config, parse func(http.Header) (claim, bool)) *scheme {
	s := &scheme{hash: sha256.New, tolerance: c.Tolerance.Std(), parse: parse}
	for _, secret := range []component.Secret{c.Secret, c.PreviousSecret} {
		if !secret.IsZero() {
			s.keys = append(s.keys, []byte(secret.Reveal()))
		}
	}
	return s
}

// one is the claim of a header that holds one signature.
func one(h http.Header, name, prefix string, decode func(string) ([]byte, error)) (claim, bool) {
	text, ok := strings.CutPrefix(h.Get(name), prefix)
	if !ok || text == "" {
		return claim{}, false
	}
	mac, err := decode(text)
	return claim{macs: [][]byte{mac}}, err == nil
}

func (c *claim) add(mac []byte) {
	if len(c.macs) < maxMACs {
		c.macs = append(c.macs, mac)
	}
}

// signedAt notes that the time of signing is part of what was signed.
func (c *claim) signedAt(text string) bool {
	at, err := strconv.ParseInt(text, 10, 64)
	if err != nil || at < 0 || at > 1<<50 {
		return false
	}
	c.timed, c.at = true, at
	return true
}

func githubScheme(c *Config) (*scheme, error) {
	return newScheme(c, func(h http.Header) (claim, bool) {
		return one(h, "X-Hub-Signature-256", "sha256=", hex.DecodeString)
	}), nil
}

func shopifyScheme(c *Config) (*scheme, error) {
	return newScheme(c, func(h http.Header) (claim, bool) {
		return one(h, "X-Shopify-Hmac-Sha256", "", base64.StdEncoding.DecodeString)
	}), nil
}

func slackScheme(c *Config) (*scheme, error) {
	return newScheme(c, func(h http.Header) (claim, bool) {
		cl, ok := one(h, "X-Slack-Signature", "v0=", hex.DecodeString)
		at := h.Get("X-Slack-Request-Timestamp")
		cl.before = "v0:" + at + ":"
		return cl, ok && cl.signedAt(at)
	}), nil
}

// stripeScheme reads t=TIME,v1=HEX,v1=HEX; other schemes of the header, such as
// the v0 of test events, prove nothing.
func stripeScheme(c *Config) (*scheme, error) {
	return newScheme(c, func(h http.Header) (claim, bool) {
		var cl claim
		for part := range strings.SplitSeq(h.Get("Stripe-Signature"), ",") {
			key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			switch key {
			case "t":
				if cl.timed || !cl.signedAt(value) {
					return claim{}, false
				}
				cl.before = value + "."
			case "v1":
				if mac, err := hex.DecodeString(value); err == nil {
					cl.add(mac)
				}
			}
		}
		return cl, cl.timed && len(cl.macs) > 0
	}), nil
}

// standardScheme is Standard Webhooks 1.0 with symmetric keys: several
// signatures, separated by spaces, over id.timestamp.body.
func standardScheme(c *Config) (*scheme, error) {
	s := newScheme(c, func(h http.Header) (claim, bool) {
		id, at := h.Get("Webhook-Id"), h.Get("Webhook-Timestamp")
		var cl claim
		if id == "" || !cl.signedAt(at) {
			return claim{}, false
		}
		cl.before = id + "." + at + "."
		for part := range strings.FieldsSeq(h.Get("Webhook-Signature")) {
			if text, ok := strings.CutPrefix(part, "v1,"); ok {
				if mac, err := base64.StdEncoding.DecodeString(text); err == nil {
					cl.add(mac)
				}
			}
		}
		return cl, len(cl.macs) > 0
	})
	for i := range s.keys {
		key, err := standardKey(string(s.keys[i]))
		if err != nil {
			return nil, err
		}
		s.keys[i] = key
	}
	return s, nil
}

// standardKey decodes a secret of Standard Webhooks. Its error does not repeat
// the secret.
func standardKey(text string) ([]byte, error) {
	text = strings.TrimRight(strings.TrimPrefix(text, "whsec_"), "=")
	key, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(key) == 0 {
		return nil, errors.New("the secret is not base64; a secret of Standard Webhooks is whsec_ and the base64 of the key")
	}
	return key, nil
}

func validateStandardSecret(p *component.Problems, secret component.Secret, path string) {
	if secret.IsZero() {
		return
	}
	key, err := standardKey(secret.Reveal())
	switch {
	case err != nil:
		p.Add(err.Error(), path)
	case len(key) < 24 || len(key) > 64:
		p.Warn(fmt.Sprintf("the key has %d bytes; Standard Webhooks asks for 24 to 64", len(key)), path)
	}
}

func hmacScheme(c *Config) (*scheme, error) {
	decode, sum := decoderOf(c.Encoding), hashOf(c.Algorithm)
	if decode == nil || sum == nil {
		return nil, fmt.Errorf("algorithm %q with encoding %q is not supported", c.Algorithm, c.Encoding)
	}
	header, prefix, stamp := c.Header, c.Prefix, ""
	if c.Signed == "timestamp.body" {
		stamp = c.TimestampHeader
	}
	s := newScheme(c, func(h http.Header) (claim, bool) {
		cl, ok := one(h, header, prefix, decode)
		if stamp == "" || !ok {
			return cl, ok
		}
		at := h.Get(stamp)
		cl.before = at + "."
		ok = cl.signedAt(at)
		if cl.at > 1e11 { // milliseconds
			cl.at /= 1000
		}
		return cl, ok
	})
	s.hash = sum
	return s, nil
}

func hashOf(algorithm string) func() hash.Hash {
	switch algorithm {
	case "sha256":
		return sha256.New
	case "sha512":
		return sha512.New
	case "sha1":
		return sha1.New
	}
	return nil
}

func decoderOf(encoding string) func(string) ([]byte, error) {
	switch encoding {
	case "hex":
		return hex.DecodeString
	case "base64":
		return base64.StdEncoding.DecodeString
	}
	return nil
}
