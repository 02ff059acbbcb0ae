package http

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	nethttp "net/http"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"

	"github.com/switchyard-dev/switchyard/bus/component"
)

// The forms of Signature.Form.
const (
	// Standard is that of Standard Webhooks: v1,BASE64 or v1a,BASE64 over
	// id.timestamp.body, several separated by spaces.
	Standard = "standard"
	// Timestamped is t=SECONDS,v1=HEX over timestamp.body, one v1 a secret.
	Timestamped = "timestamped"
	// Hex is the hexadecimal HMAC-SHA256 of the body alone.
	Hex = "hex"
)

// The headers of Standard Webhooks, in their canonical form.
const (
	idHeader        = "Webhook-Id"
	timestampHeader = "Webhook-Timestamp"
	signatureHeader = "Webhook-Signature"
)

const (
	minRawSecret  = 16
	minSecret     = 24 // Standard Webhooks, "Signature scheme"
	maxSecret     = 64
	secretPrefix  = "whsec_"
	privatePrefix = "whsk_"
	publicPrefix  = "whpk_"
)

// Signature is how requests are signed, for receivers that expect something
// else than Standard Webhooks.
type Signature struct {
	Form    string           `yaml:"form" enum:"standard,timestamped,hex" doc:"standard: v1,BASE64 over id.timestamp.body, as Standard Webhooks has it. timestamped: t=SECONDS,v1=HEX over timestamp.body. hex: the hexadecimal HMAC-SHA256 of the body."`
	Prefix  string           `yaml:"prefix" doc:"What stands before the signature in form hex, such as sha256=."`
	Headers SignatureHeaders `yaml:"headers" doc:"Names of headers that a receiver expects instead of those of Standard Webhooks."`
}

// SignatureHeaders are the names of the headers of a signature.
type SignatureHeaders struct {
	ID        string `yaml:"id" doc:"A second header for the delivery's id, beside webhook-id."`
	Timestamp string `yaml:"timestamp" doc:"A second header for the time of the attempt, beside webhook-timestamp."`
	Signature string `yaml:"signature" doc:"The header of the signature, in place of webhook-signature."`
}

// validateSignature reports what is wrong with secret and signature.
func (c *Config) validateSignature(p *component.Problems) {
	form := c.Signature.Form
	switch form {
	case Standard, Timestamped, Hex:
	default:
		p.Addf([]string{"signature", "form"}, "%q is not a form; use standard, timestamped or hex", form)
		form = Standard
	}
	for i, s := range c.Secret {
		if _, reason := signingKey(s, form); reason != "" {
			p.Add(reason, c.Secret.Path("secret", i)...)
		} else if s.IsZero() && len(c.Secret) > 1 {
			p.Add("is empty; take it out", c.Secret.Path("secret", i)...)
		}
	}
	if form == Hex && len(c.Secret) > 1 {
		p.Add("the form hex holds one signature; give one secret", "secret")
	}
	if c.Signature.Prefix != "" && form != Hex {
		p.Add("is of the form hex only; take it out", "signature", "prefix")
	} else if !httpguts.ValidHeaderFieldValue(c.Signature.Prefix) {
		p.Add("cannot stand in a header; use printable text on one line", "signature", "prefix")
	}
	c.validateSignatureHeaders(p)
	if c.Signature != (Signature{Form: Standard}) && !c.signs() {
		p.Warn("nothing is signed without a secret", "signature")
	}
}

func (c *Config) validateSignatureHeaders(p *component.Problems) {
	seen := map[string]string{}
	for name := range c.Headers {
		seen[nethttp.CanonicalHeaderKey(name)] = "headers"
	}
	for _, h := range [...]struct{ key, name, standard string }{
		{"id", c.Signature.Headers.ID, idHeader},
		{"timestamp", c.Signature.Headers.Timestamp, timestampHeader},
		{"signature", c.Signature.Headers.Signature, signatureHeader},
	} {
		canonical := nethttp.CanonicalHeaderKey(h.name)
		if h.name == "" || canonical == h.standard {
			continue
		}
		if reason := checkHeader(h.name, ""); reason != "" {
			p.Add(reason, "signature", "headers", h.key)
		} else if other := seen[canonical]; other != "" {
			p.Addf([]string{"signature", "headers", h.key}, "is the name of a header in %s already", other)
		}
		seen[canonical] = "signature.headers"
	}
}

func (c *Config) signs() bool {
	for _, s := range c.Secret {
		if !s.IsZero() {
			return true
		}
	}
	return false
}

// signingKey is the key that a secret stands for, nil for no secret, or why it
// is none. Of an ed25519 key it is the ed25519.PrivateKey.
func signingKey(s component.Secret, form string) (key any, reason string) {
	text := s.Reveal()
	switch {
	case text == "":
		return nil, ""
	case strings.HasPrefix(text, publicPrefix):
		return nil, "is a public key, which verifies; give the private one, which begins with whsk_"
	case strings.HasPrefix(text, privatePrefix):
		if form != Standard {
			return nil, "is a key of ed25519, which signs in form standard only"
		}
		return privateKey(text[len(privatePrefix):])
	case form != Standard, !strings.HasPrefix(text, secretPrefix):
		if len(text) < minRawSecret {
			return nil, "is too short; use at least 16 bytes, or whsec_ and the base64 of 24 to 64 bytes"
		}
		return []byte(text), ""
	}
	b, err := base64.StdEncoding.DecodeString(text[len(secretPrefix):])
	if err != nil {
		return nil, "does not go on in base64 after whsec_"
	}
	if len(b) < minSecret || len(b) > maxSecret {
		return nil, "must hold 24 to 64 bytes after whsec_"
	}
	return b, ""
}

// privateKey reads the base64 of an ed25519 key: its seed, alone or followed
// by the public key.
func privateKey(text string) (key any, reason string) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, "does not go on in base64 after whsk_"
	}
	if len(b) != ed25519.SeedSize && len(b) != ed25519.PrivateKeySize {
		return nil, "must hold a key of ed25519 after whsk_: its seed of 32 bytes, or 64 bytes with the public key"
	}
	k := ed25519.NewKeyFromSeed(b[:ed25519.SeedSize])
	if len(b) == ed25519.PrivateKeySize && !k.Equal(ed25519.PrivateKey(b)) {
		return nil, "holds a public key after whsk_ that does not belong to the private one"
	}
	return k, ""
}

// signer signs requests. It is safe for concurrent use.
type signer struct {
	form, prefix string
	keys         []key
}

// key signs with one secret.
type key struct {
	macs    *sync.Pool // of *mac
	private ed25519.PrivateKey
}

// mac is an HMAC keyed with the secret, and space for what it takes and gives,
// which would leave the stack.
type mac struct {
	hash.Hash
	space [128]byte
}

// sum is the MAC of some content and a body after it. It is good until the next.
func (m *mac) sum(content, body []byte) []byte {
	m.Reset()
	m.Write(content)
	m.Write(body)
	return m.Sum(m.space[:0])
}

// newSigner makes a signer of checked settings; nil if nothing is signed.
func newSigner(c *Config) *signer {
	s := &signer{form: c.Signature.Form, prefix: c.Signature.Prefix}
	for _, secret := range c.Secret {
		switch k, _ := signingKey(secret, s.form); k := k.(type) {
		case []byte:
			s.keys = append(s.keys, key{macs: &sync.Pool{New: func() any { return &mac{Hash: hmac.New(sha256.New, k)} }}})
		case ed25519.PrivateKey:
			s.keys = append(s.keys, key{private: k})
		}
	}
	if s.keys == nil {
		return nil
	}
	return s
}

// sign is the value of the signature's header.
func (s *signer) sign(id, seconds string, body []byte) string {
	switch s.form {
	case Hex:
		return s.prefix + s.keys[0].hex("", body)
	case Timestamped:
		out := "t=" + seconds
		for i := range s.keys {
			out += ",v1=" + s.keys[i].hex(seconds, body)
		}
		return out
	}
	var space [128]byte // one HMAC takes 47 bytes, one of ed25519 92
	out := space[:0]
	for i := range s.keys {
		if i > 0 {
			out = append(out, ' ')
		}
		out = s.keys[i].appendStandard(out, id, seconds, body)
	}
	return string(out)
}

// appendStandard appends a signature as Standard Webhooks has it ("Signature
// scheme").
func (k *key) appendStandard(out []byte, id, seconds string, body []byte) []byte {
	if k.private != nil {
		content := append(append(make([]byte, 0, len(id)+len(seconds)+2+len(body)), id...), '.')
		content = append(append(append(content, seconds...), '.'), body...)
		return base64.StdEncoding.AppendEncode(append(out, "v1a,"...), ed25519.Sign(k.private, content))
	}
	m := k.macs.Get().(*mac)
	defer k.macs.Put(m)
	content := append(append(append(append(m.space[:0], id...), '.'), seconds...), '.')
	return base64.StdEncoding.AppendEncode(append(out, "v1,"...), m.sum(content, body))
}

// hex is the hexadecimal HMAC of the body, with the time before it if there is
// one.
func (k *key) hex(seconds string, body []byte) string {
	m := k.macs.Get().(*mac)
	defer k.macs.Put(m)
	content := m.space[:0]
	if seconds != "" {
		content = append(append(content, seconds...), '.')
	}
	return hex.EncodeToString(m.sum(content, body))
}

// setSignature sets the headers of the webhook standard and those that stand
// in their place.
func (t *target) setSignature(header nethttp.Header, id, seconds string, body []byte) {
	own := [2]string{id, seconds}
	header[idHeader], header[timestampHeader] = own[:1:1], own[1:]
	if n := t.names.ID; n != "" {
		header[n] = own[:1:1]
	}
	if n := t.names.Timestamp; n != "" {
		header[n] = own[1:]
	}
	if t.signer != nil {
		header[t.names.Signature] = []string{t.signer.sign(id, seconds, body)}
	}
}

// canonicalNames are the names of the headers to set; those of id and
// timestamp are beside the standard ones, and "" for none.
func canonicalNames(h SignatureHeaders) SignatureHeaders {
	out := SignatureHeaders{
		ID: nethttp.CanonicalHeaderKey(h.ID), Timestamp: nethttp.CanonicalHeaderKey(h.Timestamp), Signature: signatureHeader,
	}
	if h.Signature != "" {
		out.Signature = nethttp.CanonicalHeaderKey(h.Signature)
	}
	return out
}
