package embedded

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// looseClass says that identities of a window stand in rows of their own, in
// buckets by time up to newest, so that the old ones go by range.
type looseClass struct {
	window, newest, swept uint64
}

// bucketsPerWindow is how many buckets a window covers. Keys in a bucket are
// random, so that its rows are compacted again and again while it is filled;
// the older ones are left alone.
const bucketsPerWindow = 4

func bucketWidth(window uint64) uint64 { return max(window/bucketsPerWindow, 1) }

func bucketOf(window uint64, at int64) uint64 { return uint64(at) / bucketWidth(window) }

func looseKey(dst []byte, window, bucket uint64, id identity) []byte {
	dst = be64(be64(append(dst, prefixDedupe), window), bucket)
	return append(be32(dst, uint32(id.bus)), id.key[:]...)
}

// lookupLoose finds an identity among those that have a row of their own.
func (s *Store) lookupLoose(c looseClass, id identity, now int64) (k known, ok bool, err error) {
	var buf [48]byte
	bucket := bucketOf(c.window, now)
	for back := uint64(0); back <= bucketsPerWindow && back <= bucket && !ok; back++ {
		if bucket-back > c.newest {
			continue
		}
		ok, err = s.state.get(looseKey(buf[:0], c.window, bucket-back, id), func(v []byte) error {
			r := rowReader{rest: v}
			k = known{seq: r.u64(), at: r.i64(), window: int64(c.window)}
			return r.err()
		})
		if err != nil {
			return k, false, err
		}
		ok = ok && k.fresh(now)
	}
	return k, ok, nil
}

// loosenBatch is how many rows are written together.
const loosenBatch = 4096

// loosen makes rows of the smallest run; s.applyMu is held.
func (s *Store) loosen() error {
	runs := s.dedupe.runs.Load()
	r := slices.MinFunc(runs.runs, func(x, y *run) int { return cmp.Compare(x.count, y.count) })
	s.useLoose(uint64(r.window), bucketOf(uint64(r.window), r.newest))
	batch := s.state.db.NewBatch()
	var key, value []byte
	n := 0
	prefix := be64([]byte{prefixPage}, r.number)
	err := s.state.scanPrefix(prefix, func(_, page []byte) (bool, error) {
		for ; len(page) >= pageEntrySize; page = page[pageEntrySize:] {
			row := parseKnown(page)
			key = looseKey(key[:0], uint64(r.window), bucketOf(uint64(r.window), row.at), row.id)
			if row.seq == 0 { // it may have been recorded since
				ok, err := s.state.has(key)
				if err != nil {
					return false, err
				}
				if ok {
					continue
				}
			}
			value = be64(be64(value[:0], row.seq), uint64(row.at))
			_ = batch.Set(key, value, nil)
			n++
		}
		if n >= loosenBatch {
			n = 0
			err := s.state.commit(batch)
			batch = s.state.db.NewBatch()
			return true, err
		}
		return true, nil
	})
	if err != nil {
		return errors.Join(err, batch.Close())
	}
	dropRun(batch, r)
	if err := s.state.commit(batch); err != nil {
		return err
	}
	s.dedupe.runs.Store(runs.without(func(gone *run) bool { return gone == r }))
	return nil
}

// useLoose makes look-ups go to the rows of a window.
func (s *Store) useLoose(window, bucket uint64) {
	classes := slices.Clone(*s.dedupe.loose.Load())
	at := slices.IndexFunc(classes, func(c looseClass) bool { return c.window == window })
	if at < 0 {
		at = len(classes)
		classes = append(classes, looseClass{window: window})
	}
	classes[at].newest = max(classes[at].newest, bucket)
	s.dedupe.loose.Store(&classes)
}

// loadLoose finds the windows that rows exist for.
func (s *Store) loadLoose() error {
	it, err := s.state.iter([]byte{prefixDedupe}, []byte{prefixDedupe + 1})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; {
		if len(it.Key()) < 17 {
			return errors.Join(errBadRow, it.Close())
		}
		window := binary.BigEndian.Uint64(it.Key()[1:])
		next := successor(bytes.Clone(it.Key()[:9]))
		if it.SeekLT(next) && len(it.Key()) >= 17 {
			s.useLoose(window, binary.BigEndian.Uint64(it.Key()[9:]))
		}
		ok = it.SeekGE(next)
	}
	return it.Close()
}

// sweepLoose drops the buckets whose identities are all forgotten; s.applyMu is
// held.
func (s *Store) sweepLoose(batch *pebble.Batch, now int64) {
	var left []looseClass
	for _, c := range *s.dedupe.loose.Load() {
		oldest := bucketOf(c.window, now) - min(bucketsPerWindow, bucketOf(c.window, now))
		if c.swept < oldest {
			start := be64([]byte{prefixDedupe}, c.window)
			_ = batch.DeleteRange(start, be64(bytes.Clone(start), oldest), nil)
			c.swept = oldest
		}
		if c.newest >= oldest {
			left = append(left, c)
		}
	}
	s.dedupe.loose.Store(&left)
}
