package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"sort"

	"github.com/cockroachdb/pebble/v2"
)

// run is identities of one window, sorted, in pages that are rows of the state.
// The runs are written once and dropped whole, which costs a small part of what
// a row for each identity would: those are compacted again and again, for their
// keys are random.
type run struct {
	number uint64
	window int64
	newest int64 // when the youngest was kept
	count  int
}

const (
	pageEntries = 112
	// maxRuns bounds the memory for the filters, to about 25 MB. Runs beyond are
	// taken apart.
	maxRuns = 128
	// yieldBuckets is after how many buckets of a sort others may run (pacer says
	// why).
	yieldBuckets = 4096
)

func (r *run) fresh(now int64) bool { return now-r.newest < r.window }

func (id *identity) compare(o *identity) int {
	if c := bytes.Compare(id.key[:], o.key[:]); c != 0 {
		return c
	}
	return int(id.bus) - int(o.bus)
}

func runKey(number uint64) []byte { return be64([]byte{prefixRun}, number) }

func pageKey(dst []byte, number uint64, id *identity) []byte {
	return id.append(be64(append(dst, prefixPage), number))
}

func (r *run) row(f filter) []byte {
	return f.append(be64(be64(be64(nil, uint64(r.window)), uint64(r.newest)), uint64(r.count)))
}

func parseRun(number uint64, b []byte) (*run, filter, error) {
	row := rowReader{rest: b}
	r := &run{number: number, window: row.i64(), newest: row.i64(), count: int(row.u64())}
	if row.bad || r.window <= 0 {
		return nil, nil, errBadRow
	}
	f, err := parseFilter(row.rest)
	return r, f, err
}

// sortKnown makes runs of what stands in the journal, and lets the generations
// go; s.applyMu is held.
func (s *Store) sortKnown(all bool) error {
	d := s.dedupe
	if len(d.unsorted) == 0 {
		return nil
	}
	rows := d.unsorted
	sortRows(rows)
	rows = slices.CompactFunc(rows, func(x, y knownRow) bool { return x.window == y.window && x.id == y.id })
	batch := s.state.db.NewBatchWithSize(runsSize(len(rows)))
	runs := d.runs.Load()
	var added []*run
	var filters []filter
	for len(rows) > 0 {
		window := rows[0].window
		n := sort.Search(len(rows), func(i int) bool { return rows[i].window != window })
		d.lastRun++
		f := runs.newFilter(n)
		added, filters = append(added, writeRun(batch, d.lastRun, rows[:n], f)), append(filters, f)
		rows = rows[n:]
	}
	_ = batch.DeleteRange([]byte{prefixJournal}, journalKey(d.journal[len(d.journal)-1].number+1), nil)
	if err := s.state.commit(batch); err != nil {
		return err
	}
	for i, r := range added {
		runs = runs.with(r, filters[i])
	}
	d.runs.Store(runs)
	d.journal = d.journal[:0]
	if d.unsorted = d.unsorted[:0]; all {
		d.unsorted = nil
	}
	d.sorted(all)
	for len(d.runs.Load().runs) > d.maxRuns {
		if err := s.loosen(); err != nil {
			return err
		}
	}
	return nil
}

// sortRows puts rows in order. Identities are hashes, so that their first bytes
// nearly sort them.
func sortRows(rows []knownRow) {
	var ends [1 << 16]uint32
	prefix := func(r *knownRow) uint16 { return binary.BigEndian.Uint16(r.id.key[:]) }
	for i := range rows {
		if rows[i].window != rows[0].window {
			slices.SortFunc(rows, func(x, y knownRow) int { return x.compare(&y) })
			return
		}
		ends[prefix(&rows[i])]++
	}
	sum := uint32(0)
	for i, n := range ends {
		ends[i] = sum
		sum += n
	}
	sorted := make([]knownRow, len(rows))
	for i := range rows {
		at := &ends[prefix(&rows[i])]
		sorted[*at] = rows[i]
		*at++
	}
	start := uint32(0)
	for i, end := range ends {
		if i%yieldBuckets == 0 {
			runtime.Gosched()
		}
		if end-start > 1 {
			slices.SortFunc(sorted[start:end], func(x, y knownRow) int { return x.compare(&y) })
		}
		start = end
	}
	copy(rows, sorted)
}

// sortIdle is sortKnown for a store that nobody publishes to, so that it needs
// little memory.
func (s *Store) sortIdle() error {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	if err := s.apply(); err != nil {
		return err
	}
	return s.sortKnown(true)
}

// writeRun adds the rows of a run to the batch, and its identities, which are
// sorted, to its filter.
func writeRun(batch *pebble.Batch, number uint64, rows []knownRow, f filter) *run {
	r := &run{number: number, window: rows[0].window, count: len(rows)}
	for len(rows) > 0 {
		n := min(len(rows), pageEntries)
		op := batch.SetDeferred(29, n*pageEntrySize)
		pageKey(op.Key[:0], number, &rows[0].id)
		value := op.Value[:0]
		for i := range rows[:n] {
			r.newest = max(r.newest, rows[i].at)
			f.add(rows[i].id.hash())
			value = rows[i].append(value)
		}
		_ = op.Finish()
		rows = rows[n:]
		runtime.Gosched() // as in a sort
	}
	_ = batch.Set(runKey(number), r.row(f), nil)
	return r
}

// runsSize is about how many bytes a batch has that writes n rows in one run.
func runsSize(n int) int { return n*(pageEntrySize+1+bitsPerKey/8) + 4<<10 }

// page finds the page of a run that an identity would be in and calls f with
// its key, its entries and the place of the first of them that is not before
// the identity. Neither may be kept.
func (s *Store) page(r *run, id identity, f func(key, page []byte, at int)) error {
	var buf [40]byte
	lower := be64(append(buf[:0], prefixPage), r.number)
	it, err := s.state.iter(lower, append(pageKey(nil, r.number, &id), 0))
	if err != nil {
		return err
	}
	if !it.Last() {
		return it.Close()
	}
	page, err := it.ValueAndErr()
	if err == nil && (len(page) == 0 || len(page)%pageEntrySize != 0) {
		err = errBadRow
	}
	if err == nil {
		var wanted [20]byte
		id.append(wanted[:0])
		f(it.Key(), page, sort.Search(len(page)/pageEntrySize, func(i int) bool {
			return bytes.Compare(page[i*pageEntrySize:][:len(wanted)], wanted[:]) >= 0
		}))
	}
	return errors.Join(err, it.Close())
}

// search finds an identity in a run.
func (s *Store) search(r *run, id identity) (k known, ok bool, err error) {
	err = s.page(r, id, func(_, page []byte, at int) {
		if at*pageEntrySize < len(page) {
			row := parseKnown(page[at*pageEntrySize:])
			row.window = r.window
			k, ok = row.known, row.id == id
		}
	})
	return k, ok, err
}

// forgetIn takes an identity out of a run, if it is there as described.
func (s *Store) forgetIn(batch *pebble.Batch, r *run, id identity, same func(knownRow) bool) (done bool, err error) {
	err = s.page(r, id, func(key, page []byte, at int) {
		for ; at*pageEntrySize < len(page) && !done; at++ {
			row := parseKnown(page[at*pageEntrySize:])
			if row.id != id {
				return
			}
			if same(row) {
				rest := slices.Delete(bytes.Clone(page), at*pageEntrySize, (at+1)*pageEntrySize)
				if key = bytes.Clone(key); len(rest) == 0 {
					_ = batch.Delete(key, nil)
				} else {
					_ = batch.Set(key, rest, nil)
				}
				done = true
			}
		}
	})
	return done, err
}

// loadRuns finds the runs, after a start.
func (s *Store) loadRuns() error {
	runs := s.dedupe.runs.Load()
	err := s.state.scanPrefix([]byte{prefixRun}, func(key, value []byte) (bool, error) {
		if len(key) != 9 {
			return false, errBadRow
		}
		r, f, err := parseRun(binary.BigEndian.Uint64(key[1:]), value)
		if err == nil && !runs.takes(f) {
			f, err = s.remake(r, runs.newFilter(r.count))
		}
		if err == nil {
			runs = runs.with(r, f)
			s.dedupe.lastRun = r.number
		}
		return true, err
	})
	s.dedupe.runs.Store(runs)
	return err
}

// remake fills the filter of a run anew.
func (s *Store) remake(r *run, f filter) (filter, error) {
	err := s.state.scanPrefix(be64([]byte{prefixPage}, r.number), func(_, page []byte) (bool, error) {
		for ; len(page) >= pageEntrySize; page = page[pageEntrySize:] {
			row := parseKnown(page)
			f.add(row.id.hash())
		}
		return true, nil
	})
	return f, err
}

func dropRun(batch *pebble.Batch, r *run) {
	_ = batch.Delete(runKey(r.number), nil)
	_ = batch.DeleteRange(be64([]byte{prefixPage}, r.number), be64([]byte{prefixPage}, r.number+1), nil)
}

// sweepDedupe drops what nobody asks for any more.
func (s *Store) sweepDedupe(now int64) error {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	batch := s.state.db.NewBatch()
	runs := s.dedupe.runs.Load()
	for _, r := range runs.runs {
		if !r.fresh(now) {
			dropRun(batch, r)
		}
	}
	s.dedupe.runs.Store(runs.without(func(r *run) bool { return !r.fresh(now) }))
	s.sweepLoose(batch, now)
	return s.state.commit(batch)
}
