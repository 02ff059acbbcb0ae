package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// caller calls a server, which may be down.
type caller struct {
	base   func() string
	client *http.Client
}

// answer is a call that was answered.
type answer struct {
	status int
	body   []byte
}

// ok says that it succeeded.
func (a answer) ok() bool { return a.status >= 200 && a.status < 300 }

// again says that it may succeed later: the server is overloaded, or cannot
// keep anything at the moment.
func (a answer) again() bool {
	return a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable
}

// call makes one request. The error is that of the connection: it is not known
// what became of the request.
func (a *caller) call(ctx context.Context, method, path, contentType string, body []byte) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.base()+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, text}, err
}

// again is how long a call that was not answered waits until it is made again.
const again = 5 * time.Millisecond

// insist makes a request that may be repeated, until it is answered with more
// than "later" or ctx is done. once is false if there was a try before: one that
// was not answered, or told to come later because the state failed meanwhile, may
// have been carried out.
func (a *caller) insist(ctx context.Context, method, path, contentType string, body []byte) (got answer, once bool, err error) {
	once = true
	for {
		got, err = a.call(ctx, method, path, contentType, body)
		if err == nil && !got.again() {
			return got, once, nil
		}
		once = false
		if err := pause(ctx, again); err != nil {
			return got, once, err
		}
	}
}

// get reads JSON into v; it insists.
func (a *caller) get(ctx context.Context, path string, v any) error {
	got, _, err := a.insist(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	if !got.ok() {
		return fmt.Errorf("GET %s: %d %s", path, got.status, got.body)
	}
	if err := json.Unmarshal(got.body, v); err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	return nil
}

// list reads all pages of a list and calls f with each item.
func list[T any](ctx context.Context, a *caller, path string, f func(T)) error {
	for after := ""; ; {
		var page struct {
			Items []T
			Next  string
		}
		if err := a.get(ctx, path+"?limit=500&after="+url.QueryEscape(after), &page); err != nil {
			return err
		}
		for _, item := range page.Items {
			f(item)
		}
		if after = page.Next; after == "" {
			return nil
		}
	}
}

// pause waits for d, or for the end of ctx, which is its error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
