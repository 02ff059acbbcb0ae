package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/configs"
)

// envFile stands in for environment variables that are not set, so that a
// configuration can be checked where its secrets are not.
type envFile struct{ path string }

func (e *envFile) flag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&e.path, "env-file", "", "take what ${env:NAME} stands for from NAME=VALUE lines of this file, where the environment has no NAME")
}

// use makes a loader look into the file, if there is one.
func (e *envFile) use(loader *configs.Loader) error {
	if e.path == "" {
		return nil
	}
	text, err := os.ReadFile(e.path)
	if err != nil {
		return &usageError{fmt.Errorf("--env-file: %w", err)}
	}
	values := map[string]string{}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return &usageError{fmt.Errorf("--env-file: %s:%d is not NAME=VALUE", e.path, number)}
		}
		value = strings.TrimSpace(value)
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		values[name] = value
	}
	loader.Env = func(name string) (string, bool) {
		if value, ok := os.LookupEnv(name); ok {
			return value, true
		}
		value, ok := values[name]
		return value, ok
	}
	return nil
}
