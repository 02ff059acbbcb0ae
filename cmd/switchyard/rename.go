package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/bus/store/embedded"
)

func newStoreRename() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "rename BUS NAME",
		Short: "Give a bus of a data folder another name",
		Long: "Give a bus of a data folder another name, such as one that a repair has called recovered-1. Its events, and\n" +
			"what is owed of them, stay. A bus that has the name already gives way if it never had an event.\n" +
			"Rules name buses: give them the new name, too.",
		Example: "  switchyard store rename recovered-1 orders --data /var/lib/switchyard",
		Args:    arguments(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !busName.MatchString(args[1]) {
				return &usageError{fmt.Errorf("%q is not a name for a bus: small letters, digits and . _ -, 63 at most, a letter or digit first", args[1])}
			}
			if err := embedded.RenameBus(cmd.Context(), embedded.RenameOptions{Dir: data}, args[0], args[1]); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "bus %q is called %q now\n", args[0], args[1])
			return nil
		},
	}
	cmd.Flags().StringVar(&data, "data", "./data", "the data folder; its server must be stopped")
	return cmd
}
