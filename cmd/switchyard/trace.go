package main

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/api"
)

func newTrace() *cobra.Command {
	var c client
	var explain string
	cmd := &cobra.Command{
		Use:   "trace BUS SEQUENCE",
		Short: "Show what happened to an event",
		Example: "  switchyard trace orders 17\n" +
			"  switchyard trace orders 17 --explain large-eu-orders",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if n, err := strconv.ParseUint(args[1], 10, 64); err != nil || n == 0 {
				return &usageError{fmt.Errorf("%q is not a sequence; publish, tail and the log print the sequence of an event", args[1])}
			}
			var t api.TraceResponse
			path := "/v1/buses/" + url.PathEscape(args[0]) + "/events/" + url.PathEscape(args[1]) + "/trace"
			if explain != "" {
				path += "?explain=" + url.QueryEscape(explain)
			}
			if _, err := c.call(cmd.Context(), http.MethodGet, path, nil, nil, &t); err != nil {
				return err
			}
			if c.out.json() {
				return printJSON(cmd, t)
			}
			showTrace(cmd, t)
			return nil
		},
	}
	c.flags(cmd)
	cmd.Flags().StringVar(&explain, "explain", "", "say why this rule, as it is now, matches the event or does not; '*' is every rule of the bus")
	return cmd
}

// clockTime is how a trace shows times.
const clockTime = "2006-01-02 15:04:05.000"

func showTrace(cmd *cobra.Command, t api.TraceResponse) {
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "%s #%d  %s  id %s  source %s\n", t.Bus, t.Sequence, t.Type, t.ID, t.Source)
	fmt.Fprintf(w, "  %s  received via %s\n", t.Received.Local().Format(clockTime), t.Via)
	switch {
	case !t.Routed:
		fmt.Fprintln(w, "  not routed yet")
	case t.Archived:
		fmt.Fprintln(w, "  read from the archive; its timeline went with the bus's own retention")
	case len(t.Deliveries) == 0:
		fmt.Fprintln(w, "  no rule matched, or what it matched was purged")
	}
	for _, d := range t.Deliveries {
		fmt.Fprintf(w, "  rule %s → target %s: %s", d.Rule, d.Target, d.State)
		if d.Reason != "" {
			fmt.Fprintf(w, " (%s)", d.Reason)
		}
		if d.NextAt != nil && time.Until(*d.NextAt) > 0 { // else it waits for something else, such as a pause
			fmt.Fprintf(w, ", next attempt in %s", time.Until(*d.NextAt).Round(time.Second))
		}
		fmt.Fprintln(w)
		showAttempts(cmd, "    ", d.Attempts)
	}
	for _, f := range t.Failed {
		if slices.ContainsFunc(t.Explained, func(r api.ExplainedRule) bool { return r.Rule == f.Rule }) {
			continue // below
		}
		fmt.Fprintf(w, "  rule %s does not match: its filter fails: %s\n", f.Rule, f.Error)
	}
	for _, r := range t.Explained {
		verdict := unmatched(r.Explanation)
		if r.Matched {
			verdict = "matches"
		}
		fmt.Fprintf(w, "  rule %s %s: %s\n", r.Rule, verdict, r.Explanation.Summary)
		showConditions(cmd, "    ", r.Explanation)
	}
}

// showAttempts prints attempt records, one a line.
func showAttempts(cmd *cobra.Command, indent string, attempts []api.AttemptTrace) {
	for _, a := range attempts {
		result := "delivered"
		if a.Error != "" {
			result = a.Error
		}
		if a.Status != 0 && a.Error == "" {
			result += fmt.Sprintf(" (%d)", a.Status)
		}
		trigger := a.Trigger
		if a.Waited != "" {
			trigger += ", waited for " + a.Waited
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s%s  attempt %d (%s)  %s  %s\n", indent, a.Started.Local().Format(clockTime), a.Number, trigger, a.Duration, result)
		if detail := attemptDetail(&a); detail != "" {
			fmt.Fprintf(cmd.OutOrStdout(), "%s    %s\n", indent, detail)
		}
	}
}

// attemptDetail is what one more line says of an attempt: its address, its
// phases, the class of its failure and when it is tried again.
func attemptDetail(a *api.AttemptTrace) string {
	var parts []string
	if a.Address != "" && (a.Class != "" || a.Phases != nil) {
		parts = append(parts, a.Address)
	}
	if a.Class != "" {
		parts = append(parts, "class "+a.Class)
	}
	if p := a.Phases; p != nil {
		for _, step := range [...]struct{ name, took string }{{"dns", p.DNS}, {"connect", p.Connect}, {"tls", p.TLS}, {"first byte", p.FirstByte}} {
			if step.took != "" {
				parts = append(parts, step.name+" "+step.took)
			}
		}
	}
	if a.NextAt != nil {
		parts = append(parts, "next at "+a.NextAt.Local().Format(clockTime))
	}
	return strings.Join(parts, ", ")
}
