package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/api"
)

func newDeadLetters() *cobra.Command {
	cmd := &cobra.Command{
		Use: "deadletters", Short: "List, redrive or purge deliveries that were given up",
	}
	cmd.AddCommand(newDeadList(),
		newDeadSelect("redrive", "redriven", "Put dead letters back into the queue, with fresh budgets; all without a selection", false),
		newDeadSelect("purge", "purged", "Drop dead letters; say which", true))
	return cmd
}

// subscriptionPath is the address of a subscription.
func subscriptionPath(name string) (string, error) {
	rule, target, ok := strings.Cut(name, "/")
	if !ok || rule == "" || target == "" {
		return "", &usageError{fmt.Errorf("%q is not a subscription; write RULE/TARGET (switchyard get subscriptions lists them)", name)}
	}
	return "/v1/subscriptions/" + url.PathEscape(rule) + "/" + url.PathEscape(target), nil
}

// deadPath is the address of a subscription's dead letters.
func deadPath(name string) (string, error) {
	path, err := subscriptionPath(name)
	return path + "/deadletters", err
}

func newDeadList() *cobra.Command {
	var c client
	var most int
	cmd := &cobra.Command{
		Use: "list RULE/TARGET", Short: "List dead letters with their attempts", Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := deadPath(args[0])
			if err != nil {
				return err
			}
			if err := checkLimit(most); err != nil {
				return err
			}
			items, err := collect[api.DeadLetter](cmd.Context(), &c, path, most)
			if err != nil {
				return err
			}
			if c.out.json() {
				return printJSON(cmd, items)
			}
			if len(items) == most {
				fmt.Fprintf(cmd.ErrOrStderr(), "the first %d; there may be more, --limit shows them\n", most)
			}
			if len(items) == 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "%s has no dead letters\n", args[0])
			}
			for _, l := range items {
				var e struct{ ID, Source, Type string }
				if err := json.Unmarshal(l.Event, &e); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s  %s #%d  %s  id %s  source %s\n    died %s: %s\n",
					l.ID, l.Bus, l.Sequence, printable(e.Type), printable(e.ID), printable(e.Source), l.Died.Local().Format(clockTime), l.Reason)
				showAttempts(cmd, "    ", l.Attempts, false)
			}
			return nil
		},
	}
	c.flags(cmd)
	cmd.Flags().IntVar(&most, "limit", 100, "show at most this many, oldest first")
	return cmd
}

// newDeadSelect makes redrive or purge. Purging everything must be said.
func newDeadSelect(verb, done, short string, sayAll bool) *cobra.Command {
	var c client
	var sel api.DeadSelection
	var all bool
	cmd := &cobra.Command{
		Use: verb + " RULE/TARGET", Short: short, Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := deadPath(args[0])
			if err != nil {
				return err
			}
			if sayAll && len(sel.IDs) == 0 && sel.When == "" && !all {
				return &usageError{errors.New("say which: --id, --when or --all")}
			}
			if all {
				sel.All = &all
			}
			if err := warnWhen(cmd, sel.When); err != nil {
				return err
			}
			body, err := json.Marshal(sel)
			if err != nil {
				return err
			}
			var n api.Count
			if _, err := c.call(cmd.Context(), http.MethodPost, path+"/"+verb, jsonBody(), body, &n); err != nil {
				return err
			}
			if c.out.json() {
				return printJSON(cmd, n)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s of %s\n", done, counted(n.Count, "dead letter", "dead letters"), args[0])
			return nil
		},
	}
	c.flags(cmd)
	cmd.Flags().StringArrayVar(&sel.IDs, "id", nil, "this delivery; may be repeated")
	cmd.Flags().StringVar(&sel.When, "when", "", "those whose event this CEL filter matches")
	cmd.Flags().BoolVar(&all, "all", false, "all of them")
	return cmd
}
