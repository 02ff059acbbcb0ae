package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/api"
)

func newReplay() *cobra.Command {
	var c client
	var from, to string
	var req api.ReplayRequest
	var wait, all bool
	cmd := &cobra.Command{
		Use:   "replay BUS",
		Short: "Deliver stored events again to the rules that match them now",
		Example: "  switchyard replay orders --from 2026-03-01T00:00:00Z --rule large-eu-orders --wait\n" +
			"  switchyard replay list",
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch bounded := from != "" || to != ""; {
			case !bounded && !all:
				return &usageError{fmt.Errorf("say which events of bus %q: --from, --to or both, or --all for every one that is stored", args[0])}
			case bounded && all:
				return &usageError{errors.New("--all goes without --from and --to")}
			}
			if err := warnWhen(cmd, req.When); err != nil {
				return err
			}
			req.From, req.To = quoted(from), quoted(to)
			body, err := json.Marshal(req)
			if err != nil {
				return err
			}
			var started api.ReplayStarted
			if _, err := c.call(cmd.Context(), http.MethodPost, "/v1/buses/"+url.PathEscape(args[0])+"/replay", jsonBody(), body, &started); err != nil {
				return err
			}
			if wait {
				return waitReplay(cmd, &c, started.ID)
			}
			if c.out.json() {
				return printJSON(cmd, started)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s has begun; switchyard replay show %s says how far it is\n", started.ID, started.ID)
			return nil
		},
	}
	c.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "from this sequence or RFC 3339 time on, inclusive")
	f.StringVar(&to, "to", "", "up to this sequence or time, inclusive")
	f.BoolVar(&all, "all", false, "all stored events of the bus")
	f.StringArrayVar(&req.Rules, "rule", nil, "only for this rule; may be repeated")
	f.StringVar(&req.When, "when", "", "only events that this CEL filter matches too")
	f.StringVar(&req.Rate, "rate", "", "events in a time at most, such as 500/s")
	f.StringVar(&req.Name, "name", "", "what the extension replayname says, in place of the id")
	f.BoolVar(&wait, "wait", false, "wait until it has ended")
	cmd.AddCommand(newReplayList(), newReplayShow(), newReplayCancel())
	return cmd
}

// quoted is a flag's text as JSON, nothing for "".
func quoted(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	raw, _ := json.Marshal(text) // of a string it cannot fail
	return raw
}

// replayWait is how often it is asked how far a replay is.
const replayWait = 500 * time.Millisecond

// waitReplay waits for the end of a replay, which is an error unless it is done.
func waitReplay(cmd *cobra.Command, c *client, id string) error {
	progress := newProgress(cmd.ErrOrStderr())
	defer progress.end()
	for {
		r, err := replayOf(cmd.Context(), c, http.MethodGet, id)
		if err != nil {
			return err
		}
		if r.State != "running" {
			progress.end()
			if err := printReplay(cmd, c, r); err != nil || r.State == "done" {
				return err
			}
			return errReported
		}
		progress.line("%s: %d of %d events, %d delivered, %d to be", id, r.Scanned, r.Total, r.Delivered, r.Remaining)
		select {
		case <-time.After(replayWait):
		case <-cmd.Context().Done():
			return fmt.Errorf("%w; %s goes on", cmd.Context().Err(), id)
		}
	}
}

func replayOf(ctx context.Context, c *client, method, id string) (r api.Replay, err error) {
	_, err = c.call(ctx, method, "/v1/replays/"+url.PathEscape(id), nil, nil, &r)
	return r, err
}

func printReplay(cmd *cobra.Command, c *client, r api.Replay) error {
	if c.out.json() {
		return printJSON(cmd, r)
	}
	w := cmd.OutOrStdout()
	what := ""
	if r.Name != r.ID {
		what = " (" + r.Name + ")"
	}
	if r.Seek != "" {
		what = ", a seek of " + r.Seek
	}
	fmt.Fprintf(w, "%s%s: %s, bus %s #%d to #%d\n", r.ID, what, r.State, r.Bus, r.From, r.To)
	fmt.Fprintf(w, "  %d of %d events, %d queued", r.Scanned, r.Total, r.Queued)
	if r.Seek == "" {
		fmt.Fprintf(w, ", %d delivered, %d to be", r.Delivered, r.Remaining)
	}
	for _, n := range []struct {
		count uint64
		what  string
	}{{uint64(r.Dead), "dead letters"}, {uint64(r.Dropped), "dropped"}, {r.Skipped, "skipped: removed by retention"}} {
		if n.count > 0 {
			fmt.Fprintf(w, ", %d %s", n.count, n.what)
		}
	}
	fmt.Fprintln(w)
	if r.Error != "" {
		fmt.Fprintf(w, "  %s\n", r.Error)
	}
	return nil
}

func newReplayShow() *cobra.Command {
	return newReplayOne(http.MethodGet, "show ID", "Show how far a replay is")
}

func newReplayCancel() *cobra.Command {
	return newReplayOne(http.MethodDelete, "cancel ID", "Cancel a replay, and drop what it queued and is not delivered")
}

// newReplayOne makes a command that does something to one replay and shows it.
func newReplayOne(method, use, short string) *cobra.Command {
	var c client
	cmd := &cobra.Command{
		Use: use, Short: short, Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := replayOf(cmd.Context(), &c, method, args[0])
			if err != nil {
				return err
			}
			return printReplay(cmd, &c, r)
		},
	}
	c.flags(cmd)
	return cmd
}

func newReplayList() *cobra.Command {
	var c client
	cmd := &cobra.Command{
		Use: "list", Short: "List replays, and seeks that queue events again", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			items, err := collect[api.Replay](cmd.Context(), &c, "/v1/replays", everything)
			if err != nil {
				return err
			}
			if c.out.json() {
				return printJSON(cmd, items)
			}
			var rows [][]string
			for _, r := range items {
				note := r.Error
				if r.Seek != "" {
					note = "seek of " + r.Seek + " " + note
				}
				rows = append(rows, []string{r.ID, r.Name, r.Bus, r.State, fmt.Sprintf("%d/%d", r.Scanned, r.Total),
					strconv.FormatInt(r.Queued, 10), strconv.FormatInt(r.Remaining, 10), strconv.FormatInt(r.Dead, 10), note})
			}
			return table(cmd, "ID\tNAME\tBUS\tSTATE\tEVENTS\tQUEUED\tREMAINING\tDEAD\tNOTE", rows)
		},
	}
	c.flags(cmd)
	return cmd
}

func newSeek() *cobra.Command {
	var c client
	var consumer string
	cmd := &cobra.Command{
		Use:   "seek RULE/TARGET SEQUENCE|TIME|start|end",
		Short: "Move a subscription: what it owes is dropped, and it goes on from there",
		Example: "  switchyard seek large-eu-orders/crm end\n" +
			"  switchyard seek large-eu-orders/crm 2026-03-01T00:00:00Z",
		Args: arguments(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := subscriptionPath(args[0])
			if err != nil {
				return err
			}
			if args[1] == "" {
				return &usageError{errors.New("say where to: a sequence, a time, start or end")}
			}
			body, err := json.Marshal(api.SeekRequest{To: quoted(args[1])})
			if err != nil {
				return err
			}
			path += "/seek"
			if consumer != "" {
				path += "?consumer=" + url.QueryEscape(consumer)
			}
			var a api.SeekAnswer
			if _, err := c.call(cmd.Context(), http.MethodPost, path, jsonBody(), body, &a); err != nil {
				return err
			}
			if c.out.json() {
				return printJSON(cmd, a)
			}
			w := cmd.OutOrStdout()
			fmt.Fprintf(w, "%s goes on from #%d; %s dropped\n", a.Subscription, a.To, counted(int(a.Dropped), "delivery was", "deliveries were"))
			if a.Replay != "" {
				fmt.Fprintf(w, "  %s queues the events from there on; switchyard replay show %s says how far it is\n", a.Replay, a.Replay)
			}
			if a.Note != "" {
				fmt.Fprintf(w, "  %s\n", a.Note)
			}
			return nil
		},
	}
	c.flags(cmd)
	cmd.Flags().StringVar(&consumer, "consumer", "", "of a broadcast: this consumer")
	return cmd
}
