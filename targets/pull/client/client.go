// Package client is the worker's side of a pull target: it receives deliveries
// from a Switchyard over HTTP, extends their leases while they are worked on,
// and acknowledges them or gives them back.
//
// A Client is safe for concurrent use and starts nothing by itself; Run's
// goroutines end before Run returns.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
)

// Options are a Client's; the zero value works.
type Options struct {
	// Consumer is the worker's name, shown with its attempts. A broadcast needs
	// it: each consumer gets every event.
	Consumer string
	// Wait is how long one request waits for a delivery, at most a minute;
	// default 20s.
	Wait time.Duration
	// HTTP makes the requests; default a client of its own. Its timeout, if it
	// has one, must be longer than Wait.
	HTTP *http.Client
	// Header is added to every request, for a proxy that asks who one is.
	Header http.Header
	// OnError hears what Run goes on after: a request that failed, a lease that
	// ended before its work did, an error or panic of the handler. It may be
	// called from many goroutines at once.
	OnError func(error)
}

// Client receives from one subscription. Make it with New.
type Client struct {
	base string
	opts Options
}

// Delivery is an event that this worker has until its lease ends.
type Delivery struct {
	Lease    string            // what Ack, Nack and Extend take
	ID       string            // of the delivery, the same for every attempt
	Attempt  int               // from 1
	Redriven bool              // it was a dead letter before
	Event    cloudevents.Event // as the rule transforms it
	Lasts    time.Duration     // how long the lease lasts from when it was received
}

// Leases says which leases were still valid. Nothing was done for the others.
type Leases struct {
	Valid   []string `json:"valid"`
	Invalid []string `json:"invalid"`
}

// Error is an answer that says no.
type Error struct {
	Status int    // of HTTP
	Detail string // what is wrong
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("switchyard answered %d: %s", e.Status, e.Detail)
}

// New makes a client of the Switchyard at server, such as
// http://127.0.0.1:8080, for the subscription of a rule and its target.
func New(server, rule, target string, opts Options) (*Client, error) {
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("pull client: %q is not the address of a server, such as http://127.0.0.1:8080", server)
	}
	if rule == "" || target == "" {
		return nil, errors.New("pull client: name a rule and its pull target")
	}
	if opts.Wait < 0 || opts.Wait > time.Minute {
		return nil, fmt.Errorf("pull client: a wait of %s is not between 0 and 1m", opts.Wait)
	}
	if opts.Wait == 0 {
		opts.Wait = 20 * time.Second
	}
	if opts.HTTP == nil {
		opts.HTTP = &http.Client{Transport: transport()}
	}
	if opts.OnError == nil {
		opts.OnError = func(error) {}
	}
	base := strings.TrimRight(server, "/") + "/v1/subscriptions/" + url.PathEscape(rule) + "/" + url.PathEscape(target) + "/"
	return &Client{base: base, opts: opts}, nil
}

// transport keeps a connection for each of many workers.
func transport() *http.Transport {
	return &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}
}

// Receive gives the next delivery. It waits until there is one or ctx is done.
func (c *Client) Receive(ctx context.Context) (Delivery, error) {
	for {
		ds, err := c.ReceiveUpTo(ctx, 1)
		if err != nil {
			return Delivery{}, err
		}
		if len(ds) > 0 {
			return ds[0], nil
		}
	}
}

// ReceiveUpTo gives up to n deliveries, none if none came within Options.Wait.
func (c *Client) ReceiveUpTo(ctx context.Context, n int) ([]Delivery, error) {
	request := map[string]any{"max": n, "wait": c.opts.Wait.String()}
	if c.opts.Consumer != "" {
		request["consumer"] = c.opts.Consumer
	}
	var answer struct {
		Deliveries []struct {
			Lease, ID string
			Attempt   int
			Redriven  bool
			Event     cloudevents.Event
		}
		LeaseTime string
	}
	if err := c.post(ctx, "receive", request, &answer); err != nil {
		return nil, err
	}
	lasts, err := time.ParseDuration(answer.LeaseTime)
	if err != nil && len(answer.Deliveries) > 0 {
		return nil, fmt.Errorf("pull client: leaseTime: %w", err)
	}
	ds := make([]Delivery, len(answer.Deliveries))
	for i, d := range answer.Deliveries {
		ds[i] = Delivery{Lease: d.Lease, ID: d.ID, Attempt: d.Attempt, Redriven: d.Redriven, Event: d.Event, Lasts: lasts}
	}
	return ds, nil
}

// Ack says that the deliveries under these leases are done.
func (c *Client) Ack(ctx context.Context, leases ...string) (Leases, error) {
	return c.leases(ctx, "ack", map[string]any{"leases": leases})
}

// Nack gives deliveries back, to come again by the target's retry policy.
func (c *Client) Nack(ctx context.Context, reason string, leases ...string) (Leases, error) {
	return c.leases(ctx, "nack", map[string]any{"leases": leases, "reason": clip(reason)})
}

// NackAfter gives deliveries back, to come again after delay.
func (c *Client) NackAfter(ctx context.Context, delay time.Duration, reason string, leases ...string) (Leases, error) {
	return c.leases(ctx, "nack", map[string]any{"leases": leases, "reason": clip(reason), "delay": delay.String()})
}

// Extend lets leases last, from now on, as long as new ones.
func (c *Client) Extend(ctx context.Context, leases ...string) (Leases, error) {
	return c.leases(ctx, "extend", map[string]any{"leases": leases})
}

func (c *Client) leases(ctx context.Context, call string, request map[string]any) (Leases, error) {
	var answer Leases
	err := c.post(ctx, call, request, &answer)
	return answer, err
}

// post makes a call and decodes its answer.
func (c *Client) post(ctx context.Context, call string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("pull client: %s: %w", call, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+call, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("pull client: %s: %w", call, err)
	}
	for name, values := range c.opts.Header {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.opts.HTTP.Do(req)
	if err != nil {
		return fmt.Errorf("pull client: %s: %w", call, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
		var problem struct{ Detail string }
		if json.Unmarshal(text, &problem) != nil || problem.Detail == "" {
			problem.Detail = http.StatusText(res.StatusCode)
		}
		return &Error{Status: res.StatusCode, Detail: problem.Detail}
	}
	if err := json.NewDecoder(res.Body).Decode(answer); err != nil {
		return fmt.Errorf("pull client: the answer to %s: %w", call, err)
	}
	_, _ = io.Copy(io.Discard, res.Body) // so that the connection is used again
	return nil
}

// maxReason is the longest reason that the server takes, in bytes.
const maxReason = 500

// clip cuts a reason to what the server takes.
func clip(reason string) string {
	if len(reason) > maxReason {
		reason = reason[:maxReason]
	}
	return strings.ToValidUTF8(reason, "")
}
