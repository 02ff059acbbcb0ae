package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const oneBus = "version: 1\nbuses: {orders: {maxEventSize: 1MiB}}\n"

func TestManyConnectionsLeaveTheServerItsFileDescriptors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "switchyard.yaml")
	if err := os.WriteFile(file, []byte(oneBus), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startCommand(t, exec.Command("/bin/sh", "-c", `ulimit -n 100; exec "$0" "$@"`,
		os.Args[0], "serve", "-c", file, "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0"))
	s.waitReady()
	if status, body := s.call("POST", "/v1/buses/orders/events", structured, order("1", 1)); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, body)
	}
	if !strings.Contains(s.stderr(), "few file descriptors") {
		t.Errorf("nothing says that 100 file descriptors are few: %s", s.stderr())
	}
	address := strings.TrimPrefix(s.url, "http://")
	var conns []net.Conn
	for range 200 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	// Who comes now is told, and not left to wait; who was there is served.
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	eventually(t, "that readyz says that there are too many connections", 20*time.Second, func() bool {
		res, err := fresh.Get(s.url + "/readyz")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode == http.StatusServiceUnavailable && res.Header.Get("Retry-After") != "" && strings.Contains(string(body), "file descriptors")
	})
	if status, body := s.call("POST", "/v1/buses/orders/events", structured, order("2", 1)); status != http.StatusAccepted {
		t.Errorf("on a connection that was there: %d %s", status, body)
	}
	for _, c := range conns {
		c.Close()
	}
	eventually(t, "that new connections are served again", 20*time.Second, func() bool {
		res, err := fresh.Get(s.url + "/readyz")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

func TestTheServerOutlivesALackOfFileDescriptors(t *testing.T) {
	s := serve(t, t.TempDir(), oneBus)
	pid := s.cmd.Process.Pid
	var was unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &was); err != nil {
		t.Skip(err)
	}
	limit := func(n uint64) {
		t.Helper()
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: was.Max}, nil); err != nil {
			t.Fatal(err)
		}
	}
	fill := strings.Repeat("x", 900<<10)
	acked, refused := 0, 0
	publish := func() (int, string) {
		t.Helper()
		status, body := s.call("POST", "/v1/buses/orders/events", structured,
			fmt.Sprintf(`{"specversion":"1.0","id":"e%d","source":"/s","type":"t","data":%q}`, acked, fill))
		switch status {
		case http.StatusAccepted:
			acked++
		case http.StatusServiceUnavailable:
			refused++
		default:
			t.Fatalf("%d %s", status, body)
		}
		return status, body
	}
	publish()
	limit(1) // no file is opened any more
	for range 160 {
		if status, _ := publish(); status != http.StatusAccepted {
			break
		}
	}
	if refused == 0 {
		t.Fatalf("%d MiB of events were taken without a new file", acked)
	}
	if status, body := publish(); status != http.StatusServiceUnavailable || !strings.Contains(body, "too many open files") {
		t.Errorf("publishing: %d %s", status, body)
	}
	if status, body := s.call("GET", "/readyz", "", ""); status != http.StatusServiceUnavailable || !strings.Contains(body, "too many open files") {
		t.Errorf("readyz: %d %s", status, body)
	}
	limit(was.Cur)
	eventually(t, "that events are accepted again", 30*time.Second, func() bool {
		status, _ := s.call("GET", "/readyz", "", "")
		return status == http.StatusOK
	})
	if status, body := publish(); status != http.StatusAccepted {
		t.Errorf("publishing again: %d %s", status, body)
	}
	seen := 0
	for from := 1; ; {
		status, body := s.call("GET", fmt.Sprintf("/v1/buses/orders/events?from=%d&limit=10", from), "", "")
		var events []struct{ ID string }
		if err := json.Unmarshal([]byte(body), &events); err != nil || status != http.StatusOK {
			t.Fatal(status, err)
		}
		for _, e := range events {
			if e.ID != fmt.Sprint("e", seen) {
				t.Fatalf("event %d is %s", seen, e.ID)
			}
			seen++
		}
		if len(events) < 10 {
			break
		}
		from += len(events)
	}
	if seen != acked {
		t.Errorf("%d events are there, %d were acknowledged", seen, acked)
	}
	if code, _ := s.stop(); code != 0 {
		t.Errorf("exit code %d\n%s", code, s.stderr())
	}
}
