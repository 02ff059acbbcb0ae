package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
)

// SigV4 is AWS Signature Version 4.
type SigV4 struct {
	Region       string           `yaml:"region" doc:"The region of the service, such as eu-west-1."`
	Service      string           `yaml:"service" doc:"The service: lambda for function URLs and invocations, execute-api for API Gateway."`
	AccessKey    string           `yaml:"accessKey" doc:"The id of the access key."`
	SecretKey    component.Secret `yaml:"secretKey" doc:"The secret access key."`
	SessionToken component.Secret `yaml:"sessionToken" doc:"The session token of temporary credentials."`
}

func (s *SigV4) validate(p *component.Problems, path []string) {
	for _, f := range [...]struct{ key, value, why string }{
		{"region", s.Region, "is required, such as eu-west-1"},
		{"service", s.Service, "is required: lambda for function URLs, execute-api for API Gateway"},
		{"accessKey", s.AccessKey, "is required; give the id of the access key"},
	} {
		switch {
		case f.value == "":
			p.Add(f.why, append(path, f.key)...)
		case strings.ContainsFunc(f.value, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == ',' }):
			p.Add("must be printable text without spaces, slashes and commas", append(path, f.key)...)
		}
	}
	if s.SecretKey.IsZero() {
		p.Add("is required; give the secret access key", append(path, "secretKey")...)
	}
	if !headerText(s.SessionToken.Reveal()) {
		p.Add("cannot stand in a header; use printable text on one line", append(path, "sessionToken")...)
	}
}

const (
	amzDate      = "X-Amz-Date"
	amzToken     = "X-Amz-Security-Token"
	amzAlgorithm = "AWS4-HMAC-SHA256"
	amzTime      = "20060102T150405Z"
)

// sigv4 signs requests (AWS, "Create a signed AWS API request").
type sigv4 struct {
	region, service, accessKey, secretKey, token string

	mu  sync.Mutex
	day string // that key is for
	key []byte
}

func newSigV4(c *SigV4) *sigv4 {
	return &sigv4{region: c.Region, service: c.Service, accessKey: c.AccessKey,
		secretKey: c.SecretKey.Reveal(), token: c.SessionToken.Reveal()}
}

// sign signs a request whose headers are all set, but for those of the
// signature itself.
func (s *sigv4) sign(req *http.Request, body []byte, now time.Time) {
	at := now.UTC().Format(amzTime)
	day := at[:8]
	req.Header[amzDate] = []string{at}
	if s.token != "" {
		req.Header[amzToken] = []string{s.token}
	}
	delete(req.Header, authorization)
	canonical, signed := canonicalRequest(req, body, s.service == "s3")
	scope := day + "/" + s.region + "/" + s.service + "/aws4_request"
	text := amzAlgorithm + "\n" + at + "\n" + scope + "\n" + hexHash([]byte(canonical))
	signature := hex.EncodeToString(mac(s.signingKey(day), text))
	req.Header[authorization] = []string{amzAlgorithm + " Credential=" + s.accessKey + "/" + scope +
		", SignedHeaders=" + signed + ", Signature=" + signature}
}

// signingKey is the key of a day.
func (s *sigv4) signingKey(day string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.day != day {
		key := []byte("AWS4" + s.secretKey)
		for _, part := range [...]string{day, s.region, s.service, "aws4_request"} {
			key = mac(key, part)
		}
		s.day, s.key = day, key
	}
	return s.key
}

// canonicalRequest is what is signed, and the names of the headers in it.
func canonicalRequest(req *http.Request, body []byte, plainPath bool) (text, signed string) {
	path := req.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	if !plainPath { // every service but S3 wants it escaped twice
		path = escape(path, true)
	}
	headers := map[string]string{"host": req.Host}
	if len(body) > 0 {
		headers["content-length"] = strconv.Itoa(len(body))
	}
	for name, values := range req.Header {
		if name = strings.ToLower(name); len(values) > 0 && !changedOnTheWay(name) {
			all := make([]string, len(values))
			for i, v := range values {
				all[i] = strings.Join(strings.FieldsFunc(v, func(r rune) bool { return r == ' ' }), " ")
			}
			headers[name] = strings.Join(all, ",")
		}
	}
	names := make([]string, 0, len(headers))
	for name := range headers {
		names = append(names, name)
	}
	slices.Sort(names)
	signed = strings.Join(names, ";")
	var b strings.Builder
	b.WriteString(req.Method + "\n" + path + "\n" + canonicalQuery(req.URL.RawQuery) + "\n")
	for _, name := range names {
		b.WriteString(name + ":" + headers[name] + "\n")
	}
	b.WriteString("\n" + signed + "\n" + hexHash(body))
	return b.String(), signed
}

// changedOnTheWay reports whether a header is not to be signed, because the
// transport or what stands between may change it.
func changedOnTheWay(name string) bool {
	switch name {
	case "authorization", "user-agent", "connection", "expect", "transfer-encoding", "x-amzn-trace-id", "traceparent", "tracestate":
		return true
	}
	return false
}

// canonicalQuery is the parameters in their order, each escaped anew.
func canonicalQuery(raw string) string {
	if raw == "" {
		return ""
	}
	var pairs []string
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		pairs = append(pairs, escapeAgain(name)+"="+escapeAgain(value))
	}
	slices.SortFunc(pairs, func(a, b string) int {
		an, av, _ := strings.Cut(a, "=")
		bn, bv, _ := strings.Cut(b, "=")
		if c := strings.Compare(an, bn); c != 0 {
			return c
		}
		return strings.Compare(av, bv)
	})
	return strings.Join(pairs, "&")
}

func escapeAgain(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		s = plain
	}
	return escape(s, false)
}

// escape is percent-encoding of all but the unreserved characters of RFC 3986.
func escape(s string, slashes bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~', c == '/' && slashes:
			b.WriteByte(c)
		default:
			b.WriteString("%" + string(digits[c>>4]) + string(digits[c&15]))
		}
	}
	return b.String()
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func hexHash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
