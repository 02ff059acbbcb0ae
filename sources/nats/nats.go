// Package nats is the source that subscribes to NATS: to a subject of core
// NATS, or to a stream of JetStream with a durable consumer.
//
// Messages pass from connect through core or jetstream, which differ in whether
// a message can be offered again, and message, which makes events of them, to
// the Sink. What has arrived is published together; nothing waits for more.
//
// Run works in one goroutine, with one more that reads from JetStream; what
// NATS has delivered and was not published yet is bounded.
package nats

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/sources"
)

// Config is the settings of a NATS source.
type Config struct {
	URL       string           `yaml:"url" doc:"The server's address, such as nats://127.0.0.1:4222; several of one cluster are separated by commas."`
	Subject   string           `yaml:"subject" doc:"The subject to subscribe to, which may have wildcards; with a stream, only these of its messages."`
	Queue     string           `yaml:"queue" doc:"The queue group to share a subject's messages with, without a stream."`
	Stream    string           `yaml:"stream" doc:"The JetStream stream to consume."`
	Durable   string           `yaml:"durable" doc:"The name of the stream's durable consumer, which is made if it does not exist."`
	Token     component.Secret `yaml:"token" doc:"The token to authenticate with."`
	Username  string           `yaml:"username" doc:"The user to authenticate as."`
	Password  component.Secret `yaml:"password" doc:"The password of the user."`
	CredsFile string           `yaml:"credsFile" doc:"A credentials file, with a user's JWT and seed, to authenticate with."`
	Event     Event            `yaml:"event" doc:"What events are made of messages that are not CloudEvents."`
	InFlight  int              `yaml:"inFlight" doc:"How many messages are taken from the server before their events are stored."`
}

// Event is what events that wrap a message have in common.
type Event struct {
	Type   string `yaml:"type" doc:"The event's type."`
	Source string `yaml:"source" doc:"The event's source, a URI reference; the default is the server's address with the stream or the subject."`
}

const (
	defaultType     = "nats.message"
	defaultInFlight = 256
	maxInFlight     = 10_000
)

// Spec describes the kind.
func Spec() sources.Spec {
	return sources.Spec{
		Spec: component.Spec{
			Kind:    "nats",
			Summary: "Subscribes to a NATS subject or consumes a JetStream stream.",
			Doc:     doc,
		},
		New:    func() sources.Config { return &Config{Event: Event{Type: defaultType}, InFlight: defaultInFlight} },
		Dedupe: time.Hour,
	}
}

const doc = `With ` + "`stream`" + ` and ` + "`durable`" + `, messages are acknowledged after their events are on
stable storage, and offered again until then: nothing is lost. A message that can
never be accepted (a malformed CloudEvent, or one that is too large for the bus)
is terminated, counted and logged. A new durable consumer begins at the start of
the stream; one that exists is used as it is, and must acknowledge explicitly.

With ` + "`subject`" + ` alone, core NATS delivers at most once: what is published while
Switchyard is not connected, or faster than it can be stored, is lost. Messages
that were dropped are counted and logged.

Messages that are CloudEvents stay what they are: structured ones (by their
content-type, or JSON with ` + "`specversion`" + `) and binary ones (` + "`ce-`" + ` headers). Any other
message becomes the data of an event, as JSON if it is JSON, else as text or
bytes. Its ` + "`subject`" + ` is the NATS subject, and its id the message's Nats-Msg-Id, else
its place in the stream (name, sequence and time), else random.

The source's default dedupe window is 1h: a message that is offered again within
it, because its acknowledgement was lost, is stored once.
`

// Validate implements component.Config.
func (c *Config) Validate(p *component.Problems) {
	c.validateURL(p)
	switch {
	case c.Stream == "" && c.Subject == "":
		p.Add("a subject is required, or a stream with a durable consumer", "subject")
	case c.Stream == "" && c.Durable != "":
		p.Add("a durable consumer belongs to a stream, which is not named", "stream")
	case c.Stream != "" && c.Durable == "":
		p.Add("a stream needs the name of a durable consumer", "durable")
	}
	if c.Stream != "" && c.Queue != "" {
		p.Add("a queue group is for subjects without a stream; sources with the same durable share a stream", "queue")
	}
	for _, n := range [...]struct{ key, value string }{{"stream", c.Stream}, {"durable", c.Durable}, {"queue", c.Queue}} {
		if strings.ContainsAny(n.value, " \t\r\n*>/\\") || n.key != "queue" && strings.Contains(n.value, ".") {
			p.Add(fmt.Sprintf("%q has characters that NATS does not allow in a name", n.value), n.key)
		}
	}
	if c.Subject != "" && !validSubject(c.Subject) {
		p.Add(fmt.Sprintf("%q is not a subject; it is made of words with dots between, where * stands for a word and > at the end for all that follows", c.Subject), "subject")
	}
	ways := 0
	for _, given := range [...]bool{!c.Token.IsZero(), c.Username != "", c.CredsFile != ""} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		p.Add("token, username and credsFile exclude each other; keep one", "token")
	}
	if c.Username == "" && !c.Password.IsZero() {
		p.Add("a password needs a username", "username")
	}
	if c.InFlight < 1 || c.InFlight > maxInFlight {
		p.Add(fmt.Sprintf("%d is not between 1 and %d", c.InFlight, maxInFlight), "inFlight")
	}
	b := event.NewBuilder()
	for _, f := range [...]struct{ name, value string }{{"type", c.Event.Type}, {"source", c.Event.Source}} {
		if f.value == "" && f.name == "source" {
			continue
		}
		var bad *event.DecodeError
		if err := b.Set(f.name, event.StringValue(f.value)); errors.As(err, &bad) {
			p.Add(bad.Reason, "event", f.name)
		}
	}
}

func (c *Config) validateURL(p *component.Problems) {
	if c.URL == "" {
		p.Add("the server's address is required, such as nats://127.0.0.1:4222", "url")
		return
	}
	for one := range strings.SplitSeq(c.URL, ",") {
		u, err := serverURL(one)
		switch {
		case err != nil || u.Host == "":
			p.Add("an address cannot be read; write it like nats://host:4222", "url") // it may hold a password
		case u.User != nil:
			p.Add("an address must not hold credentials, for it is shown; use token, username and password, or credsFile", "url")
		case !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme):
			p.Add(fmt.Sprintf("scheme %q is not supported; use nats, tls, ws or wss", u.Scheme), "url")
		}
	}
}

// serverURL reads one address, whose scheme may be left out.
func serverURL(text string) (*url.URL, error) {
	text = strings.TrimSpace(text)
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	return url.Parse(text)
}

func validSubject(s string) bool {
	words := strings.Split(s, ".")
	for i, w := range words {
		if w == "" || strings.ContainsAny(w, " \t\r\n") {
			return false
		}
		if w == ">" && i != len(words)-1 {
			return false
		}
	}
	return true
}

// Build implements sources.Config.
func (c *Config) Build(env sources.Env) (sources.Source, error) {
	var p component.Problems
	c.Validate(&p)
	for _, bad := range p.All {
		if !bad.Warning {
			return nil, fmt.Errorf("nats: %s: %s", strings.Join(bad.Path, "."), bad.Message)
		}
	}
	s := &source{env: env, config: *c, health: health{report: env.Failing}}
	s.env.Logger = env.Logger.With("source", env.Name)
	if s.config.Event.Source == "" {
		s.config.Event.Source = c.defaultSource()
	}
	return s, nil
}

// defaultSource is the first server's address without credentials, and what is
// read there.
func (c *Config) defaultSource() string {
	first, _, _ := strings.Cut(c.URL, ",")
	u, err := serverURL(first)
	if err != nil {
		return "/nats"
	}
	what := c.Stream
	if what == "" {
		what = c.Subject
	}
	return "nats://" + u.Host + "/" + url.PathEscape(what)
}
