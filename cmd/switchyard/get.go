package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/api"
)

func newGet() *cobra.Command {
	var c client
	var versions bool
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
			if versions {
				if len(args) != 2 || args[0] != "rules" {
					return &usageError{errors.New("--versions goes with one rule: get rules NAME --versions")}
				}
				return getVersions(cmd, &c, args[1])
			}
			if len(args) == 2 {
				if args[0] == "subscriptions" {
					if _, err := subscriptionPath(args[1]); err != nil {
						return err
					}
				}
				return getOne(cmd, &c, args[0], args[1])
			}
			if args[0] == "subscriptions" {
				return getSubscriptions(cmd, &c)
			}
			return getObjects(cmd, &c, args[0])
		},
	}
	c.flags(cmd)
	cmd.Flags().BoolVar(&versions, "versions", false, "show what a rule was, the newest version first; also of one that was removed, for 90 days")
	return cmd
}

// getVersions lists what a rule was.
func getVersions(cmd *cobra.Command, c *client, rule string) error {
	items, err := collect[api.RuleVersion](cmd.Context(), c, "/v1/rules/"+url.PathEscape(rule)+"/versions", everything)
	if err != nil {
		return err
	}
	if c.out.json() {
		return printJSON(cmd, items)
	}
	var rows [][]string
	for _, v := range items {
		state := ""
		switch {
		case v.Current:
			state = "in force"
		case v.Removed:
			state = "removed"
		}
		rows = append(rows, []string{strconv.FormatUint(v.Version, 10), v.Since.Local().Format(clockTime), state, v.Bus, string(v.Definition)})
	}
	return table(cmd, "VERSION\tSINCE\tSTATE\tBUS\tRULE", rows)
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
	items, err := collect[json.RawMessage](cmd.Context(), c, "/v1/"+kind, everything)
	if err != nil {
		return err
	}
	if c.out.json() {
		return printJSON(cmd, items)
	}
	var rows [][]string
	inBus := kind == "sources" || kind == "rules"
	for _, raw := range items {
		var o struct {
			Name   string         `json:"name"`
			Origin string         `json:"origin"`
			Bus    any            `json:"bus"` // an object in a target of the kind bus
			Status map[string]any `json:"status"`
		}
		if err := json.Unmarshal(raw, &o); err != nil {
			return err
		}
		row := []string{o.Name, o.Origin}
		if inBus {
			bus, _ := o.Bus.(string)
			row = []string{o.Name, bus, o.Origin}
		}
		if kind == "targets" {
			row = append(row, targetKind(raw))
		}
		rows = append(rows, append(row, statusText(o.Status)))
	}
	switch {
	case inBus:
		return table(cmd, "NAME\tBUS\tORIGIN\tSTATUS", rows)
	case kind == "targets":
		return table(cmd, "NAME\tORIGIN\tKIND\tSTATUS", rows)
	}
	return table(cmd, "NAME\tORIGIN\tSTATUS", rows)
}

// targetKind is the kind of a target: the one key of its JSON that names one.
func targetKind(raw json.RawMessage) string {
	var o map[string]json.RawMessage
	if json.Unmarshal(raw, &o) != nil {
		return ""
	}
	for _, s := range components().Targets {
		if o[s.Kind] != nil {
			return s.Kind
		}
	}
	return ""
}

// statusText is an object's status in a few words.
func statusText(status map[string]any) string {
	var words []string
	for _, k := range []string{"version", "first", "history", "last", "routed", "bytes", "evaluated", "matched", "errors", "breaker", "reason", "failures", "lastError", "suspended", "class", "url"} {
		switch v := status[k].(type) {
		case float64:
			words = append(words, k+"="+strconv.FormatFloat(v, 'f', -1, 64))
		case string:
			if strings.Contains(v, " ") {
				v = strconv.Quote(v)
			}
			words = append(words, k+"="+v)
		case bool:
			words = append(words, k)
		}
	}
	return strings.Join(words, " ")
}

func getSubscriptions(cmd *cobra.Command, c *client) error {
	items, err := collect[api.Subscription](cmd.Context(), c, "/v1/subscriptions", everything)
	if err != nil {
		return err
	}
	if c.out.json() {
		return printJSON(cmd, items)
	}
	var rows [][]string
	for _, s := range items {
		note := s.Reason
		if note == "" && s.LastError != "" {
			note = "last error: " + s.LastError
			if s.LastErrorTime != nil {
				note = "last error " + s.LastErrorTime.Local().Format(time.DateTime) + ": " + s.LastError
			}
		}
		rows = append(rows, []string{s.Name, s.Bus, s.State, strconv.FormatInt(s.Depth, 10), strconv.FormatInt(s.InFlight, 10),
			strconv.FormatInt(s.DeadLetters, 10), s.OldestAge, note})
	}
	return table(cmd, "NAME\tBUS\tSTATE\tDEPTH\tIN FLIGHT\tDEAD\tOLDEST\tNOTE", rows)
}
