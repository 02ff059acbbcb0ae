package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/api"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/configs"
	"github.com/switchyard-dev/switchyard/transform"
)

func newRules() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rules", Short: "Work with rules offline",
		Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRulesTest())
	return cmd
}

// ruleOutcome is what one rule makes of one event.
type ruleOutcome struct {
	Rule    string          `json:"rule"`
	Matched bool            `json:"matched"`
	Error   string          `json:"error,omitempty"`
	Event   json.RawMessage `json:"event,omitempty"`
}

// fixtureOutcome is how one fixture of a configuration went.
type fixtureOutcome struct {
	Rule     string   `json:"rule"`
	Test     int      `json:"test"`
	Place    string   `json:"place"`
	Passed   bool     `json:"passed"`
	Problems []string `json:"problems,omitempty"`
}

func newRulesTest() *cobra.Command {
	var out output
	var rule string
	cmd := &cobra.Command{
		Use:   "test CONFIG [EVENT]",
		Short: "Run a configuration's tests, or its rules on an event",
		Long: "Without EVENT: run the tests that stand with the rules of CONFIG (a file or folder).\n" +
			"With EVENT, a file with one CloudEvent in the JSON format (- is standard input): show what each rule makes of it.\n" +
			"Nothing is sent. Exit code 1 says that a test failed.",
		Example: "  switchyard rules test configs/quickstart.yaml\n" +
			"  switchyard rules test configs/quickstart.yaml event.json --rule large-eu-orders",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			loader, err := newLoader()
			if err != nil {
				return err
			}
			cfg, err := loadFile(loader, args[0], cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if _, ok := cfg.Rules[rule]; rule != "" && !ok {
				return &usageError{fmt.Errorf("%s has no rule %q", args[0], rule)}
			}
			if len(args) == 1 {
				return runFixtures(cmd, cfg, rule, &out)
			}
			data, err := readInput(cmd, args[1])
			if err != nil {
				return err
			}
			ev, err := api.TestEvent(data)
			if err != nil {
				return &usageError{fmt.Errorf("%s: %w", args[1], err)}
			}
			return tryRules(cmd, cfg, rule, ev, &out)
		},
	}
	out.flag(cmd)
	cmd.Flags().StringVar(&rule, "rule", "", "only this rule")
	return cmd
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
		results = append(results, fixtureOutcome{r.Rule, r.Number, r.Origin.String(), r.Passed, r.Problems})
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
		}
		if len(results) == 0 {
			fmt.Fprintln(w, "no rule has tests")
		}
		fmt.Fprintf(w, "%d passed, %d failed\n", len(results)-failed, failed)
	}
	if failed > 0 {
		return errors.Join(fmt.Errorf("%d tests failed", failed), errReported)
	}
	return nil
}

// tryRules shows what rules make of an event.
func tryRules(cmd *cobra.Command, cfg *configs.Config, only string, ev *event.Event, out *output) error {
	outcomes := []ruleOutcome{}
	for name, r := range cfg.Rules {
		if only != "" && name != only {
			continue
		}
		res := r.Matcher.Evaluate(ev)
		o := ruleOutcome{Rule: name, Matched: res.Matched, Error: res.Error}
		if res.Matched {
			delivered, err := ev, error(nil)
			if r.Transform != nil {
				delivered, err = r.Transform.ApplyIn(transform.Context{Bus: r.Bus, Rule: name}, ev)
			}
			if err != nil {
				o.Error = "transform: " + err.Error()
			} else {
				o.Event = event.AppendStructured(nil, delivered)
			}
		}
		outcomes = append(outcomes, o)
	}
	sort.Slice(outcomes, func(i, j int) bool { return outcomes[i].Rule < outcomes[j].Rule })
	if out.json() {
		return printJSON(cmd, outcomes)
	}
	w := cmd.OutOrStdout()
	for _, o := range outcomes {
		verdict := "does not match"
		if o.Matched {
			verdict = "matches"
		}
		fmt.Fprintf(w, "%s: %s", o.Rule, verdict)
		if o.Error != "" {
			fmt.Fprintf(w, " (%s)", o.Error)
		}
		fmt.Fprintln(w)
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
