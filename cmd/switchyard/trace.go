package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	var explain, id, source string
	var rules, transforms bool
	cmd := &cobra.Command{
		Use:   "trace BUS SEQUENCE | trace [BUS] --id ID [--source SOURCE]",
		Short: "Show what happened to an event",
		Example: "  switchyard trace orders 17\n" +
			"  switchyard trace orders --id order-7 --source /shop\n" +
			"  switchyard trace orders 17 --explain large-eu-orders\n" +
			"  switchyard trace orders 17 --rules --transforms",
		Args: arguments(0, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			place, err := tracedEvent(cmd, &c, args, id, source)
			if err != nil {
				return err
			}
			var t api.TraceResponse
			path := "/v1/buses/" + url.PathEscape(place.Bus) + "/events/" + strconv.FormatUint(place.Sequence, 10) + "/trace"
			v := url.Values{}
			if explain != "" {
				v.Set("explain", explain)
			}
			if rules {
				v.Set("rules", "true")
			}
			if transforms {
				v.Set("transforms", "true")
			}
			if len(v) > 0 {
				path += "?" + v.Encode()
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
	cmd.Flags().StringVar(&id, "id", "", "the event with this id, in place of SEQUENCE; without BUS in any bus")
	cmd.Flags().StringVar(&source, "source", "", "with --id: of this source")
	cmd.Flags().StringVar(&explain, "explain", "", "say why this rule, as it is now, matches the event or does not; '*' is every rule of the bus")
	cmd.Flags().BoolVar(&rules, "rules", false, "show the rules that matched, as they were")
	cmd.Flags().BoolVar(&transforms, "transforms", false, "show the event before and after the transform of each rule that matched")
	return cmd
}

// tracedEvent is the event that a command line names: by bus and sequence, or by
// its id and perhaps its source, which a search finds.
func tracedEvent(cmd *cobra.Command, c *client, args []string, id, source string) (place api.EventPlace, err error) {
	switch {
	case id == "" && source != "":
		return place, &usageError{errors.New("--source goes with --id")}
	case id == "" && len(args) < 2:
		return place, &usageError{errors.New("say which event: BUS and SEQUENCE, or --id")}
	case id != "" && len(args) > 1:
		return place, &usageError{fmt.Errorf("say which event by its sequence %s or by --id, not by both", args[1])}
	case id == "":
		n, err := strconv.ParseUint(args[1], 10, 64)
		if err != nil || n == 0 {
			return place, &usageError{fmt.Errorf("%q is not a sequence; publish, tail and the log print the sequence of an event, and --id takes its id", args[1])}
		}
		return api.EventPlace{Bus: args[0], Sequence: n}, nil
	}
	v := url.Values{"id": {id}, "limit": {"20"}}
	if source != "" {
		v.Set("source", source)
	}
	if len(args) == 1 {
		v.Set("bus", args[0])
	}
	found, err := search(cmd, c, v, newProgress(cmd.ErrOrStderr()))
	if err != nil {
		return place, err
	}
	switch len(found.Items) {
	case 0:
		return place, fmt.Errorf("no stored event has the id %q%s; one that waits for its time is listed by switchyard scheduled list", id, ofSource(source))
	case 1:
		return api.EventPlace{Bus: found.Items[0].Bus, Sequence: found.Items[0].Sequence}, nil
	}
	places := make([]string, len(found.Items))
	for i, it := range found.Items {
		var e struct{ Source string }
		if err := json.Unmarshal(it.Event, &e); err != nil {
			return place, err
		}
		places[i] = fmt.Sprintf("\n  %s #%d, source %s", it.Bus, it.Sequence, printable(e.Source))
	}
	return place, fmt.Errorf("more than one event has the id %q%s; say which by --source, or by bus and sequence:%s", id, ofSource(source), strings.Join(places, ""))
}

func ofSource(source string) string {
	if source == "" {
		return ""
	}
	return fmt.Sprintf(" and the source %q", source)
}

// clockTime is how a trace shows times.
const clockTime = "2006-01-02 15:04:05.000"

func showTrace(cmd *cobra.Command, t api.TraceResponse) {
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "%s #%d  %s  id %s  source %s\n", t.Bus, t.Sequence, printable(t.Type), printable(t.ID), printable(t.Source))
	fmt.Fprintf(w, "  %s  received %s\n", t.Received.Local().Format(clockTime), cameFrom(&t))
	if t.Archived {
		fmt.Fprintln(w, "  read from the archive")
	}
	switch {
	case !t.Routed:
		fmt.Fprintln(w, "  not routed yet")
	case t.Forgotten && len(t.Deliveries) == 0:
		fmt.Fprintln(w, "  its timeline went with the bus's retention")
	case len(t.Deliveries) == 0:
		fmt.Fprintln(w, "  no rule matched, or what it matched was purged")
	}
	if len(t.Event) > 0 {
		fmt.Fprintf(w, "  event %s\n", t.Event)
	}
	for _, d := range t.Deliveries {
		fmt.Fprintf(w, "  rule %s → target %s: %s", matchedBy(&d), d.Target, d.State)
		if d.Reason != "" {
			fmt.Fprintf(w, " (%s)", d.Reason)
		}
		if d.NextAt != nil && time.Until(*d.NextAt) > 0 { // else it waits for something else, such as a pause
			fmt.Fprintf(w, ", next attempt in %s", max(time.Until(*d.NextAt).Round(time.Second), time.Second))
		}
		if d.Replay != nil {
			what := "replay"
			if d.Replay.Seek {
				what = "a seek,"
			}
			fmt.Fprintf(w, ", queued by %s %s", what, d.Replay.ID)
			if d.Replay.Name != "" && d.Replay.Name != d.Replay.ID {
				fmt.Fprintf(w, " (%s)", d.Replay.Name)
			}
		}
		fmt.Fprintln(w)
		showTransformed(w, d.Transformed)
		showAttempts(cmd, "    ", d.Attempts, d.State != "dead" && d.State != "unknown")
	}
	for _, r := range t.Rules {
		inForce := ""
		if r.Current {
			inForce = ", in force"
		}
		fmt.Fprintf(w, "  rule %s version %d, since %s%s: %s\n", r.Rule, r.Version, r.Since.Local().Format(clockTime), inForce, r.Definition)
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

// matchedBy names the rule of a delivery, with its version if that is known.
func matchedBy(d *api.DeliveryTrace) string {
	name := cmp.Or(d.Rule, "(not known any more)")
	if d.RuleVersion == 0 {
		return name
	}
	name += fmt.Sprintf(" (version %d", d.RuleVersion)
	if d.RuleChanged {
		name += ", changed since"
	}
	return name + ")"
}

// showTransformed prints what a transform makes of an event.
func showTransformed(w io.Writer, t *api.TracedTransform) {
	switch {
	case t == nil:
		return
	case t.Error != "":
		fmt.Fprintf(w, "    the transform fails: %s\n", t.Error)
	case len(t.Event) > 0:
		fmt.Fprintf(w, "    becomes %s\n", t.Event)
	}
	if t.Note != "" {
		fmt.Fprintf(w, "    %s\n", t.Note)
	}
}

// cameFrom says who brought an event, and how.
func cameFrom(t *api.TraceResponse) string {
	o := &t.Origin
	text := "via " + t.Via
	switch {
	case o.Source != "":
		text += " (" + o.Source + ")"
	case o.Principal != "" && "source/"+o.Principal != t.Via:
		text += " from " + o.Principal
	}
	if o.From != nil {
		text += fmt.Sprintf(", made of %s #%d (%s)", cmp.Or(o.From.Bus, "a bus that is gone"), o.From.Sequence, o.Delivery)
	}
	if o.Transaction != "" {
		text += ", committed with " + o.Transaction
	}
	if o.Due != nil && o.Accepted != nil {
		text += fmt.Sprintf(", scheduled at %s for %s", o.Accepted.Local().Format(clockTime), o.Due.Local().Format(clockTime))
	}
	return text
}

// showAttempts prints attempt records, one a line, and each death that the
// delivery was redriven from; lives says that it was from the last one, too.
func showAttempts(cmd *cobra.Command, indent string, attempts []api.AttemptTrace, lives bool) {
	for i, a := range attempts {
		result := "delivered"
		if a.Error != "" {
			result = a.Error
		}
		if a.Status != 0 && a.Error == "" {
			result += fmt.Sprintf(" (%d)", a.Status)
		}
		trigger := a.Trigger
		if a.RuleVersion != 0 {
			trigger += fmt.Sprintf(", rule version %d", a.RuleVersion)
		}
		if a.Waited != "" {
			trigger += ", waited for " + a.Waited
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s%s  attempt %d (%s)  %s  %s\n", indent, a.Started.Local().Format(clockTime), a.Number, trigger, a.Duration, result)
		if detail := attemptDetail(&a); detail != "" {
			fmt.Fprintf(cmd.OutOrStdout(), "%s    %s\n", indent, detail)
		}
		if p := a.Published; p != nil {
			fmt.Fprintf(cmd.OutOrStdout(), "%s    published as %s #%d\n", indent, cmp.Or(p.Bus, "a bus that is gone"), p.Sequence)
		}
		if a.ReplyDropped != "" {
			fmt.Fprintf(cmd.OutOrStdout(), "%s    the reply was dropped: %s\n", indent, printable(a.ReplyDropped))
		}
		if a.Died != nil && (lives || i < len(attempts)-1) {
			fmt.Fprintf(cmd.OutOrStdout(), "%s%s  became a dead letter, and was redriven: %s\n", indent, a.Died.Local().Format(clockTime), printable(a.DiedOf))
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
