package seglog

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// filled returns a file system with a closed log of n records and their positions.
func filled(t *testing.T, n int) (*vfs.MemFS, []Position) {
	t.Helper()
	fs := vfs.NewCrashableMem()
	l := mustOpen(t, testOptions(fs))
	var at []Position
	for i := range n {
		at = append(at, mustAppend(t, l, fmt.Sprintf("%05d%0495d", i, 0)))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return fs, at
}

// poke changes bytes of a file; a nil data flips the bit at off.
func poke(t *testing.T, fs vfs.FS, name string, off int64, data []byte) {
	t.Helper()
	f, err := fs.OpenReadWrite("log/"+name, writeCategory)
	if err != nil {
		t.Fatal(err)
	}
	if data == nil {
		data = make([]byte, 1)
		if _, err := f.ReadAt(data, off); err != nil {
			t.Fatal(err)
		}
		data[0] ^= 4
	}
	if _, err := f.WriteAt(data, off); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func openErr(t *testing.T, fs vfs.FS, from Position) error {
	t.Helper()
	l, err := Open(testOptions(fs), func(Position, []byte) error { return nil }, from)
	if err == nil {
		_ = l.Close()
	}
	return err
}

func TestFlippedBitInSyncedDataIsReportedWithItsPlace(t *testing.T) {
	const records = 80
	for _, victim := range []int{0, 1, 17, 40, records - 2, records - 1} {
		for _, delta := range []int64{0, 4, 5, 8, 16, 20, 24, 523} {
			fs, at := filled(t, records)
			pos := at[victim]
			poke(t, fs, liveName(pos.Segment, 0), pos.file()+delta, nil)
			before := fs.String()
			err := openErr(t, fs, Position{})
			var bad *CorruptionError
			if !errors.As(err, &bad) {
				t.Fatalf("record %d, byte %d: got %v", victim, delta, err)
			}
			if bad.Segment != pos.Segment || bad.Offset != pos.file() || !strings.Contains(bad.Error(), bad.File) {
				t.Fatalf("record %d at %v, byte %d: got %v", victim, pos, delta, err)
			}
			if fs.String() != before {
				t.Fatal("an open that was refused changed the directory")
			}
		}
	}
}

func TestFlippedBitIsReportedByReadAndScan(t *testing.T) {
	fs, at := filled(t, 80)
	l := mustOpen(t, testOptions(fs))
	poke(t, fs, liveName(at[5].Segment, 0), at[5].file()+100, nil)
	var bad *CorruptionError
	if _, _, err := l.Read(at[5], nil); !errors.As(err, &bad) || bad.Offset != at[5].file() {
		t.Fatal(err)
	}
	n := 0
	next, err := l.Scan(t.Context(), Position{}, Position{}, func(Position, []byte) error { n++; return nil })
	if !errors.As(err, &bad) || n != 5 || next != at[5] {
		t.Fatal(n, next, err)
	}
	if _, _, err := l.Read(at[6], nil); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedHeadersAndMissingFilesAreReported(t *testing.T) {
	fs, at := filled(t, 120)
	last := at[len(at)-1].Segment
	if last < 4 {
		t.Fatal("too few segments")
	}
	name := func(n uint64) string { return liveName(n, 0) }
	for what, do := range map[string]func(fs vfs.FS){
		"damaged header":            func(fs vfs.FS) { poke(t, fs, name(2), 20, nil) },
		"damaged header of last":    func(fs vfs.FS) { poke(t, fs, name(last), 44, nil) },
		"empty header":              func(fs vfs.FS) { poke(t, fs, name(2), 0, make([]byte, headerBlock)) },
		"empty header of last":      func(fs vfs.FS) { poke(t, fs, name(last), 0, make([]byte, headerBlock)) },
		"missing in the middle":     func(fs vfs.FS) { _ = fs.Remove("log/" + name(2)) },
		"missing last":              func(fs vfs.FS) { _ = fs.Remove("log/" + name(last)) },
		"damaged end frame":         func(fs vfs.FS) { l, _ := endOf(t, fs, 2); poke(t, fs, name(2), l+4, nil) },
		"another generation's file": func(fs vfs.FS) { poke(t, fs, name(3), 0, header{ordinal: 3, first: 3, gen: 77}.block()) },
	} {
		c := fs.CrashClone(vfs.CrashCloneCfg{})
		do(c)
		var bad *CorruptionError
		if err := openErr(t, c, Position{}); !errors.As(err, &bad) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	// A damaged seal alone costs a scan, no more.
	c := fs.CrashClone(vfs.CrashCloneCfg{})
	poke(t, c, name(2), sealOffset+20, nil)
	if err := openErr(t, c, Position{}); err != nil {
		t.Error(err)
	}
}

func endOf(t *testing.T, fs vfs.FS, ordinal uint64) (int64, uint64) {
	t.Helper()
	f, err := fs.Open("log/" + liveName(ordinal, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	b, err := readBlock(f)
	if err != nil {
		t.Fatal(err)
	}
	h, err := parseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	return parseSeal(b[sealOffset:], h.gen), h.gen
}

func TestLogThatEndsBeforeItsReplayPositionIsRefused(t *testing.T) {
	fs, at := filled(t, 10)
	l := mustOpen(t, testOptions(fs))
	synced := l.Synced()
	_ = l.Close()
	var bad *CorruptionError
	if err := openErr(t, fs, synced); err != nil {
		t.Fatal(err)
	}
	if err := openErr(t, fs, Position{synced.Segment, synced.Offset + 4096}); !errors.As(err, &bad) {
		t.Fatal(err)
	}
	if err := openErr(t, vfs.NewCrashableMem(), at[3]); !errors.As(err, &bad) {
		t.Fatal(err)
	}
	n := 0
	l, err := Open(testOptions(fs), func(Position, []byte) error { n++; return nil }, at[7])
	if err != nil || n != 3 {
		t.Fatal(n, err)
	}
	_ = l.Close()
}

func TestTornTailIsCutAndNeverComesBack(t *testing.T) {
	mem := vfs.NewCrashableMem()
	l := mustOpen(t, testOptions(mem))
	mustAppend(t, l, "acknowledged")
	s := l.active.Load()
	// A group of five of which the second lacks its block: the third to fifth are stale.
	var torn []byte
	for i := range 5 {
		torn = appendFrame(torn, kindRecord, s.gen, l.w.off, fmt.Appendf(nil, "torn %d", i))
	}
	size := int64(len(torn) / 5)
	clear(torn[size : 2*size])
	at := s.end.Load()
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	poke(t, crashed, s.name, at, torn)
	l2 := mustOpen(t, testOptions(crashed))
	equal(t, texts(t, l2), "[acknowledged torn 0]")
	// The same frame size again: if the third frame were still there, it would follow.
	mustAppend(t, l2, "torn !")
	again := crashed.CrashClone(vfs.CrashCloneCfg{})
	l3 := mustOpen(t, testOptions(again))
	equal(t, texts(t, l3), "[acknowledged torn 0 torn !]")
}

func TestBadBytesBelowALaterSyncedOffsetAreCorruption(t *testing.T) {
	mem := vfs.NewCrashableMem()
	l := mustOpen(t, testOptions(mem))
	first := mustAppend(t, l, "acknowledged")
	second := mustAppend(t, l, "says that the first was synced")
	crashed := mem.CrashClone(vfs.CrashCloneCfg{}) // no clean end
	poke(t, crashed, liveName(1, 0), second.file()+30, nil)
	l2 := mustOpen(t, testOptions(crashed)) // the last group: cannot be told from a torn one
	equal(t, texts(t, l2), "[acknowledged]")
	crashed = mem.CrashClone(vfs.CrashCloneCfg{})
	poke(t, crashed, liveName(1, 0), first.file()+30, nil)
	var bad *CorruptionError
	if err := openErr(t, crashed, Position{}); !errors.As(err, &bad) || bad.Offset != first.file() {
		t.Fatal(err)
	}
}

func TestRecycledSegmentNeverShowsItsOldFrames(t *testing.T) {
	mem := vfs.NewCrashableMem()
	opts := testOptions(mem)
	l := mustOpen(t, opts)
	for i := 0; l.Synced().Segment < 30; i++ {
		mustAppend(t, l, fmt.Sprintf("%05d%0495d", i, 0))
		if segs := l.Segments(); len(segs) > 3 {
			if err := l.Remove(segs[0].Last); err != nil {
				t.Fatal(err)
			}
		}
		if i%7 == 0 {
			c, err := Open(testOptions(mem.CrashClone(vfs.CrashCloneCfg{})), nil, Position{})
			if err != nil {
				t.Fatal(err)
			}
			equal(t, texts(t, c), texts(t, l))
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	used := l.DiskUsage()
	onDisk := int64(0)
	names, _ := mem.List("log")
	for _, n := range names {
		info, err := mem.Stat("log/" + n)
		if err != nil {
			t.Fatal(err)
		}
		onDisk += info.Size()
	}
	if used.Recycled == 0 || onDisk > used.Total()+opts.SegmentSize || onDisk > 7*opts.SegmentSize {
		t.Fatalf("%d bytes on disk in %v, accounted %+v", onDisk, names, used)
	}
	if segs := l.Segments(); segs[len(segs)-1].FileSize <= segs[len(segs)-1].Size && segs[1].FileSize < opts.SegmentSize/2 {
		t.Fatal("no segment was recycled")
	}
}

func TestReplayErrorEndsOpen(t *testing.T) {
	fs, _ := filled(t, 3)
	stop := errors.New("stop")
	if _, err := Open(testOptions(fs), func(Position, []byte) error { return stop }, Position{}); err != stop {
		t.Fatal(err)
	}
}

func TestOptionsReportAllTheirProblems(t *testing.T) {
	_, err := Open(Options{SegmentSize: 1, MaxGroupBytes: -1}, nil, Position{})
	for _, want := range []string{"FS", "Dir", "SegmentSize is 1", "MaxGroupBytes"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

func TestUnsyncedLogDropsDamageInsteadOfRefusing(t *testing.T) {
	mem := vfs.NewCrashableMem()
	opts := testOptions(mem)
	opts.NoSync = true
	l := mustOpen(t, opts)
	for i := range 120 {
		mustAppend(t, l, fmt.Sprintf("%05d%0495d", i, 0))
	}
	poke(t, mem, liveName(2, 0), headerBlock+2000, nil)
	poke(t, mem, liveName(3, 0), 20, nil)
	n := len(l.Segments())
	_ = l.Close()
	l = mustOpen(t, opts)
	got := texts(t, l)
	if len(got) < 30 || len(got) > 119 || len(l.Segments()) != n-1 {
		t.Fatalf("%d records in %d of %d segments", len(got), len(l.Segments()), n)
	}
	mustAppend(t, l, "goes on")
	for seed := range uint64(20) { // and after any crash it opens
		o := opts
		o.FS = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(seed, 5))})
		l, err := Open(o, func(Position, []byte) error { return nil }, Position{Segment: 9, Offset: 9000})
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, "x")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadAtOrBeyondTheEnd(t *testing.T) {
	l := mustOpen(t, testOptions(vfs.NewMem()))
	for _, pos := range []Position{{}, l.Synced(), {1, 1 << 20}, {9, 0}} {
		if _, _, err := l.Read(pos, nil); !errors.Is(err, io.EOF) {
			t.Errorf("read at %v: %v", pos, err)
		}
	}
	at := mustAppend(t, l, "x")
	if _, _, err := l.Read(Position{at.Segment, at.Offset + 3}, nil); !errors.Is(err, ErrBadPosition) {
		t.Error(err)
	}
}
