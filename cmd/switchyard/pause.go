package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/api"
)

func newPause() *cobra.Command {
	var req api.PauseRequest
	cmd := newPausing("pause", "Stop a subscription's deliveries; what matches is queued meanwhile", "is paused", &req)
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why, for those who look at it")
	return cmd
}

func newResume() *cobra.Command {
	return newPausing("resume", "Go on with a paused subscription's deliveries", "is resumed", &struct{}{})
}

// newPausing makes the two; req is the body of the request.
func newPausing(verb, short, done string, req any) *cobra.Command {
	var c client
	var consumer string
	cmd := &cobra.Command{
		Use: verb + " RULE/TARGET", Short: short,
		Example: "  switchyard " + verb + " large-eu-orders/crm",
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := subscriptionPath(args[0])
			if err != nil {
				return err
			}
			path += "/" + verb
			if consumer != "" {
				path += "?consumer=" + url.QueryEscape(consumer)
			}
			body, err := json.Marshal(req)
			if err != nil {
				return err
			}
			var s api.Subscription
			if _, err := c.call(cmd.Context(), http.MethodPost, path, jsonBody(), body, &s); err != nil {
				return err
			}
			if c.out.json() {
				return printJSON(cmd, s)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s; %s\n", s.Name, done, counted(int(s.Depth), "delivery waits", "deliveries wait"))
			return err
		},
	}
	c.flags(cmd)
	cmd.Flags().StringVar(&consumer, "consumer", "", "of a broadcast: this consumer")
	return cmd
}
