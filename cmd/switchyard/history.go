package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/api"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/configs"
)

// history is rules test --history: a dry run over the events that a server has
// stored.
type history struct {
	on             bool
	rule           string
	bus            string
	filter         map[string]*string // by dialect
	block          json.RawMessage    // the transform of a rule of a file
	own            bool               // the rule is one of a file
	from, to       string
	limit, samples int
}

func (h *history) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&h.rule, "rule", "", "only this rule")
	f.BoolVar(&h.on, "history", false, "try a rule or a filter on the events that the server has stored")
	h.filter = map[string]*string{}
	for _, d := range [...][2]string{{"when", "a filter in CEL"}, {"pattern", "an event pattern, as JSON"},
		{"filters", "a list of filters of the CloudEvents Subscriptions API, as JSON"}, {"sql", "a filter in CloudEvents SQL"}} {
		h.filter[d[0]] = f.String(d[0], "", "with --history: "+d[1]+", in place of a rule")
	}
	f.StringVar(&h.bus, "bus", "", "with a filter: the bus whose events are meant")
	f.StringVar(&h.from, "from", "", "with --history: from this sequence or RFC 3339 time on")
	f.StringVar(&h.to, "to", "", "with --history: up to this sequence or time")
	f.IntVar(&h.limit, "limit", 0, "with --history: look at this many events at most; 0 is all")
	f.IntVar(&h.samples, "samples", 10, "with --history: show this many matches, near misses and failures")
}

// check refuses flags that do not go together.
func (h *history) check(cmd *cobra.Command, args []string) error {
	if !h.on {
		for _, name := range []string{"when", "pattern", "filters", "sql", "bus", "from", "to", "limit", "samples", "server"} {
			if cmd.Flags().Changed(name) {
				return &usageError{fmt.Errorf("--%s goes with --history", name)}
			}
		}
		return nil
	}
	filters := 0
	for _, name := range slices.Sorted(maps.Keys(h.filter)) {
		if !cmd.Flags().Changed(name) {
			continue
		}
		filters++
		if text := *h.filter[name]; (name == "pattern" || name == "filters") && !json.Valid([]byte(text)) {
			return &usageError{fmt.Errorf("--%s takes JSON, and %q is none", name, text)}
		}
	}
	switch {
	case filters > 1 || filters == 1 && (h.rule != "" || len(args) > 0) || filters+len(args) == 0 && h.rule == "":
		return &usageError{errors.New("--history takes one of: --rule, CONFIG with --rule, or a filter (--when, --pattern, --filters or --sql) with --bus")}
	case len(args) == 0 && (filters == 0) != (h.bus == ""):
		return &usageError{errors.New("--bus goes with a filter (--when, --pattern, --filters or --sql), and such a filter with --bus")}
	case h.limit < 0 || h.samples < 0:
		return &usageError{errors.New("--limit and --samples take numbers from 0")}
	}
	return nil
}

// take makes a rule of a configuration the one that is tried.
func (h *history) take(cfg *configs.Config, file string) error {
	if n := cfg.Rules.Len(); h.rule == "" && n != 1 {
		return &usageError{fmt.Errorf("%s has %s; say which with --rule", file, counted(n, "rule", "rules"))}
	}
	for name := range cfg.Rules.All() {
		h.rule = cmp.Or(h.rule, name) // the only one
	}
	rule := cfg.Rules.At(h.rule)
	object, _ := cfg.Object(configs.Rules, h.rule)
	var written struct {
		When, SQL, Pattern, Filters, Transform json.RawMessage
	}
	if err := json.Unmarshal(object.Raw, &written); err != nil {
		return err
	}
	for _, part := range []json.RawMessage{written.When, written.SQL, written.Pattern, written.Filters, written.Transform} {
		if text := string(part); strings.Contains(text, "${env:") || strings.Contains(text, "${file:") {
			return &usageError{fmt.Errorf("rule %q has a reference in its filter or its transform, and what that stands for is not sent; try the rule that is in force, without %s", h.rule, file)}
		}
	}
	h.own, h.block = true, written.Transform
	if h.bus == "" {
		h.bus = rule.Bus
	}
	*h.filter["when"], *h.filter["sql"] = rule.Filter.When, rule.Filter.SQL
	*h.filter["pattern"], *h.filter["filters"] = rule.Filter.Pattern, rule.Filter.Filters
	return nil
}

// historyRequest is the request of a dry run.
type historyRequest struct {
	Rule      string              `json:"rule,omitempty"`
	Bus       string              `json:"bus,omitempty"`
	Filter    *api.RuleTestFilter `json:"filter,omitempty"`
	Transform json.RawMessage     `json:"transform,omitempty"`
	Enriched  json.RawMessage     `json:"enriched,omitempty"`
	From      any                 `json:"from"`
	To        any                 `json:"to,omitempty"`
	Limit     int                 `json:"limit,omitempty"`
	Samples   int                 `json:"samples"`
}

// run asks until everything was looked at: one request takes a bounded time.
func (h *history) run(cmd *cobra.Command, c *client, enriched json.RawMessage) error {
	req := historyRequest{Rule: h.rule, Bus: h.bus, Enriched: enriched, From: "0", Limit: h.limit, Samples: h.samples}
	if h.rule == "" || h.own {
		req.Rule, req.Transform = "", h.block
		req.Filter = &api.RuleTestFilter{
			When: *h.filter["when"], SQL: *h.filter["sql"],
			Pattern: json.RawMessage(*h.filter["pattern"]), Filters: json.RawMessage(*h.filter["filters"]),
		}
	}
	if h.from != "" {
		req.From = h.from
	}
	if h.to != "" {
		req.To = h.to
	}
	progress := newProgress(cmd.ErrOrStderr())
	defer progress.end()
	sum := api.RuleHistory{Complete: true, Matches: []api.HistoryMatch{}, NearMisses: []api.HistoryMiss{}, Failures: []api.HistoryFailure{}}
	for {
		page, err := h.ask(cmd, c, req, func(p api.HistoryProgress) {
			progress.show(sum.Scanned+p.Scanned, sum.Matched+p.Matched, p.At, p.Last)
		})
		if err != nil {
			return err
		}
		h.add(&sum, page)
		if page.Complete || h.limit > 0 && sum.Scanned >= uint64(h.limit) {
			break
		}
		req.From = page.Next
		if h.limit > 0 {
			req.Limit = h.limit - int(sum.Scanned)
		}
	}
	progress.end()
	if c.out.json() {
		return printJSON(cmd, sum)
	}
	h.print(cmd, &sum)
	return nil
}

// ask makes one request, and tells the progress that the server sends.
func (h *history) ask(cmd *cobra.Command, c *client, req historyRequest, progress func(api.HistoryProgress)) (out api.RuleHistory, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return out, err
	}
	header := jsonBody()
	header.Set("Accept", "text/event-stream")
	res, err := c.send(cmd.Context(), http.MethodPost, "/v1/rules/test", header, body)
	if err != nil {
		return out, err
	}
	defer res.Body.Close()
	return longAnswer[api.RuleHistory](c, res, progress)
}

// add takes up what another request has found.
func (h *history) add(sum *api.RuleHistory, page api.RuleHistory) {
	sum.Scanned += page.Scanned
	sum.Matched += page.Matched
	sum.Failed += page.Failed
	sum.TransformFailed += page.TransformFailed
	if sum.From == 0 {
		sum.From = page.From
	}
	if page.To > 0 {
		sum.To = page.To
	}
	sum.Complete, sum.Next, sum.Note = page.Complete, page.Next, page.Note
	sum.Matches = firstOf(h.samples, append(page.Matches, sum.Matches...))
	sum.Failures = firstOf(h.samples, append(page.Failures, sum.Failures...))
	misses := append(page.NearMisses, sum.NearMisses...)
	slices.SortStableFunc(misses, func(a, b api.HistoryMiss) int { return cmp.Compare(a.Misses, b.Misses) })
	sum.NearMisses = firstOf(h.samples, misses)
}

// print shows what was found.
func (h *history) print(cmd *cobra.Command, r *api.RuleHistory) {
	w := cmd.OutOrStdout()
	what := h.rule
	if what == "" {
		what = "the filter"
	}
	fmt.Fprintf(w, "%s matches %d of %s", what, r.Matched, counted(int(r.Scanned), "event", "events"))
	if r.Scanned > 0 {
		fmt.Fprintf(w, ", #%d to #%d", r.From, r.To)
	}
	fmt.Fprintln(w)
	if r.Failed > 0 {
		fmt.Fprintf(w, "  its filter fails on %d, which it does not match\n", r.Failed)
	}
	if r.TransformFailed > 0 {
		fmt.Fprintf(w, "  its transform fails on %d of those that match\n", r.TransformFailed)
	}
	if !r.Complete {
		fmt.Fprintf(w, "  there are more; go on with --from %d\n", r.Next)
	}
	if r.Note != "" {
		fmt.Fprintf(w, "  %s\n", r.Note)
	}
	heading(w, len(r.Matches), "the last matches, as they would be delivered")
	for _, m := range r.Matches {
		fmt.Fprintf(w, "  #%d  %s\n", m.Sequence, headline(m.Event))
	}
	heading(w, len(r.NearMisses), "near misses")
	for _, m := range r.NearMisses {
		fmt.Fprintf(w, "  #%d  %s", m.Sequence, m.Explanation.Summary)
		if m.Misses > 1 {
			fmt.Fprintf(w, " (%d conditions say no)", m.Misses)
		}
		fmt.Fprintln(w)
	}
	heading(w, len(r.Failures), "the last failures")
	for _, f := range r.Failures {
		why := f.Error
		if f.Explanation != nil {
			why = f.Explanation.Summary
		}
		fmt.Fprintf(w, "  #%d  %s: %s\n", f.Sequence, f.Stage, why)
	}
}

func heading(w io.Writer, n int, text string) {
	if n > 0 {
		fmt.Fprintf(w, "%s:\n", text)
	}
}

// headline is an event in one line.
func headline(raw json.RawMessage) string {
	ev, err := event.FromStructured(raw, event.Limits{MaxEventSize: maxReply})
	if err != nil {
		return string(raw)
	}
	parts := []string{ev.Type(), ev.ID(), ev.Subject()}
	for i, p := range parts {
		parts[i] = printable(p)
	}
	parts = append(parts, shortData(ev))
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), "  ")
}

// shortData is the start of dataLine.
func shortData(ev *event.Event) string {
	data := dataLine(ev)
	if short := []rune(data); len(short) > 100 {
		data = string(short[:100]) + "…"
	}
	return data
}

// dataLine is an event's data in one line, if it is JSON or text.
func dataLine(ev *event.Event) string {
	switch ev.Format() {
	case event.JSON:
		var compact bytes.Buffer
		if json.Compact(&compact, ev.Data()) == nil {
			return printable(compact.String())
		}
	case event.Text:
		return printable(strings.TrimRight(string(ev.Data()), "\n"))
	}
	return ""
}

// printable is text in one line that does not change how a terminal shows the rest.
func printable(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// progress is a line that is written again and again, on a terminal only.
type progress struct {
	w     io.Writer // nil: nobody sees it
	shown bool
}

func newProgress(w io.Writer) *progress {
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return &progress{w: w}
		}
	}
	return &progress{}
}

func (p *progress) show(scanned, matched, at, last uint64) {
	p.line("%d of %d events match; at #%d of #%d", matched, scanned, at, last)
}

// line writes the line anew: over the one before on a terminal, else below it.
func (p *progress) line(format string, args ...any) {
	if p.w == nil {
		return
	}
	if f, ok := p.w.(*os.File); ok && newProgress(f).w != nil {
		fmt.Fprintf(p.w, "\r\x1b[K"+format, args...)
		p.shown = true
		return
	}
	fmt.Fprintf(p.w, format+"\n", args...)
}

// end takes the line away.
func (p *progress) end() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}

// firstOf is the first of a list, so many at most.
func firstOf[T any](most int, list []T) []T { return list[:min(most, len(list))] }
