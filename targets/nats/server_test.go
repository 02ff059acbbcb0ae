package nats

import (
	"bufio"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

const patience = 20 * time.Second

// embedded starts a server in this process and returns its address.
func embedded(t testing.TB, change ...func(*natsserver.Options)) string {
	t.Helper()
	o := &natsserver.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true}
	for _, f := range change {
		f(o)
	}
	s, err := natsserver.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	return s.Addr().String()
}

// installed starts the nats-server that is installed and returns its address.
func installed(t testing.TB) string {
	t.Helper()
	cmd := exec.Command("nats-server", "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", t.TempDir())
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	ready := make(chan string, 1)
	listening := regexp.MustCompile(`Listening for client connections on (\S+)`)
	go func() {
		address := ""
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				address = m[1]
			}
			if strings.Contains(lines.Text(), "Server is ready") {
				ready <- address
			}
		}
	}()
	select {
	case address := <-ready:
		return address
	case <-time.After(patience):
		t.Fatal("nats-server does not start")
		return ""
	}
}
