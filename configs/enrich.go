package configs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/transform"
	"github.com/switchyard-dev/switchyard/transform/enrich"
)

// enrichMap is the enrichments of a rule by name.
type enrichMap map[string]enrichSettings

// enrichSettings is one enrichment of a rule as it is written.
type enrichSettings struct {
	HTTP     enrichHTTP    `yaml:"http" doc:"The endpoint that is asked, once for each attempt to deliver, before the transform." required:"true"`
	Cache    enrichCache   `yaml:"cache" doc:"Keeps answers in memory, for this rule; absent, none are kept. Calls of one key are made one at a time."`
	Breaker  enrichBreaker `yaml:"breaker" doc:"When an endpoint that fails is given a rest: it is not asked, and deliveries wait without using up attempts; with onError: null the answer is null meanwhile."`
	OnError  string        `yaml:"onError" enum:"fail,null" doc:"What a call that fails makes of the attempt: fail (the default: it is tried again by the target's policy, or given up if that cannot help) or null (it goes on, and the answer is null)."`
	NotFound string        `yaml:"notFound" enum:"fail,null" doc:"The same for the answers 404 and 410 alone; they are final failures by default, and null with onError: null."`
}

type enrichBreaker struct {
	Failures int                `yaml:"failures" doc:"How many failures in a row (no connection, timeouts, 5xx) open the breaker; 10 by default, 0 is no breaker."`
	Open     component.Duration `yaml:"open" doc:"How long it stays open before one delivery asks again, 30s by default; it doubles with each that fails, up to 10m, or to this if it is longer."`
}

type enrichHTTP struct {
	URL     string                      `yaml:"url" doc:"An http or https URL. Its path and query may hold expressions, ${{ … }}, whose values are escaped." required:"true"`
	Method  string                      `yaml:"method" enum:"GET,POST" doc:"GET (the default), or POST, which sends the event in the JSON format, or the body."`
	Headers map[string]component.Secret `yaml:"headers" doc:"Headers to add to the request; their values are never shown, and hold no expressions."`
	Body    any                         `yaml:"body" doc:"What POST sends as JSON in place of the event: a value with expressions in its texts, as data of a transform."`
	Timeout component.Duration          `yaml:"timeout" doc:"How long the call may take, its second try included; 2s by default, 30s at most."`
}

type enrichCache struct {
	Key     string             `yaml:"key" doc:"A text with expressions that tells answers apart; by default the URL and the body."`
	For     component.Duration `yaml:"for" doc:"How long an answer is kept, such as 5m; required with a cache. Failures and what was not found are not kept."`
	Entries int                `yaml:"entries" doc:"How many answers are kept, those used last; 10000 by default, and 64 MiB of them at most."`
}

const (
	maxEnrichments   = 8
	maxEnrichTimeout = 30 * time.Second
	fallbackNull     = "null"
	enrichFailures   = 10 // open the breaker by default
)

// enrich compiles the enrichments of a rule.
func (d *document) enrich(o *object, r *Rule, n *yaml.Node, path keyPath, settings enrichMap) {
	key, all := child(n, "enrich")
	if len(settings) == 0 {
		return
	}
	path = path.down("enrich")
	if _, t := child(n, "transform"); isNull(t) {
		d.report(key, path, "the rule has no transform, which is where answers are used, as enriched.NAME")
	}
	if len(settings) > maxEnrichments {
		d.reportf(key, path, "a rule has at most %d enrichments; one endpoint can answer with several things", maxEnrichments)
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		nameKey, one := child(all, name)
		p := path.down(name)
		if reason := rules.EnrichmentName(name); reason != "" {
			d.reportf(nameKey, p, "%s cannot be the name of an enrichment: %s", quote(name), reason)
		}
		if c, ok := d.enrichCall(o, one, p, settings[name]); ok {
			c.Name = name
			r.Enrich = append(r.Enrich, c)
		}
	}
	sum := sha256.Sum256(d.appendJSON(nil, all, nil))
	r.EnrichFingerprint = hex.EncodeToString(sum[:])
}

// enrichCall compiles one; ok is false when something is wrong with it.
func (d *document) enrichCall(o *object, n *yaml.Node, path keyPath, w enrichSettings) (c enrich.Call, ok bool) {
	before := len(d.diags.Errors())
	at := path.down("http")
	_, settings := child(n, "http")
	c = enrich.Call{
		Method: w.HTTP.Method, Headers: w.HTTP.Headers, Timeout: w.HTTP.Timeout.Std(),
		For: w.Cache.For.Std(), Entries: w.Cache.Entries,
		OnError: fallback(n, "onError", w.OnError), NotFound: fallback(n, "notFound", w.NotFound),
	}
	if _, u := child(settings, "url"); isNull(u) {
		d.reportBelow(n, path, "it is required: the URL that is asked", "http", "url")
	} else if u.Kind == yaml.ScalarNode {
		var err error
		c.URL, err = enrich.CompileURL(d.loader.Rules, u)
		d.transformErrors(u, at.down("url"), err)
		d.enrichHost(o, u, at.down("url"))
	}
	if c.Method == "" {
		c.Method = http.MethodGet
	}
	if _, body := child(settings, "body"); !isNull(body) {
		if c.Method != http.MethodPost {
			d.reportBelow(n, path, "only POST sends a body; add method: POST", "http", "body")
		}
		var err error
		c.Body, err = transform.Compile(d.loader.Rules, &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: body.Line, Column: body.Column,
			Content: []*yaml.Node{{Kind: yaml.ScalarNode, Tag: "!!str", Value: "data", Line: body.Line, Column: body.Column}, body}})
		d.transformErrors(body, at.down("body"), withoutKey(err, "data"))
	}
	if _, t := child(settings, "timeout"); !isNull(t) && (c.Timeout <= 0 || c.Timeout > maxEnrichTimeout) {
		d.reportBelow(n, path, "it must be more than 0s and at most 30s; a delivery waits for it", "http", "timeout")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		if reason := enrich.CheckHeader(name, c.Headers[name].Reveal()); reason != "" {
			d.reportBelow(n, path, reason, "http", "headers", name)
		}
	}
	d.enrichCache(n, path, &c, w.Cache)
	d.enrichBreaker(n, path, &c, w.Breaker)
	return c, len(d.diags.Errors()) == before
}

func (d *document) enrichBreaker(n *yaml.Node, path keyPath, c *enrich.Call, w enrichBreaker) {
	c.Breaker = enrich.Breaker{Failures: enrichFailures, Open: w.Open.Std()}
	_, settings := child(n, "breaker")
	if _, failures := child(settings, "failures"); !isNull(failures) {
		c.Breaker.Failures = w.Failures
	}
	if c.Breaker.Failures < 0 {
		d.reportBelow(n, path, "it cannot be negative; 0 is no breaker", "breaker", "failures")
	}
	if _, open := child(settings, "open"); !isNull(open) && w.Open <= 0 {
		d.reportBelow(n, path, "it must be more than 0, such as 30s; failures: 0 is no breaker", "breaker", "open")
	}
}

func (d *document) enrichCache(n *yaml.Node, path keyPath, c *enrich.Call, w enrichCache) {
	_, settings := child(n, "cache")
	if isNull(settings) {
		return
	}
	if c.Method == http.MethodPost && w.Key == "" && wholeEvent(n) {
		d.warnBelow(n, path, "without a key or a body of your own no answer is found again, for the request has the whole event, its id included", "cache")
	}
	if _, key := child(settings, "key"); !isNull(key) && key.Kind == yaml.ScalarNode {
		var err error
		c.Key, err = transform.CompileText(d.loader.Rules, key, "cache.key")
		d.transformErrors(key, path.down("cache").down("key"), err)
		if c.Key != nil && !slices.ContainsFunc(c.Key.Parts(), func(p transform.Part) bool { return p.Expression }) {
			d.reportBelow(n, path, "it has no expression, so that all events would share one answer; write one such as ${{ event.data.customer.id }}", "cache", "key")
		}
	}
	switch _, life := child(settings, "for"); {
	case isNull(life):
		d.reportBelow(n, path, "it is required: how long an answer is kept, such as 5m", "cache", "for")
	case w.For <= 0:
		d.reportBelow(n, path, "it must be more than 0s", "cache", "for")
	}
	if _, entries := child(settings, "entries"); !isNull(entries) && w.Entries < 1 {
		d.reportBelow(n, path, "it must be 1 or more", "cache", "entries")
	}
}

// wholeEvent reports whether a POST sends the event, for it has no body.
func wholeEvent(n *yaml.Node) bool {
	_, settings := child(n, "http")
	_, body := child(settings, "body")
	return isNull(body)
}

// warnBelow warns at what stands under a key.
func (d *document) warnBelow(n *yaml.Node, path keyPath, message string, keys ...string) {
	at, p := d.descend(n, path, keys)
	d.add(at, p, message, true)
}

// enrichHost notes the host that a call connects to, which no expression is in.
func (d *document) enrichHost(o *object, u *yaml.Node, path keyPath) {
	text, _, _ := strings.Cut(u.Value, "${{")
	if parsed, err := url.Parse(text); err == nil && parsed.Host != "" && len(d.taint(u)) == 0 {
		o.hosts = append(o.hosts, host{parsed.Hostname(), path, spotOf(u)})
	}
}

// fallback reads fail or null. A YAML null means null here: where it is written
// out, it is no absent value.
func fallback(n *yaml.Node, key, value string) enrich.Fallback {
	_, v := child(n, key)
	return enrich.Fallback(value == fallbackNull || v != nil && isNull(v) && v.Value != "")
}

// unread warns of calls whose answers the transform does not read.
func (d *document) unread(r *Rule, n *yaml.Node, path keyPath) {
	if r.Transform == nil {
		return
	}
	_, all := child(n, "enrich")
	for _, c := range r.Enrich {
		if !slices.Contains(r.Transform.Enriched(), c.Name) {
			key, _ := child(all, c.Name)
			d.add(key, path.down("enrich").down(c.Name), "the transform does not read enriched."+c.Name+"; the call is made all the same", true)
		}
	}
}

// fixtureEnriched is the answers that a fixture gives, nil without any.
func (d *document) fixtureEnriched(r *Rule, whole *yaml.Node, path keyPath) *event.Tree {
	_, n := child(whole, "enriched")
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	path = path.down("enriched")
	names := make([]string, len(r.Enrich))
	for i, c := range r.Enrich {
		names[i] = c.Name
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case slices.Contains(names, key.Value):
		case len(names) == 0:
			d.report(key, path.down(key.Value), "the rule has no enrich")
		default:
			d.reportf(key, path.down(key.Value), "the rule has no enrichment %s%s", quote(key.Value), DidYouMean(key.Value, names, "enrichments"))
		}
	}
	tree, err := event.ParseTree(d.appendJSON(nil, n, nil))
	if err != nil {
		d.report(n, path, "it cannot be JSON: "+err.Error())
		return nil
	}
	return tree
}

// withoutKey takes the key off the paths of a transform's errors that they all
// begin with.
func withoutKey(err error, key string) error {
	for _, e := range all(err) {
		var te *transform.Error
		if !errors.As(e, &te) {
			continue
		}
		rest, ok := strings.CutPrefix(te.Key, key)
		if ok {
			te.Key = strings.TrimPrefix(rest, ".")
		}
	}
	return err
}
