package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store/archive"
	"github.com/switchyard-dev/switchyard/bus/store/backup"
	"github.com/switchyard-dev/switchyard/bus/store/embedded"
)

// restored is what a restore brought back.
type restored struct {
	ID    string              `json:"id"`    // of the backup that has the state
	Taken time.Time           `json:"taken"` // when that was
	To    *time.Time          `json:"to,omitempty"`
	Data  string              `json:"data"`
	Files int                 `json:"files"`
	Buses []embedded.BusStats `json:"buses"`
	// QueueRows and DeadLetters are as of the backup; what was recorded after it
	// is routed again at the start.
	QueueRows   int64 `json:"queueRows"`
	DeadLetters int64 `json:"deadLetters"`
	Scheduled   int64 `json:"scheduled"`
}

func newRestore() *cobra.Command {
	var out output
	var data, id, to string
	cmd := &cobra.Command{
		Use:   "restore DIR|URL --data DIR",
		Short: "Make a data folder from a backup",
		Long: "Make a data folder from the newest backup, or the one that --backup names, in a folder that is empty or new.\n" +
			"With --to, up to a point in time: the state of the last backup before it, and the events that later backups\n" +
			"have, up to the first that was recorded after it. Every file is held against its checksum and the store\n" +
			"is checked before the folder appears.",
		Example: "  switchyard restore /mnt/backups/switchyard --data /var/lib/switchyard\n" +
			"  switchyard restore s3://backups/switchyard --data ./data --to 2026-03-01T12:00:00Z",
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if data == "" {
				return &usageError{errors.New("--data: name the folder that the store is restored into; it must be empty or new")}
			}
			var until time.Time
			if to != "" {
				var err error
				if until, err = time.Parse(time.RFC3339, to); err != nil {
					return &usageError{fmt.Errorf("--to %q: give an RFC 3339 time such as 2026-03-01T12:00:00Z", to)}
				}
			}
			at, err := existing(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer at.Close()
			p, err := backup.PlanRestore(cmd.Context(), at, id, until)
			if err != nil {
				return err
			}
			r := restored{ID: p.Backup.ID, Taken: p.Backup.Taken, Data: data, Files: len(p.Files)}
			if !until.IsZero() {
				r.To = &until
			}
			err = backup.Restore(cmd.Context(), at, p, data, backup.Options{Progress: said(cmd, "restored")}, func(dir string) error {
				return finishRestore(cmd, dir, until, &r)
			})
			if err != nil {
				return err
			}
			if out.json() {
				return printJSON(cmd, r)
			}
			w := cmd.OutOrStdout()
			fmt.Fprintf(w, "restored backup %s of %s to %s\n\n", r.ID, r.Taken.Format(time.RFC3339), data)
			return showBuses(cmd, r.Buses)
		},
	}
	out.flag(cmd)
	cmd.Flags().StringVar(&data, "data", "", "the data folder to make; empty or new")
	cmd.Flags().StringVar(&id, "backup", "", "which backup; by default the newest, or with --to the last before it")
	cmd.Flags().StringVar(&to, "to", "", "restore to this time (RFC 3339)")
	return cmd
}

// finishRestore ends the log at a time, brings the state up to it, and checks
// all of it.
func finishRestore(cmd *cobra.Command, dir string, until time.Time, r *restored) error {
	ctx := cmd.Context()
	if !until.IsZero() {
		if _, err := embedded.Rewind(ctx, vfs.Default, dir, until); err != nil {
			return err
		}
	}
	st, err := embedded.Open(embedded.Options{Dir: dir, NoBackground: true, DiskReserve: -1})
	if err != nil {
		return err
	}
	err = errors.Join(bus.Renew(ctx, st), archive.Renew(ctx, st))
	if err = errors.Join(err, st.Close()); err != nil {
		return err
	}
	o := offline{data: dir}
	report, err := embedded.Check(ctx, o.options(cmd))
	if err != nil {
		return err
	}
	if report.Found > 0 {
		p := report.Problems[0]
		return fmt.Errorf("the restored store has %s and was not kept; the first: %s: %s", counted(report.Found, "problem", "problems"), p.Where, p.What)
	}
	r.Buses, r.QueueRows, r.DeadLetters, r.Scheduled = report.Buses, report.QueueRows, report.DeadLetters, report.Scheduled
	return nil
}
