package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// asMain makes the test binary be switchyard itself, so that tests run real
// processes which can be killed. The scripts of cli_test.go call it by the name
// switchyard.
const asMain = "SWITCHYARD_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) == "1" {
		os.Exit(run(os.Args[1:]))
	}
	testscript.Main(m, map[string]func(){"switchyard": main})
}

// server is a running switchyard serve.
type server struct {
	t      testing.TB
	url    string
	cmd    *exec.Cmd
	ready  chan string   // its address, once it serves
	exited chan struct{} // closed when the process has ended

	mu     sync.Mutex
	out    strings.Builder // what it printed to standard output
	errOut strings.Builder // and to standard error
}

var readyLine = regexp.MustCompile(`is ready on (http://\S+)`)

// serve starts a server in dir, with a configuration, on a free port, and
// waits until it is ready. More flags may follow.
func serve(t testing.TB, dir, config string, flags ...string) *server {
	t.Helper()
	file := filepath.Join(dir, "switchyard.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return serveFile(t, dir, file, flags...)
}

// serveFile is serve with a configuration that exists.
func serveFile(t testing.TB, dir, file string, flags ...string) *server {
	t.Helper()
	s := start(t, append([]string{"serve", "-c", file, "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0"}, flags...)...)
	s.waitReady()
	return s
}

// start starts a process that may become a server that is ready, or refuse.
func start(t testing.TB, args ...string) *server {
	t.Helper()
	return startCommand(t, exec.Command(os.Args[0], args...))
}

// startCommand is start with a command that becomes switchyard.
func startCommand(t testing.TB, cmd *exec.Cmd) *server {
	t.Helper()
	s := &server{t: t, cmd: cmd, exited: make(chan struct{}), ready: make(chan string, 1)}
	s.cmd.Env = append(os.Environ(), asMain+"=1")
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pipes sync.WaitGroup
	pipes.Go(func() { s.collect(stdout, &s.out, nil) })
	pipes.Go(func() { s.collect(stderr, &s.errOut, s.ready) })
	go func() { pipes.Wait(); s.cmd.Wait(); close(s.exited) }()
	t.Cleanup(s.kill)
	return s
}

// waitReady waits until the server serves.
func (s *server) waitReady() {
	s.t.Helper()
	select {
	case s.url = <-s.ready:
	case <-s.exited:
		s.t.Fatalf("the server ended at once:\n%s", s.stderr())
	case <-time.After(60 * time.Second):
		s.t.Fatalf("the server is not ready after a minute:\n%s", s.stderr())
	}
}

// collect keeps what the server prints and looks for the line that says it is
// ready.
func (s *server) collect(r io.Reader, into *strings.Builder, ready chan<- string) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		s.mu.Lock()
		into.WriteString(lines.Text() + "\n")
		s.mu.Unlock()
		if m := readyLine.FindStringSubmatch(lines.Text()); m != nil && ready != nil {
			ready <- m[1]
			ready = nil
		}
	}
	io.Copy(io.Discard, r)
}

func (s *server) stdout() string { s.mu.Lock(); defer s.mu.Unlock(); return s.out.String() }
func (s *server) stderr() string { s.mu.Lock(); defer s.mu.Unlock(); return s.errOut.String() }

// kill ends the server with SIGKILL.
func (s *server) kill() {
	s.cmd.Process.Kill()
	<-s.exited
}

// stop ends the server with SIGTERM and returns its exit code and how long it
// took.
func (s *server) stop() (code int, took time.Duration) {
	began := time.Now()
	s.cmd.Process.Signal(syscall.SIGTERM)
	<-s.exited
	return s.cmd.ProcessState.ExitCode(), time.Since(began)
}

// call makes a request and returns the status and body of the answer.
func (s *server) call(method, path, contentType, body string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", method, path, err, s.stderr())
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(out)
}

// cli runs a command against the server, in this process, and returns what it
// printed and its exit code.
func (s *server) cli(args ...string) (out string, code int) {
	s.t.Helper()
	s.t.Setenv("SWITCHYARD_SERVER", s.url)
	var printed bytes.Buffer
	root := newRoot()
	root.SetOut(&printed)
	root.SetErr(&printed)
	code = execute(root, args)
	return printed.String(), code
}

// eventually polls what happens in another process.
func eventually(t testing.TB, what string, limit time.Duration, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); !done(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen within %v", what, limit)
		}
	}
}

// require skips a test that needs something that is not there, unless nothing
// may skip.
func require(t testing.TB, there bool, what string) {
	t.Helper()
	if there {
		return
	}
	if os.Getenv("SWITCHYARD_REQUIRE") == "all" {
		t.Fatalf("%s is required and not there", what)
	}
	t.Skipf("skipped: %s is not there", what)
}

// settled reports whether every event was routed and every subscription has
// nothing left to deliver.
func (s *server) settled() bool {
	_, body := s.call(http.MethodGet, "/v1/buses?limit=1000", "", "")
	var buses struct {
		Items []struct {
			Status struct{ Last, Routed uint64 }
		}
	}
	if err := json.Unmarshal([]byte(body), &buses); err != nil {
		s.t.Fatal(err)
	}
	for _, b := range buses.Items {
		if b.Status.Routed < b.Status.Last {
			return false
		}
	}
	_, body = s.call(http.MethodGet, "/v1/subscriptions?limit=1000", "", "")
	return strings.Contains(body, `"depth":0`) && !regexp.MustCompile(`"depth":[1-9]`).MatchString(body)
}
