package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/api"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/configs"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/transform"
)

func newRules() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rules", Short: "Try rules out",
	}
	cmd.AddCommand(newRulesTest())
	return cmd
}

// ruleOutcome is what one rule makes of one event.
type ruleOutcome struct {
	Rule        string            `json:"rule"`
	Matched     bool              `json:"matched"`
	Explanation rules.Explanation `json:"explanation"`
	Error       string            `json:"error,omitempty"`
	Event       json.RawMessage   `json:"event,omitempty"`
	Class       string            `json:"class"`
	ClassReason string            `json:"classReason,omitempty"`
}

// fixtureOutcome is how one fixture of a configuration went.
type fixtureOutcome struct {
	Rule     string   `json:"rule"`
	Test     int      `json:"test"`
	Place    string   `json:"place"`
	Passed   bool     `json:"passed"`
	Problems []string `json:"problems,omitempty"`

	Explanation *rules.Explanation `json:"explanation,omitempty"`
}

func newRulesTest() *cobra.Command {
	var c client
	var h history
	var env envFile
	var answers string
	out := &c.out
	cmd := &cobra.Command{
		Use:   "test CONFIG [EVENT] | test --history [CONFIG]",
		Short: "Run a configuration's tests, or its rules on an event or on stored events",
		Long: "Without EVENT: run the tests that stand with the rules of CONFIG (a file or folder).\n" +
			"With EVENT, a file with one CloudEvent in the JSON format (- is standard input): show what each rule makes of it.\n" +
			"With --history: ask a running server what a rule makes of the events that it has stored: one that is in force there (--rule),\n" +
			"one of CONFIG that need not be, or a filter (--when, --pattern, --filters or --sql, with --bus).\n" +
			"Nothing is sent. Exit code 1 says that a test failed.",
		Example: "  switchyard rules test configs/quickstart.yaml\n" +
			"  switchyard rules test configs/quickstart.yaml event.json --rule large-eu-orders\n" +
			"  switchyard rules test --history --rule large-eu-orders\n" +
			"  switchyard rules test --history configs/quickstart.yaml --rule large-eu-orders\n" +
			"  switchyard rules test --history --bus orders --when 'event.data.total > 50' --from 2026-11-01T00:00:00Z",
		Args: func(cmd *cobra.Command, args []string) error {
			if h.on {
				return arguments(0, 1)(cmd, args)
			}
			return arguments(1, 2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := h.check(cmd, args); err != nil {
				return err
			}
			enriched, err := readEnriched(cmd, answers, h.on || len(args) == 2)
			if err != nil {
				return err
			}
			if h.on && len(args) == 0 {
				return h.run(cmd, &c, enriched)
			}
			rule := h.rule
			loader, err := newLoader()
			if err != nil {
				return err
			}
			if err := env.use(loader); err != nil {
				return err
			}
			cfg, err := loadFile(loader, args[0], cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if _, ok := cfg.Rules.Get(rule); rule != "" && !ok {
				return &usageError{fmt.Errorf("%s has no rule %q", args[0], rule)}
			}
			if h.on {
				if err := h.take(cfg, args[0]); err != nil {
					return err
				}
				return h.run(cmd, &c, enriched)
			}
			if len(args) == 1 {
				return runFixtures(cmd, cfg, rule, out)
			}
			data, err := readInput(cmd, args[1])
			if err != nil {
				return err
			}
			ev, err := api.TestEvent(data)
			if err != nil {
				return &usageError{fmt.Errorf("%s: %w", args[1], err)}
			}
			tree, err := api.TestEnriched(enriched)
			if err != nil {
				return &usageError{fmt.Errorf("%s: %w", answers, err)}
			}
			return tryRules(cmd, cfg, rule, ev, tree, out)
		},
	}
	c.flags(cmd)
	h.flags(cmd)
	env.flag(cmd)
	cmd.Flags().StringVar(&answers, "enriched", "", "a JSON file of what the rules' enrichments answer, by name; none is called")
	return cmd
}

// readEnriched reads the file of answers, if one is named.
func readEnriched(cmd *cobra.Command, file string, event bool) (json.RawMessage, error) {
	switch {
	case file == "":
		return nil, nil
	case !event:
		return nil, &usageError{errors.New("--enriched goes with an event or --history; a configuration's tests have their own answers")}
	}
	return readInput(cmd, file)
}

// runFixtures runs the tests that stand with rules.
func runFixtures(cmd *cobra.Command, cfg *configs.Config, rule string, out *output) error {
	results := []fixtureOutcome{}
	failed := 0
	for _, r := range configs.RunFixtures(cfg) {
		if rule != "" && r.Rule != rule {
			continue
		}
		if !r.Passed {
			failed++
		}
		results = append(results, fixtureOutcome{r.Rule, r.Number, r.Origin.String(), r.Passed, r.Problems, r.Explanation})
	}
	if out.json() {
		if err := printJSON(cmd, results); err != nil {
			return err
		}
	} else {
		w := cmd.OutOrStdout()
		for _, r := range results {
			verdict := "ok  "
			if !r.Passed {
				verdict = "FAIL"
			}
			fmt.Fprintf(w, "%s  %s, test %d (%s)\n", verdict, r.Rule, r.Test, r.Place)
			for _, p := range r.Problems {
				fmt.Fprintf(w, "      %s\n", p)
			}
			if r.Explanation != nil {
				fmt.Fprintf(w, "      %s\n", r.Explanation.Summary)
				showConditions(cmd, "        ", *r.Explanation)
			}
		}
		if len(results) == 0 {
			fmt.Fprintln(w, "no rule has tests")
		}
		fmt.Fprintf(w, "%d passed, %d failed\n", len(results)-failed, failed)
	}
	if failed > 0 {
		return errors.Join(fmt.Errorf("%s failed", counted(failed, "test", "tests")), errReported)
	}
	return nil
}

// tryRules shows what rules make of an event.
func tryRules(cmd *cobra.Command, cfg *configs.Config, only string, ev *event.Event, enriched *event.Tree, out *output) error {
	outcomes := []ruleOutcome{}
	for name, r := range cfg.Rules.All() {
		if only != "" && name != only {
			continue
		}
		res := api.TryRule(r.Matcher, r.Transform, transform.Context{Bus: r.Bus, Rule: name, Enriched: enriched}, ev)
		o := ruleOutcome{Rule: name, Matched: res.Matched, Explanation: res.Explanation, Error: res.Error, Event: res.Event}
		if res.Matched && res.Error != "" {
			o.Error = "transform: " + strings.TrimPrefix(res.Error, "transform: ")
		}
		class, reason := r.Matcher.Class()
		o.Class, o.ClassReason = class.String(), reason
		outcomes = append(outcomes, o)
	}
	sort.Slice(outcomes, func(i, j int) bool { return outcomes[i].Rule < outcomes[j].Rule })
	if out.json() {
		return printJSON(cmd, outcomes)
	}
	w := cmd.OutOrStdout()
	for _, o := range outcomes {
		switch {
		case !o.Matched:
			fmt.Fprintf(w, "%s: %s: %s\n", o.Rule, unmatched(o.Explanation), o.Explanation.Summary)
			showConditions(cmd, "    ", o.Explanation)
		case o.Error != "":
			fmt.Fprintf(w, "%s: matches (%s)\n", o.Rule, o.Error)
		default:
			fmt.Fprintf(w, "%s: matches\n", o.Rule)
		}
		fmt.Fprintf(w, "    class: %s\n", strings.TrimSuffix(o.Class+"; "+o.ClassReason, "; "))
		if o.Event != nil {
			shown, err := json.MarshalIndent(o.Event, "    ", "  ")
			if err != nil {
				shown = o.Event
			}
			fmt.Fprintf(w, "    %s\n", strings.TrimSpace(string(shown)))
		}
	}
	return nil
}

// unmatched says whether a filter said no to an event or failed on it.
func unmatched(e rules.Explanation) string {
	if slices.ContainsFunc(e.Conditions, func(c rules.Condition) bool { return c.Decides && c.Outcome == rules.OutcomeFailed }) {
		return "fails, so it does not match"
	}
	return "does not match"
}

// showConditions prints what each of several conditions saw, the one that
// decides marked.
func showConditions(cmd *cobra.Command, indent string, e rules.Explanation) {
	if len(e.Conditions) < 2 {
		return // the summary says it
	}
	outcomes := map[string]string{rules.OutcomeTrue: "yes", rules.OutcomeFalse: "no", rules.OutcomeFailed: "fails", rules.OutcomeNotEvaluated: "-"}
	for _, c := range e.Conditions {
		mark, note := " ", c.Note
		if c.Decides {
			mark = ">"
		}
		if c.NotNeeded {
			note += " (not needed)"
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s%s %-5s  %s: %s\n", indent, mark, outcomes[c.Outcome], c.Text, note)
	}
	if e.More > 0 {
		fmt.Fprintf(cmd.OutOrStdout(), "%s  and %s more\n", indent, counted(e.More, "condition", "conditions"))
	}
}
