package main

import (
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/store/embedded"
)

// BenchmarkStore appends to the embedded store alone.
//
//	go test -run '^$' -bench Store -cpuprofile cpu.out ./bench
func BenchmarkStore(b *testing.B) {
	for _, publishers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("publishers=%d", publishers), func(b *testing.B) {
			e, c := benchEnvironment(b)
			t, err := newTemplate()
			if err != nil {
				b.Fatal(err)
			}
			ev, err := t.make(e.ids.next())
			if err != nil {
				b.Fatal(err)
			}
			u, err := openStore(e, c, embedded.Options{})
			if err != nil {
				b.Fatal(err)
			}
			stop := every(b.Context(), u.trim)
			inParallel(b, publishers, func() worker { return u.publisher(b.Context(), e, ev, dedupe) })
			if err := stop(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkBus publishes, matches, delivers to targets that do nothing, and
// settles; an operation is one event with all of its deliveries.
//
//	go test -run '^$' -bench Bus -cpuprofile cpu.out ./bench
func BenchmarkBus(b *testing.B) {
	e, c := benchEnvironment(b)
	t, err := newTemplate()
	if err != nil {
		b.Fatal(err)
	}
	bus, err := openBus(b.Context(), e, c, t, embedded.Options{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	stop := every(b.Context(), bus.under.store.Trim)
	inParallel(b, busPublishers, func() worker { return bus.publisher(b.Context(), e) })
	if err := awaitCount(b.Context(), fanOut*int64(b.N), bus.delivered.Load); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), perSecond)
	if err := stop(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkAppendLoop is the limit of both.
func BenchmarkAppendLoop(b *testing.B) {
	for _, publishers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("publishers=%d", publishers), func(b *testing.B) {
			e, c := benchEnvironment(b)
			t, err := newTemplate()
			if err != nil {
				b.Fatal(err)
			}
			l, err := newAppendLoop(b.TempDir(), e.appendFile)
			if err != nil {
				b.Fatal(err)
			}
			c.add(l.close)
			inParallel(b, publishers, func() worker {
				record := make([]byte, frameBytes(t))
				return func() (int, error) { return 1, l.append(record) }
			})
		})
	}
}

func benchEnvironment(b *testing.B) (*environment, *closer) {
	s := defaults()
	s.dir, s.recycle = b.TempDir(), 0
	e, err := newEnvironment(s, io.Discard)
	if err != nil {
		b.Fatal(err)
	}
	c := &closer{}
	b.Cleanup(func() {
		if err := c.close(); err != nil {
			b.Error(err)
		}
	})
	return e, c
}

// inParallel runs b.N calls of publishers workers.
func inParallel(b *testing.B, publishers int, newWorker func() worker) {
	b.SetParallelism(max(1, publishers/runtime.GOMAXPROCS(0)))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		call := newWorker()
		for pb.Next() {
			if _, err := call(); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), perSecond)
}
