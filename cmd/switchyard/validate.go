package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/configs"
	"github.com/switchyard-dev/switchyard/rules"
)

// newLoader is a loader of configurations with every kind of component.
func newLoader() (*configs.Loader, error) {
	env, err := rules.NewEnv()
	if err != nil {
		return nil, err
	}
	return &configs.Loader{Kinds: components(), Rules: env}, nil
}

// diagnosticJSON is a diagnostic as validate -o json prints it.
type diagnosticJSON struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path"`
	Message string `json:"message"`
	Warning bool   `json:"warning"`
}

// validation is what validate -o json prints.
type validation struct {
	Valid       bool             `json:"valid"`
	Diagnostics []diagnosticJSON `json:"diagnostics"`
}

func newValidate() *cobra.Command {
	var out output
	var strict bool
	var server string
	var env envFile
	cmd := &cobra.Command{
		Use: "validate FILE|DIR", Short: "Check a configuration; every problem at once",
		Long: "Check a configuration and print every problem with its place, errors and warnings.\n" +
			"Exit code 2 says that there are errors. Warnings, such as of a filter that never matches, are no failure unless --strict is given.\n" +
			"With --server, filters are also held against the newest stored events of their buses: a type or a path that none of them has draws a warning.\n" +
			"With --env-file, the variables that references name need not be set: any value of the right kind will do, for nothing is connected to.",
		Example: "  switchyard validate configs/quickstart.yaml\n" +
			"  switchyard validate configs/quickstart.yaml --server http://127.0.0.1:8080 --strict",
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			loader, err := newLoader()
			if err != nil {
				return err
			}
			if err := env.use(loader); err != nil {
				return err
			}
			s := sample{client: client{server: server}, ctx: cmd.Context(), taken: map[string]taken{}}
			if server != "" {
				loader.Stored = s.of
			}
			cfg, found := loader.LoadPath(args[0])
			if s.err != nil {
				return s.err
			}
			warned := len(found) > 0
			found = append(found, s.unchecked(cfg)...) // which is no fault of the configuration
			if out.json() {
				v := validation{Valid: !found.HasErrors(), Diagnostics: []diagnosticJSON{}}
				for _, d := range found {
					v.Diagnostics = append(v.Diagnostics, diagnosticJSON{d.File, d.Line, d.Column, d.Path, d.Message, d.Warning})
				}
				if err := printJSON(cmd, v); err != nil {
					return err
				}
			} else if len(found) > 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), found)
			}
			if found.HasErrors() {
				return errors.Join(errConfiguration, errReported)
			}
			if !out.json() {
				fmt.Fprintf(cmd.OutOrStdout(), "%s is valid: %s, %s, %s, %s\n", args[0],
					counted(len(cfg.Buses), "bus", "buses"), counted(len(cfg.Sources), "source", "sources"),
					counted(cfg.Rules.Len(), "rule", "rules"), counted(len(cfg.Targets), "target", "targets"))
			}
			if strict && warned {
				return errors.Join(errors.New("there are warnings"), errReported)
			}
			return nil
		},
	}
	out.flag(cmd)
	cmd.Flags().StringVar(&server, "server", "", "hold filters against the events that this server has stored")
	env.flag(cmd)
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with code 1 if there are warnings")
	return cmd
}

func newSchema() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of the configuration", Args: noArgs,
		Long: "Print the JSON Schema of the configuration, for editors: save it and name it in the first line of a file,\n" +
			"# yaml-language-server: $schema=switchyard.schema.json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			schema, err := components().Schema()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", schema)
			return err
		},
	}
}
