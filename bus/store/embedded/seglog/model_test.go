package seglog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// record returns the payload of an id: its size and bytes follow from the id alone.
func record(id uint64) []byte {
	h := id * 0x9e3779b97f4a7c15
	size := 8 + h>>33%700
	if h>>20%40 == 0 {
		size = 8 + h>>33%6000
	}
	b := make([]byte, 0, size+8)
	b = binary.LittleEndian.AppendUint64(b, id)
	for i := uint64(1); uint64(len(b)) < size; i++ {
		b = binary.LittleEndian.AppendUint64(b, h*i)
	}
	return b[:size]
}

func recordID(payload []byte) (uint64, error) {
	if len(payload) < 8 {
		return 0, fmt.Errorf("a record of %d bytes", len(payload))
	}
	id := binary.LittleEndian.Uint64(payload)
	if string(record(id)) != string(payload) {
		return 0, fmt.Errorf("record %d has other bytes than were appended", id)
	}
	return id, nil
}

// model is what may and must be in the log: the ids in the order of submission. Those from
// 0 to acked must be there, but for the removed; of the others any first ones may be, but
// for those that were refused.
type model struct {
	seq     []uint64
	acked   int
	refused map[uint64]bool // answered with an error: they may be there after a crash
	leaving map[uint64]bool // a removal has begun
	gone    map[uint64]bool // and ended
}

func newModel() *model {
	return &model{refused: map[uint64]bool{}, leaving: map[uint64]bool{}, gone: map[uint64]bool{}}
}

func (m *model) clone() *model {
	c := newModel()
	c.seq, c.acked = append([]uint64{}, m.seq...), m.acked
	for dst, src := range map[*map[uint64]bool]map[uint64]bool{&c.refused: m.refused, &c.leaving: m.leaving, &c.gone: m.gone} {
		for id := range src {
			(*dst)[id] = true
		}
	}
	return c
}

// check compares what a log holds after a crash with the model.
func (m *model) check(got []uint64) error {
	i, torn := 0, false
	for n, id := range m.seq {
		there := i < len(got) && got[i] == id
		if there {
			i++
		}
		switch {
		case m.gone[id] && there:
			return fmt.Errorf("record %d came back after its removal", id)
		case m.gone[id], m.leaving[id], m.refused[id]:
		case !there && n < m.acked:
			return fmt.Errorf("record %d was acknowledged and is missing; got %d records, the last %v", id, len(got), got[max(0, len(got)-3):])
		case !there:
			torn = true
		case torn:
			return fmt.Errorf("record %d is there, but one before it is not", id)
		}
	}
	if i < len(got) {
		return fmt.Errorf("record %d is out of order or was never appended to this log", got[i])
	}
	return nil
}

// restart makes the model that of a log that was recovered with got.
func (m *model) restart(got []uint64) *model {
	n := newModel()
	n.seq, n.acked = append([]uint64{}, got...), len(got)
	return n
}

func contents(l *Log) (ids []uint64, at []Position, err error) {
	_, err = l.Scan(context.Background(), Position{}, Position{}, func(pos Position, payload []byte) error {
		id, err := recordID(payload)
		ids, at = append(ids, id), append(at, pos)
		return err
	})
	return ids, at, err
}

// openChecked opens a log and checks what replay, Scan and Read say against each other.
func openChecked(opts Options) (*Log, []uint64, error) {
	var replayed []uint64
	l, err := Open(opts, func(_ Position, payload []byte) error {
		id, err := recordID(payload)
		replayed = append(replayed, id)
		return err
	}, Position{})
	if err != nil {
		return nil, nil, err
	}
	fail := func(err error) (*Log, []uint64, error) { return nil, nil, errors.Join(err, l.Close()) }
	ids, at, err := contents(l)
	if err != nil {
		return fail(err)
	}
	if fmt.Sprint(ids) != fmt.Sprint(replayed) {
		return fail(fmt.Errorf("Scan sees %v, replay saw %v", ids, replayed))
	}
	for i, pos := range at {
		payload, next, err := l.Read(pos, nil)
		if err != nil {
			return fail(fmt.Errorf("read of record %d at %v: %w", ids[i], pos, err))
		}
		if id, err := recordID(payload); err != nil || id != ids[i] || !pos.Less(next) {
			return fail(fmt.Errorf("read at %v: record %d, next %v, %v; want record %d", pos, id, next, err, ids[i]))
		}
	}
	return l, ids, nil
}

// world is one log under a workload, with its model. The hook runs before each operation on
// the file system; it must not block on the log.
type world struct {
	mu   sync.Mutex
	m    *model
	mem  *vfs.MemFS
	hook func(op errorfs.Op) error // under mu
	opts Options
	l    *Log
	r    *rand.Rand
	id   uint64
}

func newWorld(mem *vfs.MemFS, seed uint64) *world {
	w := &world{m: newModel(), mem: mem, r: rand.New(rand.NewPCG(seed, 2)), id: 1}
	inj := errorfs.InjectorFunc(func(op errorfs.Op) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.hook == nil {
			return nil
		}
		return w.hook(op)
	})
	w.opts = testOptions(errorfs.Wrap(mem, inj))
	if seed%3 > 0 {
		w.opts.FillAhead = func() bool { return true }
	}
	return w
}

func testOptions(fs vfs.FS) Options {
	return Options{FS: fs, Dir: "log", SegmentSize: 20 << 10, Recycle: 2, MaxGroupBytes: 6 << 10, ReadAhead: 8 << 10, MaxOpenFiles: 3}
}

func (w *world) open() error {
	l, got, err := openChecked(w.opts)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.l = l
	if err := w.m.check(got); err != nil {
		return err
	}
	w.m = w.m.restart(got)
	return nil
}

// burst appends n records together, so that they form groups, and waits for all answers.
func (w *world) burst(n int) error {
	type answer struct {
		id  uint64
		err error
	}
	answers := make(chan answer, n)
	sent := 0
	for range n {
		w.mu.Lock()
		w.id++
		id := w.id
		w.m.seq = append(w.m.seq, id)
		w.mu.Unlock()
		err := w.l.AppendAsync(context.Background(), &Entry{Payload: record(id)}, func(_ Position, err error) {
			w.settle(id, err)
			answers <- answer{id, err}
		})
		if err != nil {
			w.settle(id, err)
			if !errors.Is(err, ErrFailed) {
				return err
			}
			continue
		}
		sent++
	}
	var bad error
	for range sent {
		if a := <-answers; a.err != nil && !errors.Is(a.err, ErrFailed) {
			bad = fmt.Errorf("append of %d: %w", a.id, a.err)
		}
	}
	return bad
}

func (w *world) settle(id uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.m.refused[id] = true
		return
	}
	if i := slices.Index(w.m.seq[w.m.acked:], id); i >= 0 {
		w.m.acked += i + 1
	}
}

// idsOf returns the ids in the sealed segments with ordinals from first to last.
func (w *world) idsOf(first, last uint64) (ids []uint64, err error) {
	for _, s := range w.l.Segments() {
		if s.First < first || s.Last > last {
			continue
		}
		_, err = w.l.Scan(context.Background(), s.Start, s.End, func(_ Position, payload []byte) error {
			id, err := recordID(payload)
			ids = append(ids, id)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return ids, nil
}

func (w *world) leave(ids []uint64, set func(*model) map[uint64]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		set(w.m)[id] = true
	}
}

func leaving(m *model) map[uint64]bool { return m.leaving }
func gone(m *model) map[uint64]bool    { return m.gone }

func (w *world) remove(i int) error {
	segs := w.l.Segments()
	if i+1 >= len(segs) {
		return nil
	}
	s := segs[i]
	ids, err := w.idsOf(s.First, s.Last)
	if err != nil {
		return err
	}
	w.leave(ids, leaving)
	if err := w.l.Remove(s.Last); err != nil {
		return err
	}
	w.leave(ids, gone)
	return nil
}

// rewrite keeps one record in four of a run of up to three segments.
func (w *world) rewrite() error {
	segs := w.l.Segments()
	if len(segs) < 3 {
		return nil
	}
	i := w.r.IntN(len(segs) - 2)
	j := min(i+w.r.IntN(3), len(segs)-2)
	var dropped []uint64
	moves := map[Position]Position{}
	rw, err := w.l.Rewrite(context.Background(), segs[i].First, segs[j].Last, func(_ Position, payload []byte) ([]byte, bool) {
		id, err := recordID(payload)
		if err == nil && id%4 == 0 {
			return payload, true
		}
		dropped = append(dropped, id)
		return nil, false
	}, func(from, to Position) { moves[from] = to })
	if errors.Is(err, ErrRewriteTooLarge) {
		return nil
	}
	if err != nil {
		return err
	}
	w.leave(dropped, leaving)
	both := func() error { return w.compareMoves(moves, true) }
	if err := rw.Commit(both); err != nil {
		if again := rw.Commit(both); again != nil {
			return errors.Join(err, again, rw.Abort())
		}
	}
	w.leave(dropped, gone)
	return w.compareMoves(moves, false)
}

// compareMoves reads moved records at their new and, while both, at their old place.
func (w *world) compareMoves(moves map[Position]Position, both bool) error {
	for from, to := range moves {
		payload, _, err := w.l.Read(to, nil)
		if err != nil {
			return fmt.Errorf("read of %v, moved from %v: %w", to, from, err)
		}
		if _, err := recordID(payload); err != nil {
			return err
		}
		old, _, err := w.l.Read(from, nil)
		if both {
			if err != nil || string(old) != string(payload) {
				return fmt.Errorf("read of %v while it moves to %v: other bytes, or %w", from, to, err)
			}
		} else if !errors.Is(err, ErrMoved) && (from.file() != headerBlock || from.epoch() != 0) {
			return fmt.Errorf("read of %v, moved to %v: got %v, want ErrMoved", from, to, err)
		}
	}
	return nil
}

// step does one random thing.
func (w *world) step() error {
	switch n := w.r.IntN(20); {
	case n < 13:
		return w.burst(1 + w.r.IntN(24))
	case n < 15:
		return w.remove(0)
	case n < 16:
		return w.remove(w.r.IntN(3))
	case n < 18:
		return w.rewrite()
	case n < 19:
		if err := w.l.Close(); err != nil {
			return err
		}
		return w.open()
	default:
		return w.compare()
	}
}

// compare checks the live log: in one process a refused record is never visible.
func (w *world) compare() error {
	ids, _, err := contents(w.l)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		if w.m.refused[id] {
			return fmt.Errorf("record %d was answered with an error and is visible", id)
		}
	}
	return w.m.check(ids)
}
