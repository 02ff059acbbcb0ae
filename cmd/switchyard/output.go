package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// output is the flag -o of commands that print data.
type output struct{ form string }

func (o *output) flag(cmd *cobra.Command) {
	cmd.Flags().VarP(o, "output", "o", "how to print: text or json")
	o.form = "text"
}

func (o *output) json() bool { return o.form == "json" }

// String implements pflag.Value.
func (o *output) String() string { return o.form }

// Type implements pflag.Value.
func (o *output) Type() string { return "form" }

// Set implements pflag.Value.
func (o *output) Set(s string) error {
	if s != "text" && s != "json" {
		return fmt.Errorf("%q is not an output form; use text or json", s)
	}
	o.form = s
	return nil
}
