package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bench/child"
)

// process is the real program in a process of its own, with receivers on
// loopback and, where that can be had, a disk of its own that can be filled.
type process struct {
	pace      pace
	receivers receivers
	random    *rand.Rand
	program   string
	dir       string // its own; the data folder is in it
	disk      disk
	child     *child.Process
	addr      atomic.Pointer[string]
	client    *http.Client
}

// newProcess prepares a server in a new folder below dir.
func newProcess(p pace, rs receivers, seed uint64, program, dir string) (_ *process, err error) {
	own, err := os.MkdirTemp(dir, "soak-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the data: %w; name another place with -dir", err)
	}
	s := &process{
		pace: p, receivers: rs, random: rand.New(rand.NewPCG(seed, 2)), program: program, dir: own,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: producers + 2}, Timeout: time.Minute},
	}
	nowhere := ""
	s.addr.Store(&nowhere)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := os.Mkdir(s.data(), 0o700); err != nil {
		return nil, err
	}
	s.disk = newDisk(s.data())
	for _, name := range rs.names() {
		if err := rs[name].listen(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *process) data() string { return filepath.Join(s.dir, "data") }
func (s *process) file() string { return filepath.Join(s.dir, "switchyard.yaml") }

// caller implements server.
func (s *process) caller() *caller {
	return &caller{base: func() string { return "http://" + *s.addr.Load() }, client: s.client}
}

// configure writes the configuration.
func (s *process) configure(in []route) error {
	urls := map[string]string{}
	for name, r := range s.receivers {
		urls[name] = "http://" + r.addr + "/" + name
	}
	return replaceFile(s.file(), configuration(in, urls, s.pace))
}

// replaceFile puts another text in the place of a file, whole.
func replaceFile(path, text string) error {
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// start implements server.
func (s *process) start(ctx context.Context, in []route) error {
	if err := s.configure(in); err != nil {
		return err
	}
	return s.launch(ctx)
}

func (s *process) launch(ctx context.Context) error {
	addr, err := child.FreeAddress()
	if err != nil {
		return err
	}
	cmd := exec.Command(s.program, "serve", "-c", s.file(), "--data", s.data(), "--listen", addr, "--log-level", "warn")
	if s.child, err = child.Start(ctx, cmd, addr); err != nil {
		return err
	}
	s.addr.Store(&addr)
	return nil
}

// restart implements server.
func (s *process) restart(ctx context.Context, how outageKind, between func() error) (outage, error) {
	o := outage{how: how, at: time.Now()}
	if how == stopped {
		if err := s.child.Stop(); err != nil {
			return o, err
		}
	} else {
		s.child.Kill()
	}
	o.ended = time.Now()
	s.client.CloseIdleConnections()
	if between != nil {
		if err := between(); err != nil {
			return o, err
		}
	}
	return o, s.launch(ctx)
}

// tear implements server.
func (s *process) tear() error {
	return tearTail(vfs.Default, filepath.Join(s.data(), "log"), s.random)
}

// reload implements server.
func (s *process) reload(ctx context.Context, in []route) error {
	if err := s.configure(in); err != nil {
		return err
	}
	if err := s.child.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	return awaitRules(ctx, s.caller(), in)
}

// reloadBroken puts a configuration in the place of the file that cannot be
// taken, has it read, and puts the old one back.
func (s *process) reloadBroken(in []route) error {
	if err := replaceFile(s.file(), "version: 1\nrules: {broken: {bus: nowhere, targets: [nothing]}}\n"); err != nil {
		return err
	}
	err := s.child.Signal(syscall.SIGHUP)
	time.Sleep(50 * time.Millisecond) // it may read before or after; both are fine
	return errors.Join(err, s.configure(in), s.child.Signal(syscall.SIGHUP))
}

// awaitRules waits until the rules in force are those of in.
func awaitRules(ctx context.Context, c *caller, in []route) error {
	want := map[string]bool{}
	for _, r := range in {
		rule, _ := ruleAndTarget(r.name)
		want[rule] = true
	}
	for {
		got := map[string]bool{}
		if err := list(ctx, c, "/v1/rules", func(r struct{ Name string }) { got[r.Name] = true }); err != nil {
			return err
		}
		same := len(got) == len(want)
		for rule := range want {
			same = same && got[rule]
		}
		if same {
			return nil
		}
		if err := pause(ctx, again); err != nil {
			return fmt.Errorf("the rules %v are not in force; those are: %v: %w", sortedKeys(want), sortedKeys(got), err)
		}
	}
}

// troubles implements server.
func (s *process) troubles() []trouble {
	if s.disk == nil {
		return nil
	}
	return []trouble{diskFull, diskReserve}
}

// trouble implements server.
func (s *process) trouble(t trouble) error {
	switch t {
	case diskFull:
		return s.disk.leave(64 << 10)
	case diskReserve:
		return s.disk.leave(64 << 20) // the server leaves 256 MiB alone
	}
	return s.disk.leave(diskSize)
}

// ready implements server.
func (s *process) ready(ctx context.Context, most time.Duration) error {
	return awaitReady(ctx, s.caller(), most)
}

// close implements server.
func (s *process) close() error {
	var errs []error
	if s.child != nil {
		s.child.Kill()
		if text := s.child.Stderr(); strings.Contains(text, "panic") || strings.Contains(text, "fatal error") {
			errs = append(errs, fmt.Errorf("the server panicked: %s", text))
		}
	}
	for _, name := range s.receivers.names() {
		errs = append(errs, s.receivers[name].close())
	}
	if s.disk != nil {
		errs = append(errs, s.disk.close())
	}
	s.client.CloseIdleConnections()
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// disk is a file system that can be filled.
type disk interface {
	// leave makes it so full that about so many bytes are free.
	leave(bytes uint64) error
	close() error
}

// diskSize is the size of a disk of its own in bytes. Little of it is used.
const diskSize = 2 << 30
