package embedded

import (
	"encoding/binary"
	"errors"
	"sort"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// The row of a block under a bucket ends with a filter over the outcomes of that
// bucket in the block: the state of each, with its subscription and without. Rows
// of releases before have none, and their blocks are read.

// wantedOutcomes says which outcomes are looked for.
type wantedOutcomes struct {
	subs   map[store.SubscriptionID]bool // nil: any
	states [outcomeDropped + 1]bool
}

// filterSubsMost bounds the subscriptions that are looked up in the filter of a
// block; a search for more reads the block.
const filterSubsMost = 64

func outcomeTerm(sub store.SubscriptionID, state uint8) (where, which uint64) {
	where = mix(uint64(sub)<<8 | uint64(state))
	return where, mix(where + 0x9e3779b97f4a7c15)
}

// peekOutcome reads what every outcome begins with.
func peekOutcome(b []byte) (sub store.SubscriptionID, state uint8, ok bool) {
	if len(b) < 2 {
		return 0, 0, false
	}
	n, size := binary.Uvarint(b[1:])
	return store.SubscriptionID(n), b[0] & 15, size > 0 && b[0]&15 <= outcomeDropped
}

// outcomeFilter is the filter over the outcomes of some refs of a block.
func (b *block) outcomeFilter(refs []traceRef) filter {
	type pair struct {
		sub   store.SubscriptionID
		state uint8
	}
	seen := map[pair]struct{}{}
	var last [16]pair // most blocks have few
	for _, r := range refs {
		sub, state, ok := peekOutcome(b.data[r.off:])
		slot := &last[sub%16]
		if p := (pair{sub, state}); ok && *slot != p {
			*slot = p
			seen[p], seen[pair{0, state}] = struct{}{}, struct{}{}
		}
	}
	f := newFilter(len(seen))
	for p := range seen {
		f.add(outcomeTerm(p.sub, p.state))
	}
	return f
}

// mayBeIn reports whether a block whose row ends so may have a wanted outcome.
func (w *wantedOutcomes) mayBeIn(row []byte) bool {
	f, err := asFilter(row)
	if err != nil {
		return true
	}
	for state, wanted := range w.states {
		if !wanted || !f.has(outcomeTerm(0, uint8(state))) {
			continue
		}
		if w.subs == nil || len(w.subs) > filterSubsMost {
			return true
		}
		for sub := range w.subs {
			if f.has(outcomeTerm(sub, uint8(state))) {
				return true
			}
		}
	}
	return false
}

func (w *wantedOutcomes) has(b []byte) bool {
	sub, state, ok := peekOutcome(b)
	return ok && w.states[state] && (w.subs == nil || w.subs[sub])
}

// sequences calls add for the sequences from low to high, which are of one
// bucket, with a wanted outcome, in no order; some may come twice. It returns buf,
// or a larger one.
func (t *traceLog) sequences(bus store.BusID, low, high uint64, want wantedOutcomes, buf []byte, add func(uint64)) ([]byte, error) {
	t.mu.Lock() // before the blocks: what is flushed meanwhile is seen twice
	for _, b := range []*block{t.flushing, &t.filling} {
		if b == nil {
			continue
		}
		for _, r := range b.refs {
			if r.bus == bus && low <= r.seq && r.seq <= high && want.has(b.data[r.off:]) {
				add(r.seq)
			}
		}
	}
	t.mu.Unlock()
	blocks, err := t.blocksOf(bus, low, high, &want)
	if err != nil {
		return buf, err
	}
	for _, pos := range blocks {
		payload, _, err := t.log.Read(pos, buf)
		if err != nil {
			continue // lost in a crash, or dropped
		}
		eachOutcome(payload, bus, low, high, func(seq uint64, data []byte) bool {
			if want.has(data) {
				add(seq)
			}
			return true
		})
		if cap(payload) > cap(buf) {
			buf = payload[:0]
		}
	}
	return buf, nil
}

// blocksOf finds the blocks with outcomes of the events from low to high, which
// are of one bucket; those that cannot have what is wanted are left out (nil:
// none is).
func (t *traceLog) blocksOf(bus store.BusID, low, high uint64, want *wantedOutcomes) (blocks []seglog.Position, err error) {
	prefix := seqKey(nil, prefixBlock, bus, low>>traceBucket)
	err = t.s.state.scanPrefix(prefix, func(key, value []byte) (bool, error) {
		pos, err := parsePosition(key[len(prefix):])
		v := rowReader{rest: value}
		least, greatest := v.u64(), v.u64()
		if least <= high && low <= greatest && (want == nil || want.mayBeIn(v.rest)) {
			blocks = append(blocks, pos)
		}
		return true, errors.Join(err, v.err())
	})
	return blocks, err
}

// eachOutcome calls f with the outcomes of the events from low to high in an
// encoded block until it returns false; ok is false when the block is damaged.
func eachOutcome(payload []byte, bus store.BusID, low, high uint64, f func(seq uint64, data []byte) bool) (ok bool) {
	if len(payload) < 4 {
		return false
	}
	n := int(binary.BigEndian.Uint32(payload))
	if n < 0 || n > (len(payload)-4)/traceRefSize {
		return false
	}
	refs, data := payload[4:4+n*traceRefSize], payload[4+n*traceRefSize:]
	ref := func(i int) (store.BusID, uint64, int) {
		r := refs[i*traceRefSize:]
		return store.BusID(binary.BigEndian.Uint32(r)), binary.BigEndian.Uint64(r[4:]), int(binary.BigEndian.Uint32(r[12:]))
	}
	i := sort.Search(n, func(i int) bool {
		of, seq, _ := ref(i)
		return of > bus || of == bus && seq >= low
	})
	for ; i < n; i++ {
		of, seq, off := ref(i)
		if of != bus || seq > high {
			return true
		}
		if off > len(data) {
			return false
		}
		if !f(seq, data[off:]) {
			return true
		}
	}
	return true
}
