// Package child runs programs that serve HTTP on loopback as child processes,
// the real switchyard among them: it builds it, starts it, waits until it is
// ready, reads what it says of itself, and ends it in order or as a crash would.
// The benchmarks and the soak use it.
//
// A Process may be used from many goroutines at once.
package child

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

// How long a process may take to start (a million events are replayed at
// most), how often it is asked whether it is ready, how long it may take to
// stop, and how long to answer.
const (
	StartTime  = 3 * time.Minute
	PollTime   = 2 * time.Millisecond
	stopTime   = 30 * time.Second
	answerTime = 30 * time.Second
)

// Build builds the switchyard program of this checkout into the folder dir and
// returns its path.
func Build(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, "switchyard")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/switchyard-dev/switchyard/cmd/switchyard")
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build switchyard: %w\n%s\nrun this inside the checkout, or name a program with -binary", err, text)
	}
	return program, nil
}

// FreeAddress is an address on loopback that nobody listens on.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// Process is a child process. Make it with Launch or Start.
type Process struct {
	Addr  string        // where it serves, as it was given to Start
	Ready time.Duration // from its start to the first 200 of /readyz

	cmd    *exec.Cmd
	stdin  io.Closer
	stderr *tail
	ended  chan struct{}
}

// Launch starts a command. Whoever launches ends it, with Stop or Kill. Its
// standard input stays open as long as this process lives.
func Launch(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, stderr: &tail{}, ended: make(chan struct{})}
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
	return p, nil
}

// Start launches a command that serves on addr and waits until its /readyz
// answers 200. If that fails, the process has ended.
func Start(ctx context.Context, cmd *exec.Cmd, addr string) (*Process, error) {
	p, err := Launch(cmd)
	if err != nil {
		return nil, err
	}
	p.Addr = addr
	began := time.Now()
	if err := p.AwaitReady(ctx, StartTime); err != nil {
		p.Kill()
		return nil, err
	}
	p.Ready = time.Since(began)
	return p, nil
}

// AwaitReady waits until /readyz answers 200, at most for the given time.
func (p *Process) AwaitReady(ctx context.Context, most time.Duration) error {
	began := time.Now()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: most}
	answered := ""
	for {
		resp, err := client.Get("http://" + p.Addr + "/readyz")
		if err == nil {
			text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			answered = "; it says: " + string(text)
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended before it was ready: %s", p.name(), p.stderr)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(PollTime):
		}
		if time.Since(began) > most {
			return fmt.Errorf("%s is not ready after %v%s: %s", p.name(), most, answered, p.stderr)
		}
	}
}

func (p *Process) name() string { return filepath.Base(p.cmd.Path) }

// Stop ends the process in order, and is idempotent.
func (p *Process) Stop() error {
	select {
	case <-p.ended:
		return nil
	default:
	}
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopTime):
		p.Kill()
		return fmt.Errorf("%s did not stop within %v: %s", p.name(), stopTime, p.stderr)
	}
}

// Kill ends the process as a crash would, and is idempotent.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// Signal sends the process a signal.
func (p *Process) Signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

// PID is the id of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Stderr is the end of what it printed to standard error.
func (p *Process) Stderr() string { return p.stderr.String() }

// Anonymous is the process's anonymous memory, RssAnon, in MB.
func (p *Process) Anonymous() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
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

// Metric sums what /metrics says of one name.
func (p *Process) Metric(name string) (float64, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: answerTime}
	resp, err := client.Get("http://" + p.Addr + "/metrics")
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
