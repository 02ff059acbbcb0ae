package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded"
)

func newStoreRepair() *cobra.Command {
	var o offline
	var yes bool
	var names []string
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "Make a damaged data folder one that opens again",
		Long: "Find what is wrong with a data folder, as check does, and say what a repair would drop: events by\n" +
			"bus and sequence, deliveries, dead letters. With --yes it is made: what cannot be read is given up,\n" +
			"what can be built from the log is built anew, and the dropped bytes are kept in a folder beside it.\n" +
			"Copy the data folder first if you can. Ends with 1 if something is wrong and was not repaired.",
		Example: "  switchyard store repair --data /var/lib/switchyard\n" +
			"  switchyard store repair --data /var/lib/switchyard --yes\n" +
			"  switchyard store repair --data /var/lib/switchyard --bus 1=orders --bus 2=audit --yes",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			byNumber, err := busNames(names)
			if err != nil {
				return &usageError{err}
			}
			r, err := embedded.Repair(cmd.Context(), embedded.RepairOptions{CheckOptions: o.options(cmd), Apply: yes, Names: byNumber})
			if err != nil {
				return err
			}
			if o.out.json() {
				err = printJSON(cmd, r)
			} else {
				err = showRepair(cmd, r)
			}
			if err == nil && len(r.Steps) > 0 && !r.Applied {
				err = errReported
			}
			return err
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "make the repair; without it only say what would be done")
	cmd.Flags().StringArrayVar(&names, "bus", nil, "NUMBER=NAME of a bus whose name is lost with the state; may be repeated")
	return cmd
}

var busName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,62}$`)

// busNames reads NUMBER=NAME.
func busNames(flags []string) (map[store.BusID]string, error) {
	names := map[store.BusID]string{}
	for _, f := range flags {
		number, name, ok := strings.Cut(f, "=")
		n, err := strconv.ParseUint(number, 10, 32)
		if !ok || err != nil || n == 0 || !busName.MatchString(name) {
			return nil, fmt.Errorf("--bus %q: give the number of a bus and its name, as in 1=orders", f)
		}
		names[store.BusID(n)] = name
	}
	return names, nil
}

// sequences is a range of them in short.
func sequences(from, to uint64) string {
	if from == to {
		return strconv.FormatUint(from, 10)
	}
	return fmt.Sprintf("%d-%d", from, to)
}

func showRepair(cmd *cobra.Command, r embedded.Repaired) error {
	w := cmd.OutOrStdout()
	listProblems(w, r.Problems, r.Found)
	if len(r.Steps) == 0 {
		fmt.Fprintln(w, "nothing to repair")
		return nil
	}
	head := "what a repair would do:"
	if r.Applied {
		head = "what was done:"
	}
	fmt.Fprintln(w, "\n"+head)
	for _, s := range r.Steps {
		fmt.Fprintln(w, "- "+s)
	}
	if len(r.Lost) > 0 {
		fmt.Fprintln(w)
		var rows [][]string
		for _, l := range r.Lost {
			var ranges []string
			var listed uint64
			for _, s := range l.Sequences[:min(len(l.Sequences), 5)] {
				ranges = append(ranges, sequences(s.From, s.To))
				listed += s.To - s.From + 1
			}
			if listed < l.Events {
				ranges = append(ranges, "… (-o json lists more)")
			}
			rows = append(rows, []string{l.Bus, fmt.Sprint(l.Events), strings.Join(ranges, ", "), fmt.Sprint(l.Deliveries), fmt.Sprint(l.DeadLetters)})
		}
		if err := table(cmd, "BUS\tLOST EVENTS\tSEQUENCES\tDELIVERIES\tDEAD LETTERS", rows); err != nil {
			return err
		}
	}
	if len(r.Buses) > 0 {
		fmt.Fprintln(w, "\nthe buses of the log, whose names are lost (--bus NUMBER=NAME gives one back, later switchyard store rename):")
		var rows [][]string
		for _, b := range r.Buses {
			rows = append(rows, []string{fmt.Sprint(b.Number), b.Name, fmt.Sprint(b.Events), sequences(b.First, b.Last),
				b.From.Format(time.RFC3339), b.To.Format(time.RFC3339), b.Type, b.Source})
		}
		if err := table(cmd, "NUMBER\tNAME\tEVENTS\tSEQUENCES\tFROM\tTO\tNEWEST TYPE\tNEWEST SOURCE", rows); err != nil {
			return err
		}
	}
	if r.Applied {
		fmt.Fprintf(w, "\nrepaired; what was dropped is in %s\n", r.Aside)
	} else {
		fmt.Fprintln(w, "\nnothing was changed; --yes makes the repair")
	}
	return nil
}
