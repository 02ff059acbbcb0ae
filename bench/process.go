package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/switchyard-dev/switchyard/bench/child"
)

// process is a child process that serves HTTP on loopback.
type process struct{ *child.Process }

// The configuration of the benchmarks: one bus, without or with a rule that
// reads attributes and data and sends what matches to a receiver.
const (
	eventsPath = "/v1/buses/bench/events"
	busOnly    = "version: 1\nbuses:\n  bench: {retention: {age: 7d}}\n"
	whenPlaced = `event.type == "com.example.order.placed" && event.data.total > 100`
)

// withTarget is the configuration that delivers to url.
func withTarget(url string) string {
	return placed("receiver", "  receiver: {http: {url: '"+url+"'}, concurrency: "+strconv.Itoa(deliverers)+"}\n")
}

// placed is the configuration with a rule that sends to the targets called
// names, which are defined as given.
func placed(names, targets string) string {
	return busOnly + "rules:\n  placed:\n    bus: bench\n    when: '" + whenPlaced + "'\n    targets: [" + names + "]\n" +
		"targets:\n" + targets
}

// withRules is withTarget with more rules, n in all, that ask for other events.
func withRules(url string, n int) string {
	var b strings.Builder
	at := strings.Index(withTarget(url), "targets:\n  receiver")
	b.WriteString(withTarget(url)[:at])
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "  other-%d:\n    bus: bench\n    when: event.type == \"com.example.other.t%d\" && event.data.total > 100\n    targets: [receiver]\n", i, i)
	}
	b.WriteString(withTarget(url)[at:])
	return b.String()
}

// startSwitchyard starts the real program on a data folder and waits until it
// is ready. The closer stops it if nobody else does.
func startSwitchyard(ctx context.Context, e *environment, c *closer, data, config string) (*process, error) {
	program, err := e.program(ctx)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(filepath.Dir(data), filepath.Base(data)+".yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	addr, err := child.FreeAddress()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "serve", "-c", file, "--data", data, "--listen", addr, "--log-level", "warn")
	return start(ctx, c, cmd, addr)
}

// startBare starts this program in a role that serves.
func startBare(ctx context.Context, c *closer, role, forward string) (*process, error) {
	addr, err := child.FreeAddress()
	if err != nil {
		return nil, err
	}
	cmd, err := roleCommand(role, addr, forward)
	if err != nil {
		return nil, err
	}
	return start(ctx, c, cmd, addr)
}

func roleCommand(role, addr, forward string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), roleVariable+"="+role, addressVariable+"="+addr, forwardVariable+"="+forward)
	return cmd, nil
}

// launch starts a command and takes care of its end.
func launch(c *closer, cmd *exec.Cmd) (*process, error) {
	p, err := child.Launch(cmd)
	if err != nil {
		return nil, err
	}
	c.add(p.Stop)
	return &process{p}, nil
}

// start starts a command that serves on addr, waits until it is ready and takes
// care of its end.
func start(ctx context.Context, c *closer, cmd *exec.Cmd, addr string) (*process, error) {
	p, err := child.Start(ctx, cmd, addr)
	if err != nil {
		return nil, err
	}
	c.add(p.Stop)
	return &process{p}, nil
}
