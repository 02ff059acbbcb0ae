package seglog

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const benchPayload = 1 << 10

// BenchmarkAppend compares the log with a bare loop: one goroutine that drains a channel,
// writes once, syncs once and answers, on files written before. Both run on recycled
// segments, several times in turn, for the disk's speed moves.
//
//	go test -run '^$' -bench Append -benchtime 3s ./bus/store/embedded/seglog
func BenchmarkAppend(b *testing.B) {
	for _, publishers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("publishers=%d", publishers), func(b *testing.B) {
			for _, round := range []int{1, 2, 3} {
				b.Run(fmt.Sprintf("bare/%d", round), func(b *testing.B) { benchBare(b, publishers) })
				b.Run(fmt.Sprintf("log/%d", round), func(b *testing.B) { benchLog(b, publishers) })
			}
		})
	}
}

// publish runs b.N appends from publishers goroutines and reports the rate and percentiles.
func publish(b *testing.B, publishers int, appendOne func(payload []byte) func()) {
	var left atomic.Int64
	left.Store(int64(b.N))
	times := make([][]time.Duration, publishers)
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for p := range publishers {
		wg.Go(func() {
			one := appendOne(make([]byte, benchPayload))
			own := make([]time.Duration, 0, 2*b.N/publishers+16)
			for left.Add(-1) >= 0 {
				began := time.Now()
				one()
				own = append(own, time.Since(began))
			}
			times[p] = own
		})
	}
	wg.Wait()
	b.StopTimer()
	all := slices.Concat(times...)
	slices.Sort(all)
	b.ReportMetric(float64(len(all))/b.Elapsed().Seconds(), "appends/s")
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
}

func benchLog(b *testing.B, publishers int) {
	dir := b.TempDir()
	l, err := Open(Options{FS: vfs.Default, Dir: dir}, nil, Position{})
	if err != nil {
		b.Fatal(err)
	}
	for range 3 { // files to recycle
		writeFile(b, l.path(fmt.Sprintf("%d%s", b.N, suffixTemp)), l.opts.SegmentSize)
		name := fmt.Sprintf("%016x%s", newGeneration(), suffixFree)
		if err := os.Rename(l.path(fmt.Sprintf("%d%s", b.N, suffixTemp)), l.path(name)); err != nil {
			b.Fatal(err)
		}
		l.pool.put(name, l.opts.SegmentSize)
	}
	// Leave the first segment, which grows.
	fill := make([]byte, 1<<20)
	for l.Synced().Segment == 1 {
		if _, err := l.AppendBytes(context.Background(), fill); err != nil {
			b.Fatal(err)
		}
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // retention: keeps files to recycle
		t := time.NewTicker(20 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-stop:
				return
			case <-t.C:
				for s := l.Segments(); len(s) > 2; s = s[1:] {
					_ = l.Remove(s[0].Last)
				}
			}
		}
	})
	publish(b, publishers, func(payload []byte) func() {
		e := &Entry{}
		ctx, cancel := context.WithCancel(context.Background())
		b.Cleanup(cancel)
		return func() {
			e.Payload = payload
			if _, err := l.Append(ctx, e); err != nil {
				b.Error(err)
			}
		}
	})
	close(stop)
	wg.Wait()
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}

func writeFile(b *testing.B, path string, size int64) *os.File {
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	chunk := make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(chunk)) {
		if _, err := f.WriteAt(chunk, at); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	return f
}

// benchBare is the bar: no frames, no checksums, no segments.
func benchBare(b *testing.B, publishers int) {
	type request struct {
		payload []byte
		done    chan error
	}
	const size = 64 << 20
	path := filepath.Join(b.TempDir(), "bare")
	_ = writeFile(b, path, size).Close()
	f, err := vfs.Default.OpenReadWrite(path, writeCategory)
	if err != nil {
		b.Fatal(err)
	}
	requests := make(chan *request, 1024)
	var wg sync.WaitGroup
	wg.Go(func() {
		var off int64
		var buf []byte
		var batch []*request
		for r := range requests {
			batch, buf = append(batch[:0], r), append(buf[:0], r.payload...)
		drain:
			for {
				select {
				case r, ok := <-requests:
					if !ok {
						break drain
					}
					batch, buf = append(batch, r), append(buf, r.payload...)
				default:
					break drain
				}
			}
			if off+int64(len(buf)) > size {
				off = 0
			}
			_, err := f.WriteAt(buf, off)
			if err == nil {
				err = f.SyncData()
			}
			off += int64(len(buf))
			for _, r := range batch {
				r.done <- err
			}
		}
	})
	publish(b, publishers, func(payload []byte) func() {
		r := &request{payload: payload, done: make(chan error, 1)}
		return func() {
			requests <- r
			if err := <-r.done; err != nil {
				b.Error(err)
			}
		}
	})
	close(requests)
	wg.Wait()
	_ = f.Close()
}

// BenchmarkScan reads small records in order from the page cache.
func BenchmarkScan(b *testing.B) {
	for _, size := range []int{64, 1024} {
		b.Run(fmt.Sprintf("payload=%d", size), func(b *testing.B) {
			l, err := Open(Options{FS: vfs.Default, Dir: b.TempDir(), NoSync: true}, nil, Position{})
			if err != nil {
				b.Fatal(err)
			}
			payload := make([]byte, size)
			var wg sync.WaitGroup
			const records = 200_000
			for range records {
				wg.Add(1)
				if err := l.AppendAsync(context.Background(), &Entry{Payload: payload}, func(Position, error) { wg.Done() }); err != nil {
					b.Fatal(err)
				}
			}
			wg.Wait()
			n := 0
			for b.Loop() {
				if _, err := l.Scan(context.Background(), Position{}, Position{}, func(Position, []byte) error { n++; return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
