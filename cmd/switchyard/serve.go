package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// serveFlags are the flags of switchyard serve; what is not "" wins over the
// configuration.
type serveFlags struct {
	config, data, listen, store string
	logFormat, logLevel         string
	insecure                    bool
}

func newServe() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: "Run the server until SIGTERM or Ctrl-C, which drain it. SIGHUP, or a change of the\n" +
			"configuration files, reloads the configuration: all of it, or nothing if it is invalid.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLogger(cmd, f.logFormat, f.logLevel)
			if err != nil {
				return &usageError{err}
			}
			if f.store != "" && f.store != "embedded" {
				return &usageError{fmt.Errorf("--store %q is not available in this version of Switchyard; only embedded is", f.store)}
			}
			a, err := newApp(cmd.Context(), f, log, cmd.OutOrStdout(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			hup := make(chan os.Signal, 1)
			signal.Notify(hup, syscall.SIGHUP)
			defer signal.Stop(hup)
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			return a.run(ctx, hup)
		},
	}
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "configuration: a YAML file, or a folder of them")
	cmd.Flags().StringVar(&f.data, "data", "", "folder that events are kept in (default: server.data, else ./data)")
	cmd.Flags().StringVar(&f.listen, "listen", "", "address of the HTTP API (default: server.listen, else 127.0.0.1:8080)")
	cmd.Flags().StringVar(&f.store, "store", "embedded", "storage engine: embedded")
	cmd.Flags().BoolVar(&f.insecure, "insecure", false, "allow to listen on an address that others can reach, without authentication")
	cmd.Flags().StringVar(&f.logFormat, "log-format", "text", "text or json")
	cmd.Flags().StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

func newLogger(cmd *cobra.Command, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q is none of debug, info, warn, error", level)
	}
	opts := &slog.HandlerOptions{Level: l, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(err.Error()) // some have stacks, which the text format would print
		}
		return a
	}}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), opts)), nil
	}
	return nil, errors.New("--log-format takes text or json")
}
