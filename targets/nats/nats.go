// Package nats is the target that publishes events to a NATS subject, plainly
// or into a JetStream stream.
//
// One goroutine, started by Start, keeps a connection and replaces it when it
// is lost; deliveries use the connection of the moment and fail while there is
// none. Nothing is buffered for a server that is away, so that an attempt that
// succeeded was seen by a server.
package nats

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/targets"
)

// The modes of Config.Mode.
const (
	// Structured has the whole event as a JSON payload.
	Structured = "structured"
	// Binary has the attributes in ce- headers and the data as the payload.
	Binary = "binary"
)

const (
	defaultTimeout = 10 * time.Second
	maxTimeout     = 15 * time.Minute
)

// Config is the settings of a NATS target.
type Config struct {
	URL       string           `yaml:"url" doc:"The server's address, such as nats://127.0.0.1:4222; several of one cluster are separated by commas."`
	Subject   string           `yaml:"subject" doc:"The subject that events are published to."`
	JetStream bool             `yaml:"jetStream" doc:"Whether a JetStream stream has to confirm that it stored the event."`
	Mode      string           `yaml:"mode" enum:"structured,binary" doc:"How an event is sent: structured (one JSON payload) or binary (attributes in headers, data as the payload)."`
	Timeout   time.Duration    `yaml:"timeout" doc:"How long one attempt may take."`
	Token     component.Secret `yaml:"token" doc:"The token to authenticate with."`
	Username  string           `yaml:"username" doc:"The user to authenticate as."`
	Password  component.Secret `yaml:"password" doc:"The password of the user."`
	CredsFile string           `yaml:"credsFile" doc:"A credentials file, with a user's JWT and seed, to authenticate with."`
}

// NewConfig makes settings with the defaults filled in.
func NewConfig() *Config {
	return &Config{Mode: Structured, Timeout: defaultTimeout}
}

// Spec describes the kind.
func Spec() targets.Spec {
	return targets.Spec{
		Spec: component.Spec{
			Kind:    "nats",
			Summary: "Publishes each event to a NATS subject, with or without JetStream.",
			Doc:     doc,
		},
		New: func() targets.Config { return NewConfig() },
	}
}

const doc = "Without `jetStream`, a delivery succeeds when the server has taken the message, whether or not anyone listens. " +
	"With it, a delivery succeeds when the stream that has the subject confirms it. Every message carries the header " +
	"`Nats-Msg-Id` with the delivery's id, the same on every attempt, so that a stream or a receiver drops repeats.\n\n" +
	"The default mode, `structured`, is what the CloudEvents SDKs read. `binary` follows the CloudEvents NATS binding: " +
	"each attribute, `datacontenttype` included, in a `ce-` header, percent-encoded; it needs NATS 2.2.\n\n" +
	"An event that is larger than the server or the stream takes, or whose subject no stream has, becomes a dead letter. " +
	"Everything else is tried again: a server that cannot be reached, that refuses the login, or that does not permit " +
	"publishing to the subject."

// Validate implements component.Config.
func (c *Config) Validate(p *component.Problems) {
	c.checkURL(p)
	if reason := checkSubject(c.Subject); reason != "" {
		p.Add(reason, "subject")
	}
	if c.Mode != Structured && c.Mode != Binary {
		p.Addf([]string{"mode"}, "%q is not a mode; use structured or binary", c.Mode)
	}
	if c.Timeout <= 0 || c.Timeout > maxTimeout {
		p.Addf([]string{"timeout"}, "%v is out of range; use more than 0s and at most 15m", c.Timeout)
	}
	ways := 0
	for _, used := range [...]bool{!c.Token.IsZero(), c.Username != "", c.CredsFile != ""} {
		if used {
			ways++
		}
	}
	if ways > 1 {
		p.Add("token, username and credsFile exclude each other; keep one", "token")
	}
	if !c.Password.IsZero() && c.Username == "" {
		p.Add("needs a username", "password")
	}
}

func (c *Config) checkURL(p *component.Problems) {
	if strings.TrimSpace(c.URL) == "" {
		p.Add("is required; give the address of a NATS server, such as nats://127.0.0.1:4222", "url")
		return
	}
	for _, address := range c.servers() {
		u, err := url.Parse(address)
		switch {
		case err != nil || u.Hostname() == "":
			p.Add("an address cannot be read; write it like nats://host:4222", "url") // it may hold a password
		case u.User != nil:
			p.Add("an address must not hold credentials, for it is shown; use token, username and password, or credsFile", "url")
		case u.Scheme != "nats" && u.Scheme != "tls" && u.Scheme != "ws" && u.Scheme != "wss":
			p.Addf([]string{"url"}, "scheme %q is not supported; use nats, tls, ws or wss", u.Scheme)
		}
	}
}

// servers are the addresses of the settings, each with a scheme.
func (c *Config) servers() []string {
	var out []string
	for s := range strings.SplitSeq(c.URL, ",") {
		if s = strings.TrimSpace(s); !strings.Contains(s, "://") {
			s = "nats://" + s
		}
		out = append(out, s)
	}
	return out
}

// checkSubject says why events cannot be published to a subject.
func checkSubject(s string) string {
	switch {
	case s == "":
		return "is required; give the subject that events are published to"
	case strings.Contains(s, "${{"):
		return "cannot hold an expression; give one plain subject"
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7F }):
		return "must not hold spaces or control characters"
	}
	for token := range strings.SplitSeq(s, ".") {
		switch token {
		case "":
			return "has an empty part; check the dots"
		case "*", ">":
			return "must not hold the wildcard " + token + "; events are published to one subject"
		}
	}
	return ""
}

// Build implements targets.Config.
func (c *Config) Build(env targets.Env) (targets.Target, error) {
	var problems component.Problems
	c.Validate(&problems)
	for _, p := range problems.All {
		if !p.Warning {
			return nil, fmt.Errorf("%s: %s", strings.Join(p.Path, "."), p.Message)
		}
	}
	life, end := context.WithCancel(context.Background())
	l := &link{
		options: c.options(env),
		servers: strings.Join(c.servers(), ","),
		dial:    env.Dial,
		tried:   make(chan struct{}),
	}
	return &target{
		subject: c.Subject, jetStream: c.JetStream, binary: c.Mode == Binary, timeout: c.Timeout,
		link: l, run: func() { l.run(life) }, end: end,
	}, nil
}
