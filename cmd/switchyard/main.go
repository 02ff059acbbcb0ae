// Command switchyard is the event bus: the server and its command line.
//
// main.go has the root command and exit codes, app.go puts the server together
// and runs it, config.go builds what a configuration says and swaps it in,
// components.go is the only list of sources and targets. Every other command
// is one file.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	os.Exit(run(os.Args[1:]))
}

// run is main for tests: it returns the exit code.
func run(args []string) int { return execute(newRoot(), args) }

// execute runs a command line on root and returns the exit code.
func execute(root *cobra.Command, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	var usage *usageError
	if !errors.Is(err, errReported) {
		fmt.Fprintln(root.ErrOrStderr(), "switchyard: "+err.Error())
	}
	if errors.As(err, &usage) {
		fmt.Fprintf(root.ErrOrStderr(), "Usage: %s\nRun %s --help for more.\n", cmd.UseLine(), cmd.CommandPath())
		return exitUsage
	}
	var refused *refusal
	if errors.Is(err, errConfiguration) || errors.As(err, &refused) && refused.problem.BadValue() {
		return exitUsage
	}
	return exitFailed
}

// usageError is a mistake on the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// errReported ends a command whose errors were printed already.
var errReported = errors.New("reported")

// errConfiguration marks a configuration that cannot be used.
var errConfiguration = errors.New("configuration")

// newRoot makes the command tree.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:     "switchyard",
		Version: thisVersion().String(),
		Short:   "A self-hosted event bus for CloudEvents",
		Long: "Switchyard takes CloudEvents in over HTTP, keeps them safe, and delivers them where\n" +
			"rules say, with retries and dead letters.\n\nTo begin: switchyard serve -c configs/quickstart.yaml",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newServe(), newBackup(), newRestore(), newStore(), newBench(), newVersion())
	root.AddCommand(clientCommands()...)
	usage(root)
	return root
}

// noArgs are the arguments of a command that takes flags only; cobra.NoArgs calls what is too much an unknown command.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("takes flags only, not %q", args[0])
	}
	return nil
}

// arguments checks that there are from least to most arguments, in words of our own.
func arguments(least, most int) cobra.PositionalArgs {
	want := counted(most, "argument", "arguments")
	switch {
	case least == 0:
		want = "at most " + want
	case least < most:
		want = fmt.Sprintf("%d to %s", least, want)
	}
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return fmt.Errorf("%s takes %s, not %d", cmd.Name(), want, len(args))
		}
		return nil
	}
}

// flagError is what is wrong with a flag, without the words of package strconv.
func flagError(err error) error {
	var number *strconv.NumError
	if !errors.As(err, &number) {
		return err
	}
	reason := "give a whole number"
	switch {
	case number.Func == "ParseBool":
		reason = "give true or false"
	case errors.Is(number, strconv.ErrRange):
		reason = "the number is out of range"
	}
	return errors.New(strings.Replace(err.Error(), number.Error(), reason, 1))
}

// usage makes every mistake in flags and arguments a usageError. A command that has commands only shows what they are.
func usage(cmd *cobra.Command) {
	if !cmd.Runnable() {
		cmd.Args = cobra.NoArgs
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{flagError(err)} })
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return &usageError{err}
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		usage(sub)
	}
}
