package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/api"
)

func newScheduled() *cobra.Command {
	cmd := &cobra.Command{
		Use: "scheduled", Short: "List or cancel events that wait for their time",
	}
	cmd.AddCommand(newScheduledList(), newScheduledCancel())
	return cmd
}

// scheduledEvents says which scheduled events of a bus are meant. An empty
// field means any.
type scheduledEvents struct {
	Bus    string `json:"bus"`
	Source string `json:"source"`
	ID     string `json:"id"`
}

// path is their address.
func (e scheduledEvents) path() string {
	path, v := "/v1/buses/"+url.PathEscape(e.Bus)+"/scheduled", url.Values{}
	if e.Source != "" {
		v.Set("source", e.Source)
	}
	if e.ID != "" {
		v.Set("id", e.ID)
	}
	if len(v) > 0 {
		path += "?" + v.Encode()
	}
	return path
}

// named is how a message calls them, after "event" or "events".
func (e scheduledEvents) named() string {
	switch {
	case e.Source != "" && e.ID != "":
		return fmt.Sprintf(" with source %q and id %q", e.Source, e.ID)
	case e.Source != "":
		return fmt.Sprintf(" with source %q", e.Source)
	case e.ID != "":
		return fmt.Sprintf(" with id %q", e.ID)
	}
	return ""
}

func newScheduledList() *cobra.Command {
	var c client
	var which scheduledEvents
	var most int
	cmd := &cobra.Command{
		Use: "list BUS", Short: "List the events of a bus that wait for their time", Args: arguments(1, 1),
		Example: "  switchyard scheduled list orders --limit 1000\n" +
			"  switchyard scheduled list orders --source /shop --id reminder-17 -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			which.Bus = args[0]
			if err := checkLimit(most); err != nil {
				return err
			}
			items, err := collect[api.ScheduledEvent](cmd.Context(), &c, which.path(), most)
			if err != nil {
				return err
			}
			if c.out.json() {
				return printJSON(cmd, items)
			}
			if len(items) == 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "no event%s waits on bus %q\n", which.named(), which.Bus)
				return nil
			}
			if len(items) == most {
				fmt.Fprintf(cmd.ErrOrStderr(), "the first %d; there may be more, --limit shows them\n", most)
			}
			var rows [][]string
			for _, e := range items {
				rows = append(rows, []string{e.Due.Local().Format(clockTime), e.ID, e.Source, e.Type})
			}
			return table(cmd, "DUE\tID\tSOURCE\tTYPE", rows)
		},
	}
	c.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&which.Source, "source", "", "only this source")
	f.StringVar(&which.ID, "id", "", "only this id")
	f.IntVar(&most, "limit", 100, "show at most this many, the first due first")
	return cmd
}

func newScheduledCancel() *cobra.Command {
	var c client
	var which scheduledEvents
	cmd := &cobra.Command{
		Use: "cancel BUS --source SOURCE --id ID", Short: "Drop every event with this source and id that waits for its time", Args: arguments(1, 1),
		Long: "Drop every event of a bus with this source and id that waits for its time. It is forgotten, so that\n" +
			"the same one can be published again. Ends with 1 if none waits.",
		Example: "  switchyard scheduled cancel orders --source /shop --id reminder-17",
		RunE: func(cmd *cobra.Command, args []string) error {
			which.Bus = args[0]
			if which.Source == "" || which.ID == "" {
				return &usageError{errors.New("say which with --source and --id (switchyard scheduled list shows them)")}
			}
			if _, err := c.call(cmd.Context(), http.MethodDelete, which.path(), nil, nil, nil); err != nil {
				return err
			}
			if c.out.json() {
				return printJSON(cmd, which)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "what waited on bus %q%s is cancelled\n", which.Bus, which.named())
			return nil
		},
	}
	c.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&which.Source, "source", "", "the event's source")
	f.StringVar(&which.ID, "id", "", "the event's id")
	return cmd
}
