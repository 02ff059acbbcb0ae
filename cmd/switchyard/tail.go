package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/bus/event"
)

func newTail() *cobra.Command {
	var c client
	var when string
	var from int64
	var count int
	cmd := &cobra.Command{
		Use:   "tail BUS",
		Short: "Show live events of a bus",
		Long:  "Show the events of a bus as they come, until Ctrl-C. A broken connection is taken up again where it ended.",
		Example: "  switchyard tail orders\n" +
			"  switchyard tail orders --when 'event.data.total > 100' -o json",
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if from < 0 || count < 0 {
				return &usageError{errors.New("--from and --count take numbers from 0")}
			}
			if err := warnWhen(cmd, when); err != nil {
				return err
			}
			t := tailer{c: &c, cmd: cmd, path: "/v1/buses/" + url.PathEscape(args[0]) + "/tail", left: count}
			if when != "" {
				t.path += "?when=" + url.QueryEscape(when)
			}
			if from > 0 {
				t.last = strconv.FormatInt(from-1, 10)
			}
			return t.run()
		},
	}
	c.flags(cmd)
	cmd.Flags().StringVar(&when, "when", "", "only events that this CEL filter matches")
	cmd.Flags().Int64Var(&from, "from", 0, "begin with this sequence instead of new events")
	cmd.Flags().IntVarP(&count, "count", "n", 0, "end after this many events; 0 does not end")
	return cmd
}

// tailer follows one bus.
type tailer struct {
	c    *client
	cmd  *cobra.Command
	path string
	last string // the last sequence that was shown
	left int
}

// errTailDone ends a tail that has shown enough.
var errTailDone = errors.New("done")

// run follows the bus until the context is done, connecting again when the
// server goes away after it has answered once.
func (t *tailer) run() error {
	ctx := t.cmd.Context()
	for connected := false; ; {
		header := http.Header{}
		if t.last != "" {
			header.Set("Last-Event-ID", t.last)
		}
		res, err := t.c.send(ctx, http.MethodGet, t.path, header, nil)
		if err == nil {
			connected = true
			err = t.read(res)
			res.Body.Close()
		}
		switch {
		case errors.Is(err, errTailDone), ctx.Err() != nil:
			return nil
		case !connected:
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}

// read shows the events of one connection.
func (t *tailer) read(res *http.Response) error {
	for e, err := range serverEvents(res.Body) {
		if err == nil {
			err = t.show(e.id, e.data)
		}
		if err != nil {
			return err
		}
		t.last = e.id
		if t.left--; t.left == 0 {
			return errTailDone
		}
	}
	return nil
}

// show prints one event.
func (t *tailer) show(id, data string) error {
	w := t.cmd.OutOrStdout()
	if t.c.out.json() {
		_, err := fmt.Fprintln(w, data)
		return err
	}
	ev, err := event.FromStructured([]byte(data), event.Limits{MaxEventSize: maxReply})
	if err != nil {
		return fmt.Errorf("the server sent what is no event: %w", err)
	}
	at := ev.ExtensionText("recordedtime")
	if parsed, err := time.Parse(time.RFC3339Nano, at); err == nil {
		at = parsed.Local().Format(clockTime)
	}
	line := fmt.Sprintf("%s  #%s  %s  id %s  source %s", at, id, ev.Type(), ev.ID(), ev.Source())
	if ev.Subject() != "" {
		line += "  subject " + ev.Subject()
	}
	fmt.Fprintln(w, printable(line))
	if data := dataLine(ev); data != "" {
		fmt.Fprintf(w, "    %s\n", data)
	} else if len(ev.Data()) > 0 {
		fmt.Fprintf(w, "    (%s)\n", counted(len(ev.Data()), "byte", "bytes"))
	}
	return nil
}
