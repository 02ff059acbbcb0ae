// Package configs reads Switchyard's configuration: YAML files, and the same
// objects one by one as they come through the API.
//
// It stands before everything else: text is decoded strictly, with a place for
// every error (document.go, decode.go), defaults are filled in, every
// component validates its settings, filters and transforms are compiled, names
// are checked against each other (check.go). Nothing is started or opened, so
// what this package accepts is what a start or a reload will run.
//
// A Config is not changed after it was made and is safe for concurrent use; so
// is a Loader, as long as its functions are.
package configs

import (
	"encoding/json"
	"net"
	"net/netip"
	"strconv"
	"time"

	"code.dny.dev/ssrf"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/persistent"
	"github.com/switchyard-dev/switchyard/bus/store/objects"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/sources"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/transform"
	"github.com/switchyard-dev/switchyard/transform/enrich"
)

// Version is the version of the configuration that this package reads.
const Version = 1

// The kinds of named objects: the sections of a file, and the collections of
// the API.
const (
	Buses   = "buses"
	Sources = "sources"
	Rules   = "rules"
	Targets = "targets"
)

// SystemBus is the bus that Switchyard itself publishes to. It is always there,
// and rules may read it.
const SystemBus = "system.events"

// Config is a whole configuration, checked.
type Config struct {
	Server  Server
	Network Network
	Buses   map[string]Bus
	Sources map[string]Source
	Rules   persistent.Map[string, *Rule] // which are not changed
	Targets map[string]Target

	objects persistent.Map[objectKey, *object]
	// What a check found, for the one of a change: how many rules each bus has
	// that are evaluated on all its events, and the rules without a filter that
	// have a bus for a target.
	scanning map[string]int
	relays   persistent.Map[string, struct{}]
}

// Server is how Switchyard itself runs.
type Server struct {
	Listen string `yaml:"listen" doc:"The address of the HTTP API: host:port. Anything but loopback lets others reach the API, which has no authentication of its own yet, and needs --insecure: put a proxy that authenticates before it."`
	Data   string `yaml:"data" doc:"The folder that events are kept in; in a file, relative to that file's folder."`
	Limits Limits `yaml:"limits" doc:"Above which publishing to any bus is refused, with 429 or 503 and Retry-After, before anything breaks (operating.md)."`
}

// Limits bound what the whole server takes.
type Limits struct {
	Waiting     component.Size `yaml:"waiting" doc:"The most bytes of events that wait for the disk to sync (429). It takes effect at a start."`
	Memory      component.Size `yaml:"memory" doc:"The most memory that the process may need, garbage left out (503); absent, it is 90% of GOMEMLIMIT if that is set, else there is no limit."`
	Disk        component.Size `yaml:"disk" doc:"The most disk that the store may use (503); absent, only the reserve of free space counts."`
	DiskReserve component.Size `yaml:"diskReserve" doc:"Free space on the disk that is left alone (503); 0 leaves none. It takes effect at a start."`
	Owed        component.Size `yaml:"owed" doc:"The most bytes of events that are kept beyond the retention of their bus because they are owed or dead letters (503); absent, there is no limit."`
}

// BusLimits bound what waits to be delivered from a bus.
type BusLimits struct {
	Depth int                `yaml:"depth" doc:"The most deliveries that the subscriptions of the bus may owe together; absent, there is no limit."`
	Age   component.Duration `yaml:"age" doc:"How long the oldest of these may have been due; absent, there is no limit."`
}

// Network says where targets may connect to.
type Network struct {
	Allow []netip.Prefix `yaml:"allow" doc:"Private networks that targets may reach, such as 10.1.0.0/16. Loopback is allowed by default while the server itself listens on loopback."`
}

// Guardian tells addresses that targets may reach from those they may not,
// while the server listens on listen.
func (n Network) Guardian(listen string) *ssrf.Guardian {
	var v4, v6 []netip.Prefix
	allow := n.Allow
	if LoopbackListen(listen) {
		allow = append(allow[:len(allow):len(allow)], netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	}
	for _, p := range allow {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	return ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...))
}

// LoopbackListen reports whether a listen address is reached from this machine
// only.
func LoopbackListen(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Bus is a named, durable log of events.
type Bus struct {
	Retention    Retention          `yaml:"retention" doc:"How long settled events are kept; an event that is still owed to a target outlives it. It is applied about once a minute."`
	Compact      string             `yaml:"compact" enum:"none,subject" doc:"subject: the newest event of each subject outlives the retention, so that the bus is also a table of the present state (docs/compaction.md). Taking it away removes what only the table kept."`
	Dedupe       component.Duration `yaml:"dedupe" doc:"How long the source and id of an event are remembered, so that a repeat is stored once; 0s stores repeats."`
	MaxEventSize component.Size     `yaml:"maxEventSize" doc:"The largest event that is accepted."`
	ScanRules    int                `yaml:"scanRules" doc:"How many rules may have filters that no index finds, so that they are evaluated on every event of the bus; more are an error."`
	Archive      Archive            `yaml:"archive" doc:"Where events go on to when retention removes them, and are read back from (archive.md). Absent, they are gone. In configuration files only."`
	Limits       BusLimits          `yaml:"limits" doc:"Above which publishing to this bus is refused, with 429 and Retry-After."`

	Origin Origin `yaml:"-"`
}

// Retention bounds what a bus keeps.
type Retention struct {
	Age  component.Duration `yaml:"age" doc:"Events older than this are removed."`
	Size component.Size     `yaml:"size" doc:"The oldest events are removed when the bus holds more than this; absent, there is no limit."`
}

// Archive keeps a bus's events beyond its retention. The zero To is none.
type Archive struct {
	To           string             `yaml:"to" doc:"A folder, relative to the file's own folder, or s3://BUCKET/PREFIX?region=&endpoint=&pathStyle=; gs:// and azblob:// in a build with -tags cloud." required:"true"`
	Age          component.Duration `yaml:"age" doc:"Events older than this are deleted from the archive; absent, they are kept for ever."`
	Size         component.Size     `yaml:"size" doc:"The oldest events are deleted from the archive when its objects are larger than this together; absent, there is no limit."`
	After        component.Duration `yaml:"after" doc:"Events of this age are archived though they do not make a whole segment yet; half the bus's retention if that is shorter."`
	Segment      component.Size     `yaml:"segment" doc:"How many bytes of events make an object, before compression; it is held in memory while it is written."`
	AccessKey    component.Secret   `yaml:"accessKey" doc:"The access key of S3. Absent, the keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the AWS credentials file or the machine's role."`
	SecretKey    component.Secret   `yaml:"secretKey" doc:"The secret key of S3, with accessKey."`
	SessionToken component.Secret   `yaml:"sessionToken" doc:"The session token of temporary keys of S3."`

	// Location is To, read.
	Location objects.Location `yaml:"-"`
}

// Keys are the credentials of the archive.
func (a Archive) Keys() objects.Options {
	return objects.Options{AccessKey: a.AccessKey.Reveal(), SecretKey: a.SecretKey, SessionToken: a.SessionToken}
}

// Source brings events into a bus.
type Source struct {
	Bus    string             `yaml:"bus" doc:"The bus that the events go to." required:"true"`
	Dedupe component.Duration `yaml:"dedupe" doc:"How long the source and id of an event are remembered; the kind's own default, else the bus's."`

	Kind   string         `yaml:"-"`
	Config sources.Config `yaml:"-"`
	// Fingerprint changes when the settings in force do, secrets included.
	Fingerprint string `yaml:"-"`
	Origin      Origin `yaml:"-"`
}

// Rule sends the events of a bus that its filter matches to its targets.
type Rule struct {
	Bus       string
	Filter    rules.Filter
	Matcher   *rules.Matcher       // never nil
	Transform *transform.Transform // nil: events are delivered as they are
	Targets   []string
	Retry     *Retry // nil: each target's own
	Tests     []Fixture

	Enrich []enrich.Call // what is asked for the transform, in order of the names
	// EnrichFingerprint changes when the settings of Enrich do, secrets included.
	EnrichFingerprint string

	Origin  Origin
	secrets []string // what references in it were replaced with
}

// ruleSettings is a rule as it is written.
type ruleSettings struct {
	Bus       string          `yaml:"bus" doc:"The bus whose events the rule looks at." required:"true"`
	When      string          `yaml:"when" doc:"The filter: a CEL expression over event, such as event.type == \"com.example.order.placed\" && event.data.total > 100. Absent, every event matches."`
	Pattern   patternNode     `yaml:"pattern" doc:"The filter as an event pattern, such as {type: [com.example.order.placed], detail: {total: [{numeric: [\">\", 100]}]}}. A rule has one of when, pattern, filters and sql."`
	Filters   filtersNode     `yaml:"filters" doc:"The filter as a list of filters of the CloudEvents Subscriptions API, all of which an event has to pass, such as [{exact: {type: com.example.order.placed}}, {prefix: {subject: eu/}}]."`
	SQL       string          `yaml:"sql" doc:"The filter as a CloudEvents SQL expression, such as type = 'com.example.order.placed' AND subject LIKE 'eu/%'. It sees attributes, not the data."`
	Enrich    enrichMap       `yaml:"enrich" doc:"What is asked for beside the event before it is transformed, by the name under which expressions of the transform read the answer: enriched.NAME."`
	Transform *transformNode  `yaml:"transform" doc:"What the event becomes before it is delivered: CloudEvents attributes by name, and data, or one of jq, inputPath, input and inputTransformer in its place. A ${{ … }} in a text is a CEL expression over event. Attributes that are not named are kept."`
	Targets   []string        `yaml:"targets" doc:"The names of the targets that get the event." required:"true"`
	Retry     Retry           `yaml:"retry" doc:"When a failed delivery of this rule is tried again, in place of its targets' own retry: the same keys, with the same defaults."`
	Tests     []fixtureFields `yaml:"tests" doc:"Examples that switchyard rules test checks: an event, and what is to become of it."`
}

// Target is a named destination and how deliveries to it are made.
type Target struct {
	Retry       Retry      `yaml:"retry" doc:"When a failed delivery is tried again: exponential back-off with full jitter, or by delays or a preset."`
	Concurrency int        `yaml:"concurrency" doc:"The most attempts under way at the same time; of a pull target, the most leases out of each subscription, 1000 unless it is set."`
	Rate        Rate       `yaml:"rate" doc:"The most attempts in a time, such as 500/s, 30/m or 1000/h; 500/s burst 1000 lets through as many at once (without it, what a tenth of a second brings). Absent, there is no limit."`
	Breaker     Breaker    `yaml:"breaker" doc:"When a target that fails is given a rest: no attempts are made, and deliveries wait without using up theirs."`
	Batch       Batch      `yaml:"batch" doc:"Sends several events in one request; for http targets with mode: batched. Absent, each is sent alone."`
	Order       string     `yaml:"order" enum:"none,key,strict" doc:"none: as fast as possible. key: events with the same partitionkey (else subject) one after another. strict: all events one after another."`
	ReplyTo     string     `yaml:"replyTo" doc:"A bus for replies, of http and function targets only: a 200 answer that is itself a CloudEvent is published to it, once for each delivery."`
	DeadLetter  DeadLetter `yaml:"deadLetter" doc:"What happens to a delivery that was given up, beside being kept as a dead letter."`

	Batched bool           `yaml:"-"` // Batch is set
	Kind    string         `yaml:"-"`
	Config  targets.Config `yaml:"-"`
	// Fingerprint changes when the kind's settings in force do, secrets included.
	Fingerprint string `yaml:"-"`
	Origin      Origin `yaml:"-"`

	secrets []string // what references in it were replaced with
}

// DeadLetterBus is the bus that dead letters are published to as well, "" for
// none.
func (t Target) DeadLetterBus() string { return t.DeadLetter.Bus }

// Batch is the settings of batches.
type Batch struct {
	Events int                `yaml:"events" doc:"The most events in a request, of one rule; with order: key at most one of each key, with order: strict one in all."`
	Wait   component.Duration `yaml:"wait" doc:"How long a batch that is not full waits for more; 0s sends what there is."`
	Bytes  component.Size     `yaml:"bytes" doc:"The most that the events of a batch may take, about; a larger event goes alone."`
}

// Breaker is the settings of a circuit breaker.
type Breaker struct {
	Failures   int                `yaml:"failures" doc:"How many failures in a row (no connection, timeouts, 5xx) open the breaker; 0 is no breaker. 4xx, and 429 and 503 with Retry-After, do not count."`
	Open       component.Duration `yaml:"open" doc:"How long it stays open before one delivery tries the target; it doubles with each that fails, up to 10m, or to this if it is longer."`
	PauseAfter component.Duration `yaml:"pauseAfter" doc:"After so long with nothing but failures, of any kind and at least 10 in a row, the subscriptions of the target are paused; 0s never does."`
}

// Retry is a schedule of attempts.
type Retry struct {
	Attempts int                  `yaml:"attempts" doc:"How many attempts are made before the delivery becomes a dead letter; with delays or preset, at most one more than there are delays."`
	Age      component.Duration   `yaml:"age" doc:"How long after it was first due a delivery is still tried; with delays or preset, there is no limit unless it is set."`
	Initial  component.Duration   `yaml:"initial" doc:"The longest pause after the first attempt; it doubles with each."`
	Max      component.Duration   `yaml:"max" doc:"The longest pause between attempts."`
	Delays   []component.Duration `yaml:"delays" doc:"The pauses after the first, second, … attempt, exactly, such as [1s, 10s, 1m]; in place of initial and max."`
	Preset   string               `yaml:"preset" enum:"standard-webhooks,aws,rocketmq,alibaba-decay" doc:"A well-known schedule, in place of one's own. standard-webhooks: 5s, 5m, 30m, 2h, 5h, 10h, 10h, each up to 20% shorter or longer at random. aws: back-off with jitter, 185 attempts in 24h, as here by default. rocketmq: 10s, 30s, each minute from 1m to 10m, 20m, 30m, 1h, 2h. alibaba-decay: 1s, 2s, 4s … 512s, 176 of them in a day."`
	On       []RetryMatch         `yaml:"on" doc:"Answers that are tried again beside those that are anyway (408, 425, 429, 5xx and failures without an answer): status codes, such as 404 or 4xx."`
	Not      []RetryMatch         `yaml:"not" doc:"What is not tried again but a dead letter at once: status codes, such as 501, 502-504 or 5xx, and failures without an answer: timeout, dns, connect, tls, reset, other. It wins over on."`
}

// The values of Retry.Preset.
const (
	PresetStandardWebhooks = "standard-webhooks"
	PresetAWS              = "aws"
	PresetRocketMQ         = "rocketmq"
	PresetAlibabaDecay     = "alibaba-decay"
)

// Schedule is the list of waits that delays or a preset ask for, and the share
// of each by which it varies at random; nil is exponential back-off.
func (r Retry) Schedule() (delays []time.Duration, jitter float64) {
	switch r.Preset {
	case PresetStandardWebhooks:
		return []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute,
			2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 10 * time.Hour}, 0.2
	case PresetAWS:
		return nil, 0
	case PresetRocketMQ: // the delay levels from the third on
		delays = []time.Duration{10 * time.Second, 30 * time.Second}
		for m := range 10 {
			delays = append(delays, time.Duration(m+1)*time.Minute)
		}
		return append(delays, 20*time.Minute, 30*time.Minute, time.Hour, 2*time.Hour), 0
	case PresetAlibabaDecay:
		for n := range 176 {
			delays = append(delays, time.Second<<min(n, 9))
		}
		return delays, 0
	}
	for _, d := range r.Delays {
		delays = append(delays, d.Std())
	}
	return delays, 0
}

// DeadLetter is a target's settings for deliveries that were given up.
type DeadLetter struct {
	Bus string `yaml:"bus" doc:"A bus that dead letters are also published to."`
}

// The values of Target.Order.
const (
	OrderNone   = "none"
	OrderKey    = "key"
	OrderStrict = "strict"
)

// The values of Bus.Compact.
const (
	CompactNone    = "none"
	CompactSubject = "subject"
)

func defaultServer() Server {
	return Server{Listen: "127.0.0.1:8080", Data: "./data", Limits: Limits{Waiting: 64 << 20, DiskReserve: 256 << 20}}
}

func defaultBus() Bus {
	return Bus{
		Retention:    Retention{Age: component.Duration(7 * 24 * time.Hour)},
		Compact:      CompactNone,
		Dedupe:       component.Duration(2 * time.Minute),
		MaxEventSize: 256 << 10,
		ScanRules:    1000,
		Archive:      Archive{After: component.Duration(time.Hour), Segment: 32 << 20},
	}
}

func defaultRetry() Retry {
	return Retry{
		Attempts: 185,
		Age:      component.Duration(24 * time.Hour),
		Initial:  component.Duration(time.Second),
		Max:      component.Duration(10 * time.Minute),
	}
}

func defaultTarget() Target {
	return Target{
		Retry:       defaultRetry(),
		Concurrency: 32,
		Breaker: Breaker{
			Failures:   10,
			Open:       component.Duration(30 * time.Second),
			PauseAfter: component.Duration(5 * 24 * time.Hour),
		},
		Batch: Batch{Events: 100, Wait: component.Duration(50 * time.Millisecond), Bytes: 1 << 20},
		Order: OrderNone,
	}
}

// Origin says where an object was defined.
type Origin struct {
	File string // "" for the API
	Line int
}

// FromFile reports whether the object came from a file, which makes it
// read-only through the API.
func (o Origin) FromFile() bool { return o.File != "" }

// String is "configs/shop.yaml:14", or "api".
func (o Origin) String() string {
	if o.File == "" {
		return "api"
	}
	return o.File + ":" + strconv.Itoa(o.Line)
}

// Object returns a named object of a configuration as it was written.
func (c *Config) Object(kind, name string) (Object, bool) {
	o := c.objects.At(objectKey{kind, name})
	if o == nil {
		return Object{}, false
	}
	return o.public(), true
}

// Object is a named object of a configuration as it was written, as JSON.
type Object struct {
	Kind string // Buses, Sources, Rules or Targets
	Name string
	// Raw is what was written, for storage: it has secrets as they were given
	// (through the API) or the references to them (in a file). Never show it.
	Raw    json.RawMessage
	Origin Origin

	decoded *object
}

// View is the object to be shown: as it was written, without the defaults,
// secrets replaced by component.Redacted. It is null for an Object that did
// not come from this package.
func (o Object) View() json.RawMessage {
	if o.decoded == nil {
		return json.RawMessage("null")
	}
	return o.decoded.view
}

// MarshalJSON implements json.Marshaler by View.
func (o Object) MarshalJSON() ([]byte, error) { return o.View(), nil }
