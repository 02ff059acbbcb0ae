package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMain plays a role when this program started itself as a limit.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(playRole(role))
	}
	os.Exit(m.Run())
}

// tiny settings make every scenario do its work once, briefly. Scenarios fail
// by themselves when an event that was accepted is not stored or not delivered.
func tiny(t *testing.T) settings {
	return settings{
		dir: t.TempDir(), round: 50 * time.Millisecond, steady: 200 * time.Millisecond, idle: time.Millisecond,
		rounds: 1, events: 4000, appendFile: 1 << 20, rate: 500, schedule: 1000, rules: 100, targets: 40, buses: 50,
	}
}

func TestEveryScenarioRunsAndItsCountsFit(t *testing.T) {
	e, err := newEnvironment(tiny(t), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	if e.built, err = e.program(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, sc := range scenarios() {
		t.Run(sc.name, func(t *testing.T) {
			got, err := sc.measure(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			o := outcome{Scenario: sc.name, rows: sc.rows, Measured: got}
			if lines := o.lines(); len(lines) != len(sc.rows) {
				t.Errorf("%d of %d rows have a result: %+v", len(lines), len(sc.rows), lines)
			}
			for name, rounds := range got {
				for measure, v := range rounds[0] {
					if !(v > 0) && measure != cpuAnEvent { // short work takes no tick
						t.Errorf("%s: %s is %v", name, measure, v)
					}
				}
			}
		})
	}
	left, err := os.ReadDir(e.root)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		if f.IsDir() {
			t.Errorf("the folder %s was left behind", f.Name())
		}
	}
}

func TestTheTableShowsMediansRatiosAndBars(t *testing.T) {
	sc := outcome{
		Scenario: "one",
		rows: []row{
			{measure: perSecond, limit: "bare", bar: bar{value: 0.5}},
			{measure: p99, limit: "bare", bar: bar{value: 2, most: true}},
			{measure: perSecond, bar: bar{value: 5000, absolute: true}},
			{measure: milliseconds},
		},
		Measured: map[string][]measures{
			ours:   {{perSecond: 40, p99: 3}, {perSecond: 60, p99: 9}, {perSecond: 50, p99: 5}},
			"bare": {{perSecond: 90, p99: 1}, {perSecond: 100, p99: 2}},
		},
	}
	var out bytes.Buffer
	if err := writeTable(&out, []outcome{sc}); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"SCENARIO  MEASURE   OURS  LIMIT     RATIO  BAR     REACHED",
		"one       events/s  50    95 bare   0.53   ≥ 0.5×  yes",
		"one       p99 ms    5     1.5 bare  3.33   ≤ 2×    no",
		"one       events/s  50                     ≥ 5000  no",
		"",
	}, "\n")
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	out.Reset()
	if err := writeJSON(&out, []outcome{sc}); err != nil {
		t.Fatal(err)
	}
	var back []struct{ Rows []line }
	if err := json.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sc.lines(), back[0].Rows); diff != "" {
		t.Error(diff)
	}
}

func TestFlagsThatCannotBeUsedAreRefused(t *testing.T) {
	for _, args := range [][]string{{"-run", "("}, {"-o", "xml"}, {"-rounds", "0"}, {"-time", "0s"}, {"extra"}} {
		if err := run(t.Context(), append([]string{"-dir", t.TempDir()}, args...), io.Discard, io.Discard); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}

func TestIdsGoInAndOut(t *testing.T) {
	tm, err := newTemplate()
	if err != nil {
		t.Fatal(err)
	}
	var ids idSource
	now := time.Now()
	first, second := ids.at(now), ids.at(now)
	if first != now.UnixNano() || second != first+1 {
		t.Errorf("ids of %d: %d, %d", now.UnixNano(), first, second)
	}
	ev, err := tm.make(first)
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := parseID([]byte(ev.ID())); !ok || id != first {
		t.Errorf("the event's id is %q", ev.ID())
	}
	if n := len(ev.Data()); n < 900 || n > 1100 {
		t.Errorf("the event has %d bytes of data, not about 1 KB", n)
	}
}

func TestAnswersAreReadWithTheirLength(t *testing.T) {
	for _, tc := range []struct {
		name, answer string
		head, length int
	}{
		{"the head is not complete", "HTTP/1.1 202 Accepted\r\nContent-Le", -1, 0},
		{"a length", "HTTP/1.1 202 Accepted\r\nContent-Length: 12\r\nX: y\r\n\r\n{", 51, 12},
		{"chunks", "HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n", 53, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			head, length, err := parseHead([]byte(tc.answer))
			if err != nil || head != tc.head || length != tc.length {
				t.Errorf("parseHead: %d, %d, %v; want %d, %d", head, length, err, tc.head, tc.length)
			}
		})
	}
}
