package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The example runs as it stands, but for the ports: both functions, a server,
// and a photo that goes through all of it.
func TestTheFunctionsOfTheExamplesAreCalled(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil && os.Getenv("SWITCHYARD_REQUIRE") == "all" {
		t.Fatal("node is not installed, and SWITCHYARD_REQUIRE=all")
	}
	examples := filepath.Join("..", "..", "configs")
	text, err := os.ReadFile(filepath.Join(examples, "functions.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "function")
	if out, err := exec.Command("go", "build", "-o", binary, filepath.Join(examples, "functions", "go", "main.go")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	config := string(text)
	config = strings.ReplaceAll(config, "127.0.0.1:8081", runFunction(t, binary))
	if node != "" {
		config = strings.ReplaceAll(config, "127.0.0.1:8082", runFunction(t, node, filepath.Join(examples, "functions", "node", "index.mjs")))
	}
	s := serve(t, t.TempDir(), config)
	if out, code := s.cli("publish", "photos", "--type", "com.example.photo.uploaded", "--data", `{"name": "cat.jpg"}`); code != 0 {
		t.Fatalf("publish: %d %s", code, out)
	}
	eventually(t, "that the Go function's reply is on the bus", 30*time.Second, func() bool {
		_, body := s.call("GET", "/v1/buses/photos/events", "", "")
		return strings.Contains(body, `"com.example.thumbnail.made"`) && strings.Contains(body, `"small-cat.jpg"`)
	})
	if out, code := s.cli("publish", "photos", "--type", "com.example.photo.uploaded", "--data", `{"title": "no name"}`); code != 0 {
		t.Fatalf("publish: %d %s", code, out)
	}
	eventually(t, "that a photo without a name is a dead letter with the function's words", 30*time.Second, func() bool {
		_, body := s.call("GET", "/v1/subscriptions/make-thumbnails/thumbnail/deadletters", "", "")
		return strings.Contains(body, "want the name of a photo")
	})
	if node == "" {
		t.Skip("node is not installed: the Go function was called, that of Node was not")
	}
	eventually(t, "that the caption is printed", 30*time.Second, func() bool {
		return strings.Contains(s.stdout(), "cat.jpg: A small picture of cat")
	})
}

// runFunction runs a function on a port of its own and returns its address.
func runFunction(t *testing.T, command string, args ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(command, args...)
	c.Env = append(os.Environ(), "HOST=127.0.0.1", fmt.Sprint("PORT=", port))
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	eventually(t, command+" to listen", 30*time.Second, func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return address
}
