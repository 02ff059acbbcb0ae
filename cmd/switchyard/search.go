package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/api"
)

func newSearch() *cobra.Command {
	var c client
	var ext []string
	var limit int
	var data, follow bool
	texts := map[string]*string{}
	cmd := &cobra.Command{
		Use:   "search",
		Short: "Find stored events by attributes, CEL and deliveries, the newest first",
		Long: "Find stored events. All conditions must hold; values are exact, and one that ends in * is a prefix.\n" +
			"What attributes and deliveries say is found fast; --when and prefixes read every event that the others leave.",
		Example: "  switchyard search --id order-17\n" +
			"  switchyard search --bus orders --type 'com.example.*' --ext tenant=acme --from 2026-11-01T00:00:00Z\n" +
			"  switchyard search --bus orders --status dead --when 'event.data.total > 100' -o json",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := url.Values{}
			for name, text := range texts {
				if *text != "" {
					v.Set(name, *text)
				}
			}
			for _, x := range ext {
				name, value, ok := strings.Cut(x, "=")
				if !ok {
					return &usageError{fmt.Errorf("--ext %q is not NAME=VALUE", x)}
				}
				v.Set("ext."+name, value)
			}
			if limit < 1 || limit > 1000 {
				return &usageError{errors.New("--limit takes a number from 1 to 1000")}
			}
			if data {
				v.Set("data", "true")
			}
			v.Set("limit", strconv.Itoa(limit))
			if err := warnWhen(cmd, *texts["when"]); err != nil {
				return err
			}
			p := newProgress(cmd.ErrOrStderr())
			if follow && p.w == nil {
				p.w = cmd.ErrOrStderr()
			}
			found, err := search(cmd, &c, v, p)
			if err != nil {
				return err
			}
			if c.out.json() {
				return printJSON(cmd, found)
			}
			showFound(cmd, found)
			return nil
		},
	}
	c.flags(cmd)
	f := cmd.Flags()
	for _, d := range [...][2]string{
		{"bus", "buses, separated by commas; all by default"}, {"from", "from this RFC 3339 time or, with one bus, sequence on"}, {"to", "up to this time or sequence"},
		{"id", "the event's id"}, {"source", "its source"}, {"type", "its type"}, {"subject", "its subject"}, {"when", "a filter in CEL"},
		{"status", "with a delivery that is queued, inflight, retrying, delivered, dead or expired"},
		{"rule", "with a delivery of this rule"}, {"target", "with a delivery to this target"},
		{"order", "newest or oldest first"}, {"after", "go on with the next of a search before"},
	} {
		texts[d[0]] = f.String(d[0], "", d[1])
	}
	f.StringArrayVar(&ext, "ext", nil, "an extension, as NAME=VALUE; may be repeated")
	f.IntVar(&limit, "limit", 20, "events at most")
	f.BoolVar(&data, "data", false, "show the events' data too")
	f.BoolVar(&follow, "follow-progress", false, "tell the progress on stderr also when that is no terminal")
	return cmd
}

// search makes one search, and tells its progress.
func search(cmd *cobra.Command, c *client, v url.Values, p *progress) (out api.SearchResults, err error) {
	res, err := c.send(cmd.Context(), http.MethodGet, "/v1/events/search?"+v.Encode(), http.Header{"Accept": {"text/event-stream"}}, nil)
	if err != nil {
		return out, err
	}
	defer res.Body.Close()
	defer p.end()
	return longAnswer[api.SearchResults](c, res, func(now api.SearchProgress) {
		p.line("%d found; %d events read, %d passed over", now.Found, now.Scanned, now.Skipped)
	})
}

func showFound(cmd *cobra.Command, found api.SearchResults) {
	w := cmd.OutOrStdout()
	for _, it := range found.Items {
		fmt.Fprintf(w, "%s #%d  %s  %s\n", it.Bus, it.Sequence, it.Recorded.Local().Format(clockTime), headline(it.Event))
		for _, d := range it.Deliveries {
			fmt.Fprintf(w, "  rule %s → target %s: %s after %s", d.Rule, d.Target, d.Status, counted(d.Attempts, "attempt", "attempts"))
			if d.LastError != "" {
				fmt.Fprintf(w, " (%s)", d.LastError)
			}
			fmt.Fprintln(w)
		}
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s; %d read, %d passed over\n", counted(len(found.Items), "event", "events"), found.Scanned, found.Skipped)
	if found.Next != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "there may be more; go on with --after %s\n", found.Next)
	}
}
