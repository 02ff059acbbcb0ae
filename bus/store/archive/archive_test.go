package archive_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/archive"
	"github.com/switchyard-dev/switchyard/bus/store/embedded"
	"github.com/switchyard-dev/switchyard/bus/store/objects"
	"github.com/switchyard-dev/switchyard/bus/store/objects/objectstest"
)

// fixture is a bus with an archive in a folder, on a store in memory and with a
// clock of its own.
type fixture struct {
	*testing.T
	fs       vfs.FS
	dir      string // of the archive
	now      time.Time
	jump     time.Duration // by which the clock is wrong
	settings archive.Settings
	retain   store.BusOptions
	faulty   *objectstest.Faulty
	fail     func(objectstest.Op) error
	store    *archive.Store
	inner    store.Store
	bus      store.BusID
	last     int
	subjects int // of the events; 0: they have none
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{T: t, fs: vfs.NewMem(), dir: t.TempDir(), now: begin(), retain: store.BusOptions{MaxAge: time.Hour}}
	f.settings = archive.Settings{To: objects.Location{Scheme: "file", Path: f.dir}, Segment: 8 << 10}
	f.open()
	return f
}

// begin is when tests begin.
func begin() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

func (f *fixture) clock() time.Time { return f.now.Add(f.jump) }

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) open() {
	f.Helper()
	inner, err := embedded.Open(embedded.Options{FS: f.fs, Dir: "data", Clock: f.clock, Monotonic: func() time.Duration { return f.now.Sub(begin()) }, NoBackground: true, DiskReserve: -1})
	f.must(err)
	f.inner = inner
	f.store, err = archive.New(archive.Options{
		Store: inner, Clock: f.clock,
		Open: func(ctx context.Context, l objects.Location, o objects.Options) (objects.Storage, error) {
			s, err := objects.Open(ctx, l, o)
			f.faulty = objectstest.NewFaulty(s, f.fail)
			return f.faulty, err
		},
	})
	f.must(err)
	f.must(f.store.Configure(f.Context(), map[string]archive.Settings{"orders": f.settings}))
	f.bus, err = f.store.OpenBus(f.Context(), "orders", f.retain)
	f.must(err)
	f.Cleanup(func() { _ = f.store.Close() })
}

func (f *fixture) reopen() {
	f.Helper()
	f.must(f.store.Close())
	f.open()
}

// publish appends events of about 200 bytes, a second apart, and routes them.
func (f *fixture) publish(n int) {
	f.Helper()
	f.append(n)
	f.must(f.store.Enqueue(f.Context(), f.bus, uint64(f.last), nil))
}

func (f *fixture) append(n int) {
	f.Helper()
	for range n {
		f.last++
		ev, err := event.New("/shop", fmt.Sprint(f.last), fmt.Sprintf("t%d", f.last%3), map[string]string{"note": strings.Repeat(fmt.Sprint(f.last), 40)})
		f.must(err)
		if f.subjects > 0 {
			ev, err = event.FromStructured(fmt.Appendf(nil, `{"specversion":"1.0","id":"%d","source":"/shop","type":"t","subject":"s%d","data":%d}`, f.last, f.last%f.subjects, f.last), event.Limits{})
			f.must(err)
		}
		f.now = f.now.Add(time.Second)
		_, err = f.store.Append(f.Context(), []store.Entry{{Bus: f.bus, Event: ev, Via: "test", Hops: 2}})
		f.must(err)
	}
}

// age lets all that is there become too old for the local store.
func (f *fixture) age() {
	f.Helper()
	f.now = f.now.Add(2 * time.Hour)
	f.must(f.store.Trim(f.Context()))
}

func (f *fixture) flush() {
	f.Helper()
	f.must(f.store.Flush(f.Context(), f.bus))
}

// localFirst is where the local store begins.
func (f *fixture) localFirst() uint64 {
	f.Helper()
	b, err := f.inner.Bounds(f.bus)
	f.must(err)
	return b.First
}

// readAll reads everything in pages and returns the sequences.
func (f *fixture) readAll() []uint64 {
	f.Helper()
	var got []uint64
	for from := uint64(1); ; {
		page, err := f.store.Read(f.Context(), f.bus, from, 7, 1<<20, nil)
		f.must(err)
		if len(page) == 0 {
			return got
		}
		for _, r := range page {
			if r.Event.ID() != fmt.Sprint(r.Sequence) || r.Via != "test" || r.Hops != 2 || r.Bus != f.bus {
				f.Fatalf("sequence %d reads back as %q via %q, %d hops", r.Sequence, r.Event.ID(), r.Via, r.Hops)
			}
			got = append(got, r.Sequence)
		}
		from = got[len(got)-1] + 1
	}
}

func upTo(from, to uint64) (all []uint64) {
	for ; from <= to; from++ {
		all = append(all, from)
	}
	return all
}

func (f *fixture) wantAll(from, to uint64) {
	f.Helper()
	if got := f.readAll(); !slices.Equal(got, upTo(from, to)) {
		f.Fatalf("read %d events, %v, want %d to %d", len(got), got, from, to)
	}
}

func (f *fixture) objects() []archive.Segment {
	f.Helper()
	list, err := f.store.Segments(f.Context(), f.bus, 0, 1000)
	f.must(err)
	return list
}

func TestEventsAreReadBackFromTheArchive(t *testing.T) {
	f := newFixture(t)
	f.publish(300)
	f.flush()
	if n := len(f.objects()); n < 2 {
		t.Fatalf("%d objects, want several segments", n)
	}
	f.publish(20)
	f.age()
	if first := f.localFirst(); first != 301 {
		t.Fatalf("the local store begins at %d, want 301: what is archived goes, what is not stays", first)
	}
	f.wantAll(1, 320)
	if b, err := f.store.Bounds(f.bus); err != nil || b.First != 1 || b.Last != 320 {
		t.Errorf("bounds %+v, %v", b, err)
	}
	for _, seq := range []uint64{1, 150, 300, 301, 320} {
		if r, err := f.store.Get(t.Context(), f.bus, seq); err != nil || r.Sequence != seq || r.Event.ID() != fmt.Sprint(seq) {
			t.Errorf("Get %d: %+v, %v", seq, r, err)
		}
	}
	for _, seq := range []uint64{1, 320} {
		if r, err := f.store.ReceiptOf(t.Context(), f.bus, seq); err != nil || r.Accepted.IsZero() {
			t.Errorf("ReceiptOf %d: %+v, %v", seq, r, err)
		}
		if _, err := f.store.TraceOf(t.Context(), f.bus, seq); err != nil {
			t.Errorf("TraceOf %d: %v", seq, err)
		}
	}
	if _, err := f.store.Get(t.Context(), f.bus, 321); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get above the end: %v", err)
	}
	for _, seq := range []uint64{1, 2, 150, 300, 301, 320, 321} {
		at, err := f.store.SequenceAt(t.Context(), f.bus, begin().Add(time.Duration(seq)*time.Second))
		if err != nil || at != seq {
			t.Errorf("SequenceAt event %d: %d, %v", seq, at, err)
		}
	}
	f.reopen()
	f.wantAll(1, 320)
}

func TestScansGoOnInTheArchive(t *testing.T) {
	f := newFixture(t)
	f.publish(90)
	f.flush()
	f.publish(10)
	f.age()
	for _, newest := range []bool{false, true} {
		for _, span := range [][2]uint64{{0, 0}, {5, 95}, {95, 0}, {10, 20}, {0, 90}} {
			var want []uint64
			for seq := max(span[0], 1); seq <= 100 && (span[1] == 0 || seq <= span[1]); seq++ {
				if seq%3 == 1 {
					want = append(want, seq)
				}
			}
			if newest {
				slices.Reverse(want)
			}
			q := store.ScanQuery{From: span[0], To: span[1], Newest: newest, Has: []store.AttributeValue{{Name: "type", Value: "t1"}}, Max: 4, MaxBytes: 3000}
			if got := f.scanAll(q); !slices.Equal(got, want) {
				t.Errorf("newest %v, %v: %v, want %v", newest, span, got, want)
			}
		}
	}
}

// What is owed of the time before the archive, or of a gap in it, is in the local
// store alone.
func TestScansFindWhatIsOwedWhereTheArchiveHasNothing(t *testing.T) {
	f := newFixture(t)
	archived := map[string]archive.Settings{"orders": f.settings}
	configure := func(settings map[string]archive.Settings) {
		t.Helper()
		f.must(f.store.Configure(t.Context(), settings))
		_, err := f.store.OpenBus(t.Context(), "orders", f.retain)
		f.must(err)
	}
	sub, err := store.OpenSubscription(t.Context(), f.store, store.SubscriptionOptions{Name: "r/t", Bus: f.bus})
	f.must(err)
	owe := func() { // publishes four, the second and the fourth are owed
		t.Helper()
		first := f.last + 1
		f.append(4)
		records, err := f.store.Read(t.Context(), f.bus, uint64(first), 4, 1<<20, nil)
		f.must(err)
		var owed []store.RoutedEvent
		for _, r := range []store.Record{records[1], records[3]} {
			owed = append(owed, store.RoutedEvent{Record: r, Matches: []store.Routed{{Subscription: sub.ID}}})
		}
		f.must(f.store.Enqueue(t.Context(), f.bus, uint64(f.last), owed))
	}
	configure(nil)
	owe() // 1 to 4
	f.age()
	configure(archived)
	f.publish(3) // 5 to 7
	f.flush()
	f.age()
	configure(nil)
	owe() // 8 to 11
	f.age()
	configure(archived)
	f.publish(2)
	f.flush()
	f.age()
	f.publish(1) // 14
	want := []uint64{2, 4, 5, 6, 7, 9, 11, 12, 13, 14}
	for _, newest := range []bool{false, true} {
		for _, most := range []int{1, 3, 100} {
			for from := uint64(0); from <= 14; from++ {
				for to := from; to <= 15; to++ {
					in := slices.DeleteFunc(slices.Clone(want), func(seq uint64) bool { return seq < from || to > 0 && seq > to })
					if newest {
						slices.Reverse(in)
					}
					q := store.ScanQuery{From: from, To: to, Newest: newest, Max: most, MaxBytes: 3000}
					if got := f.scanAll(q); !slices.Equal(got, in) {
						t.Errorf("%+v finds %v, want %v", q, got, in)
					}
				}
			}
		}
	}
}

// scanAll scans to the end, in pages.
func (f *fixture) scanAll(q store.ScanQuery) (got []uint64) {
	f.Helper()
	for range 200 {
		out, err := f.store.Scan(f.Context(), f.bus, q)
		f.must(err)
		for _, r := range out.Records {
			got = append(got, r.Sequence)
		}
		if out.Next == 0 {
			return got
		}
		if q.Newest {
			q.To = out.Next
		} else {
			q.From = out.Next
		}
	}
	f.Fatalf("the scan %+v does not end", q)
	return nil
}

func TestSmallBusesAreArchivedWhenTheyAreOldEnough(t *testing.T) {
	f := newFixture(t)
	f.settings.After = 10 * time.Minute
	f.reopen()
	f.publish(3)
	f.must(f.store.Pass(t.Context(), f.bus))
	if n := len(f.objects()); n != 0 {
		t.Fatalf("%d objects at once, want none: the events are few and young", n)
	}
	f.now = f.now.Add(11 * time.Minute)
	f.must(f.store.Pass(t.Context(), f.bus))
	if n := len(f.objects()); n != 1 {
		t.Fatalf("%d objects after eleven minutes, want one", n)
	}
}

func TestARangeOfOneEventIsOneEvent(t *testing.T) {
	if one, more := archive.EventsBetween(7, 7), archive.EventsBetween(7, 8); one != "event 7" || more != "events 7 to 8" {
		t.Errorf("got %q and %q", one, more)
	}
}

func TestAWarningNamesTheArchiveOnce(t *testing.T) {
	for kind, want := range map[string]string{"put": "; 1 event waits in the local store)", "list": "; 0 events wait in the local store)"} {
		f := newFixture(t)
		f.publish(1)
		f.faulty.SetFail(func(op objectstest.Op) error {
			if op.Kind == kind {
				return objectstest.ErrInjected
			}
			return nil
		})
		if err := f.store.Flush(t.Context(), f.bus); !errors.Is(err, objectstest.ErrInjected) {
			t.Fatalf("Flush: %v", err)
		}
		w := f.store.Warnings()
		if len(w) != 1 || strings.Count(w[0], "archive of bus") != 1 || !strings.HasPrefix(w[0], `archive of bus "orders" in `) || !strings.HasSuffix(w[0], want) {
			t.Errorf("when %s fails the warnings are %q, want one that ends with %q", kind, w, want)
		}
	}
}

func TestWhatIsNotArchivedStays(t *testing.T) {
	f := newFixture(t)
	f.publish(50)
	f.fail = func(op objectstest.Op) error { return objectstest.ErrInjected }
	f.faulty.SetFail(f.fail)
	if err := f.store.Flush(t.Context(), f.bus); !errors.Is(err, objectstest.ErrInjected) || !strings.Contains(err.Error(), `bus "orders"`) {
		t.Fatalf("Flush: %v", err)
	}
	f.age()
	if first := f.localFirst(); first != 1 {
		t.Fatalf("the local store begins at %d while the archive is out of reach", first)
	}
	if w := f.store.Warnings(); len(w) != 1 || !strings.Contains(w[0], "events wait") {
		t.Errorf("warnings: %q", w)
	}
	if n := testutil.CollectAndCount(f.store, "switchyard_archive_healthy"); n != 1 {
		t.Errorf("%d values of the metric", n)
	}
	f.reopen() // a restart does not let them go either
	f.age()
	if first := f.localFirst(); first != 1 {
		t.Fatalf("the local store begins at %d after a restart", first)
	}
	f.fail = nil
	f.faulty.SetFail(nil)
	f.flush()
	f.age()
	if first := f.localFirst(); first != 51 {
		t.Fatalf("the local store begins at %d once all is archived", first)
	}
	if w := f.store.Warnings(); len(w) != 0 {
		t.Errorf("warnings when all is well: %q", w)
	}
	f.wantAll(1, 50)
}

// TestKilledAtEveryOperation ends the archiver at each of its operations on the
// storage, before and after it was made, with and without a restart behind it.
func TestKilledAtEveryOperation(t *testing.T) {
	for _, restart := range []bool{false, true} {
		for at := 0; ; at++ {
			f := newFixture(t)
			f.settings.MaxSize = 6 << 10
			f.reopen()
			f.publish(150)
			n, dead := 0, false
			f.fail = func(objectstest.Op) error {
				if n++; n > at {
					dead = true
					return objectstest.ErrInjected
				}
				return nil
			}
			f.faulty.SetFail(f.fail)
			err := f.store.Flush(t.Context(), f.bus)
			f.fail = nil
			f.faulty.SetFail(nil)
			if !dead {
				if err != nil {
					t.Fatal(err)
				}
				if at < 10 {
					t.Fatalf("only %d operations", at)
				}
				break
			}
			if err == nil {
				t.Fatalf("operation %d failed and Flush did not", at)
			}
			f.age()
			b, err := f.store.Bounds(f.bus)
			f.must(err)
			f.wantAll(b.First, 150)
			if restart {
				f.reopen()
			}
			f.publish(10)
			f.flush()
			f.age()
			b, err = f.store.Bounds(f.bus)
			f.must(err)
			f.wantAll(b.First, 160)
			next := b.First
			for _, g := range f.objects() {
				if g.First != next {
					t.Fatalf("killed at %d: object %s begins at %d, want %d", at, g.Object, g.First, next)
				}
				next = g.Last + 1
				if g.Last < f.localFirst() && g.Timelines == 0 {
					t.Errorf("killed at %d: events %d to %d were removed before their timelines were archived", at, g.First, g.Last)
				}
				if _, err := archive.Verify(t.Context(), f.faulty, g); err != nil {
					t.Error(err)
				}
			}
			if next != 161 {
				t.Fatalf("killed at %d: the archive ends before %d, want 161", at, next)
			}
		}
	}
}

func TestMissingAndDamagedObjectsAreNamed(t *testing.T) {
	f := newFixture(t)
	f.publish(150)
	f.flush()
	f.age()
	list := f.objects()
	middle := list[len(list)/2]
	path := filepath.Join(f.dir, filepath.FromSlash(middle.Object))
	whole, err := os.ReadFile(path)
	f.must(err)
	for name, damage := range map[string]func(){
		"a bit in a block":  func() { f.must(os.WriteFile(path, flip(whole, 20), 0o600)) },
		"a bit in an index": func() { f.must(os.WriteFile(path, flip(whole, len(whole)-40), 0o600)) },
		"a cut end":         func() { f.must(os.WriteFile(path, whole[:len(whole)-5], 0o600)) },
		"nothing in it":     func() { f.must(os.WriteFile(path, nil, 0o600)) },
		"no such file":      func() { f.must(os.Remove(path)) },
	} {
		t.Run(name, func(t *testing.T) {
			damage()
			f.reopen()
			_, err := f.store.Get(t.Context(), f.bus, middle.First)
			if !errors.Is(err, archive.ErrMissing) || !strings.Contains(err.Error(), fmt.Sprint(middle.First)) {
				t.Errorf("Get: %v, want ErrMissing with the place", err)
			}
			if _, err := f.store.Read(t.Context(), f.bus, middle.First, 10, 1<<20, nil); !errors.Is(err, archive.ErrMissing) {
				t.Errorf("Read: %v, want ErrMissing", err)
			}
			if page, err := f.store.Read(t.Context(), f.bus, middle.First-2, 10, 1<<20, nil); err != nil || len(page) != 2 {
				t.Errorf("Read from two before it: %d events, %v", len(page), err)
			}
			q := store.ScanQuery{From: middle.First - 2, Max: 10, MaxBytes: 1 << 20}
			if out, err := f.store.Scan(t.Context(), f.bus, q); err != nil || len(out.Records) != 2 || out.Next != middle.First {
				t.Errorf("Scan from two before it: %d events, next %d, %v", len(out.Records), out.Next, err)
			}
			if _, err := f.store.Scan(t.Context(), f.bus, store.ScanQuery{From: middle.First, Newest: true, To: middle.Last, Max: 1, MaxBytes: 1}); !errors.Is(err, archive.ErrMissing) {
				t.Errorf("Scan: %v, want ErrMissing", err)
			}
			if name != "no such file" {
				for _, g := range f.objects() {
					_, err := archive.Verify(t.Context(), f.faulty, g)
					if bad := g.Object == middle.Object; bad != (err != nil) || bad && !strings.Contains(err.Error(), g.Object) {
						t.Errorf("Verify %s: %v", g.Object, err)
					}
				}
			}
			f.must(os.WriteFile(path, whole, 0o600))
			f.reopen()
			f.wantAll(1, 150)
		})
	}
}

func flip(data []byte, at int) []byte {
	out := slices.Clone(data)
	out[at] ^= 4
	return out
}

func TestRetentionOfTheArchive(t *testing.T) {
	f := newFixture(t)
	f.settings.MaxAge = 24 * time.Hour
	f.reopen()
	f.publish(100)
	f.flush()
	f.now = f.now.Add(25 * time.Hour)
	f.publish(100)
	f.flush()
	f.age()
	list := f.objects()
	if list[0].First > 101 || list[0].First < 50 {
		t.Errorf("the archive begins at %d, want about 100", list[0].First)
	}
	if b, err := f.store.Bounds(f.bus); err != nil || b.First != list[0].First {
		t.Errorf("the bus begins at %d, %v, want %d", b.First, err, list[0].First)
	}
	f.wantAll(list[0].First, 200)
	if _, err := f.store.Get(t.Context(), f.bus, 1); !errors.Is(err, store.ErrTrimmed) {
		t.Errorf("Get of what retention of the archive deleted: %v", err)
	}
}

// The table of a bus leaves out what is not the newest of its subject; the
// archive has all of it.
func TestABusWithATableIsReadFromItsArchive(t *testing.T) {
	f := newFixture(t)
	f.retain.Table = true
	f.reopen()
	f.subjects = 7
	f.publish(60)
	f.flush()
	f.age()
	f.subjects = 3
	f.publish(40)
	f.flush()
	f.age()
	f.wantAll(1, 100)
	f.publish(5)
	f.wantAll(1, 105)
	f.reopen()
	f.wantAll(1, 105)
	if b, err := f.store.Bounds(f.bus); err != nil || b.First != 1 || b.History != 1 {
		t.Errorf("the bus begins at %+v, %v", b, err)
	}
}

func TestEventsRemovedWithoutAnArchiveAreAGapAndNoError(t *testing.T) {
	f := newFixture(t)
	f.publish(60)
	f.flush()
	f.must(f.store.Configure(t.Context(), nil))
	_, err := f.store.OpenBus(t.Context(), "orders", f.retain)
	f.must(err)
	f.publish(40)
	f.age() // 61 to 100 are gone for good
	f.must(f.store.Configure(t.Context(), map[string]archive.Settings{"orders": f.settings}))
	_, err = f.store.OpenBus(t.Context(), "orders", f.retain)
	f.must(err)
	f.publish(20)
	f.flush()
	f.age()
	if got, want := f.readAll(), append(upTo(1, 60), upTo(101, 120)...); !slices.Equal(got, want) {
		t.Errorf("read %v", got)
	}
}

func TestAStoreThatWentBackIsNotMixedIntoItsArchive(t *testing.T) {
	f := newFixture(t)
	f.publish(10)
	f.must(f.store.Checkpoint(t.Context()))
	f.must(f.store.Close())
	before := vfs.NewMem()
	if ok, err := vfs.Clone(f.fs, before, "data", "data"); err != nil || !ok {
		t.Fatal(ok, err)
	}
	f.open()
	f.publish(30)
	f.flush()
	f.must(f.store.Close())
	f.fs, f.last = before, 10
	f.open()
	f.publish(5)
	if err := f.store.Flush(t.Context(), f.bus); !errors.Is(err, archive.ErrDiverged) {
		t.Errorf("Flush: %v, want ErrDiverged", err)
	}
	f.age()
	f.publish(60) // beyond what the archive has: the sequences are taken, the events are others
	if err := f.store.Flush(t.Context(), f.bus); !errors.Is(err, archive.ErrDiverged) {
		t.Errorf("Flush when the bus has passed the archive: %v, want ErrDiverged", err)
	}
	f.age()
	if first := f.localFirst(); first != 1 {
		t.Errorf("the local store begins at %d", first)
	}
}

func TestAJumpOfTheClockDeletesNothing(t *testing.T) {
	f := newFixture(t)
	f.settings.MaxAge = 24 * time.Hour
	f.reopen()
	f.publish(150)
	f.flush()
	n := len(f.objects())
	f.jump = 365 * 24 * time.Hour
	f.must(f.store.Trim(t.Context()))
	f.flush()
	if got := len(f.objects()); got != n || n < 2 {
		t.Errorf("%d objects of %d are left", got, n)
	}
	f.wantAll(1, 150)
}

func TestASeekIntoTheArchiveQueuesItsEvents(t *testing.T) {
	f := newFixture(t)
	f.publish(20)
	f.flush()
	sub, err := store.OpenSubscription(t.Context(), f.store, store.SubscriptionOptions{Name: "r/t", Bus: f.bus})
	f.must(err)
	f.age()
	r, err := f.store.Seek(t.Context(), sub.ID, store.SeekOptions{To: 5, Routed: 20})
	f.must(err)
	records, err := f.store.Read(t.Context(), f.bus, 5, 100, 1<<20, nil)
	f.must(err)
	var routed []store.RoutedEvent
	for _, r := range records {
		routed = append(routed, store.RoutedEvent{Record: r, Matches: []store.Routed{{Subscription: sub.ID}}})
	}
	f.must(f.store.EnqueueReplay(t.Context(), r.Run, 20, []store.SubscriptionID{sub.ID}, routed))
	ds, _, err := f.store.Claim(t.Context(), sub.ID, f.now, 100, nil)
	f.must(err)
	if len(ds) != 16 || ds[0].Record.Event.ID() != "5" {
		t.Errorf("%d deliveries", len(ds))
	}
}

func TestTheArchiverRunsAndGoesOnAfterFailures(t *testing.T) {
	f := newFixture(t)
	failed := make(chan struct{}, 1)
	f.fail = func(objectstest.Op) error {
		select {
		case failed <- struct{}{}:
		default:
		}
		return objectstest.ErrInjected
	}
	f.reopen()
	f.publish(150)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.store.Run(ctx) }()
	<-failed // in its first pass
	stop()
	f.must(<-ended)
	f.faulty.SetFail(nil)
	f.flush()
	f.wantAll(1, 150)
}

func TestHistoryIsNotTakenForShorterWhileTheArchiveIsOutOfReach(t *testing.T) {
	f := newFixture(t)
	f.publish(50)
	f.flush()
	f.age()
	f.fail = func(objectstest.Op) error { return objectstest.ErrInjected }
	f.reopen()
	if b, err := f.store.Bounds(f.bus); err != nil || b.First != 1 {
		t.Errorf("bounds %+v, %v", b, err)
	}
	if _, err := f.store.Read(t.Context(), f.bus, 1, 10, 1<<20, nil); !errors.Is(err, objectstest.ErrInjected) || !strings.Contains(err.Error(), "orders") {
		t.Errorf("Read: %v, want an error that names the archive", err)
	}
}

func TestAnArchiveThatIsNotMountedIsNotTakenForEmpty(t *testing.T) {
	f := newFixture(t)
	f.publish(50)
	f.flush()
	f.age()
	f.must(os.Rename(f.dir, f.dir+".away"))
	f.reopen()
	f.publish(5)
	if err := f.store.Flush(t.Context(), f.bus); !errors.Is(err, archive.ErrMissing) {
		t.Errorf("Flush: %v", err)
	}
	if _, err := f.store.Read(t.Context(), f.bus, 1, 10, 1<<20, nil); !errors.Is(err, archive.ErrMissing) {
		t.Errorf("Read: %v", err)
	}
	f.must(os.Rename(f.dir+".away", f.dir))
	f.flush()
	f.wantAll(1, 55)
}

func TestPrefixesOfSeveralBuses(t *testing.T) {
	f := newFixture(t)
	f.publish(150)
	f.flush()
	found, err := archive.Prefixes(t.Context(), f.faulty, "")
	if err != nil || len(found) != 1 || !strings.HasPrefix(found[0], "orders/") {
		t.Fatalf("%q, %v", found, err)
	}
	for _, other := range []string{"order/x-1/", "orders.eu/x-1/", found[0][:len(found[0])-1] + "0/"} {
		data := strings.NewReader("x")
		f.must(f.faulty.Put(t.Context(), other+"00000000000000000001-00000000000000000002.gap", data, 1))
	}
	if found, err = archive.Prefixes(t.Context(), f.faulty, ""); err != nil || len(found) != 4 {
		t.Errorf("%q, %v", found, err)
	}
	if found, err = archive.Prefixes(t.Context(), f.faulty, "orders"); err != nil || len(found) != 2 {
		t.Errorf("of one bus: %q, %v", found, err)
	}
}

func TestAReplayOfArchivedEventsIsOwedLikeAnyOther(t *testing.T) {
	f := newFixture(t)
	f.publish(20)
	f.flush()
	sub, err := store.OpenSubscription(t.Context(), f.store, store.SubscriptionOptions{Name: "r/t", Bus: f.bus})
	f.must(err)
	f.age()
	run, err := f.store.OpenReplay(t.Context(), store.ReplayOptions{Bus: f.bus, After: 0, To: 20, Subscriptions: []store.SubscriptionID{sub.ID}})
	f.must(err)
	records, err := f.store.Read(t.Context(), f.bus, 1, 100, 1<<20, nil)
	f.must(err)
	var routed []store.RoutedEvent
	for _, r := range records {
		routed = append(routed, store.RoutedEvent{Record: r, Matches: []store.Routed{{Subscription: sub.ID}}})
	}
	f.must(f.store.EnqueueReplay(t.Context(), run, 20, []store.SubscriptionID{sub.ID}, routed))
	f.fail = func(objectstest.Op) error { return objectstest.ErrInjected }
	f.reopen() // what is owed needs no archive
	ds, _, err := f.store.Claim(t.Context(), sub.ID, f.now, 100, nil)
	f.must(err)
	if len(ds) != 20 || ds[0].Record.Event.ID() != "1" || ds[19].Record.Event.ID() != "20" {
		t.Errorf("%d deliveries", len(ds))
	}
}
