// Package enrich asks HTTP endpoints for what a rule's transform needs beside
// the event, as the enrich block of the rule says.
//
// It stands in the delivery, before the transform: the engine calls
// Enricher.Enrich once for each attempt, within the attempt's time, and hands the
// answers to the transform, which reads them in the variable enriched.
//
// An Enricher is one rule's, with all of its calls, their connections and their
// caches. It is safe for concurrent use. A call is bounded in time, tried twice at
// most, and its answer in size; what comes of a failure is an outcome as a
// target's is, so that the delivery's own retries, Retry-After and dead letters
// hold for it.
package enrich

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"mime"
	"net"
	nethttp "net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/targets/http"
	"github.com/switchyard-dev/switchyard/transform"
)

const (
	// MaxAnswer is the largest answer that is taken, in bytes.
	MaxAnswer = 1 << 20
	// DefaultTimeout bounds a call that does not say otherwise.
	DefaultTimeout = 2 * time.Second
	// tries is how often an endpoint is asked within one attempt.
	tries = 2
	// pause is the longest wait between two tries.
	pause = 100 * time.Millisecond
)

// Call is one enrichment of a rule, compiled. It never changes.
type Call struct {
	Name     string
	URL      *URL
	Method   string // GET or POST
	Headers  map[string]component.Secret
	Body     *transform.Transform // whose data is posted; nil posts the event
	Timeout  time.Duration        // of the call, its second try included
	Key      *transform.Text      // of the cache; nil is the whole request
	For      time.Duration        // how long an answer is kept; 0 keeps none
	Entries  int                  // how many answers are kept; 0 is DefaultEntries
	OnError  Fallback             // what any failure of the call becomes
	NotFound Fallback             // what 404 and 410 become
	Breaker  Breaker              // when the endpoint is given a rest
}

// Breaker says when an endpoint that fails is given a rest, by whoever makes the
// calls.
type Breaker struct {
	Failures int           // calls that fail in a row; 0 never does
	Open     time.Duration // how long; 0 is as long as for a target
}

// Fallback is what a failure becomes.
type Fallback bool

// The values of Fallback.
const (
	Fail Fallback = false // the attempt fails
	Null Fallback = true  // the answer is null
)

// Options are what an Enricher works with.
type Options struct {
	// Dial opens connections, by the network rules in force; nil: a plain
	// net.Dialer.
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
	Version string // for User-Agent
}

// Enricher makes the calls of one rule.
type Enricher struct {
	endpoints []*endpoint
}

// endpoint is one call with its connections and its cache.
type endpoint struct {
	Call
	header  nethttp.Header
	fetcher *http.Fetcher
	cache   *cache // nil without one
}

// New makes an Enricher. It opens nothing.
func New(calls []Call, o Options) *Enricher {
	e := &Enricher{}
	for _, c := range calls {
		if c.Timeout <= 0 {
			c.Timeout = DefaultTimeout
		}
		p := &endpoint{Call: c, header: nethttp.Header{}, fetcher: http.NewFetcher(http.FetchOptions{
			Dial: o.Dial, Timeout: c.Timeout, Version: o.Version, Most: MaxAnswer,
		})}
		for name, value := range c.Headers {
			p.header[nethttp.CanonicalHeaderKey(name)] = []string{value.Reveal()}
		}
		if c.For > 0 {
			p.cache = newCache(c.Entries, c.For)
		}
		e.endpoints = append(e.endpoints, p)
	}
	return e
}

// Calls are the calls, in the order of their reports.
func (e *Enricher) Calls() []Call {
	calls := make([]Call, len(e.endpoints))
	for i, p := range e.endpoints {
		calls[i] = p.Call
	}
	return calls
}

// Retire is for an Enricher that is no longer in force: calls under way go on,
// and their connections end with them.
func (e *Enricher) Retire() {
	for _, p := range e.endpoints {
		p.fetcher.Retire()
	}
}

// Close ends all connections. It is idempotent.
func (e *Enricher) Close() {
	for _, p := range e.endpoints {
		p.fetcher.Close()
	}
}

// Error says which enrichment failed. Its cause is the outcome of the attempt.
type Error struct {
	Name string
	Err  error
}

// Error begins with "enrich NAME: ", by which attempt records show that it was
// not the target.
func (e *Error) Error() string { return "enrich " + e.Name + ": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Report says what came of one enrichment.
type Report struct {
	Name   string
	Calls  int   // requests that were sent
	Status int   // of the last answer, 0 without one
	Hit    bool  // the answer came from the cache, or from a call that another delivery made
	Err    error // of the call, also when it became null
	Took   time.Duration
}

// errResting is the failure of a call that is not made.
var errResting = errors.New("the endpoint is given a rest, and was not asked")

// Enrich asks for all answers and makes one object of them, by name. A failure
// that is not to become null is a *Error. The reports are there unless a request
// could not be made. Before a call whose answer is not kept, admit says whether
// it may be made, by its place in Calls; it may be called by several goroutines
// at the same time, for different places. One that may not is a failure. nil
// admits all.
func (e *Enricher) Enrich(ctx context.Context, c transform.Context, ev *event.Event, admit func(call int) bool) (*event.Tree, []Report, error) {
	requests := make([]request, len(e.endpoints))
	for i, p := range e.endpoints {
		var err error
		if requests[i], err = p.request(c, ev); err != nil {
			text := strings.TrimPrefix(err.Error(), "transform: ")
			return nil, nil, &Error{p.Name, targets.Permanentf("%s", text)}
		}
	}
	answers := make([][]byte, len(e.endpoints))
	failures := make([]error, len(e.endpoints))
	reports := make([]Report, len(e.endpoints))
	var all sync.WaitGroup
	for i, p := range e.endpoints {
		ask := func() {
			answers[i], failures[i] = p.answer(ctx, requests[i], &reports[i], func() bool { return admit == nil || admit(i) })
		}
		if i == len(e.endpoints)-1 {
			ask() // this goroutine has nothing else to do
			break
		}
		all.Go(ask)
	}
	all.Wait()
	whole := []byte{'{'}
	for i, p := range e.endpoints {
		if failures[i] != nil {
			return nil, reports, &Error{p.Name, failures[i]}
		}
		if i > 0 {
			whole = append(whole, ',')
		}
		whole = append(append(rules.AppendString(whole, p.Name), ':'), answers[i]...)
	}
	tree, err := event.ParseTree(append(whole, '}'))
	if err != nil { // an answer that is nested as deeply as JSON may be
		return nil, reports, &Error{e.endpoints[0].Name, targets.Permanentf("the answers cannot be put together: %v", err)}
	}
	return tree, reports, nil
}

// answer is the answer to a request as JSON.
func (p *endpoint) answer(ctx context.Context, q request, r *Report, admit func() bool) (answer []byte, err error) {
	begun := time.Now()
	r.Name = p.Name
	found := true
	call := func() (text []byte, keep bool, err error) {
		if !admit() {
			return nil, false, errResting
		}
		text, found, err = p.call(ctx, q, r)
		return text, found, err
	}
	if p.cache == nil {
		answer, _, err = call()
	} else {
		answer, r.Hit, err = p.cache.get(ctx, q.key, call)
	}
	r.Took = time.Since(begun)
	if err == nil {
		return answer, nil
	}
	r.Err = err
	if p.OnError == Null && ctx.Err() == nil {
		return []byte("null"), nil
	}
	return nil, err
}

// call sends the request, once more if that may help within this attempt. What
// was not found is null and not to be kept, unless it is a failure.
func (p *endpoint) call(ctx context.Context, q request, r *Report) (answer []byte, found bool, err error) {
	limited, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	for try := 1; ; try++ {
		r.Calls++
		var got http.Fetched
		got, err = p.fetcher.Fetch(limited, q.FetchRequest)
		r.Status = got.Status
		if err == nil {
			answer, err = asJSON(got)
			return answer, true, err
		}
		if gone := got.Status == nethttp.StatusNotFound || got.Status == nethttp.StatusGone; gone && p.NotFound == Null {
			return []byte("null"), false, nil
		}
		if try == tries || got.Status == nethttp.StatusTooManyRequests || !again(err) {
			return nil, false, err
		}
		select {
		case <-time.After(rand.N(pause)):
		case <-limited.Done():
			return nil, false, err
		}
	}
}

// again reports whether a failure may be over in a moment. An endpoint that asks
// for time gets it: the delivery is tried again later.
func again(err error) bool {
	var after *targets.RetryAfter
	return !targets.IsPermanent(err) && !errors.As(err, &after) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)
}

// asJSON is an answer as a JSON value: JSON as it is, without the spaces around
// it, nothing as null, and anything else as text.
func asJSON(got http.Fetched) ([]byte, error) {
	body := bytes.TrimSpace(got.Body)
	if isJSON(got.ContentType) && len(body) > 0 {
		if err := event.CheckJSON(body); err != nil {
			return nil, targets.Permanentf("the answer's content type is %q, and it is not JSON: %v", got.ContentType, err)
		}
		return body, nil
	}
	switch {
	case len(body) == 0:
		return []byte("null"), nil
	case !utf8.Valid(got.Body):
		return nil, targets.Permanentf("the answer, of content type %q, is neither JSON nor text", got.ContentType)
	}
	return rules.AppendString(nil, string(got.Body)), nil
}

func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return (err == nil || errors.Is(err, mime.ErrInvalidMediaParameter)) &&
		(strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json"))
}

// request is what is asked for an event.
type request struct {
	http.FetchRequest
	key string
}

func (p *endpoint) request(c transform.Context, ev *event.Event) (q request, err error) {
	q.FetchRequest = http.FetchRequest{Method: p.Method, Header: p.header, Event: ev}
	if q.URL, err = p.URL.Of(c, ev); err != nil {
		return q, err
	}
	if p.Method == nethttp.MethodPost {
		q.Header = p.header.Clone()
		if q.Body, err = p.body(c, ev, q.Header); err != nil {
			return q, err
		}
	}
	switch {
	case p.cache == nil:
	case p.Key != nil:
		key, err := p.Key.Append(nil, c, ev, nil)
		if err != nil {
			return q, err
		}
		q.key = string(key)
	default:
		sum := sha256.Sum256(q.Body) // which may be large
		q.key = q.URL.String() + "\n" + string(sum[:])
	}
	return q, nil
}

// body is what is posted: the event in the JSON format of CloudEvents, or what
// the body says.
func (p *endpoint) body(c transform.Context, ev *event.Event, header nethttp.Header) ([]byte, error) {
	if p.Body == nil {
		header.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
		return event.AppendStructured(nil, ev), nil
	}
	made, err := p.Body.ApplyIn(c, ev)
	if err != nil {
		var apply *transform.ApplyError
		if errors.As(err, &apply) {
			renamed := *apply
			renamed.Key = "body" + strings.TrimPrefix(renamed.Key, "data")
			err = &renamed
		}
		return nil, fmt.Errorf("%w", err)
	}
	header.Set("Content-Type", "application/json")
	return made.Data(), nil
}
