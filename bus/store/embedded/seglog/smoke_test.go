package seglog

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestSmoke(t *testing.T) {
	fs := vfs.NewCrashableMem()
	opts := Options{FS: fs, Dir: "log", SegmentSize: 32 << 10}
	l, err := Open(opts, nil, Position{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 100 {
				if _, err := l.AppendBytes(context.Background(), fmt.Appendf(make([]byte, 200), "%d-%d", i, j)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	n := 0
	if _, err := l.Scan(context.Background(), Position{}, Position{}, func(Position, []byte) error { n++; return nil }); err != nil || n != 800 {
		t.Fatal(n, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	n = 0
	l, err = Open(opts, func(Position, []byte) error { n++; return nil }, Position{})
	if err != nil || n != 800 {
		t.Fatal(n, err)
	}
	t.Log(l.Segments(), l.Synced())
	l.Close()
}
