package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a child process that serves HTTP on loopback.
type process struct {
	addr  string
	ready time.Duration // from its start to the first 200 of /readyz

	cmd    *exec.Cmd
	stdin  io.Closer
	stderr *tail
	ended  chan struct{}
}

// How long a child may take to start (a million events are replayed at most),
// how often it is asked whether it is ready, and how long it may take to stop.
const (
	startTime = 3 * time.Minute
	pollTime  = 2 * time.Millisecond
	stopTime  = 30 * time.Second
)

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
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "serve", "-c", file, "--data", data, "--listen", addr, "--log-level", "warn")
	return start(ctx, c, cmd, addr)
}

// startBare starts this program in a role that serves.
func startBare(ctx context.Context, c *closer, role, forward string) (*process, error) {
	addr, err := freeAddress()
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

// freeAddress is an address on loopback that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// launch starts a command and takes care of its end.
func launch(c *closer, cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, stderr: &tail{}, ended: make(chan struct{})}
	cmd.Stderr = p.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.stdin = stdin
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = cmd.Wait()
		close(p.ended)
	}()
	c.add(p.stop)
	return p, nil
}

func start(ctx context.Context, c *closer, cmd *exec.Cmd, addr string) (*process, error) {
	began := time.Now()
	p, err := launch(c, cmd)
	if err != nil {
		return nil, err
	}
	p.addr = addr
	transport := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: startTime}
	for {
		resp, err := client.Get("http://" + addr + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				p.ready = time.Since(began)
				return p, nil
			}
		}
		select {
		case <-p.ended:
			return nil, fmt.Errorf("%s ended before it was ready: %s", filepath.Base(cmd.Path), p.stderr)
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pollTime):
		}
		if time.Since(began) > startTime {
			return nil, fmt.Errorf("%s is not ready after %v: %s", filepath.Base(cmd.Path), startTime, p.stderr)
		}
	}
}

// stop ends the process in order, and is idempotent.
func (p *process) stop() error {
	select {
	case <-p.ended:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopTime):
		p.kill()
		return fmt.Errorf("%s did not stop within %v: %s", filepath.Base(p.cmd.Path), stopTime, p.stderr)
	}
}

// kill ends the process as a crash would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// anonymous is the process's anonymous memory, RssAnon, in MB.
func (p *process) anonymous() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kb / 1024, err
		}
	}
	return 0, errors.New("/proc has no RssAnon on this system")
}

// metric sums what /metrics says of one name.
func (p *process) metric(name string) (float64, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: answerTime}
	resp, err := client.Get("http://" + p.addr + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	sum, found := 0.0, false
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		fields := strings.Fields(rest)
		v, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			return 0, err
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("/metrics has no %s", name)
	}
	return sum, nil
}

// tail keeps the end of what a process prints.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.buf.Len() > 64<<10 {
		t.buf.Next(t.buf.Len() / 2)
	}
	return t.buf.Write(b)
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(t.buf.String())
}
