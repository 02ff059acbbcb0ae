package embedded

import (
	"encoding/binary"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// journalRow is a row of the state with identities in the order in which they
// came.
type journalRow struct {
	number uint64 // of its newest identity
	count  int
}

const (
	pageEntrySize  = 36 // identity, sequence, time
	journalEntry   = pageEntrySize + 8
	journalRowSize = 512 // identities in one row, at most: cancelling one writes its row again
	journalKeySize = 9
)

func (id *identity) append(dst []byte) []byte { return be32(append(dst, id.key[:]...), uint32(id.bus)) }

func (r *knownRow) append(dst []byte) []byte {
	return be64(be64(r.id.append(dst), r.seq), uint64(r.at))
}

// parseKnown reads what append wrote, without the window.
func parseKnown(b []byte) (r knownRow) {
	r.id.key = [16]byte(b)
	r.id.bus = store.BusID(binary.BigEndian.Uint32(b[16:]))
	r.seq, r.at = binary.BigEndian.Uint64(b[20:]), int64(binary.BigEndian.Uint64(b[28:]))
	return r
}

func journalKey(number uint64) []byte { return be64([]byte{prefixJournal}, number) }

// journal adds rows to the batch for identities of which the newest has number
// mark; s.applyMu is held.
func (s *Store) journal(batch *pebble.Batch, rows []knownRow, mark uint64) {
	d := s.dedupe
	d.unsorted = append(d.unsorted, rows...)
	for len(rows) > 0 {
		n := min(len(rows), journalRowSize)
		number := mark - uint64(len(rows)-n)
		d.journal = append(d.journal, journalRow{number, n})
		op := batch.SetDeferred(journalKeySize, n*journalEntry)
		copy(op.Key, journalKey(number))
		journalValue(op.Value[:0], rows[:n])
		_ = op.Finish()
		rows = rows[n:]
	}
}

func journalValue(dst []byte, rows []knownRow) []byte {
	for i := range rows {
		dst = be64(rows[i].append(dst), uint64(rows[i].window))
	}
	return dst
}

// loadJournal brings the identities back that no run has yet.
func (s *Store) loadJournal() error {
	d := s.dedupe
	err := s.state.scanPrefix([]byte{prefixJournal}, func(key, value []byte) (bool, error) {
		if len(key) != journalKeySize || len(value)%journalEntry != 0 {
			return false, errBadRow
		}
		row := journalRow{binary.BigEndian.Uint64(key[1:]), len(value) / journalEntry}
		d.journal = append(d.journal, row)
		for ; len(value) > 0; value = value[journalEntry:] {
			r := parseKnown(value)
			r.window = int64(binary.BigEndian.Uint64(value[pageEntrySize:]))
			d.unsorted = append(d.unsorted, r)
			d.remember(&r.id, r.known)
		}
		d.count = row.number
		d.applied = row.number
		return true, nil
	})
	return err
}

// forgetScheduled makes what is durable forget a scheduled event; s.applyMu is
// held.
func (s *Store) forgetScheduled(batch *pebble.Batch, id identity, k known) error {
	s.dedupe.forgetAt(&id, k.at)
	same := func(r knownRow) bool { return r.id == id && r.at == k.at && r.seq == 0 }
	start := 0
	d := s.dedupe
	for i := range d.journal {
		row := &d.journal[i]
		rows := d.unsorted[start : start+row.count]
		if at := slices.IndexFunc(rows, same); at >= 0 {
			rows = slices.Delete(d.unsorted, start+at, start+at+1)[start : start+row.count-1]
			d.unsorted = d.unsorted[:len(d.unsorted)-1]
			row.count--
			_ = batch.Set(journalKey(row.number), journalValue(nil, rows), nil)
			return nil
		}
		start += row.count
	}
	var done bool
	var err error
	d.runs.Load().each(&id, func(r *run) bool {
		done, err = s.forgetIn(batch, r, id, same)
		return !done && err == nil
	})
	if done || err != nil {
		return err
	}
	return batch.Delete(looseKey(nil, uint64(k.window), bucketOf(uint64(k.window), k.at), id), nil)
}
