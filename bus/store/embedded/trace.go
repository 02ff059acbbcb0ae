package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// traceLog keeps what became of deliveries, in a log of its own that is not
// synced. Outcomes gather in memory and are written in blocks, each sorted by
// event. The state has rows that say which blocks touch which sequences.
type traceLog struct {
	s   *Store
	log *seglog.Log

	mu       sync.Mutex
	filling  block
	flushing *block
	spare    block // empty, with the memory of one that was flushed
	full     chan struct{}
	parts    sync.Pool // of *block, what one settling gathers

	flushMu sync.Mutex
	sorted  []traceRef // memory for the next flush, as the two that follow
	merged  []traceRef
	encoded []byte
	segment uint64                 // the segment of the newest block
	highest map[store.BusID]uint64 // in that segment
}

// block is outcomes on their way into the log. Its payload, big endian:
// uint32 number of outcomes, for each uint32 bus, uint64 sequence and uint32
// offset in what follows; then the outcomes.
type block struct {
	refs []traceRef
	data []byte
}

type traceRef struct {
	seq uint64
	bus store.BusID
	off uint32
}

const (
	traceRefSize   = 16
	blockSize      = 64 << 10
	maxBlock       = 1 << 20
	traceSegment   = 16 << 20
	traceEvery     = 250 * time.Millisecond
	traceBucket    = 12 // sequences are indexed in buckets of 4096
	outcomeDone    = 0
	outcomeExpired = 1
	outcomeDead    = 2
	outcomeDropped = 3      // by a purge, a seek or the end of its replay
	flagAttempt    = 1 << 4 // the outcome has its last attempt
	flagExtra      = 1 << 5 // which has phases or says more of a failure
)

// outcome is how one delivery ended.
type outcome struct {
	bus     store.BusID
	seq     uint64
	sub     store.SubscriptionID
	run     uint32
	queued  int64
	settled int64
	state   uint8
	reason  string
	attempt *store.Attempt // the last one, if it has no row of its own
}

func newOutcome(sub *subscription, it *item, o *store.Settlement, now reading) outcome {
	out := outcome{
		bus: it.bus, seq: it.seq, sub: sub.public(), run: it.run,
		queued: nanos(now.toWall(it.row.queued)), settled: now.wall, attempt: o.Attempt,
	}
	if o.Kind == store.Expired {
		out.state = outcomeExpired
	}
	return out
}

func (o *outcome) append(dst []byte) []byte {
	flags := o.state
	if o.attempt != nil {
		flags |= flagAttempt
		if hasExtra(o.attempt) {
			flags |= flagExtra
		}
	}
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(o.sub))
	dst = binary.AppendUvarint(dst, uint64(o.run))
	dst = be64(dst, uint64(o.queued))
	dst = binary.AppendVarint(dst, o.settled-o.queued)
	if a := o.attempt; a != nil {
		dst = binary.AppendUvarint(dst, uint64(a.Number))
		dst = append(dst, triggerByte(a))
		dst = binary.AppendVarint(dst, optionalNanos(a.Started)-o.queued)
		dst = binary.AppendVarint(dst, int64(a.Duration))
		dst = binary.AppendUvarint(dst, uint64(a.Status))
		dst = appendText(dst, clip(a.Error, maxError))
		dst = appendText(dst, clip(a.Response, maxResponse))
		dst = appendText(dst, clip(a.Address, maxAddress))
		if flags&flagExtra != 0 {
			dst = appendExtra(dst, a)
		}
	}
	return appendText(dst, o.reason)
}

func parseOutcome(b []byte) (o outcome, err error) {
	r := rowReader{rest: b}
	flags := r.u8()
	o.state = flags & 15
	o.sub, o.run = store.SubscriptionID(r.uvarint()), uint32(r.uvarint())
	o.queued = r.i64()
	o.settled = o.queued + r.varint()
	if flags&flagAttempt != 0 {
		a := &store.Attempt{Number: int(r.uvarint())}
		trigger := r.u8()
		a.Trigger, a.Waited = store.Trigger(trigger&15), store.Wait(trigger>>4)
		a.Started = fromOptionalNanos(o.queued + r.varint())
		a.Duration = time.Duration(r.varint())
		a.Status = int(r.uvarint())
		a.Error, a.Response, a.Address = r.text(), r.text(), r.text()
		if flags&flagExtra != 0 {
			r.extra(a)
		}
		o.attempt = a
	}
	o.reason = r.text()
	return o, r.err()
}

func (r *rowReader) varint() int64 {
	n, size := binary.Varint(r.rest)
	if size <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (b *block) add(o *outcome) {
	b.refs = append(b.refs, traceRef{o.seq, o.bus, uint32(len(b.data))})
	b.data = o.append(b.data)
}

// addAll adds the outcomes of other.
func (b *block) addAll(other *block) {
	at, n := uint32(len(b.data)), len(b.refs)
	b.refs = append(b.refs, other.refs...)
	for i := n; i < len(b.refs); i++ {
		b.refs[i].off += at
	}
	b.data = append(b.data, other.data...)
}

// emptied is b without its outcomes; it keeps its memory, unless that is much.
func (b *block) emptied() block {
	if cap(b.data) > 4*blockSize || cap(b.refs)*traceRefSize > 4*blockSize {
		return block{}
	}
	return block{b.refs[:0], b.data[:0]}
}

func (r *traceRef) before(o *traceRef) bool {
	if r.bus != o.bus {
		return r.bus < o.bus
	}
	return r.seq < o.seq
}

// sortRefs sorts by event; those of one event keep their order. It returns the
// sorted ones and what else may be used again: one of the two is refs, the other
// is buf if that is long enough. Deliveries end mostly in order of their events,
// those of each subscription by themselves: there are long runs to merge.
func sortRefs(refs, buf []traceRef) (sorted, rest []traceRef) {
	buf = slices.Grow(buf[:0], len(refs))[:len(refs)]
	for {
		runs, at := 0, 0
		for from := 0; from < len(refs); runs++ {
			mid := runEnd(refs, from)
			end := runEnd(refs, mid)
			at += mergeRefs(buf[at:], refs[from:mid], refs[mid:end])
			from = end
		}
		refs, buf = buf, refs
		if runs <= 1 {
			return refs, buf
		}
	}
}

// runEnd is where the sorted run that begins at from ends.
func runEnd(refs []traceRef, from int) int {
	end := min(from+1, len(refs))
	for end < len(refs) && !refs[end].before(&refs[end-1]) {
		end++
	}
	return end
}

// mergeRefs merges two sorted runs into dst and returns their length.
func mergeRefs(dst, x, y []traceRef) int {
	n := 0
	for len(x) > 0 && len(y) > 0 {
		if y[0].before(&x[0]) {
			dst[n], y = y[0], y[1:]
		} else {
			dst[n], x = x[0], x[1:]
		}
		n++
	}
	n += copy(dst[n:], x)
	return n + copy(dst[n:], y)
}

// encode appends a block whose refs are sorted.
func (b *block) encode(dst []byte) []byte {
	dst = slices.Grow(dst, 4+len(b.refs)*traceRefSize+len(b.data))
	dst = be32(dst, uint32(len(b.refs)))
	for _, r := range b.refs {
		dst = be32(be64(be32(dst, uint32(r.bus)), r.seq), r.off)
	}
	return append(dst, b.data...)
}

// findOutcomes calls f for the outcomes of the events from low to high in an
// encoded block.
func findOutcomes(payload []byte, bus store.BusID, low, high uint64, f func(outcome)) error {
	var err error
	ok := eachOutcome(payload, bus, low, high, func(seq uint64, data []byte) bool {
		var o outcome
		if o, err = parseOutcome(data); err != nil {
			return false
		}
		o.bus, o.seq = bus, seq
		f(o)
		return true
	})
	if !ok {
		return errBadRow
	}
	return err
}

// openTrace opens the trace log. Traces are worth less than a start: when it
// is damaged beyond what its log repairs by itself, the error says where.
func (s *Store) openTrace() error {
	t := &traceLog{s: s, full: make(chan struct{}, 1), highest: map[store.BusID]uint64{}}
	t.parts.New = func() any { return new(block) }
	s.trace = t
	log, err := seglog.Open(seglog.Options{
		FS: s.opts.FS, Dir: s.opts.FS.PathJoin(s.opts.Dir, "trace"), NoSync: true,
		SegmentSize: traceSegment, Recycle: 1, ReadAhead: 64 << 10, MaxPendingBytes: 8 << 20,
		Logger: s.opts.Logger,
	}, nil, seglog.Position{})
	if err != nil {
		return fmt.Errorf("open the traces: %w", err)
	}
	t.log = log
	t.segment = log.Synced().Segment
	prefix := be64([]byte{prefixBlocks}, t.segment)
	return s.state.scanPrefix(prefix, func(key, value []byte) (bool, error) {
		k, v := rowReader{rest: key[9:]}, rowReader{rest: value}
		t.highest[store.BusID(k.u32())] = v.u64()
		return true, errors.Join(k.err(), v.err())
	})
}

// add notes outcomes.
func (t *traceLog) add(some *block) {
	if len(some.refs) == 0 {
		return
	}
	t.mu.Lock()
	t.filling.addAll(some)
	size := len(t.filling.data)
	t.mu.Unlock()
	switch {
	case size >= maxBlock || size >= blockSize && t.s.opts.NoBackground:
		_ = t.flush() // only traces are lost when it fails
	case size >= blockSize:
		select {
		case t.full <- struct{}{}:
		default:
		}
	}
}

// part gathers outcomes that are noted together, and so without a lock for each.
// Its owner calls end.
type part struct {
	t     *traceLog
	block *block // nil as long as there are none
}

func (p *part) add(o *outcome) {
	if p.t.s.opts.NoTrace {
		return
	}
	if p.block == nil {
		p.block = p.t.parts.Get().(*block)
	}
	p.block.add(o)
	if len(p.block.data) >= blockSize {
		p.end()
	}
}

// end notes what was gathered.
func (p *part) end() {
	if p.block == nil {
		return
	}
	p.t.add(p.block)
	*p.block = p.block.emptied()
	p.t.parts.Put(p.block)
	p.block = nil
}

// tracer writes blocks when they are full, and some times a second.
func (s *Store) tracer() {
	every := time.NewTicker(traceEvery)
	defer every.Stop()
	for {
		select {
		case <-s.halt:
			return
		case <-every.C:
		case <-s.trace.full:
		}
		if err := s.trace.flush(); err != nil {
			s.opts.Logger.Warn("writing traces failed", "error", err)
		}
	}
}

// flush writes what has gathered as one block.
func (t *traceLog) flush() error {
	t.flushMu.Lock()
	defer t.flushMu.Unlock()
	t.mu.Lock()
	if len(t.filling.refs) == 0 {
		t.mu.Unlock()
		return nil
	}
	b := t.filling
	t.filling, t.spare = t.spare, block{}
	t.flushing = &b
	t.mu.Unlock()
	// b is still searched.
	t.sorted, t.merged = sortRefs(append(t.sorted[:0], b.refs...), t.merged)
	err := t.write(&block{refs: t.sorted, data: b.data})
	t.mu.Lock()
	t.flushing, t.spare = nil, b.emptied()
	kept := t.spare.data != nil
	t.mu.Unlock()
	if !kept { // it was an unusually large one
		t.sorted, t.merged, t.encoded = nil, nil, nil
	}
	return err
}

func (t *traceLog) write(b *block) error {
	t.encoded = b.encode(t.encoded[:0])
	pos, err := t.log.AppendBytes(context.Background(), t.encoded)
	if err != nil {
		return err
	}
	if pos.Segment != t.segment {
		t.segment = pos.Segment
		clear(t.highest)
	}
	batch := t.s.state.db.NewBatch()
	for i := 0; i < len(b.refs); {
		first := b.refs[i]
		bucket := first.seq >> traceBucket
		last, from := first, i
		for i < len(b.refs) && b.refs[i].bus == first.bus && b.refs[i].seq>>traceBucket == bucket {
			last = b.refs[i]
			i++
		}
		key := appendPosition(seqKey(nil, prefixBlock, first.bus, bucket), pos)
		_ = batch.Set(key, b.outcomeFilter(b.refs[from:i]).append(be64(be64(nil, first.seq), last.seq)), nil)
		if last.seq > t.highest[first.bus] {
			t.highest[first.bus] = last.seq
			_ = batch.Set(segmentKey(nil, prefixBlocks, pos.Segment, first.bus), be64(nil, last.seq), nil)
		}
	}
	return t.s.state.commit(batch)
}

func (t *traceLog) close() error {
	if t == nil || t.log == nil {
		return nil
	}
	err := t.flush()
	return errors.Join(err, t.log.Close())
}

// of calls f for the outcomes of the events from low to high, which are of one
// bucket, in no order; some may come twice.
func (t *traceLog) of(bus store.BusID, low, high uint64, f func(outcome)) error {
	// Blocks before those in memory: what is flushed meanwhile is seen twice.
	t.mu.Lock()
	var memory []outcome
	for _, b := range []*block{t.flushing, &t.filling} {
		if b == nil {
			continue
		}
		for _, r := range b.refs {
			if r.bus != bus || r.seq < low || r.seq > high {
				continue
			}
			if o, err := parseOutcome(b.data[r.off:]); err == nil {
				o.bus, o.seq = bus, r.seq
				memory = append(memory, o)
			}
		}
	}
	t.mu.Unlock()
	blocks, err := t.blocksOf(bus, low, high, nil)
	if err != nil {
		return err
	}
	var buf []byte
	for _, pos := range blocks {
		payload, _, err := t.log.Read(pos, buf)
		if err != nil {
			continue // lost in a crash, or dropped
		}
		_ = findOutcomes(payload, bus, low, high, f) // and so is a damaged one
		if cap(payload) > cap(buf) {
			buf = payload[:0]
		}
	}
	for _, o := range memory {
		f(o)
	}
	return nil
}
