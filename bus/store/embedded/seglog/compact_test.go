package seglog

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

func TestRewriteKeepsOldAndNewPositionsReadableUntilItsCommitEnds(t *testing.T) {
	fs, at := filled(t, 150)
	l := mustOpen(t, testOptions(fs))
	segs := l.Segments()
	if len(segs) < 5 {
		t.Fatal(len(segs))
	}
	moves := map[Position]Position{}
	rw, err := l.Rewrite(t.Context(), segs[1].First, segs[3].Last, func(pos Position, p []byte) ([]byte, bool) {
		return append([]byte("kept "), p[:5]...), p[4] == '0'
	}, func(from, to Position) { moves[from] = to })
	if err != nil {
		t.Fatal(err)
	}
	before := texts(t, l)
	if err := l.Remove(segs[2].Last); !errors.Is(err, ErrBusy) {
		t.Fatal(err)
	}
	if _, err := l.Rewrite(t.Context(), segs[1].First, segs[1].Last, nil, nil); !errors.Is(err, ErrBusy) {
		t.Fatal(err)
	}
	fail := errors.New("index")
	if err := rw.Commit(func() error { return fail }); err != fail {
		t.Fatal(err)
	}
	if err := rw.Commit(func() error {
		equal(t, texts(t, l), before)
		for from, to := range moves {
			old, _, err := l.Read(from, nil)
			if err != nil {
				t.Error(err)
			}
			moved, _, err := l.Read(to, nil)
			if err != nil || string(moved) != "kept "+string(old[:5]) {
				t.Errorf("%q, %v", moved, err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(rw.Commit(nil), rw.Abort()); err != nil {
		t.Fatal(err)
	}
	for pass := range 2 {
		got := texts(t, l)
		var moved *MovedError
		for _, pos := range at {
			payload, _, err := l.Read(pos, nil)
			inRun := pos.Segment >= segs[1].First && pos.Segment <= segs[3].Last
			start := pos.file() == headerBlock && pos.Segment == segs[1].First
			switch {
			case !inRun && err != nil:
				t.Fatal(err)
			case inRun && !start && !errors.As(err, &moved):
				t.Fatalf("pass %d: old position %v: %q, %v", pass, pos, payload, err)
			}
		}
		payload, _, err := l.Read(moved.To, nil)
		if err != nil || string(payload[:5]) != "kept " {
			t.Fatal(string(payload), err)
		}
		if len(got) >= len(before) || len(l.Segments()) != len(segs)-2 {
			t.Fatal(len(got), len(before), len(l.Segments()))
		}
		for i := 1; i < len(got); i++ {
			if num(got[i-1]) >= num(got[i]) {
				t.Fatalf("%.20s is before %.20s", got[i-1], got[i])
			}
		}
		info := l.Segments()[1]
		equal(t, []any{info.First, info.Last, info.Sealed, info.Rewritten}, []any{segs[1].First, segs[3].Last, true, true})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		n := 0
		l, err = Open(testOptions(fs), func(Position, []byte) error { n++; return nil }, at[len(at)/2])
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
	}
	_ = l.Close()
}

func num(s string) string {
	if s[0] == 'k' {
		return s[5:10]
	}
	return s[:5]
}

func TestRemoveInTheMiddleLeavesASmallFileAndRemoveOfTheOldestNone(t *testing.T) {
	fs, at := filled(t, 150)
	l := mustOpen(t, testOptions(fs))
	segs := l.Segments()
	used := l.DiskUsage().Live
	if err := l.Remove(2); err != nil {
		t.Fatal(err)
	}
	if err := l.Remove(segs[len(segs)-1].Last); !errors.Is(err, ErrNotSealed) {
		t.Fatal(err)
	}
	if got := l.DiskUsage().Live; got > used-segs[1].FileSize+2*headerBlock {
		t.Fatalf("%d bytes, was %d", got, used)
	}
	if err := errors.Join(l.Remove(1), l.Remove(2)); err != nil {
		t.Fatal(err)
	}
	if err := l.Remove(1); !errors.Is(err, ErrGone) {
		t.Fatal(err)
	}
	if _, _, err := l.Read(at[1], nil); !errors.Is(err, ErrGone) {
		t.Fatal(err)
	}
	equal(t, l.Segments()[0].First, 3)
	// A reader that holds a removed segment reads on; the file is not recycled under it.
	n := 0
	if _, err := l.Scan(t.Context(), Position{}, l.Segments()[0].End, func(_ Position, p []byte) error {
		if n++; n == 1 {
			if err := l.Remove(3); err != nil {
				return err
			}
			for range 100 {
				mustAppend(t, l, fmt.Sprintf("new %500d", n))
			}
		}
		if p[0] == 'n' {
			return errors.New("a new record in an old segment")
		}
		return nil
	}); err != nil || n < 10 {
		t.Fatal(n, err)
	}
}

// TestRemoveDoesNotReadWhatItRemoves removes a segment whose records are damaged.
func TestRemoveDoesNotReadWhatItRemoves(t *testing.T) {
	fs, at := filled(t, 150)
	l := mustOpen(t, testOptions(fs))
	poke(t, fs, l.table.Load().segs[1].name, headerBlock+64, []byte("damaged"))
	if err := l.Remove(2); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Scan(t.Context(), at[0], Position{}, func(Position, []byte) error { return nil }); err != nil {
		t.Errorf("reading past it: %v", err)
	}
}

func TestRewriteThatDoesNotFitChangesNothing(t *testing.T) {
	fs, _ := filled(t, 150)
	l := mustOpen(t, testOptions(fs))
	segs, before := l.Segments(), texts(t, l)
	all := func(_ Position, p []byte) ([]byte, bool) { return p, true }
	if _, err := l.Rewrite(t.Context(), segs[0].First, segs[1].Last, all, nil); !errors.Is(err, ErrRewriteTooLarge) {
		t.Fatal(err)
	}
	rw, err := l.Rewrite(t.Context(), segs[1].First, segs[1].Last, all, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(rw.Abort(), rw.Abort()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Rewrite(t.Context(), 7000, 7000, all, nil); !errors.Is(err, ErrGone) {
		t.Fatal(err)
	}
	equal(t, texts(t, l), before)
	names, err := fs.List("log")
	if err != nil || len(names) != len(segs) {
		t.Fatal(names)
	}
}

func TestRewriteOfTheSegmentAfterAnAbandonedOneRemembersWhereThatEnds(t *testing.T) {
	fail := false
	mem := vfs.NewCrashableMem()
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if fail && op.Kind == errorfs.OpFileSyncData {
			fail = false
			return errors.New("input/output error")
		}
		return nil
	}))
	l := mustOpen(t, testOptions(fs))
	mustAppend(t, l, "first")
	fail = true
	if _, err := l.AppendBytes(t.Context(), []byte("lost")); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	if err := l.Reopen(t.Context()); err != nil {
		t.Fatal(err)
	}
	for l.Synced().Segment < 4 {
		mustAppend(t, l, fmt.Sprintf("%01000d", 0))
	}
	rw, err := l.Rewrite(t.Context(), 2, 2, func(Position, []byte) ([]byte, bool) { return nil, false }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := rw.Commit(nil); err != nil {
		t.Fatal(err)
	}
	want := texts(t, l)
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, testOptions(mem))
		equal(t, texts(t, l), want)
		if err := l.Remove(1); l.Segments()[0].First == 2 && !errors.Is(err, ErrGone) && err != nil {
			t.Fatal(err)
		}
		want = texts(t, l)
	}
}
