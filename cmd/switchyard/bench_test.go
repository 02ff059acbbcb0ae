package main

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"
	"time"
)

// TestBenchMeasuresAServerOfItsOwn loads one briefly, and looks at what is
// printed and left behind.
func TestBenchMeasuresAServerOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	var out, errOut strings.Builder
	root := newRoot()
	root.SetOut(&out)
	root.SetErr(&errOut)
	if code := execute(root, []string{"bench", "--dir", dir, "--duration", "200ms", "--clients", "2", "--batch", "3", "--rate", "90", "-o", "json"}); code != exitDone {
		t.Fatalf("exit %d: %s", code, errOut.String())
	}
	var report benchReport
	if err := json.Unmarshal([]byte(out.String()), &report); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	for name, p := range map[string]benchPart{
		"sync": report.Sync, "publish": report.Publish, "limit": report.Limit, "through": report.Through, "steady": report.Steady,
	} {
		if p.PerSecond <= 0 || p.P50 <= 0 || p.P99 < p.P50 || p.Max < p.P99 {
			t.Errorf("%s: %+v", name, p)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("%v is left behind (%v)", left, err)
	}
}

func TestLatenciesAreWithinTheirBuckets(t *testing.T) {
	var l latencies
	for i := range 10_000 {
		l.add(time.Duration(i+1) * time.Microsecond)
	}
	l.add(-time.Second) // a clock that was set back
	for share, want := range map[float64]time.Duration{0: 0, 0.5: 5 * time.Millisecond, 0.99: 9900 * time.Microsecond, 1: 10 * time.Millisecond} {
		if got := l.percentile(share); math.Abs(float64(got-want)) > 0.04*float64(want) {
			t.Errorf("percentile %v is %v, want about %v", share, got, want)
		}
	}
	for _, d := range []time.Duration{0, 1, 31, 32, 33, 1000, time.Second, time.Hour, math.MaxInt64} {
		if i := bucketOf(d); bucketEnd(i) < d || i > 0 && bucketEnd(i-1) >= d {
			t.Errorf("%v is not in its bucket, which ends at %v after %v", d, bucketEnd(i), bucketEnd(max(i-1, 0)))
		}
	}
}
