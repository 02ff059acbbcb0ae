package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/backup"
	"github.com/switchyard-dev/switchyard/bus/store/embedded"
	"github.com/switchyard-dev/switchyard/bus/store/objects"
)

// site is a store with one bus and one subscription, and a folder for backups.
type site struct {
	t   *testing.T
	dir string
	at  objects.Storage
	s   *embedded.Store
	bus store.BusID
	sub store.SubscriptionID

	mu  sync.Mutex
	now time.Time
}

func newSite(t *testing.T) *site {
	t.Helper()
	w := &site{t: t, dir: t.TempDir(), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	at, err := objects.Open(t.Context(), objects.Location{Scheme: "file", Path: t.TempDir()}, objects.Options{})
	w.must(err)
	w.at = at
	t.Cleanup(func() { _ = at.Close() })
	w.s = w.open(w.dir)
	t.Cleanup(func() { _ = w.s.Close() })
	return w
}

func (w *site) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *site) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *site) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *site) open(dir string) *embedded.Store {
	w.t.Helper()
	s, err := embedded.Open(embedded.Options{Dir: dir, SegmentSize: 16 << 10, NoBackground: true, Clock: w.clock, DiskReserve: -1})
	w.must(err)
	w.bus, err = s.OpenBus(w.t.Context(), "orders", store.BusOptions{})
	w.must(err)
	sub, err := store.OpenSubscription(w.t.Context(), s, store.SubscriptionOptions{Name: "r/t", Bus: w.bus})
	w.must(err)
	w.sub = sub.ID
	return s
}

func (w *site) publish(s *embedded.Store, id string) store.Result {
	w.t.Helper()
	ev, err := event.FromStructured([]byte(fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/s","type":"t","data":{"text":%q}}`, id, strings.Repeat("x", 400))), event.Limits{})
	w.must(err)
	res, err := s.Append(w.t.Context(), []store.Entry{{Bus: w.bus, Event: ev, Dedupe: event.DedupeKey("/s", id), Window: 24 * time.Hour}})
	w.must(err)
	return res[0]
}

// route queues all that is not routed yet for the subscription, as the engine does.
func (w *site) route(s *embedded.Store) {
	w.t.Helper()
	from := s.Position(w.bus)
	records, err := s.Read(w.t.Context(), w.bus, from+1, 100000, 1<<30, nil)
	w.must(err)
	if len(records) == 0 {
		return
	}
	var events []store.RoutedEvent
	for _, r := range records {
		events = append(events, store.RoutedEvent{Record: r, Matches: []store.Routed{{Subscription: w.sub}}})
	}
	w.must(s.Enqueue(w.t.Context(), w.bus, records[len(records)-1].Sequence, events))
}

// deliver claims and settles up to n deliveries and returns the ids of their events.
func (w *site) deliver(s *embedded.Store, n int) (ids []string) {
	w.t.Helper()
	for n > 0 {
		ds, _, err := s.Claim(w.t.Context(), w.sub, w.clock(), n, nil)
		w.must(err)
		if len(ds) == 0 {
			return ids
		}
		var done []store.Settlement
		for _, d := range ds {
			ids = append(ids, d.Record.Event.ID())
			done = append(done, store.Settlement{ID: d.ID, Kind: store.Done, Attempt: &store.Attempt{Number: 1}})
		}
		w.must(s.Settle(w.t.Context(), done))
		n -= len(ds)
	}
	return ids
}

func (w *site) backup(opts backup.Options) backup.Written {
	w.t.Helper()
	w.pass(time.Millisecond) // ids begin with the time
	sn, err := w.s.Snapshot(w.t.Context())
	w.must(err)
	b, err := backup.Write(w.t.Context(), w.at, sn, opts)
	w.must(err)
	w.must(sn.Close())
	return b
}

// restore makes a folder and opens the store in it, after a check.
func (w *site) restore(id string, to time.Time) *embedded.Store {
	w.t.Helper()
	p, err := backup.PlanRestore(w.t.Context(), w.at, id, to)
	w.must(err)
	dir := filepath.Join(w.t.TempDir(), "restored")
	w.must(backup.Restore(w.t.Context(), w.at, p, dir, backup.Options{}, func(dir string) error {
		if to.IsZero() {
			return nil
		}
		_, err := embedded.Rewind(w.t.Context(), vfs.Default, dir, to)
		return err
	}))
	s := w.open(dir)
	w.t.Cleanup(func() { _ = s.Close() })
	w.must(s.Close())
	r, err := embedded.Check(w.t.Context(), embedded.CheckOptions{Dir: dir})
	w.must(err)
	if r.Found > 0 {
		w.t.Fatalf("the restored store is not sound: %v", r.Problems)
	}
	s = w.open(dir)
	w.t.Cleanup(func() { _ = s.Close() })
	return s
}

// has requires that a store has the events 0 to n-1 and no more.
func (w *site) has(s *embedded.Store, n int) {
	w.t.Helper()
	records, err := s.Read(w.t.Context(), w.bus, 1, 100000, 1<<30, nil)
	w.must(err)
	if len(records) != n {
		w.t.Fatalf("%d events, want %d", len(records), n)
	}
	for i, r := range records {
		if r.Event.ID() != fmt.Sprint(i) || r.Sequence != uint64(i+1) {
			w.t.Fatalf("event %d is %s with sequence %d", i, r.Event.ID(), r.Sequence)
		}
	}
}

// TestABackupHasAllThatWasAcknowledged makes backups while publishers and a
// deliverer work, and restores each: every event that was acknowledged before
// the snapshot is there, whatever was not delivered by then comes, and what was
// published before is known as a duplicate.
func TestABackupHasAllThatWasAcknowledged(t *testing.T) {
	w := newSite(t)
	var acknowledged, settled sync.Map
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	publish := func(id string) error {
		ev, err := event.FromStructured([]byte(fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/s","type":"t","data":%q}`, id, strings.Repeat("x", 300))), event.Limits{})
		if err != nil {
			return err
		}
		_, err = w.s.Append(t.Context(), []store.Entry{{Bus: w.bus, Event: ev, Dedupe: event.DedupeKey("/s", id), Window: 24 * time.Hour}})
		acknowledged.Store(id, true)
		return err
	}
	for p := range 4 {
		work.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := publish(fmt.Sprintf("%d-%d", p, i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	work.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			w.route(w.s)
			for _, id := range w.deliver(w.s, 50) {
				settled.Store(id, true)
			}
			w.must(w.s.Checkpoint(t.Context()))
		}
	})
	type point struct {
		id             string
		acked, settled map[string]bool
	}
	var points []point
	for range 4 {
		p := point{acked: map[string]bool{}, settled: map[string]bool{}}
		for n := 0; n < 300*(len(points)+1); { // some more work is done
			n = 0
			acknowledged.Range(func(any, any) bool { n++; return true })
		}
		acknowledged.Range(func(id, _ any) bool { p.acked[id.(string)] = true; return true })
		p.id = w.backup(backup.Options{}).ID
		settled.Range(func(id, _ any) bool { p.settled[id.(string)] = true; return true })
		points = append(points, p)
	}
	stop()
	work.Wait()
	for _, p := range points {
		s := w.restore(p.id, time.Time{})
		records, err := s.Read(t.Context(), w.bus, 1, 1000000, 1<<30, nil)
		w.must(err)
		there := map[string]bool{}
		for _, r := range records {
			there[r.Event.ID()] = true
		}
		for id := range p.acked {
			if !there[id] {
				t.Fatalf("backup %s lacks event %s, which was acknowledged before", p.id, id)
			}
		}
		w.route(s)
		came := map[string]bool{}
		for _, id := range w.deliver(s, 1000000) {
			came[id] = true
		}
		for id := range there {
			if !came[id] && !p.settled[id] {
				t.Fatalf("backup %s: event %s was not delivered before and does not come", p.id, id)
			}
		}
		if res := w.publish(s, records[0].Event.ID()); !res.Duplicate || res.Sequence != 1 {
			t.Errorf("backup %s: a duplicate is not known: %+v", p.id, res)
		}
		w.must(s.Close())
	}
}

func TestAnIncrementalBackupCopiesLittle(t *testing.T) {
	w := newSite(t)
	for i := range 400 {
		w.publish(w.s, fmt.Sprint(i))
	}
	first := w.backup(backup.Options{})
	if first.CopiedBytes < 400*400 || first.CopiedBytes != first.Bytes {
		t.Fatalf("the first copied %+v", first)
	}
	w.publish(w.s, "400")
	second := w.backup(backup.Options{})
	if second.CopiedBytes > first.CopiedBytes/2 || second.Bytes < first.Bytes/2 || second.CopiedFiles > second.Files/2 {
		t.Errorf("the second copied %+v after %+v", second, first)
	}
	w.has(w.restore(first.ID, time.Time{}), 400)
	w.has(w.restore("", time.Time{}), 401)
}

// failing lets some objects be put and then no more.
type failing struct {
	objects.Storage
	mu   sync.Mutex
	left int
}

var errFull = errors.New("no space left")

func (f *failing) Put(ctx context.Context, name string, r io.Reader, size int64) error {
	f.mu.Lock()
	f.left--
	fail := f.left < 0 && !strings.HasPrefix(name, "unfinished/")
	f.mu.Unlock()
	if fail {
		return errFull
	}
	return f.Storage.Put(ctx, name, r, size)
}

func TestAnInterruptedBackupIsNotThereAndIsGoneOnWith(t *testing.T) {
	w := newSite(t)
	for i := range 400 {
		w.publish(w.s, fmt.Sprint(i))
	}
	before := w.backup(backup.Options{})
	for i := 400; i < 800; i++ {
		w.publish(w.s, fmt.Sprint(i))
	}
	sn, err := w.s.Snapshot(t.Context())
	w.must(err)
	if _, err := backup.Write(t.Context(), &failing{Storage: w.at, left: 8}, sn, backup.Options{}); !errors.Is(err, errFull) {
		t.Fatal(err)
	}
	w.must(sn.Close())
	ids, err := backup.IDs(t.Context(), w.at)
	w.must(err)
	if len(ids) != 1 || ids[0] != before.ID {
		t.Fatalf("there are %v", ids)
	}
	w.has(w.restore("", time.Time{}), 400)
	after := w.backup(backup.Options{})
	fresh := 0
	sn, err = w.s.Snapshot(t.Context())
	w.must(err)
	for _, f := range sn.Info().Files {
		if f.Segment != nil && f.Segment.Last > 10 {
			fresh++
		}
	}
	w.must(sn.Close())
	if after.CopiedFiles > fresh {
		t.Errorf("the next one copied %d files; %d segments are new and some were copied before", after.CopiedFiles, fresh)
	}
	w.has(w.restore("", time.Time{}), 800)
	if left, err := w.at.List(t.Context(), "unfinished/", "", 0); err != nil || len(left) > 0 {
		t.Errorf("notes are left: %v, %v", left, err)
	}
}

func TestADamagedBackupIsNamedAndNotRestored(t *testing.T) {
	for name, damage := range map[string]func(w *site, object string){
		"a changed byte": func(w *site, object string) {
			r, err := w.at.Get(w.t.Context(), object, 0, -1)
			w.must(err)
			b, err := io.ReadAll(r)
			w.must(err)
			w.must(r.Close())
			b[len(b)/2] ^= 1
			w.must(w.at.Put(w.t.Context(), object, bytes.NewReader(b), int64(len(b))))
		},
		"a missing object": func(w *site, object string) { w.must(w.at.Delete(w.t.Context(), object)) },
		"a shorter object": func(w *site, object string) {
			w.must(w.at.Put(w.t.Context(), object, strings.NewReader("short"), 5))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newSite(t)
			for i := range 100 {
				w.publish(w.s, fmt.Sprint(i))
			}
			b := w.backup(backup.Options{})
			m, err := backup.Get(t.Context(), w.at, b.ID)
			w.must(err)
			if bad, err := backup.Verify(t.Context(), w.at, m, backup.Options{}); err != nil || len(bad) > 0 {
				t.Fatal(bad, err)
			}
			var file backup.File
			for _, f := range m.Files {
				if f.Segment != nil {
					file = f
					break
				}
			}
			damage(w, "objects/"+file.Identity)
			bad, err := backup.Verify(t.Context(), w.at, m, backup.Options{})
			if err != nil || len(bad) != 1 || bad[0].Name != file.Name {
				t.Errorf("verify says %v, %v", bad, err)
			}
			p, err := backup.PlanRestore(t.Context(), w.at, "", time.Time{})
			w.must(err)
			parent := t.TempDir()
			err = backup.Restore(t.Context(), w.at, p, filepath.Join(parent, "data"), backup.Options{}, nil)
			if !errors.Is(err, backup.ErrDamaged) || !strings.Contains(err.Error(), file.Name) {
				t.Errorf("restore says %v", err)
			}
			if left, _ := os.ReadDir(parent); len(left) > 0 {
				t.Errorf("the failed restore left %v", left)
			}
		})
	}
}

// shared is a file that two backups have, and its object.
func (w *site) shared(a, b string) backup.File {
	w.t.Helper()
	one, err := backup.Get(w.t.Context(), w.at, a)
	w.must(err)
	other, err := backup.Get(w.t.Context(), w.at, b)
	w.must(err)
	for _, f := range one.Files {
		for _, g := range other.Files {
			if f.Identity == g.Identity && f.Segment != nil {
				return f
			}
		}
	}
	w.t.Fatal("the backups have nothing in common")
	return backup.File{}
}

// change writes an object of a backup over with what f makes of it; nil deletes it.
func (w *site) change(object string, f func([]byte) []byte) {
	w.t.Helper()
	r, err := w.at.Get(w.t.Context(), object, 0, -1)
	w.must(err)
	b, err := io.ReadAll(r)
	w.must(errors.Join(err, r.Close()))
	if b = f(b); b == nil {
		w.must(w.at.Delete(w.t.Context(), object))
		return
	}
	w.must(w.at.Put(w.t.Context(), object, bytes.NewReader(b), int64(len(b))))
}

func (w *site) bad(id string) []backup.Bad {
	w.t.Helper()
	m, err := backup.Get(w.t.Context(), w.at, id)
	w.must(err)
	bad, err := backup.Verify(w.t.Context(), w.at, m, backup.Options{})
	w.must(err)
	return bad
}

func TestAnIncrementalBackupMendsWhatIsDamaged(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"a changed byte": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"a missing end":  func(b []byte) []byte { return b[:len(b)-1] },
		"no object":      func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := newSite(t)
			for i := range 400 {
				w.publish(w.s, fmt.Sprint(i))
			}
			first := w.backup(backup.Options{})
			w.publish(w.s, "400")
			second := w.backup(backup.Options{Recheck: backup.RecheckAll})
			if len(second.Mended) > 0 || second.CheckedBytes+second.CopiedBytes != second.Bytes {
				t.Errorf("when all is well it says %+v", second)
			}
			f := w.shared(first.ID, second.ID)
			w.change("objects/"+f.Identity, damage)
			third := w.backup(backup.Options{Recheck: backup.RecheckAll})
			if len(third.Mended) != 1 || third.Mended[0].Name != f.Name || third.Mended[0].Object != "objects/"+f.Identity || third.Mended[0].Reason == "" {
				t.Errorf("it mended %+v, not %s", third.Mended, f.Name)
			}
			for _, id := range []string{first.ID, second.ID, third.ID} {
				if bad := w.bad(id); len(bad) > 0 {
					t.Errorf("backup %s is still damaged: %v", id, bad)
				}
			}
			w.has(w.restore("", time.Time{}), 401)
		})
	}
}

// TestBackupsReadAllAgainInTurn has backups read one file again each: damage is
// found after as many as there are files.
func TestBackupsReadAllAgainInTurn(t *testing.T) {
	w := newSite(t)
	for i := range 400 {
		w.publish(w.s, fmt.Sprint(i))
	}
	first := w.backup(backup.Options{})
	f := w.shared(first.ID, w.backup(backup.Options{}).ID)
	w.change("objects/"+f.Identity, func(b []byte) []byte { b[0] ^= 1; return b })
	if b := w.backup(backup.Options{}); b.CheckedFiles > 0 || len(b.Mended) > 0 {
		t.Errorf("one that reads nothing again says %+v", b)
	}
	for n := 0; ; n++ {
		b := w.backup(backup.Options{Recheck: 1})
		if len(b.Mended) == 1 {
			break
		}
		if b.CheckedFiles != 1 || n > first.Files+10 { // a few files are new each time
			t.Fatalf("after %d backups of %d files the damage is not found: %+v", n, first.Files, b)
		}
	}
	if bad := w.bad(first.ID); len(bad) > 0 {
		t.Errorf("the first is still damaged: %v", bad)
	}
}

func TestARestoreNeedsAnEmptyFolder(t *testing.T) {
	w := newSite(t)
	w.publish(w.s, "0")
	w.backup(backup.Options{})
	p, err := backup.PlanRestore(t.Context(), w.at, "", time.Time{})
	w.must(err)
	dir := t.TempDir()
	w.must(os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600))
	if err := backup.Restore(t.Context(), w.at, p, dir, backup.Options{}, nil); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("got %v", err)
	}
	empty := t.TempDir()
	w.must(backup.Restore(t.Context(), w.at, p, empty, backup.Options{}, nil))
	if _, err := os.Stat(filepath.Join(empty, "FORMAT")); err != nil {
		t.Error(err)
	}
}

// TestARestoreToAPointInTime makes three backups, an event each second, and
// restores to times between: the events up to then are there and no other, and
// what was owed at that time comes, at worst again.
func TestARestoreToAPointInTime(t *testing.T) {
	w := newSite(t)
	start := w.clock()
	settledAt := map[string]time.Time{}
	next := 0
	work := func(n int) {
		for range n {
			w.pass(time.Second)
			w.publish(w.s, fmt.Sprint(next))
			next++
			w.route(w.s)
			if next%3 == 0 {
				for _, id := range w.deliver(w.s, 2) {
					settledAt[id] = w.clock()
				}
			}
		}
	}
	work(100)
	first := w.backup(backup.Options{})
	work(100)
	w.backup(backup.Options{})
	work(100)
	w.pass(time.Second)
	w.backup(backup.Options{})
	for _, n := range []int{100, 101, 150, 199, 200, 250, 300} {
		to := start.Add(time.Duration(n)*time.Second + 500*time.Millisecond)
		s := w.restore("", to)
		w.has(s, n)
		w.route(s)
		came := map[string]bool{}
		for _, id := range w.deliver(s, 100000) {
			came[id] = true
		}
		for i := range n {
			id := fmt.Sprint(i)
			if at, done := settledAt[id]; (!done || at.After(to)) && !came[id] {
				t.Errorf("to %d: event %s was owed and does not come", n, id)
			}
		}
		if res := w.publish(s, "new"); res.Sequence != uint64(n+1) {
			t.Errorf("to %d: the next event has sequence %d", n, res.Sequence)
		}
		w.must(s.Close())
	}
	// An older state than needed works too: more comes again.
	w.has(w.restore(first.ID, start.Add(250*time.Second+500*time.Millisecond)), 250)
	for to, want := range map[time.Duration]string{
		50 * time.Second: "the earliest time", 1000 * time.Second: "no backup",
	} {
		if _, err := backup.PlanRestore(t.Context(), w.at, "", start.Add(to)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("to %v: %v", to, err)
		}
	}
}

func TestPruneKeepsWhatTheNewestNeed(t *testing.T) {
	w := newSite(t)
	var ids []string
	for i := range 400 {
		w.publish(w.s, fmt.Sprint(i))
		if i%100 == 99 {
			ids = append(ids, w.backup(backup.Options{}).ID)
			w.pass(time.Second)
		}
	}
	deleted, freed, err := backup.Prune(t.Context(), w.at, 2)
	w.must(err)
	if fmt.Sprint(deleted) != fmt.Sprint(ids[:2]) || freed == 0 {
		t.Errorf("deleted %v, %d bytes", deleted, freed)
	}
	for _, id := range ids[2:] {
		m, err := backup.Get(t.Context(), w.at, id)
		w.must(err)
		if bad, err := backup.Verify(t.Context(), w.at, m, backup.Options{}); err != nil || len(bad) > 0 {
			t.Error(bad, err)
		}
	}
	if _, err := backup.Get(t.Context(), w.at, ids[0]); !errors.Is(err, backup.ErrNoBackup) {
		t.Errorf("got %v", err)
	}
	w.has(w.restore("", time.Time{}), 400)
}

// TestAForgedManifestIsRefused gives a manifest names that lead out of the folder.
func TestTheBackupOfAnotherStoreIsRefused(t *testing.T) {
	w := newSite(t)
	w.publish(w.s, "1")
	first := w.backup(backup.Options{})
	other := w.open(t.TempDir())
	defer other.Close()
	sn, err := other.Snapshot(t.Context())
	w.must(err)
	defer sn.Close()
	if _, err := backup.Write(t.Context(), w.at, sn, backup.Options{}); !errors.Is(err, backup.ErrOtherStore) || !strings.Contains(err.Error(), first.ID) {
		t.Errorf("a backup of another store: %v", err)
	}
	w.must(w.s.Close())
	w.s = w.open(w.dir)
	w.pass(time.Second)
	w.backup(backup.Options{}) // the same, after a restart
	if ids, err := backup.IDs(t.Context(), w.at); err != nil || len(ids) != 2 {
		t.Errorf("there are %v, %v", ids, err)
	}
	restored := w.restore(first.ID, time.Time{})
	again, err := restored.Snapshot(t.Context())
	w.must(err)
	defer again.Close()
	if _, err := backup.Write(t.Context(), w.at, again, backup.Options{}); err != nil {
		t.Errorf("a backup of what was restored: %v", err)
	}
}

func TestAForgedManifestIsRefused(t *testing.T) {
	w := newSite(t)
	w.publish(w.s, "0")
	b := w.backup(backup.Options{})
	r, err := w.at.Get(t.Context(), "backups/"+b.ID+".json", 0, -1)
	w.must(err)
	text, err := io.ReadAll(r)
	w.must(err)
	w.must(r.Close())
	changed := strings.Replace(string(text), `"FORMAT"`, `"../../etc/passwd"`, 1)
	w.must(w.at.Put(t.Context(), "backups/"+b.ID+".json", strings.NewReader(changed), int64(len(changed))))
	if _, err := backup.PlanRestore(t.Context(), w.at, "", time.Time{}); !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("got %v", err)
	}
}

// filled is a snapshot of files of zeros.
type filled store.SnapshotInfo

func (f *filled) Info() store.SnapshotInfo { return store.SnapshotInfo(*f) }
func (f *filled) Close() error             { return nil }

func (f *filled) Open(_ context.Context, name string) (io.ReadCloser, error) {
	for _, file := range f.Files {
		if file.Name == name {
			return io.NopCloser(bytes.NewReader(make([]byte, file.Size))), nil
		}
	}
	return nil, store.ErrNotFound
}

func TestABackupKeepsToItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at, err := objects.Open(t.Context(), objects.Location{Scheme: "file", Path: t.TempDir()}, objects.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer at.Close()
		sn := &filled{Format: 1}
		for i := range 5 {
			sn.Files = append(sn.Files, store.SnapshotFile{Name: fmt.Sprintf("log/%d.seg", i), Size: 2 << 20, Identity: fmt.Sprintf("log-%d", i)})
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := backup.Write(short, at, sn, backup.Options{Rate: 1 << 20}); !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(fmt.Sprint(err), "deadline") {
			t.Fatalf("a backup whose context has ended: %v", err)
		}
		began := time.Now()
		if _, err := backup.Write(t.Context(), at, sn, backup.Options{Rate: 1 << 20}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 9*time.Second || took > 11*time.Second { // of virtual time
			t.Errorf("10 MiB at 1 MiB a second took %s", took)
		}
	})
}
