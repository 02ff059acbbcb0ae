package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/switchyard-dev/switchyard/configs"
	"github.com/switchyard-dev/switchyard/rules"
)

// compiledRules keeps what the rules were found to be in the data folder, so that
// a server with many rules starts as fast as one with few: those of files whose
// text is as it was, decoded and checked, and what filters were compiled to. It is
// a cache: without it, or after an update of the program, rules are read and
// compiled from their sources.
type compiledRules struct {
	env   *rules.Env
	files *configs.Memory
	log   *slog.Logger
	flag  string // the data folder of the command line; "" leaves the file's
	path  string

	started bool   // what was found of files is written, or need not be
	written uint64 // how many filters had been compiled then
}

const (
	compiledFile  = "rules.compiled"
	compiledMagic = "switchyard compiled 1\n"
	maxCompiled   = 1 << 30 // bytes; a larger file is not one of ours
)

// load is called when the data folder is known, before rules are compiled.
func (c *compiledRules) load(s configs.Server) {
	path := filepath.Join(first(c.flag, s.Data), compiledFile)
	if path == c.path {
		return
	}
	c.path = path
	filters, files, err := readCompiled(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	n := 0
	if err == nil {
		n, err = c.env.Remember(build(), filters)
	}
	if err == nil {
		err = c.files.Remember(build(), files)
	}
	c.log.Debug("rules that were compiled before", "filters", n, "error", err)
}

// save writes what was found of the rules of a configuration, if something is new
// since it was written. What load brought is dropped.
func (c *compiledRules) save(cfg *configs.Config) {
	defer c.env.Forget()
	defer func() { c.files.Forget(); c.started = true }()
	compiled := c.env.Compiled()
	if c.path == "" || cfg == nil || compiled == c.written && !c.files.Fresh() {
		return
	}
	files := c.files.Append(nil, build())
	if c.started { // it stays as it was written
		_, files, _ = readCompiled(c.path)
	}
	matchers := make([]*rules.Matcher, 0, cfg.Rules.Len())
	for _, r := range cfg.Rules.All() {
		matchers = append(matchers, r.Matcher)
	}
	filters := rules.AppendCompiled(nil, build(), matchers)
	data := binary.LittleEndian.AppendUint64([]byte(compiledMagic), uint64(len(filters)))
	if err := writeWhole(c.path, append(data, filters...), files); err != nil {
		c.log.Warn("the compiled rules are not kept, so the next start compiles them again", "error", err)
		return
	}
	c.written = compiled
}

// readCompiled reads what save wrote: the filters, and the rules of files. They
// share no memory, for the rules keep theirs.
func readCompiled(path string) (filters, files []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if info.Size() > maxCompiled {
		return nil, nil, fmt.Errorf("%d bytes are too many", info.Size())
	}
	head := make([]byte, len(compiledMagic)+8)
	left := uint64(info.Size()) - uint64(len(head))
	if _, err := io.ReadFull(f, head); err != nil || string(head[:len(compiledMagic)]) != compiledMagic ||
		binary.LittleEndian.Uint64(head[len(compiledMagic):]) > left {
		return nil, nil, errors.New("not compiled rules of this version")
	}
	n := binary.LittleEndian.Uint64(head[len(compiledMagic):])
	filters, files = make([]byte, n), make([]byte, left-n)
	if _, err = io.ReadFull(f, filters); err == nil {
		_, err = io.ReadFull(f, files)
	}
	return filters, files, err
}

// writeWhole writes a file of some parts so that it is there whole or not at all.
func writeWhole(path string, parts ...[]byte) (err error) {
	next := path + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if _, err = f.Write(p); err != nil {
			break
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
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
