package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What is kept of the rules is never a reason to go by anything but the files,
// the environment and the program as they are.
func TestKeptRulesAreThoseOfTheFilesAsTheyAre(t *testing.T) {
	dir := t.TempDir()
	config := func(plain string) string {
		return `
version: 1
buses: {orders: {}}
targets: {printed: {log: {format: json}}}
rules:
  plain:
    bus: orders
    when: event.data.total > ` + plain + `
    transform: {type: plain, data: "${{ event.data.total }}"}
    targets: [printed]
  referring:
    bus: orders
    when: event.subject == "${env:KEPT_RULES_SUBJECT}"
    transform: {type: referring}
    targets: [printed]
`
	}
	kept := filepath.Join(dir, "data", compiledFile)
	read := func() []byte {
		t.Helper()
		data, err := os.ReadFile(kept)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	sent := 0
	// delivers publishes an order and wants it delivered by these rules.
	delivers := func(s *server, want ...string) {
		t.Helper()
		sent++
		s.call("POST", "/v1/buses/orders/events", structured, order(strings.Repeat("x", sent), 150))
		eventually(t, "that it is delivered", 20*time.Second, func() bool { return strings.Count(s.stdout(), `"type":"`) >= len(want) && s.settled() })
		for _, rule := range []string{"plain", "referring"} {
			wanted := 0
			for _, w := range want {
				if w == rule {
					wanted++
				}
			}
			if got := strings.Count(s.stdout(), `"type":"`+rule+`"`); got != wanted {
				t.Errorf("%d deliveries of rule %s, want %d\n%s", got, rule, wanted, s.stdout())
			}
		}
	}
	t.Setenv("KEPT_RULES_SUBJECT", "none")
	s := serve(t, dir, config("100"))
	delivers(s, "plain")
	s.stop()
	first := read()
	if bytes.Contains(first, []byte("KEPT_RULES_SUBJECT")) || !bytes.Contains(first, []byte("plain")) {
		t.Error("the rule with a reference is kept, or the other is not")
	}

	s = serve(t, dir, config("100")) // as it was
	delivers(s, "plain")
	s.stop()
	if !bytes.Equal(read(), first) {
		t.Error("what is kept was written again though nothing was new")
	}

	s = serve(t, dir, config("200")) // a changed file
	s.call("POST", "/v1/buses/orders/events", structured, order("before", 150))
	s.call("POST", "/v1/buses/orders/events", structured, order("after", 250))
	eventually(t, "the one order", 20*time.Second, func() bool { return strings.Contains(s.stdout(), `"id":"after"`) && s.settled() })
	if strings.Contains(s.stdout(), `"id":"before"`) {
		t.Errorf("the old filter is in force: %s", s.stdout())
	}
	s.stop()
	second := read()
	if bytes.Equal(second, first) {
		t.Error("the changed rule is not kept")
	}

	t.Setenv("KEPT_RULES_SUBJECT", "eu/de") // the subject of order
	s = serve(t, dir, config("200"))
	delivers(s, "referring")
	s.stop()

	for name, damaged := range map[string][]byte{
		"a byte":   append(append(bytes.Clone(second[:len(second)/2]), second[len(second)/2]^1), second[len(second)/2+1:]...),
		"half":     second[:len(second)/2],
		"nothing":  nil,
		"nonsense": []byte(strings.Repeat("nonsense ", 100)),
	} {
		if err := os.WriteFile(kept, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		s = serve(t, dir, config("100"))
		delivers(s, "plain", "referring")
		s.stop()
		if got := read(); bytes.Equal(got, damaged) {
			t.Errorf("%s: what was damaged stays", name)
		}
	}

	if err := os.Remove(kept); err != nil {
		t.Fatal(err)
	}
	s = serve(t, dir, config("100"))
	delivers(s, "plain", "referring")
}

// A rule of the API that is made while the server runs is kept beside those of
// the files when it stops.
func TestRulesOfFilesStayKeptWhenOthersAreMade(t *testing.T) {
	dir := t.TempDir()
	config := "version: 1\nbuses: {orders: {}}\ntargets: {printed: {log: {}}}\nrules:\n  of-the-file: {bus: orders, when: event.data.total > 1, targets: [printed]}\n"
	for range 2 {
		s := serve(t, dir, config)
		if status, body := s.call("PUT", "/v1/rules/made", "application/json", `{"bus":"orders","when":"event.data.total > 2","targets":["printed"]}`); status >= 300 {
			t.Fatalf("%d %s", status, body)
		}
		s.stop()
		_, files, err := readCompiled(filepath.Join(dir, "data", compiledFile))
		if err != nil || !bytes.Contains(files, []byte("of-the-file")) {
			t.Errorf("the file's rule is not kept: %v", err)
		}
	}
}
