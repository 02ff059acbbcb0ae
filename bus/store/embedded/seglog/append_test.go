package seglog

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

func mustOpen(t *testing.T, opts Options) *Log {
	t.Helper()
	l, err := Open(opts, nil, Position{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func mustAppend(t *testing.T, l *Log, payload string) Position {
	t.Helper()
	pos, err := l.AppendBytes(t.Context(), []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

func texts(t *testing.T, l *Log) (out []string) {
	t.Helper()
	if _, err := l.Scan(t.Context(), Position{}, Position{}, func(_ Position, p []byte) error {
		out = append(out, string(p))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func equal(t *testing.T, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

// gate stops the appender in Reserve, so that a test decides which entries share a group.
type gate struct{ enter, leave chan struct{} }

func newGate() gate { return gate{make(chan struct{}), make(chan struct{})} }

func (g gate) reserve() error {
	g.enter <- struct{}{}
	<-g.leave
	return nil
}

func TestSealAssignsSequencesInLogOrderAndDropsEntries(t *testing.T) {
	g := newGate()
	opts := testOptions(vfs.NewMem())
	opts.Reserve = g.reserve
	seq := 0
	seen := map[string]bool{}
	var committed []string
	opts.Seal = func(group *Group) error {
		for _, e := range group.Entries {
			switch key := e.Ctx.(string); {
			case key == "bad":
				e.Drop(errors.New("refused"))
			case seen[key]:
				e.DropWithGroup(nil)
			default:
				seen[key] = true
				seq++
				e.Payload = fmt.Appendf(e.Payload, " as %d", seq)
			}
		}
		return nil
	}
	opts.Committed = func(group *Group) {
		for _, e := range group.Entries {
			committed = append(committed, fmt.Sprintf("%s at %v", e.Payload, e.Position()))
		}
	}
	l := mustOpen(t, opts)
	answers := make(chan string, 5)
	for i, key := range []string{"a", "bad", "b", "a", "c"} {
		err := l.AppendAsync(t.Context(), &Entry{Payload: []byte(key), Ctx: key}, func(pos Position, err error) {
			answers <- fmt.Sprintf("%s %v %v", key, pos != Position{}, err)
		})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			<-g.enter // the first is a group of its own; the others wait
		}
	}
	g.leave <- struct{}{}
	<-g.enter
	g.leave <- struct{}{}
	for _, want := range []string{"a true <nil>", "bad false refused", "b true <nil>", "a false <nil>", "c true <nil>"} {
		equal(t, <-answers, want)
	}
	equal(t, texts(t, l), "[a as 1 b as 2 c as 3]")
	equal(t, committed, "[a as 1 at 1:0x1000 b as 2 at 1:0x1020 c as 3 at 1:0x1040]")
}

func TestGroupLargerThanOneWriteOrTheRestOfASegmentIsSplit(t *testing.T) {
	g := newGate()
	opts := testOptions(vfs.NewMem())
	opts.MaxGroupBytes = 64 << 10 // larger than a segment
	first := true
	opts.Reserve = func() error {
		if first {
			first = false
			return g.reserve()
		}
		return nil
	}
	var groups []int
	opts.GroupSize = func(frames, bytes int) { groups = append(groups, frames) }
	l := mustOpen(t, opts)
	var wg sync.WaitGroup
	var order []string
	for i := range 50 {
		wg.Add(1)
		p := fmt.Appendf(nil, "%04d%1000d", i, 0)
		if err := l.AppendAsync(t.Context(), &Entry{Payload: p}, func(_ Position, err error) {
			if err != nil {
				t.Error(err)
			}
			wg.Done()
		}); err != nil {
			t.Fatal(err)
		}
		order = append(order, string(p))
		if i == 0 {
			<-g.enter
		}
	}
	g.leave <- struct{}{}
	wg.Wait()
	equal(t, texts(t, l), order)
	if len(groups) > 6 || len(l.Segments()) < 3 {
		t.Fatalf("groups %v in %d segments", groups, len(l.Segments()))
	}
}

func TestRecordOfTheLargestSizeFitsAndALargerOneIsRefused(t *testing.T) {
	l := mustOpen(t, testOptions(vfs.NewMem()))
	mustAppend(t, l, "small")
	large := string(make([]byte, l.MaxPayload()))
	pos := mustAppend(t, l, large)
	mustAppend(t, l, "after")
	got, next, err := l.Read(pos, nil)
	if err != nil || string(got) != large {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	got, _, err = l.Read(next, nil)
	if err != nil || string(got) != "after" {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := l.AppendBytes(t.Context(), make([]byte, l.MaxPayload()+1)); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
}

func TestRecordThatSealMakesTooLargeIsAnsweredAndTheOthersAreWritten(t *testing.T) {
	opts := testOptions(vfs.NewMem())
	opts.Seal = func(g *Group) error {
		for _, e := range g.Entries {
			if string(e.Payload) == "grow" {
				e.Payload = make([]byte, 1<<20)
			}
		}
		return nil
	}
	failed := 0
	opts.Failed = func(g *Group, _ error) { failed += len(g.Entries) }
	l := mustOpen(t, opts)
	if _, err := l.AppendBytes(t.Context(), []byte("grow")); !errors.Is(err, ErrTooLarge) || failed != 1 {
		t.Fatal(err, failed)
	}
	mustAppend(t, l, "fine")
	equal(t, texts(t, l), "[fine]")
}

func TestCancelledAppendIsNotWritten(t *testing.T) {
	g := newGate()
	opts := testOptions(vfs.NewMem())
	opts.Reserve = g.reserve
	l := mustOpen(t, opts)
	answered := make(chan error, 2)
	_ = l.AppendAsync(t.Context(), &Entry{Payload: []byte("first")}, func(_ Position, err error) { answered <- err })
	<-g.enter
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := l.Append(ctx, &Entry{Payload: []byte("cancelled")})
		answered <- err
	}()
	for queued := 0; queued == 0; { // until it waits
		l.mu.Lock()
		queued = len(l.queue)
		l.mu.Unlock()
	}
	cancel()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	g.leave <- struct{}{}
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(ctx, &Entry{}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	equal(t, texts(t, l), "[first]")
	l.opts.Reserve = nil
}

func TestAnAppendThatWasLateIsAnsweredAsAnyOther(t *testing.T) {
	g := newGate()
	opts := testOptions(vfs.NewMem())
	opts.Reserve = g.reserve
	l := mustOpen(t, opts)
	type answer struct {
		pos Position
		err error
	}
	answered := make(chan answer, 4)
	publish := func(text string) {
		pos, err := l.Append(t.Context(), &Entry{Payload: []byte(text)})
		answered <- answer{pos, err}
	}
	queued := func() (entries int, late bool) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.queue) == 0 {
			return 0, false
		}
		return len(l.queue[0].Entries), l.queue[0].late
	}
	go publish("1")
	<-g.enter
	go publish("2")
	for _, late := queued(); !late; _, late = queued() {
		runtime.Gosched()
	}
	go publish("3") // joins a group that is late already
	for n, _ := queued(); n < 2; n, _ = queued() {
		runtime.Gosched()
	}
	g.leave <- struct{}{}
	<-g.enter
	g.leave <- struct{}{}
	for range 3 {
		if a := <-answered; a.err != nil || a.pos == (Position{}) {
			t.Error(a)
		}
	}
	equal(t, texts(t, l), "[1 2 3]")
	l.opts.Reserve = nil
}

func TestAppendWaitsForRoomAndObeysItsContext(t *testing.T) {
	g := newGate()
	opts := testOptions(vfs.NewMem())
	opts.Reserve = g.reserve
	opts.MaxPendingBytes = 100
	l := mustOpen(t, opts)
	answered := make(chan error, 2)
	_ = l.AppendAsync(t.Context(), &Entry{Payload: make([]byte, 70)}, func(_ Position, err error) { answered <- err })
	<-g.enter
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	waits := make(chan error)
	ctx2, cancel2 := context.WithCancel(t.Context())
	go func() {
		_, err := l.AppendBytes(ctx2, make([]byte, 70))
		waits <- err
	}()
	for blocked := false; !blocked; {
		l.mu.Lock()
		blocked = l.space != nil
		l.mu.Unlock()
	}
	cancel2()
	if err := <-waits; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := l.AppendBytes(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), &Entry{Payload: make([]byte, 70), NoWait: true}); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	go func() {
		waits <- l.AppendAsync(t.Context(), &Entry{Payload: make([]byte, 70)}, func(_ Position, err error) { answered <- err })
	}()
	g.leave <- struct{}{}
	if err := errors.Join(<-answered, <-waits); err != nil {
		t.Fatal(err)
	}
	<-g.enter
	g.leave <- struct{}{}
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
}

func TestReserveRefusesAppendsAndTheLogStaysHealthy(t *testing.T) {
	opts := testOptions(vfs.NewMem())
	full := errors.New("the disk reserve is reached")
	refuse := full
	opts.Reserve = func() error { return refuse }
	opts.Seal = func(*Group) error {
		if refuse != nil {
			t.Error("sealed without reserve")
		}
		return nil
	}
	l := mustOpen(t, opts)
	if _, err := l.AppendBytes(t.Context(), []byte("x")); err != full {
		t.Fatal(err)
	}
	equal(t, l.State(), Healthy)
	refuse = nil
	mustAppend(t, l, "y")
	equal(t, texts(t, l), "[y]")
}

func TestCloseAnswersWhatWaitsAndRefusesWhatComes(t *testing.T) {
	g := newGate()
	opts := testOptions(vfs.NewMem())
	opts.Reserve = g.reserve
	l := mustOpen(t, opts)
	answered := make(chan error, 2)
	for range 2 {
		_ = l.AppendAsync(t.Context(), &Entry{Payload: []byte("x")}, func(_ Position, err error) { answered <- err })
	}
	<-g.enter
	closed := make(chan error, 2)
	for range 2 {
		go func() { closed <- l.Close() }()
	}
	<-l.stop
	g.leave <- struct{}{}
	select { // the second entry may have joined the first group
	case <-g.enter:
		g.leave <- struct{}{}
	case <-l.stopped:
	}
	if err := errors.Join(<-answered, <-answered, <-closed, <-closed, l.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.AppendBytes(t.Context(), nil); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if _, _, err := l.Read(Position{}, nil); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	equal(t, l.State(), Closed)
	equal(t, l.Err(), ErrClosed)
}

func TestFailedSyncIsFailStopUntilTheLogHasANewSegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("input/output error")
		var mu sync.Mutex
		failing := false
		syncs := map[string]int{} // after the first failure, of the failed file
		set := func(v bool) { mu.Lock(); failing = v; mu.Unlock() }
		fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if op.Kind != errorfs.OpFileSync && op.Kind != errorfs.OpFileSyncData {
				return nil
			}
			if syncs[op.Path] > 0 && op.Path != "log" && !strings.HasSuffix(op.Path, suffixTemp) {
				t.Errorf("%s is synced again after a failed sync", op.Path)
			}
			if failing {
				syncs[op.Path]++
				return broken
			}
			return nil
		}))
		opts := testOptions(fs)
		seq := 0
		opts.Seal = func(g *Group) error { seq += len(g.Entries); return nil }
		opts.Failed = func(g *Group, err error) { seq -= len(g.Entries) }
		l, err := Open(opts, nil, Position{})
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, "good")
		before := l.Synced()
		set(true)
		_, err = l.AppendBytes(t.Context(), []byte("lost"))
		var failed *FailedError
		if !errors.Is(err, ErrFailed) || !errors.Is(err, broken) || !errors.As(err, &failed) || failed.Op != "sync" {
			t.Fatal(err)
		}
		synctest.Wait() // the first try has failed too; the next waits
		equal(t, l.State(), Failing)
		if _, err := l.AppendBytes(t.Context(), []byte("refused")); !errors.Is(err, ErrFailed) || !errors.Is(err, broken) {
			t.Fatal(err)
		}
		equal(t, l.Synced(), before)
		equal(t, texts(t, l), "[good]")
		if err := l.Reopen(t.Context()); !errors.Is(err, broken) {
			t.Fatal(err)
		}
		set(false)
		time.Sleep(2 * lastRetryDelay) // of the bubble's clock
		equal(t, l.Err(), nil)
		mustAppend(t, l, "again")
		equal(t, texts(t, l), "[good again]")
		equal(t, seq, 2)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		clear(syncs)
		mu.Unlock()
		l, err = Open(testOptions(fs), nil, Position{})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, texts(t, l), "[good again]")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAppendAllocatesNothingOfItsOwn(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	l := mustOpen(t, Options{FS: vfs.NewMem(), Dir: "log", NoSync: true})
	e := &Entry{}
	payload := make([]byte, 1000)
	// A channel a group; here each append is a group.
	if n := testing.AllocsPerRun(500, func() {
		e.Payload = payload
		if _, err := l.Append(context.Background(), e); err != nil {
			t.Fatal(err)
		}
	}); n > 3 { // MemFS grows its file
		t.Fatalf("%v allocations an append", n)
	}
}

func TestConcurrentPublishersAndReaders(t *testing.T) {
	l := mustOpen(t, testOptions(vfs.NewMem()))
	var wg, readers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() { // a tail: sees each record once, in order
			pos, seen := Position{}, map[byte]int{}
			for last := false; ; {
				var err error
				pos, err = l.Scan(context.Background(), pos, Position{}, func(_ Position, p []byte) error {
					if int(p[1])|int(p[2])<<8 != seen[p[0]] {
						return fmt.Errorf("publisher %d: got %v after %d", p[0], p[:3], seen[p[0]])
					}
					seen[p[0]]++
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				if last {
					break
				}
				select {
				case <-stop:
					last = true
				default:
				}
			}
			for p := range byte(8) {
				if seen[p] != 300 {
					t.Errorf("publisher %d: %d records", p, seen[p])
				}
			}
		})
	}
	for p := range byte(8) {
		wg.Go(func() {
			payload := make([]byte, 300)
			for i := range 300 {
				payload[0], payload[1], payload[2] = p, byte(i), byte(i>>8)
				pos, err := l.AppendBytes(context.Background(), payload)
				if err != nil {
					t.Error(err)
					return
				}
				got, _, err := l.Read(pos, nil)
				if err != nil || string(got) != string(payload) {
					t.Errorf("read own append: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	readers.Wait()
}
