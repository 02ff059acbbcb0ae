package embedded

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// filters say of an identity that the state certainly does not have it, so
// that a publisher need not look there: nearly every event is new. There is one
// for each bucket of the dedupe rows, filled as the rows are written. Buckets
// from before a start have none until they were read again, and so has one that
// outgrew the memory for it; those are looked up.
//
// Filling and asking may happen at once; an identity is in its filter before
// it leaves the generations in memory.
type filters struct {
	mu      sync.RWMutex
	buckets map[bucketID]*filter
	bytes   int64
	oldest  map[uint64]uint64 // by class: buckets up to it are not known
}

type bucketID struct{ class, bucket uint64 }

// filter is blocked Bloom filters, each four times as large as the one before.
type filter struct {
	layers   []*layer
	full     bool // it does not know all identities, and takes no more
	learning bool // it does not know those from before yet
}

type layer struct {
	words []uint64 // eight to a block
	left  int      // identities that it still takes
}

const (
	firstLayer    = 1 << 12 // identities
	lastLayer     = 1 << 22
	bitsPerKey    = 14
	filterBits    = 7
	filterBudget  = 24 << 20
	wordsPerBlock = 8
	bitsPerBlock  = 9 // log2 of 512
	blockMask     = 1<<bitsPerBlock - 1
)

func newFilters() *filters {
	return &filters{buckets: map[bucketID]*filter{}, oldest: map[uint64]uint64{}}
}

// hash mixes an identity into where its block is and which bits of it it sets.
func (id *identity) hash() (where, which uint64) {
	a := binary.LittleEndian.Uint64(id.key[:8])
	b := binary.LittleEndian.Uint64(id.key[8:]) + uint64(id.bus)*0x9e3779b97f4a7c15
	where = mix(a ^ mix(b))
	return where, mix(where + 0x9e3779b97f4a7c15)
}

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (l *layer) block(where uint64) []uint64 {
	n, _ := bits.Mul64(where, uint64(len(l.words)/wordsPerBlock))
	return l.words[n*wordsPerBlock:][:wordsPerBlock]
}

func (l *layer) has(where, which uint64) bool {
	block := l.block(where)
	for range filterBits {
		bit := which & blockMask
		if atomic.LoadUint64(&block[bit>>6])&(1<<(bit&63)) == 0 {
			return false
		}
		which >>= bitsPerBlock
	}
	return true
}

func (l *layer) add(where, which uint64) {
	block := l.block(where)
	for range filterBits {
		bit := which & blockMask
		atomic.OrUint64(&block[bit>>6], 1<<(bit&63))
		which >>= bitsPerBlock
	}
	l.left--
}

// mayHave says whether the state may have an identity in a bucket.
func (f *filters) mayHave(id bucketID, where, which uint64) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	x := f.buckets[id]
	if x == nil {
		oldest, some := f.oldest[id.class]
		return some && id.bucket <= oldest
	}
	if x.full || x.learning {
		return true
	}
	for _, l := range x.layers {
		if l.has(where, which) {
			return true
		}
	}
	return false
}

// add notes identities whose rows are being written.
func (f *filters) add(rows []knownRow) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range rows {
		class := uint64(rows[i].window)
		id := bucketID{class, uint64(rows[i].at) / bucketWidth(class)}
		x := f.buckets[id]
		if x == nil {
			x = &filter{}
			if oldest, some := f.oldest[class]; some && id.bucket <= oldest {
				x.full = true
			}
			f.buckets[id] = x
		}
		if x.full {
			continue
		}
		l := f.room(x)
		if l == nil {
			continue
		}
		l.add(rows[i].id.hash())
	}
}

// room is a layer that takes one more identity; f.mu is held.
func (f *filters) room(x *filter) *layer {
	size := firstLayer
	if n := len(x.layers); n > 0 {
		if l := x.layers[n-1]; l.left > 0 {
			return l
		}
		size = min(firstLayer<<(2*n), lastLayer)
	}
	words := size * bitsPerKey / 64
	if f.bytes+int64(words)*8 > filterBudget {
		f.release(x)
		x.full = true
		return nil
	}
	l := &layer{words: make([]uint64, words&^(wordsPerBlock-1)), left: size}
	f.bytes += int64(len(l.words)) * 8
	x.layers = append(x.layers, l)
	return l
}

func (f *filters) release(x *filter) {
	for _, l := range x.layers {
		f.bytes -= int64(len(l.words)) * 8
	}
	x.layers = nil
}

// sweep drops the filters of buckets below one.
func (f *filters) sweep(class, bucket uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, x := range f.buckets {
		if id.class == class && id.bucket < bucket {
			f.release(x)
			delete(f.buckets, id)
		}
	}
}

// expect notes, before anything is written, which buckets of a class have rows
// from before: those up to newest. Those that look-ups ask for are learned
// from their rows; until then everything is looked up in them.
func (f *filters) expect(class, newest, now uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.oldest[class] = newest
	for back := uint64(0); back <= bucketsPerWindow && back <= now; back++ {
		if bucket := now - back; bucket <= newest {
			f.buckets[bucketID{class, bucket}] = &filter{learning: true}
		}
	}
}

// learn reads the rows from before into the filters that expect them. What is
// written meanwhile is added beside it.
func (s *Store) learn() error {
	f := s.filters
	f.mu.RLock()
	var ids []bucketID
	for id, x := range f.buckets {
		if x.learning {
			ids = append(ids, id)
		}
	}
	f.mu.RUnlock()
	for _, id := range ids {
		prefix := be64(be64([]byte{prefixDedupe}, id.class), id.bucket)
		err := s.state.scanPrefix(prefix, func(key, _ []byte) (bool, error) {
			r := rowReader{rest: key[len(prefix):]}
			who := identity{bus: store.BusID(r.u32())}
			copy(who.key[:], r.take(len(who.key)))
			if r.bad {
				return false, errBadRow
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			x := f.buckets[id]
			if x == nil || x.full || s.closing.Load() {
				return false, nil
			}
			if l := f.room(x); l != nil {
				l.add(who.hash())
			}
			return true, nil
		})
		if err != nil {
			return err
		}
		f.mu.Lock()
		if x := f.buckets[id]; x != nil && !s.closing.Load() {
			x.learning = false
		}
		f.mu.Unlock()
	}
	return nil
}
