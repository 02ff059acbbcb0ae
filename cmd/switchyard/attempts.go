package main

import (
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/api"
)

func newAttempts() *cobra.Command {
	var c client
	var most int
	var status string
	cmd := &cobra.Command{
		Use: "attempts RULE/TARGET", Short: "List recent attempts at the deliveries of a subscription",
		Long: "List recent attempts at the deliveries of a subscription: those of the newest event\n" +
			"first, and of one event the latest first. Attempts are kept as long as their events.",
		Example: "  switchyard attempts large-eu-orders/crm\n" +
			"  switchyard attempts large-eu-orders/crm --status failed -o json",
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := subscriptionPath(args[0])
			if err != nil {
				return err
			}
			if err := checkLimit(most); err != nil {
				return err
			}
			path += "/attempts"
			if status != "" {
				path += "?status=" + url.QueryEscape(status)
			}
			items, err := collect[api.RecentAttempt](cmd.Context(), &c, path, most)
			if err != nil {
				return err
			}
			if c.out.json() {
				return printJSON(cmd, items)
			}
			if len(items) == most {
				fmt.Fprintf(cmd.ErrOrStderr(), "the newest %d; there may be more, --limit shows them\n", most)
			}
			if len(items) == 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "%s has no such attempts\n", args[0])
			}
			for i := range items {
				a := &items[i]
				if i == 0 || items[i-1].Delivery != a.Delivery {
					fmt.Fprintf(cmd.OutOrStdout(), "%s #%d  %s\n", a.Bus, a.Sequence, a.Delivery)
				}
				showAttempts(cmd, "    ", []api.AttemptTrace{a.AttemptTrace}, false)
			}
			return nil
		},
	}
	c.flags(cmd)
	cmd.Flags().IntVar(&most, "limit", 20, "show at most this many")
	cmd.Flags().StringVar(&status, "status", "", "only ok, failed, a status code, a range such as 5xx, or a class of failures such as timeout")
	return cmd
}
