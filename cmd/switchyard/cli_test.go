package main

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write what commands print into testdata/*.txtar")

// TestTheCommandLine runs testdata/*.txtar, each the command line as a user
// types it. Beside the commands of testscript there are:
//
//	serve               start a server with the file switchyard.yaml
//	exits CODE COMMAND  run a command; its exit code has to be CODE. What it
//	                    printed is in the files out and err, without what
//	                    differs from run to run
//	settled             wait until nothing is left to deliver
func TestTheCommandLine(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Values[serverKey{}] = &scriptServer{t: env.T().(testing.TB), dir: env.WorkDir}
			env.Setenv("TZ", "UTC")
			env.Setenv("SWITCHYARD_SERVER", "127.0.0.1:1") // nobody is there
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"serve": func(ts *testscript.TestScript, _ bool, _ []string) {
				s := ts.Value(serverKey{}).(*scriptServer)
				s.server = serveFile(s.t, s.dir, filepath.Join(s.dir, "switchyard.yaml"))
				ts.Setenv("SWITCHYARD_SERVER", s.url)
			},
			"settled": func(ts *testscript.TestScript, _ bool, _ []string) {
				s := ts.Value(serverKey{}).(*scriptServer)
				eventually(s.t, "that everything is settled", 20*time.Second, func() bool { return s.routed() && s.settled() })
			},
			"exits": exits,
		},
	})
}

type serverKey struct{}

// scriptServer is the server of one script.
type scriptServer struct {
	*server
	t   testing.TB
	dir string
}

// exits implements the command of that name.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
	for _, name := range []string{"out", "err"} {
		text := lasting(ts.ReadFile("std"+name), ts.Getenv("WORK"))
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

// lasting is text without what differs from run to run.
func lasting(text, work string) string {
	text = strings.ReplaceAll(text, work, "WORK")
	for _, r := range []struct{ pattern, with string }{
		{`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?`, "TIME"},
		{`\b\d\d:\d\d:\d\d\.\d{3}\b`, "CLOCK"},
		{`\bdlv_\w+`, "DELIVERY"},
		{`\b\d+(\.\d+)?(µs|ms)|\b\d+\.\d+s\b`, "TOOK"},
		{`\b[A-Z2-7]{26}\b`, "RANDOM"},
		{`bytes=[1-9]\d*`, "bytes=SOME"},
		{`"bytes": [1-9]\d*`, `"bytes": "SOME"`},
		{`(\S) {2,}`, "$1  "}, // columns are as wide as a folder's name
	} {
		text = regexp.MustCompile(r.pattern).ReplaceAllString(text, r.with)
	}
	return text
}

// routed reports whether the rules have seen the newest event of every bus.
func (s *scriptServer) routed() bool {
	out, code := s.cli("get", "buses")
	if code != 0 {
		s.t.Fatalf("get buses: %s", out)
	}
	for _, m := range regexp.MustCompile(`(?m)^(\S+) .*last=([1-9]\d*)`).FindAllStringSubmatch(out, -1) {
		if _, trace := s.call("GET", "/v1/buses/"+m[1]+"/events/"+m[2]+"/trace", "", ""); !strings.Contains(trace, `"routed":true`) {
			return false
		}
	}
	return true
}
