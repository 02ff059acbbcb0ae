package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/switchyard-dev/switchyard/bus"
)

// transactionCheck implements bus.Checker over HTTP, under the network rules in
// force: no redirects, no proxy, a bounded answer. config is set before the
// engine runs.
type transactionCheck struct {
	listen string
	config *manager
}

// maxCheckAnswer bounds the body of an answer.
const maxCheckAnswer = 4 << 10

// Accept implements bus.Checker.
func (c *transactionCheck) Accept(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a URL", address)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("scheme %q is not supported; use http or https", u.Scheme)
	case u.Hostname() == "":
		return errors.New("the URL has no host")
	case u.User != nil:
		return errors.New("the URL has a user or password, which would be shown; leave them out")
	case len(address) > 2048:
		return errors.New("the URL is longer than 2048 bytes")
	}
	host := u.Hostname()
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return nil // a name: the dial sees what it resolves to
	}
	if c.config.inForce().Network.Guardian(c.listen).SafeAddr(ip.Unmap().WithZone("")) != nil {
		return fmt.Errorf("the network rules do not allow %s; add it to network.allow if it may be asked", u.Hostname())
	}
	return nil
}

// Check implements bus.Checker.
func (c *transactionCheck) Check(ctx context.Context, address string, t bus.TransactionCheck) (string, error) {
	body, err := json.Marshal(t)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "switchyard/"+release)
	transport := &http.Transport{
		DialContext: guardedDial(c.config.inForce().Network, c.listen), DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return "", fmt.Errorf("the check answered with status %d", resp.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxCheckAnswer+1))
	if err != nil {
		return "", fmt.Errorf("the answer to the check: %w", err)
	}
	var answer struct {
		State string `json:"state"`
	}
	if len(raw) > maxCheckAnswer || json.Unmarshal(raw, &answer) != nil {
		return "", fmt.Errorf("the answer to the check is not a JSON object of at most %d bytes", maxCheckAnswer)
	}
	switch answer.State {
	case "commit", "rollback", "unknown":
		return answer.State, nil
	}
	return "", fmt.Errorf("the check answered with the state %q; it is commit, rollback or unknown", answer.State)
}
