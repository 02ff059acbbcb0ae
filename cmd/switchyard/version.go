package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// release is the version of this source tree.
const release = "0.1.0"

// versionInfo is what switchyard version prints.
type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisVersion() versionInfo {
	v := versionInfo{Version: release, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Revision = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	return v
}

func newVersion() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := thisVersion()
			if out.json() {
				return printJSON(cmd, v)
			}
			words := []string{"switchyard", v.Version}
			if v.Revision != "" {
				words = append(words, v.Revision)
			}
			if v.Modified {
				words = append(words, "(modified)")
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), strings.Join(append(words, v.Go, v.Platform), " "))
			return err
		},
	}
	out.flag(cmd)
	return cmd
}
