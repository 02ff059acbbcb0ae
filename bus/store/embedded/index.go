package embedded

import (
	"sort"

	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// indexDistance is how many bytes of the log lie between two index entries of
// a bus at most: what a point read has to scan.
const indexDistance = 128 << 10

// indexEntry says where an event stands. Entries are sparse; a reader begins
// at the one at or below the sequence and scans forward.
type indexEntry struct {
	seq      uint64
	pos      seglog.Position
	recorded int64
	before   int64 // bytes of all events of the bus before this one
}

func (e indexEntry) append(dst []byte) []byte {
	return be64(be64(appendPosition(dst, e.pos), uint64(e.recorded)), uint64(e.before))
}

func parseIndexEntry(key, value []byte) (indexEntry, error) {
	k, v := rowReader{rest: key}, rowReader{rest: value}
	k.take(5)
	e := indexEntry{seq: k.u64()}
	e.pos.Segment, e.pos.Offset = v.u64(), v.i64()
	e.recorded, e.before = v.i64(), v.i64()
	if k.bad || v.bad {
		return e, errBadRow
	}
	return e, nil
}

// segmentDone is what a bus has in a segment that it is past.
type segmentDone struct {
	segment uint64
	row     segmentRow
}

// account takes note of an event that stands in the log at pos; b.mu is held.
// What the state does not know yet of a segment that b is past stays with b, so
// that it is written together with numbers that are beyond it: a start does not
// look again at what those cover.
func (b *bus) account(seq uint64, recorded int64, size int, pos seglog.Position) {
	if pos.Segment != b.indexed.Segment || pos.Offset-b.indexed.Offset >= indexDistance {
		b.recent = append(b.recent, indexEntry{seq, pos, recorded, b.appended})
		b.indexed = pos
	}
	if pos.Segment != b.segment {
		if b.touched && b.segment != 0 {
			b.done = append(b.done, segmentDone{b.segment, b.seg})
		}
		b.segment, b.seg = pos.Segment, segmentRow{min: seq}
	}
	b.seg.max = seq
	b.seg.bytes += int64(size)
	b.last, b.recorded = seq, recorded
	b.appended += int64(size)
}

// locate finds the newest index entry that keep accepts, which must accept all
// entries up to some point and none after it. When there is none it returns
// the bus's first entry, and ok is false when that does not exist either.
func (s *Store) locate(b *bus, keep func(indexEntry) bool) (e indexEntry, ok bool, err error) {
	b.mu.Lock()
	recent := b.recent
	b.mu.Unlock()
	n := sort.Search(len(recent), func(i int) bool { return !keep(recent[i]) })
	if n > 0 {
		return recent[n-1], true, nil
	}
	lower := idKey(nil, prefixIndex, uint32(b.id))
	it, err := s.state.iter(lower, successor(lower))
	if err != nil {
		return e, false, err
	}
	defer it.Close()
	at := func(ok bool) (indexEntry, bool, error) {
		if !ok {
			return indexEntry{}, false, it.Error()
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return indexEntry{}, false, err
		}
		e, err := parseIndexEntry(it.Key(), v)
		return e, err == nil, err
	}
	// Halve the range of sequences between the first row and the last.
	e, ok, err = at(it.First())
	if err != nil {
		return e, false, err
	}
	if !ok {
		if len(recent) > 0 {
			return recent[0], true, nil
		}
		return e, false, nil
	}
	if !keep(e) {
		return e, true, nil
	}
	last, _, err := at(it.Last())
	if err != nil || keep(last) {
		return last, err == nil, err
	}
	low, high := e, last // keep(low), !keep(high)
	for low.seq+1 < high.seq {
		mid := low.seq + (high.seq-low.seq)/2
		m, ok, err := at(it.SeekLT(seqKey(nil, prefixIndex, b.id, mid+1)))
		if err != nil || !ok {
			return low, err == nil, err
		}
		if m.seq > low.seq {
			if keep(m) {
				low = m
			} else {
				high = m
			}
			continue
		}
		m, ok, err = at(it.Next())
		if err != nil || !ok || m.seq >= high.seq {
			return low, err == nil, err
		}
		if keep(m) {
			low = m
		} else {
			high = m
		}
	}
	return low, true, nil
}

// locateSeq finds the newest index entry at or below seq.
func (s *Store) locateSeq(b *bus, seq uint64) (e indexEntry, ok bool, err error) {
	b.mu.Lock()
	recent := b.recent
	b.mu.Unlock()
	if n := sort.Search(len(recent), func(i int) bool { return recent[i].seq > seq }); n > 0 {
		return recent[n-1], true, nil
	}
	lower := idKey(nil, prefixIndex, uint32(b.id))
	it, err := s.state.iter(lower, seqKey(nil, prefixIndex, b.id, seq+1))
	if err != nil {
		return e, false, err
	}
	defer it.Close()
	if !it.Last() {
		return e, false, it.Error()
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return e, false, err
	}
	e, err = parseIndexEntry(it.Key(), v)
	return e, err == nil, err
}
