package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/api"
)

// client talks to a running server.
type client struct {
	server string
	out    output
	http   http.Client
}

// flags adds --server and -o to a command.
func (c *client) flags(cmd *cobra.Command) {
	c.out.flag(cmd)
	c.serverFlag(cmd)
}

func (c *client) serverFlag(cmd *cobra.Command) {
	server := os.Getenv("SWITCHYARD_SERVER")
	if server == "" {
		server = "http://127.0.0.1:8080"
	}
	cmd.Flags().StringVar(&c.server, "server", server, "the server's address (also: SWITCHYARD_SERVER)")
}

// requestTimeout bounds every request but tails.
const requestTimeout = 60 * time.Second

// maxReply bounds what is read of an answer.
const maxReply = 256 << 20

// call makes a request and decodes a JSON answer, if there is one, into reply,
// unless that is nil. The header of the answer is returned.
func (c *client) call(ctx context.Context, method, path string, header http.Header, body []byte, reply any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := c.send(ctx, method, path, header, body)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.server, err)
	}
	if reply != nil && res.StatusCode != http.StatusNoContent {
		if err := json.Unmarshal(data, reply); err != nil {
			return nil, fmt.Errorf("%s did not answer with JSON; is it a Switchyard server? %w", c.server, err)
		}
	}
	return res.Header, nil
}

// send makes a request; an answer that is no success is an error that says
// what the server said.
func (c *client) send(ctx context.Context, method, path string, header http.Header, body []byte) (*http.Response, error) {
	server := c.server
	if !strings.Contains(server, "://") {
		server = "http://" + server // as --listen writes it
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(server, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, &usageError{fmt.Errorf("--server %q: %w", c.server, err)}
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", "switchyard/"+release)
	res, err := c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, fmt.Errorf("no answer from %s: %w; is the server running? (--server or SWITCHYARD_SERVER names another)", c.server, err)
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	var p api.Problem
	if json.Unmarshal(data, &p) != nil || p.Detail == "" {
		return nil, fmt.Errorf("%s answered %s: %s", c.server, res.Status, strings.TrimSpace(string(data)))
	}
	lines := []string{fmt.Sprintf("%s (%d)", p.Detail, p.Status)}
	for _, f := range p.Errors {
		if strings.Contains(p.Detail, f.Detail) {
			continue // it says so already
		}
		where := f.Pointer
		if f.Line > 0 {
			where += fmt.Sprintf(" line %d:%d", f.Line, f.Column)
		}
		lines = append(lines, "  "+strings.TrimSpace(where+" "+f.Detail))
	}
	return nil, &refusal{text: strings.Join(lines, "\n"), problem: p}
}

// refusal is what the server said to a request that it did not take.
type refusal struct {
	text    string
	problem api.Problem
}

// Error implements error.
func (r *refusal) Error() string { return r.text }

// jsonBody is the header of a request with a JSON body.
func jsonBody() http.Header { return http.Header{"Content-Type": {"application/json"}} }

// checkLimit refuses a --limit that asks for nothing.
func checkLimit(most int) error {
	if most < 1 {
		return &usageError{fmt.Errorf("--limit %d: ask for at least one", most)}
	}
	return nil
}

// collect reads the pages of a list, up to most items. The list is not nil.
func collect[T any](ctx context.Context, c *client, path string, most int) ([]T, error) {
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	items, after := []T{}, ""
	for {
		var page api.List[T]
		p := fmt.Sprintf("%s%slimit=%d", path, sep, min(500, most-len(items)))
		if after != "" {
			p += "&after=" + url.QueryEscape(after)
		}
		if _, err := c.call(ctx, http.MethodGet, p, nil, nil, &page); err != nil {
			return nil, err
		}
		items = append(items, page.Items[:min(len(page.Items), most-len(items))]...)
		if after = page.Next; after == "" || len(items) == most {
			return items, nil
		}
	}
}

// everything asks collect for every item there is.
const everything = 1 << 40

// printJSON prints a value as indented JSON.
func printJSON(cmd *cobra.Command, v any) error {
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// table prints rows in columns under a heading.
func table(cmd *cobra.Command, heading string, rows [][]string) error {
	var padded bytes.Buffer
	w := tabwriter.NewWriter(&padded, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, heading)
	for _, r := range rows {
		for i, cell := range r {
			r[i] = printable(cell)
		}
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(padded.String()) {
		fmt.Fprintln(cmd.OutOrStdout(), strings.TrimRight(line, " \n"))
	}
	return nil
}

// counted is a number of things in words.
func counted(n int, one, many string) string {
	if n == 1 {
		many = one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// clientCommands are the commands beside serve and version.
func clientCommands() []*cobra.Command {
	return []*cobra.Command{
		newPublish(), newTail(), newTable(), newTrace(), newSearch(), newGet(), newApply(), newDiff(), newDelete(), newArchive(), newAttempts(), newDeadLetters(), newReplay(), newSeek(), newPause(), newResume(),
		newScheduled(), newTransactions(), newValidate(), newRules(), newSchema(),
	}
}
