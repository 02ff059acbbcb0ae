package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/bus/store/embedded"
)

func newStore() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Look at and repair a data folder that no server has open",
	}
	cmd.AddCommand(newStoreCheck(), newStoreRename(), newStoreRepair(), newStoreStats())
	return cmd
}

// offline is what the commands on a data folder have in common.
type offline struct {
	data string
	out  output
}

func (o *offline) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.data, "data", "./data", "the data folder; its server must be stopped")
	o.out.flag(cmd)
}

// progressEvery is how often a long command says how far it is.
const progressEvery = 2 * time.Second

// paced returns what a long command says how far it is with, on standard
// error: of all that it is told, a line now and then.
func paced(cmd *cobra.Command) func(format string, args ...any) {
	last := time.Now()
	return func(format string, args ...any) {
		if time.Since(last) < progressEvery {
			return
		}
		last = time.Now()
		fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...)
	}
}

// read reads the whole store, with progress on standard error.
func (o *offline) read(cmd *cobra.Command) (embedded.Report, error) {
	return embedded.Check(cmd.Context(), o.options(cmd))
}

func (o *offline) options(cmd *cobra.Command) embedded.CheckOptions {
	say := paced(cmd)
	return embedded.CheckOptions{Dir: o.data, Progress: func(part string, done, of int) {
		say("%s: %d of %d read", part, done, of)
	}}
}

func newStoreCheck() *cobra.Command {
	var o offline
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Read all of a data folder and say what is wrong with it",
		Long: "Read every frame of the log and every row of the state, hold them against each other,\n" +
			"and say what is wrong and where. Nothing is changed. Ends with 1 if anything is wrong.",
		Example: "  switchyard store check --data /var/lib/switchyard",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := o.read(cmd)
			if err != nil {
				return err
			}
			if o.out.json() {
				err = printJSON(cmd, r)
			} else {
				showProblems(cmd, r)
			}
			if err == nil && r.Found > 0 {
				err = errReported
			}
			return err
		},
	}
	o.flags(cmd)
	return cmd
}

func listProblems(w io.Writer, problems []embedded.Problem, found int) {
	for _, p := range problems {
		fmt.Fprintf(w, "%s: %s\n", p.Where, p.What)
	}
	if more := found - len(problems); more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
}

func showProblems(cmd *cobra.Command, r embedded.Report) {
	w := cmd.OutOrStdout()
	listProblems(w, r.Problems, r.Found)
	var rows int64
	for _, k := range r.State {
		rows += k.Rows
	}
	fmt.Fprintf(w, "%s in %s of the log (%s) and %s of the state\n", counted(r.Found, "problem", "problems"), counted(int(r.Log.Records), "record", "records"),
		counted(r.Log.Segments, "segment", "segments"), counted(int(rows), "row", "rows"))
	if r.Log.Torn > 0 {
		fmt.Fprintf(w, "the log ends with %d bytes of a write that was never acknowledged; the next start cuts them\n", r.Log.Torn)
	}
	if r.Trace.Damaged > 0 {
		fmt.Fprintf(w, "damaged in the traces: %s, as a crash may leave them: what became of some deliveries is not shown\n", counted(r.Trace.Damaged, "place", "places"))
	}
}

func newStoreStats() *cobra.Command {
	var o offline
	cmd := &cobra.Command{
		Use:     "stats",
		Short:   "Say what a data folder holds",
		Long:    "Read all of a data folder and say what it holds. Nothing is changed.",
		Example: "  switchyard store stats --data /var/lib/switchyard -o json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := o.read(cmd)
			if err != nil {
				return err
			}
			if o.out.json() {
				return printJSON(cmd, r)
			}
			return showStats(cmd, r)
		},
	}
	o.flags(cmd)
	return cmd
}

// showBuses lists what there is of each bus: the sequences of what can be read (a
// bus that retention has emptied has none, and goes on after the last), the rows
// of tables, and what is kept beyond retention.
func showBuses(cmd *cobra.Command, buses []embedded.BusStats) error {
	var rows [][]string
	for _, b := range buses {
		first, history, subjects := "-", "-", "-"
		if b.Events > 0 {
			first = fmt.Sprint(b.First)
		}
		if b.Subjects != nil {
			history, subjects = fmt.Sprint(b.History), fmt.Sprint(*b.Subjects)
		}
		rows = append(rows, []string{b.Name, fmt.Sprint(b.Events), fmt.Sprint(b.Bytes), first, fmt.Sprint(b.Last), subjects, history, fmt.Sprint(b.Owed)})
	}
	return table(cmd, "BUS\tEVENTS\tBYTES\tFIRST\tLAST\tSUBJECTS\tHISTORY FROM\tOWED BEYOND RETENTION", rows)
}

func showStats(cmd *cobra.Command, r embedded.Report) error {
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "format %d; log: %s, %d bytes; traces: %s, %d bytes\n", r.Format,
		counted(r.Log.Segments, "segment", "segments"), r.Log.Bytes, counted(r.Trace.Segments, "segment", "segments"), r.Trace.Bytes)
	fmt.Fprintf(w, "queued %d, dead letters %d, scheduled %d, owed beyond retention %d (%d bytes)\n\n", r.QueueRows, r.DeadLetters, r.Scheduled, r.Owed, r.OwedBytes)
	var kinds [][]string
	for _, k := range r.State {
		kinds = append(kinds, []string{k.Kind, fmt.Sprint(k.Rows), fmt.Sprint(k.Bytes)})
	}
	if err := showBuses(cmd, r.Buses); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := table(cmd, "STATE\tROWS\tBYTES", kinds); err != nil {
		return err
	}
	if r.Found > 0 {
		fmt.Fprintf(w, "\n%s; switchyard store check says what and where\n", counted(r.Found, "problem", "problems"))
	}
	return nil
}
