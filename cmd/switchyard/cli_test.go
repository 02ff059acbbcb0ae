package main

import (
	"bytes"
	"flag"
	"os"
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
//	exits CODE switchyard ARGS... [<FILE]
//	                    run the command in this process; its exit code has to
//	                    be CODE. What it printed is in the files out and err,
//	                    without what differs from run to run
//	settled             wait until nothing is left to deliver
//	routed              wait until the rules have seen every event
//	tried RULE/TARGET   wait until an attempt has failed
//	archived BUS LAST   wait until the events up to LAST are archived
func TestTheCommandLine(t *testing.T) {
	dir, err := filepath.Abs("testdata") // for commands change the folder
	if err != nil {
		t.Fatal(err)
	}
	testscript.RunT(oneByOne{t}, testscript.Params{
		Dir:                 dir,
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Values[serverKey{}] = &scriptServer{t: env.T().(oneByOne).T, dir: env.WorkDir}
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
			"routed": func(ts *testscript.TestScript, _ bool, _ []string) {
				s := ts.Value(serverKey{}).(*scriptServer)
				eventually(s.t, "that the rules have seen everything", 20*time.Second, s.routed)
			},
			"tried": func(ts *testscript.TestScript, _ bool, args []string) {
				s := ts.Value(serverKey{}).(*scriptServer)
				eventually(s.t, "that there is the record of an attempt", 20*time.Second, func() bool {
					_, list := s.call("GET", "/v1/subscriptions/"+args[0]+"/attempts", "", "")
					return strings.Contains(list, `"error":"`)
				})
			},
			"archived": func(ts *testscript.TestScript, _ bool, args []string) {
				s := ts.Value(serverKey{}).(*scriptServer)
				eventually(s.t, "that everything is archived", 30*time.Second, func() bool {
					_, list := s.call("GET", "/v1/buses/"+args[0]+"/archive", "", "")
					return strings.Contains(list, `"lag":0`) && strings.Contains(list, `"last":`+args[1]+`,`)
				})
			},
			"exits": exits,
		},
	})
}

// oneByOne runs scripts one after another: the commands share the folder and
// the environment of this process.
type oneByOne struct{ *testing.T }

// Parallel implements testscript.T.
func (oneByOne) Parallel() {}

// Run implements testscript.T.
func (t oneByOne) Run(name string, f func(testscript.T)) {
	t.T.Run(name, func(t *testing.T) { f(oneByOne{t}) })
}

// Verbose implements testscript.T.
func (oneByOne) Verbose() bool { return testing.Verbose() }

type serverKey struct{}

// scriptServer is the server of one script.
type scriptServer struct {
	*server
	t   *testing.T
	dir string
}

// exits implements the command of that name.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	t := ts.Value(serverKey{}).(*scriptServer).t
	t.Setenv("SWITCHYARD_SERVER", ts.Getenv("SWITCHYARD_SERVER"))
	t.Chdir(ts.MkAbs("."))
	root := newRoot()
	var out, errOut bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errOut)
	root.SetIn(strings.NewReader(""))
	args = args[2:]
	if last := len(args) - 1; last >= 0 && strings.HasPrefix(args[last], "<") {
		root.SetIn(strings.NewReader(ts.ReadFile(args[last][1:])))
		args = args[:last]
	}
	code := execute(root, args)
	for name, text := range map[string]string{"out": out.String(), "err": errOut.String()} {
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(lasting(text, ts.Getenv("WORK"))), 0o600))
	}
	_, err = ts.Stdout().Write(out.Bytes())
	ts.Check(err)
	_, err = ts.Stderr().Write(errOut.Bytes())
	ts.Check(err)
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// lasting is text without what differs from run to run.
func lasting(text, work string) string {
	text = strings.ReplaceAll(text, work, "WORK")
	for _, r := range []struct{ pattern, with string }{
		{`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?`, "TIME"},
		{`\b\d\d:\d\d:\d\d\.\d{3}\b`, "CLOCK"},
		{`\bdlv_\w+`, "DELIVERY"},
		{`"Webhook-Timestamp": "\d+"`, `"Webhook-Timestamp": "SECONDS"`},
		{`\b\d+(\.\d+)?(µs|ms)|\b\d+\.\d+s\b`, "TOOK"},
		{`\((first|redrive), waited for concurrency\)`, "($1)"},     // the one before has its permit for a moment longer
		{`waited for (backoff|concurrency)`, "waited for its turn"}, // a retry may find all permits taken
		{`"waited": "(backoff|concurrency)"`, `"waited": "its turn"`},
		{`\b[A-Z2-7]{26}\b`, "RANDOM"},
		{`/[0-9a-f]{16}-\d+/`, "/HOME/"}, // in the names of archived objects
		{`-\d{19}-\d{19}\.sya`, "-TIMES.sya"},
		{`\d+ bytes in`, "SOME bytes in"},
		{`TIME  [1-9]\d*  `, "TIME  SOME  "},
		{`events, [1-9]\d* bytes`, "events, SOME bytes"},
		{`bytes=[1-9]\d*`, "bytes=SOME"},
		{`routed=\d+`, "routed=SOME"}, // routing may be a moment behind
		{`"routed": \d+`, `"routed": "SOME"`},
		{`"bytes": [1-9]\d*`, `"bytes": "SOME"`},
		{`("failures": \d+,\s+"concurrency": )\d+`, `$1"SOME"`}, // grows with answers
		{`(\S) {2,}`, "$1  "},                                   // columns are as wide as a folder's name
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
