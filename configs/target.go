package configs

import (
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/component"
)

func (d *document) target(o *object, n *yaml.Node, path keyPath) Target {
	t := defaultTarget()
	t.Origin = o.origin()
	kinds := make([]string, len(d.loader.Kinds.Targets))
	for i, spec := range d.loader.Kinds.Targets {
		kinds[i] = spec.Kind
	}
	part := componentPart{doc: d, object: o, kinds: kinds, what: "target", new: func(i int) component.Config {
		spec := d.loader.Kinds.Targets[i]
		t.Config, t.Kind = spec.New(), spec.Kind
		return t.Config
	}}
	part.find(n)
	d.decodeStruct(n, reflect.ValueOf(&t).Elem(), path, kinds, part.isKind)
	part.decode(n, path)
	t.Fingerprint = part.fingerprint
	t.secrets = d.taint(n)
	d.checkPolicy(n, path, t)
	d.checkRetry(n, path, &t.Retry)
	d.checkBatch(n, path, &t)
	if _, given := child(n, "concurrency"); t.Kind == "pull" && isNull(given) {
		t.Concurrency = 0 // the engine's default for leases
	}
	if key, given := child(n, "breaker"); t.Kind == "pull" && !isNull(given) {
		d.report(key, path.down("breaker"), "a pull target sends nothing, so there is no receiver to give a rest; take it out")
	}
	if t.ReplyTo != "" {
		if t.Kind != "" && t.Kind != "http" && t.Kind != "function" {
			d.reportBelow(n, path, "a "+t.Kind+" target gets no replies; only http and function targets can have replyTo", "replyTo")
		}
		d.mention(o, n, path, t.ReplyTo, "replyTo")
	}
	if t.DeadLetter.Bus != "" {
		d.mention(o, n, path, t.DeadLetter.Bus, "deadLetter", "bus")
	}
	if _, settings := child(n, t.Kind); settings != nil {
		if _, name := child(settings, "name"); t.Kind == "bus" && !isNull(name) {
			d.mention(o, n, path, name.Value, "bus", "name")
		}
		for _, keys := range [...][]string{
			{"url"}, {"auth", "oauth2", "tokenURL"},
			{"lambda", "url"}, {"lambda", "invoke", "endpoint"}, {"knative", "url"}, {"openfaas", "url"},
		} {
			d.noteHosts(o, settings, path.down(t.Kind), keys...)
		}
	}
	return t
}

// noteHosts notes the hosts of the addresses that stand at keys in settings; they
// are separated by commas.
func (d *document) noteHosts(o *object, settings *yaml.Node, path keyPath, keys ...string) {
	n := settings
	for _, key := range keys {
		if _, n = child(n, key); n == nil {
			return
		}
		path = path.down(key)
	}
	if n.Kind != yaml.ScalarNode || len(d.taint(n)) > 0 {
		return
	}
	for one := range strings.SplitSeq(n.Value, ",") {
		if u, err := url.Parse(one); err == nil && u.Host != "" {
			o.hosts = append(o.hosts, host{u.Hostname(), path, spotOf(n)})
		}
	}
}

// The most that a batch may be.
const (
	maxBatchEvents = 1000
	maxBatchWait   = component.Duration(time.Minute)
	maxBatchBytes  = 64 << 20
)

// checkBatch checks batch, which needs a target that sends batches.
func (d *document) checkBatch(n *yaml.Node, path keyPath, t *Target) {
	_, settings := child(n, t.Kind)
	_, mode := child(settings, "mode")
	batched := t.Kind == "http" && mode != nil && mode.Value == "batched"
	if batched && t.ReplyTo != "" {
		d.reportBelow(n, path, "there are no replies to batches; use mode: binary or structured", "replyTo")
	}
	_, batch := child(n, "batch")
	if isNull(batch) {
		return
	}
	t.Batched = true
	if t.Kind != "" && !batched {
		d.reportBelow(n, path, "it needs an http target with mode: batched", "batch")
	}
	for _, c := range [...]struct {
		bad     bool
		message string
		key     string
	}{
		{t.Batch.Events < 1 || t.Batch.Events > maxBatchEvents, "it must be from 1 to 1000", "events"},
		{t.Batch.Wait < 0 || t.Batch.Wait > maxBatchWait, "it must be from 0s to 1m", "wait"},
		{t.Batch.Bytes < 1 || t.Batch.Bytes > maxBatchBytes, "it must be from 1 to 64MiB", "bytes"},
	} {
		if c.bad {
			d.reportBelow(n, path, c.message, "batch", c.key)
		}
	}
}

// checkRetry checks the retry of a target or a rule.
func (d *document) checkRetry(n *yaml.Node, path keyPath, r *Retry) {
	for _, c := range [...]struct {
		bad     bool
		message string
		key     string
	}{
		{r.Attempts < 1, "it must be 1 or more; 1 means no retries", "attempts"},
		{r.Age <= 0, "it must be more than 0, such as 24h", "age"},
		{r.Initial <= 0, "it must be more than 0, such as 1s", "initial"},
		{r.Max < r.Initial, "it must not be less than initial", "max"},
	} {
		if c.bad {
			d.reportBelow(n, path, c.message, "retry", c.key)
		}
	}
	for i, m := range r.On {
		if m.Class != "" {
			d.reportBelow(n, path, "failures without an answer are tried again anyway; on takes status codes", "retry", "on", strconv.Itoa(i))
		}
	}
	d.checkSchedule(n, path, r)
}

// checkSchedule checks delays and preset, and lifts the limit on the age that
// is there by default where a list says how long a delivery is tried.
func (d *document) checkSchedule(n *yaml.Node, path keyPath, r *Retry) {
	_, retry := child(n, "retry")
	given := func(key string) bool {
		_, value := child(retry, key)
		return !isNull(value)
	}
	list := ""
	for _, key := range [...]string{"delays", "preset"} {
		switch {
		case !given(key):
		case list == "":
			list = key
		default:
			d.reportBelow(n, path, "retry has delays already; keep one of delays and "+key, "retry", key)
		}
	}
	if list == "" {
		return
	}
	for _, key := range [...]string{"initial", "max"} {
		if given(key) {
			d.reportBelow(n, path, key+" is for exponential back-off and excludes "+list+"; keep one of the two", "retry", key)
		}
	}
	if list == "delays" && len(r.Delays) == 0 {
		d.reportBelow(n, path, "it is empty; give the pauses between attempts, or attempts: 1 for no retries", "retry", "delays")
	}
	for i, delay := range r.Delays {
		if delay < 0 {
			d.reportBelow(n, path, "it cannot be negative", "retry", "delays", strconv.Itoa(i))
		}
	}
	if most := len(r.Delays) + 1; list == "delays" && len(r.Delays) > 0 && given("attempts") && r.Attempts > most {
		_, attempts := child(retry, "attempts")
		d.add(attempts, path.down("retry").down("attempts"), fmt.Sprintf("there are %d pauses between attempts, so a delivery is given up after %d", most-1, most), true)
	}
	if !given("age") && r.Preset != PresetAWS {
		r.Age = 0
	}
}

func (d *document) checkPolicy(n *yaml.Node, path keyPath, t Target) {
	for _, c := range [...]struct {
		bad     bool
		message string
		keys    []string
	}{
		{t.Concurrency < 1, "it must be 1 or more", []string{"concurrency"}},
		{t.Breaker.Failures < 0, "it cannot be negative; 0 is no breaker", []string{"breaker", "failures"}},
		{t.Breaker.Open <= 0, "it must be more than 0, such as 30s; failures: 0 is no breaker", []string{"breaker", "open"}},
		{t.Breaker.PauseAfter < 0, "it cannot be negative; 0s never pauses", []string{"breaker", "pauseAfter"}},
	} {
		if c.bad {
			d.reportBelow(n, path, c.message, c.keys...)
		}
	}
}
