package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded"
)

// What the embedded engine writes beside an event: a frame's header, the
// record's and the entry's, with storeVia; frames are multiples of frameAlign.
const (
	storeVia      = "http"
	frameOverhead = 24 + 5 + 52 + len(storeVia)
	frameAlign    = 8
)

// frameBytes is how much of the log one event takes.
func frameBytes(t *template) int {
	return (len(t.encoded) + frameOverhead + frameAlign - 1) &^ (frameAlign - 1)
}

// The retention of the bus under test: small, and applied often, so that the
// log overwrites segments that it has used before, as the bare loop does.
const (
	keepBytes = 192 << 20
	trimEvery = time.Second
	dedupe    = 2 * time.Minute // a bus's default
)

// noDedupe is Switchyard with a bus that does not deduplicate, to show what
// that costs; the bars are for one that does, which is the default.
const noDedupe = "dedupe: 0s"

// storeScenario is the embedded engine alone, without HTTP and rules.
func storeScenario(publishers int, overJetStream float64) *scenario {
	return &scenario{
		name:  named("store", publishers),
		about: fmt.Sprintf("durable appends to the store alone, %d publishers, each event deduplicated", publishers),
		rows: []row{
			{measure: perSecond, limit: bareFsync, bar: bar{value: 0.8}},
			{measure: p50, limit: bareFsync},
			{measure: p99, limit: bareFsync, bar: bar{value: 2, most: true}},
			{measure: cpuAnEvent, limit: bareFsync},
			{measure: perSecond, of: noDedupe, limit: bareFsync},
			{measure: cpuAnEvent, of: noDedupe, limit: bareFsync},
			{measure: perSecond, limit: jetStream, bar: bar{value: overJetStream}},
			{measure: p99, limit: jetStream},
			{measure: cpuAnEvent, limit: jetStream},
		},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			t, err := newTemplate()
			if err != nil {
				return nil, err
			}
			ev, err := t.make(e.ids.next())
			if err != nil {
				return nil, err
			}
			u, err := openStore(e, c, embedded.Options{})
			if err != nil {
				return nil, err
			}
			if err := u.fill(ctx, e, ev); err != nil {
				return nil, err
			}
			bare, err := bareAppend(e, c, publishers, frameBytes(t))
			if err != nil {
				return nil, err
			}
			peer, err := jetStreamAppend(e, c, publishers, t.encoded)
			if err != nil {
				return nil, err
			}
			return []contender{
				withCPU(contender{ours, u.appending(e, publishers, ev, dedupe)}, ownCPU),
				withCPU(contender{noDedupe, u.appending(e, publishers, ev, 0)}, ownCPU),
				withCPU(bare, ownCPU), withCPU(peer, ownCPU),
			}, nil
		},
	}
}

// underTest is a store with one bus.
type underTest struct {
	store *embedded.Store
	bus   store.BusID
}

// openStore opens a store in a folder of its own, whose retention is applied
// every trimEvery.
func openStore(e *environment, c *closer, opts embedded.Options) (*underTest, error) {
	var err error
	if opts.Dir, err = e.folder(c, "store"); err != nil {
		return nil, err
	}
	s, err := embedded.Open(opts)
	if err != nil {
		return nil, err
	}
	c.add(s.Close)
	u := &underTest{store: s}
	if u.bus, err = s.OpenBus(context.Background(), "bench", store.BusOptions{MaxBytes: keepBytes}); err != nil {
		return nil, err
	}
	return u, nil
}

// openFilled is openStore with a log as long as it gets.
func openFilled(ctx context.Context, e *environment, c *closer, t *template, opts embedded.Options) (*underTest, error) {
	u, err := openStore(e, c, opts)
	if err != nil {
		return nil, err
	}
	ev, err := t.make(e.ids.next())
	if err != nil {
		return nil, err
	}
	return u, u.fill(ctx, e, ev)
}

// fill appends until the log has as many segments as it keeps for reuse, and
// lets retention free them.
func (u *underTest) fill(ctx context.Context, e *environment, ev *event.Event) error {
	const many = 1000
	batch := make([]store.Entry, many)
	for written := int64(0); written < e.recycle; written += int64(many * ev.EncodedSize()) {
		for i := range batch {
			batch[i] = store.Entry{Bus: u.bus, Event: ev, Via: storeVia}
		}
		if _, err := u.store.Append(ctx, batch); err != nil {
			return err
		}
	}
	return u.trim(ctx)
}

// trim says that everything was routed, and applies retention.
func (u *underTest) trim(ctx context.Context) error {
	bounds, err := u.store.Bounds(u.bus)
	if err != nil {
		return err
	}
	if err := u.store.Enqueue(ctx, u.bus, bounds.Last, nil); err != nil {
		return err
	}
	return u.store.Trim(ctx)
}

// every calls f each trimEvery until the function that it returns is called,
// which returns what failed.
func every(ctx context.Context, f func(context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	var err error
	var wg sync.WaitGroup
	wg.Go(func() {
		for sleep(ctx, trimEvery) == nil {
			if err = f(ctx); err != nil {
				return
			}
		}
	})
	return func() error {
		cancel()
		wg.Wait()
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	}
}

// appending lets publishers append one event at a time and counts them.
func (u *underTest) appending(e *environment, publishers int, ev *event.Event, window time.Duration) func(context.Context, time.Duration) (measures, error) {
	return func(ctx context.Context, d time.Duration) (measures, error) {
		before, err := u.store.Bounds(u.bus)
		if err != nil {
			return nil, err
		}
		all := make([]worker, publishers)
		for i := range all {
			all[i] = u.publisher(ctx, e, ev, window)
		}
		stop := every(ctx, u.trim)
		t, err := drive(ctx, all, d)
		if err := errors.Join(err, stop()); err != nil {
			return nil, err
		}
		after, err := u.store.Bounds(u.bus)
		if err != nil {
			return nil, err
		}
		if got := after.Last - before.Last; got != uint64(t.events) {
			return nil, fmt.Errorf("%d events were acknowledged, but the bus grew by %d", t.events, got)
		}
		return t.measures(), nil
	}
}

// publisher appends the same event with an identity of its own each time.
func (u *underTest) publisher(ctx context.Context, e *environment, ev *event.Event, window time.Duration) worker {
	entry := make([]store.Entry, 1)
	return func() (int, error) {
		entry[0] = store.Entry{Bus: u.bus, Event: ev, Via: storeVia, Window: window}
		id := uint64(e.ids.next())
		binary.LittleEndian.PutUint64(entry[0].Dedupe[:], id)
		binary.LittleEndian.PutUint64(entry[0].Dedupe[8:], id*0x9E3779B97F4A7C15) // spread like a hash
		results, err := u.store.Append(ctx, entry)
		if err == nil && results[0].Duplicate {
			err = errors.New("an event was taken for a duplicate")
		}
		return 1, err
	}
}
