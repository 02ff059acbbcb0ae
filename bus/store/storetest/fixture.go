package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// fixture is an open store with the helpers that checks are written in. What
// must work for a check to go on fails it at once.
type fixture struct {
	testing.TB
	ctx   context.Context // ends a check that hangs
	env   Env
	open  Open
	store store.Store
	watch *witness
}

func newFixture(t testing.TB, open Open) *fixture {
	f := &fixture{TB: t, env: newEnv(t), open: open}
	f.start()
	ctx, cancel := context.WithTimeout(context.Background(), 10*f.env.patience())
	f.ctx = ctx
	t.Cleanup(func() {
		_ = f.store.Close() // idempotent; checks that care look at the error
		cancel()
	})
	return f
}

func (f *fixture) start() {
	f.store = f.open(f.TB, f.env)
	f.watch = &witness{appended: map[store.BusID]int{}, ready: map[store.SubscriptionID]int{}}
	f.store.Watch(f.watch)
}

// reopen closes the store and opens it again, or skips the check.
func (f *fixture) reopen() {
	f.Helper()
	f.must(f.store.Close())
	f.env.hooks.mu.Lock()
	once := f.env.hooks.onlyOnce
	f.env.hooks.mu.Unlock()
	if once {
		f.Skip("the engine cannot be reopened")
	}
	f.start()
}

// crash ends the store as a power cut would and opens it again, or skips the
// check.
func (f *fixture) crash() {
	f.Helper()
	if !f.canCrash() {
		f.Skip("the engine has no way to crash")
	}
	f.env.hooks.mu.Lock()
	crash := f.env.hooks.crash
	f.env.hooks.mu.Unlock()
	crash()
	f.start()
}

func (f *fixture) canCrash() bool {
	f.env.hooks.mu.Lock()
	defer f.env.hooks.mu.Unlock()
	return f.env.hooks.crash != nil
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) wantErr(what string, err, want error) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

func (f *fixture) eventually(what string, done func() bool) {
	f.Helper()
	f.env.Eventually(f.TB, what, done)
}

func (f *fixture) now() time.Time { return f.env.Clock.Now() }

func (f *fixture) advance(d time.Duration) { f.env.Clock.Advance(d) }

// bus opens a bus without retention.
func (f *fixture) bus(name string) store.BusID {
	f.Helper()
	return f.busWith(name, store.BusOptions{})
}

func (f *fixture) busWith(name string, opts store.BusOptions) store.BusID {
	f.Helper()
	id, err := f.store.OpenBus(f.ctx, name, opts)
	f.must(err)
	return id
}

func (f *fixture) bounds(bus store.BusID) store.Bounds {
	f.Helper()
	b, err := f.store.Bounds(bus)
	f.must(err)
	return b
}

// entry is an event of one source, that is not deduplicated.
func entry(t testing.TB, bus store.BusID, id string) store.Entry {
	t.Helper()
	return sizedEntry(t, bus, id, 0)
}

func sizedEntry(t testing.TB, bus store.BusID, id string, size int) store.Entry {
	t.Helper()
	b := event.NewBuilder()
	for _, a := range [...][2]string{{"id", id}, {"source", "/shop"}, {"type", "order.placed"}, {"subject", "o-" + id}} {
		if err := b.Set(a[0], event.StringValue(a[1])); err != nil {
			t.Fatal(err)
		}
	}
	b.SetJSON([]byte(fmt.Sprintf(`{"id":%q,"padding":%q}`, id, bytes.Repeat([]byte{'x'}, size))))
	e, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return store.Entry{Bus: bus, Event: e, Via: "http", Dedupe: event.DedupeKey("/shop", id)}
}

func (f *fixture) append(batch ...store.Entry) []store.Result {
	f.Helper()
	results, err := f.store.Append(f.ctx, batch)
	f.must(err)
	if len(results) != len(batch) {
		f.Fatalf("append of %d entries gave %d results", len(batch), len(results))
	}
	return results
}

// publish appends events with these ids, in one batch, and returns their
// sequences.
func (f *fixture) publish(bus store.BusID, ids ...string) (sequences []uint64) {
	f.Helper()
	var batch []store.Entry
	for _, id := range ids {
		batch = append(batch, entry(f, bus, id))
	}
	for _, r := range f.append(batch...) {
		sequences = append(sequences, r.Sequence)
	}
	return sequences
}

// publishN appends n events, called prefix with a number.
func (f *fixture) publishN(bus store.BusID, prefix string, n int) []uint64 {
	f.Helper()
	return f.publish(bus, names(prefix, n)...)
}

func names(prefix string, n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("%s%d", prefix, i))
	}
	return ids
}

// read returns all of a bus from a sequence on.
func (f *fixture) read(bus store.BusID, from uint64) (records []store.Record) {
	f.Helper()
	for {
		n := len(records)
		var err error
		records, err = f.store.Read(f.ctx, bus, from, 500, 1<<20, records)
		f.must(err)
		if len(records) < n {
			f.Fatalf("read made %d records of the %d that it was given", len(records), n)
		}
		if len(records) == n {
			return records
		}
		from = records[len(records)-1].Sequence + 1
	}
}

func ids(records []store.Record) (ids []string) {
	for _, r := range records {
		ids = append(ids, r.Event.ID())
	}
	return ids
}

func sameEvent(a, b *event.Event) bool {
	return bytes.Equal(a.AppendBinary(nil), b.AppendBinary(nil))
}

// key is an order key made of a text; "" is none.
func key(text string) uint64 {
	if text == "" {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(text)) // never fails
	return h.Sum64() | 1
}

// witness is a Watcher that counts.
type witness struct {
	mu       sync.Mutex
	appended map[store.BusID]int
	ready    map[store.SubscriptionID]int
	rings    atomic.Pointer[bell] // nil unless somebody waits for Ready
}

// Appended implements store.Watcher.
func (w *witness) Appended(bus store.BusID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.appended[bus]++
}

// Ready implements store.Watcher.
func (w *witness) Ready(sub store.SubscriptionID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ready[sub]++
	if b := w.rings.Load(); b != nil {
		b.ring(sub)
	}
}

func (w *witness) appends(bus store.BusID) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.appended[bus]
}

func (w *witness) readies(sub store.SubscriptionID) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ready[sub]
}
