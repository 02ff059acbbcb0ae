package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestADamagedStateIsSaidInFewWords damages a table of the state.
func TestADamagedStateIsSaidInFewWords(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, "version: 1\nbuses: {orders: {}}\n")
	s.call("POST", "/v1/buses/orders/events", structured, order("1", 150))
	s.stop()
	s = serve(t, dir, "version: 1\nbuses: {orders: {}}\n") // what the first has written is a table now
	s.stop()
	data := filepath.Join(dir, "data")
	tables, err := filepath.Glob(filepath.Join(data, "state", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	for _, table := range tables {
		b, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		b[10] ^= 1 // in the first block
		if err := os.WriteFile(table, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = start(t, "serve", "--data", data, "--listen", "127.0.0.1:0")
	s.refused(t, "a damaged state", "the state cannot be read", "switchyard store check", "switchyard restore")
	check, _ := s.cli("store", "check", "--data", data)
	for what, said := range map[string]string{"serve": s.stderr(), "store check": check} {
		if len(said) > 10000 || strings.Contains(said, "carrier") || strings.Contains(said, ".go:") {
			t.Errorf("%s says %d bytes: %s", what, len(said), said[:min(len(said), 2000)])
		}
	}
}

// TestADamagedDataFolderIsRepaired damages the log of a stopped server: it does
// not start and says why, check names the place, repair says what is lost and
// changes nothing until it is told to; then the server starts with the rest.
func TestADamagedDataFolderIsRepaired(t *testing.T) {
	dir := t.TempDir()
	const config = "version: 1\nbuses: {orders: {}}\n"
	s := serve(t, dir, config)
	for i := range 20 {
		s.call("POST", "/v1/buses/orders/events", structured, order(fmt.Sprint(i), 150))
	}
	s.stop()
	data := filepath.Join(dir, "data")
	segments, err := filepath.Glob(filepath.Join(data, "log", "*.seg"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	b, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	b[4096+100] ^= 1 // in the first frame
	if err := os.WriteFile(segments[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, "serve", "--data", data, "--listen", "127.0.0.1:0").refused(t, "a damaged log", "synced data is damaged", "switchyard store check", "switchyard store repair", "switchyard restore")
	if out, code := s.cli("store", "check", "--data", data); code != 1 || !strings.Contains(out, "bytes 4096 to") {
		t.Errorf("check: %d %s", code, out)
	}
	before := contents(t, data)
	out, code := s.cli("store", "repair", "--data", data)
	if code != 1 || !regexp.MustCompile(`(?m)^orders +1 +1 `).MatchString(out) || !strings.Contains(out, " 1 place of the log") || !strings.Contains(out, "nothing was changed") || fmt.Sprint(contents(t, data)) != fmt.Sprint(before) {
		t.Errorf("a dry run: %d %s", code, out)
	}
	if out, code = s.cli("store", "repair", "--data", data, "--yes", "-o", "json"); code != 0 || !strings.Contains(out, `"applied": true`) {
		t.Fatalf("repair: %d %s", code, out)
	}
	if kept, _ := filepath.Glob(filepath.Join(data, "repair-*", "log-*")); len(kept) != 1 {
		t.Errorf("the dropped bytes are not kept: %v", kept)
	}
	if out, code := s.cli("store", "repair", "--data", data); code != 0 || !strings.Contains(out, "nothing to repair") {
		t.Errorf("a second repair: %d %s", code, out)
	}
	s = serve(t, dir, config)
	if status, body := s.call("GET", "/v1/buses/orders/events/2", "", ""); status != http.StatusOK {
		t.Errorf("sequence 2: %d %s", status, body)
	}
	if status, body := s.call("GET", "/v1/buses/orders/events/1", "", ""); status != http.StatusNotFound && status != http.StatusGone {
		t.Errorf("sequence 1: %d %s", status, body)
	}
	if _, body := s.call("POST", "/v1/buses/orders/events", structured, order("new", 1)); !strings.Contains(body, `"sequence":21`) {
		t.Errorf("the next event: %s", body)
	}
	if out, code := s.cli("store", "repair", "--data", data); code != 1 || !strings.Contains(out, "in use") {
		t.Errorf("a repair of a running server's folder: %d %s", code, out)
	}
}
