package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/switchyard-dev/switchyard/configs"
	"github.com/switchyard-dev/switchyard/rules"
)

// compiledFilters keeps what the filters of the rules were compiled to in the
// data folder, so that a server with many rules starts as fast as one with few.
// It is a cache: without it, or after an update of the program, filters are
// compiled from their sources.
type compiledFilters struct {
	env  *rules.Env
	log  *slog.Logger
	flag string // the data folder of the command line; "" leaves the file's
	path string
}

const compiledFile = "filters.compiled"

// load is called when the data folder is known, before filters are compiled.
func (c *compiledFilters) load(s configs.Server) {
	c.path = filepath.Join(first(c.flag, s.Data), compiledFile)
	data, err := os.ReadFile(c.path)
	if err != nil {
		return
	}
	n, err := c.env.Remember(build(), data)
	c.log.Debug("filters that were compiled before", "filters", n, "error", err)
}

// save writes the filters of a configuration, if some were compiled from their
// sources since the start.
func (c *compiledFilters) save(cfg *configs.Config) {
	c.env.Forget()
	if c.path == "" || cfg == nil || c.env.Compiled() == 0 {
		return
	}
	matchers := make([]*rules.Matcher, 0, cfg.Rules.Len())
	for _, r := range cfg.Rules.All() {
		matchers = append(matchers, r.Matcher)
	}
	if err := writeWhole(c.path, rules.AppendCompiled(nil, build(), matchers)); err != nil {
		c.log.Warn("the compiled filters are not kept, so the next start compiles them again", "error", err)
	}
}

// writeWhole writes a file so that it is there whole or not at all.
func writeWhole(path string, data []byte) error {
	next := path + ".new"
	if err := os.WriteFile(next, data, 0o640); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// build tells builds of this program apart.
func build() string {
	program, err := os.Executable()
	if err != nil {
		return ""
	}
	info, err := os.Stat(program)
	if err != nil {
		return ""
	}
	revision := ""
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" || s.Key == "vcs.modified" {
				revision += " " + s.Value
			}
		}
	}
	return fmt.Sprintf("%s%s %d %d", release, revision, info.Size(), info.ModTime().UnixNano())
}
