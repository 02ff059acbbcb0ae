package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/bus/event"
)

func newTable() *cobra.Command {
	var c client
	var prefix, after string
	var limit int
	cmd := &cobra.Command{
		Use:   "table BUS [SUBJECT]",
		Short: "Show the newest event of each subject of a compacted bus",
		Long: "Show the table of a bus with compact: subject, which is the newest event of each subject, in order of\n" +
			"subject; or the row of one subject, as JSON.",
		Example: "  switchyard table stock\n" +
			"  switchyard table stock --prefix eu/ --limit 1000 -o json\n" +
			"  switchyard table stock eu/lamp-7",
		Args: arguments(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 || limit > 1000 {
				return &usageError{errors.New("--limit takes a number from 1 to 1000")}
			}
			path := "/v1/buses/" + url.PathEscape(args[0]) + "/table?"
			if len(args) == 2 {
				for _, name := range []string{"prefix", "after", "limit"} {
					if cmd.Flags().Changed(name) {
						return &usageError{fmt.Errorf("--%s does not go with a subject", name)}
					}
				}
				var row json.RawMessage
				if _, err := c.call(cmd.Context(), http.MethodGet, path+url.Values{"subject": {args[1]}}.Encode(), nil, nil, &row); err != nil {
					return err
				}
				return printJSON(cmd, row)
			}
			v := url.Values{"limit": {strconv.Itoa(limit)}}
			if prefix != "" {
				v.Set("prefix", prefix)
			}
			if after != "" {
				v.Set("after", after)
			}
			rows := []json.RawMessage{}
			header, err := c.call(cmd.Context(), http.MethodGet, path+v.Encode(), nil, nil, &rows)
			if err != nil {
				return err
			}
			if c.out.json() {
				err = printJSON(cmd, rows)
			} else {
				err = showRows(cmd, rows)
			}
			if next := afterOf(header.Get("Link")); next != "" {
				fmt.Fprintf(cmd.ErrOrStderr(), "there are more; go on with --after %q\n", next)
			}
			return err
		},
	}
	c.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&prefix, "prefix", "", "only subjects that begin so")
	f.StringVar(&after, "after", "", "go on after this subject")
	f.IntVar(&limit, "limit", 100, "rows at most")
	return cmd
}

// afterOf is the subject that the next page goes on after, "" at the end.
func afterOf(link string) string {
	target, _, _ := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	u, err := url.Parse(target)
	if err != nil {
		return ""
	}
	return u.Query().Get("after")
}

func showRows(cmd *cobra.Command, rows []json.RawMessage) error {
	lines := make([][]string, 0, len(rows))
	for _, raw := range rows {
		ev, err := event.FromStructured(raw, event.Limits{MaxEventSize: maxReply})
		if err != nil {
			return err
		}
		sequence := strings.TrimLeft(ev.ExtensionText("sequence"), "0")
		lines = append(lines, []string{ev.Subject(), sequence, ev.ExtensionText("recordedtime"), ev.Type(), shortData(ev)})
	}
	return table(cmd, "SUBJECT\tSEQUENCE\tRECORDED\tTYPE\tDATA", lines)
}
