package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/rules"
)

// warnWhen says on standard error what a filter of --when cannot mean, such as
// one that reads an attribute whose name is a slip: it is no error, for events may
// have any extension, but that nothing is found has another reason then. What does
// not compile is for the server to say.
func warnWhen(cmd *cobra.Command, when string) error {
	if when == "" {
		return nil
	}
	env, err := rules.NewEnv()
	if err != nil {
		return err
	}
	for _, w := range env.Lint(rules.Filter{When: when}) {
		hint := ""
		if w.Hint != "" {
			hint = "; " + w.Hint
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "--when:%d:%d: warning: %s%s\n", w.Line, w.Column, w.Message, hint)
	}
	return nil
}
