package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/api"
)

func newGet() *cobra.Command {
	var c client
	kinds := []string{"buses", "sources", "rules", "targets", "subscriptions"}
	cmd := &cobra.Command{
		Use:       "get " + strings.Join(kinds, "|") + " [NAME]",
		Short:     "List what the server has in force, or show one",
		ValidArgs: kinds,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 2 {
				return fmt.Errorf("get takes a kind (%s) and optionally a name", strings.Join(kinds, ", "))
			}
			for _, k := range kinds {
				if k == args[0] {
					return nil
				}
			}
			return fmt.Errorf("%q is not one of %s", args[0], strings.Join(kinds, ", "))
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				return getOne(cmd, &c, args[0], args[1])
			}
			if args[0] == "subscriptions" {
				return getSubscriptions(cmd, &c)
			}
			return getObjects(cmd, &c, args[0])
		},
	}
	c.flags(cmd)
	return cmd
}

// getOne shows one object as JSON, which both forms of output are.
func getOne(cmd *cobra.Command, c *client, kind, name string) error {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	var o json.RawMessage
	if _, err := c.call(cmd.Context(), http.MethodGet, "/v1/"+kind+"/"+strings.Join(parts, "/"), nil, nil, &o); err != nil {
		return err
	}
	return printJSON(cmd, o)
}

func getObjects(cmd *cobra.Command, c *client, kind string) error {
	items := []json.RawMessage{}
	err := all(cmd.Context(), c, "/v1/"+kind, everything, func(o json.RawMessage) error {
		items = append(items, o)
		return nil
	})
	if err != nil {
		return err
	}
	if c.out.json() {
		return printJSON(cmd, items)
	}
	var rows [][]string
	for _, raw := range items {
		var o struct {
			Name   string         `json:"name"`
			Origin string         `json:"origin"`
			Bus    string         `json:"bus"`
			Status map[string]any `json:"status"`
		}
		if err := json.Unmarshal(raw, &o); err != nil {
			return err
		}
		rows = append(rows, []string{o.Name, o.Bus, o.Origin, statusText(o.Status)})
	}
	return table(cmd, "NAME\tBUS\tORIGIN\tSTATUS", rows)
}

// statusText is an object's status in a few words.
func statusText(status map[string]any) string {
	var words []string
	for _, k := range []string{"first", "last", "bytes", "evaluated", "matched", "errors", "lastError", "suspended", "url"} {
		switch v := status[k].(type) {
		case float64:
			words = append(words, k+"="+strconv.FormatFloat(v, 'f', -1, 64))
		case string:
			words = append(words, k+"="+v)
		case bool:
			words = append(words, k)
		}
	}
	return strings.Join(words, " ")
}

func getSubscriptions(cmd *cobra.Command, c *client) error {
	items := []api.Subscription{}
	err := all(cmd.Context(), c, "/v1/subscriptions", everything, func(s api.Subscription) error {
		items = append(items, s)
		return nil
	})
	if err != nil {
		return err
	}
	if c.out.json() {
		return printJSON(cmd, items)
	}
	var rows [][]string
	for _, s := range items {
		note := s.Reason
		if note == "" {
			note = s.LastError
		}
		rows = append(rows, []string{s.Name, s.Bus, s.State, strconv.FormatInt(s.Depth, 10), strconv.FormatInt(s.InFlight, 10),
			strconv.FormatInt(s.DeadLetters, 10), s.OldestAge, note})
	}
	return table(cmd, "NAME\tBUS\tSTATE\tDEPTH\tIN FLIGHT\tDEAD\tOLDEST\tNOTE", rows)
}
