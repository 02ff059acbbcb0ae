package embedded

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// RepairOptions are what Repair works on. Dir must be set.
type RepairOptions struct {
	CheckOptions
	// Apply makes the changes. Without it Repair only says what it would do.
	Apply bool
	// Names are those of buses by number, for a state that is lost: the log knows
	// buses by number only. One without a name here is called "recovered-NUMBER".
	Names map[store.BusID]string
	// Clock tells the time, for the name of the folder that keeps what is
	// dropped; default time.Now.
	Clock func() time.Time
}

// Repaired says what a repair found, what it drops and what it has done.
type Repaired struct {
	// Format is the version that the folder said, 0 if that could not be read.
	Format int `json:"format"`
	// Problems are those of Check, the first 1000; Found counts all.
	Problems []Problem `json:"problems"`
	Found    int       `json:"found"`
	// Steps are what was done, or would be, in order.
	Steps []string `json:"steps"`
	// Lost is what is gone for good, by bus.
	Lost []Loss `json:"lost"`
	// Rows counts the rows of the state that are dropped, those of deliveries
	// and dead letters included.
	Rows int64 `json:"rows"`
	// Buses are those that the log has, if the state that knew their names is lost.
	Buses []FoundBus `json:"buses,omitempty"`
	// Applied says that the repair was made; the store was opened once and a
	// check of it found nothing then.
	Applied bool `json:"applied"`
	// Aside is the folder with the bytes that were dropped; "" if none were.
	Aside string `json:"aside,omitempty"`
}

// Loss is what of a bus is gone.
type Loss struct {
	Bus         string          `json:"bus"` // its name, or its number if it has none any more
	Events      uint64          `json:"events"`
	Sequences   []SequenceRange `json:"sequences"` // the first 100 ranges
	Deliveries  int64           `json:"deliveries"`
	DeadLetters int64           `json:"deadLetters"`
}

// SequenceRange is sequences of a bus, both ends included.
type SequenceRange struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// FoundBus is a bus of which only the log is left.
type FoundBus struct {
	Number store.BusID `json:"number"`
	Name   string      `json:"name"` // as it is called from now on
	Events int64       `json:"events"`
	First  uint64      `json:"first"`
	Last   uint64      `json:"last"`
	From   time.Time   `json:"from"` // when First was recorded
	To     time.Time   `json:"to"`   // when Last was recorded
	Type   string      `json:"type"` // of the newest event
	Source string      `json:"source"`
}

// repairMark is there while a repair works.
const repairMark = "REPAIRING"

// unfinished is the error of a store that a repair has left half done.
func unfinished(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(fs.PathJoin(dir, repairMark)); oserror.IsNotExist(err) {
		return nil
	} else if err != nil {
		return err
	}
	return fmt.Errorf("a repair of %q was interrupted; run switchyard store repair again", dir)
}

// maxRanges bounds the ranges of a Loss.
const maxRanges = 100

// Repair finds what is wrong with a store that no process has open, and, with
// Apply, makes it one that opens: it gives up the events that cannot be read and
// the deliveries and dead letters whose events are gone, and builds anew what
// can be built from the log. What it drops is kept in a folder beside the log. A
// repair that was interrupted may be run again.
func Repair(ctx context.Context, opts RepairOptions) (_ Repaired, err error) {
	if opts.FS == nil {
		opts.FS = vfs.Default
	}
	if opts.Progress == nil {
		opts.Progress = func(string, int, int) {}
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	r := &repair{opts: opts}
	r.report.Problems, r.report.Steps, r.report.Lost = []Problem{}, []string{}, []Loss{}
	if err := r.mustHoldData(); err != nil {
		return r.report, err
	}
	lock, err := lockDir(opts.FS, opts.Dir)
	if err != nil {
		return r.report, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := r.format(); err != nil {
		return r.report, err
	}
	if err := r.look(ctx); err != nil {
		return r.report, err
	}
	if !opts.Apply || len(r.report.Steps) == 0 && r.report.Found == 0 {
		return r.report, nil
	}
	err = r.apply(ctx)
	return r.report, err
}

// repair is one Repair.
type repair struct {
	opts   RepairOptions
	report Repaired

	rebuild     bool // the state is to be built anew: it is lost, or too much of it
	badFormat   bool
	interrupted bool // another repair was
	applying    bool
	found       *checker // what the first look saw
	losses      map[store.BusID]*Loss
	traces      bool // are damaged

	aside   string
	rows    vfs.File      // dropped rows
	state   *state        // while applying
	batch   *pebble.Batch // its changes
	changed map[store.SubscriptionID]bool
}

func (r *repair) path(name string) string { return r.opts.FS.PathJoin(r.opts.Dir, name) }

// mustHoldData refuses a folder that was never a store, even without its mark.
func (r *repair) mustHoldData() error {
	for _, name := range []string{formatFile, "log", "state"} {
		if _, err := r.opts.FS.Stat(r.path(name)); err == nil {
			return nil
		} else if !oserror.IsNotExist(err) {
			return err
		}
	}
	return fmt.Errorf("%q is not a data folder of Switchyard: it has no %s, no log and no state; name the one that the server was started with (--data, or server.data)", r.opts.Dir, formatFile)
}

func (r *repair) step(what string, args ...any) {
	r.report.Steps = append(r.report.Steps, fmt.Sprintf(what, args...))
}

// format reads the version. A mark that says nothing is a problem of its own; a
// newer version is not for this program to repair.
func (r *repair) format() (err error) {
	r.report.Format, err = readFormat(r.opts.FS, r.opts.Dir)
	switch {
	case errors.Is(err, errBadFormat):
		r.problem(formatFile, "%v", err)
	case err != nil:
		return err
	case r.report.Format == 0:
		r.problem(formatFile, "it is missing or empty")
	default:
		return nil
	}
	r.badFormat = true
	r.step("mark the folder as one of format %d; if a newer release wrote it, do not, but use that release", formatVersion)
	return nil
}

func (r *repair) problem(where, what string, args ...any) {
	r.report.Found++
	r.report.Problems = append(r.report.Problems, Problem{where, fmt.Sprintf(what, args...)})
}

// look checks the store and says what a repair would do.
func (r *repair) look(ctx context.Context) (err error) {
	r.losses = map[store.BusID]*Loss{}
	c := newChecker(r.opts.CheckOptions)
	c.repair = r
	r.found = c
	if _, err := r.opts.FS.Stat(r.path(repairMark)); err == nil {
		r.interrupted = true
	}
	if err := c.read(ctx); err != nil {
		return err
	}
	r.report.Found += c.report.Found
	r.report.Problems = append(r.report.Problems, c.report.Problems...)
	r.traces = c.report.Trace.Damaged > 0
	if c.report.Found == 0 && !r.traces {
		return nil
	}
	if c.report.Log.Damaged > 0 {
		r.step("give up what cannot be read in %s of the log", counted(int64(c.report.Log.Damaged), "place", "places"))
	}
	if r.traces {
		r.step("give up what cannot be read in %s of the traces", counted(int64(c.report.Trace.Damaged), "place", "places"))
	}
	if r.rebuild, err = r.beyondCopying(); err != nil {
		return err
	}
	switch {
	case r.rebuild:
		r.report.Rows = 0 // all of them
		r.step("build the state anew from the log: events, deduplication and what is scheduled stay; subscriptions with what they owed, dead letters, objects that were made through the API, pauses, open transactions and the index of traces are lost; scheduled events that were cancelled may come")
		if err := r.findBuses(ctx, nil); err != nil {
			return err
		}
	case c.unreadable:
		r.step("copy the rows of the state that can be read to a new one; what the others said is lost")
	}
	for _, id := range slices.Sorted(maps.Keys(c.buses)) {
		if r.rebuild {
			break // findBuses has seen what is lost
		}
		b := c.buses[id]
		for _, g := range b.lost {
			if !b.knows(g) {
				r.loss(id).add(g)
			}
		}
		if c.nameless && b.name == "" && b.stats.Events > 0 {
			r.step("give up bus number %d with %s: the state does not say its name, and whether it was dropped, any more", id, span("event", "events", b.stats.First, b.stats.Last))
			r.loss(id).add(gap{b.stats.First, b.stats.Last})
		}
	}
	r.sumLosses()
	if r.report.Rows > 0 {
		r.step("drop %s of the state, damaged or of events that are gone", counted(r.report.Rows, "row", "rows"))
	}
	if c.damaged && !r.rebuild {
		r.step("build the index anew from the log")
	}
	if c.recount {
		r.step("count deliveries, dead letters and scheduled events anew")
	}
	return nil
}

func (r *repair) sumLosses() {
	r.report.Lost = r.report.Lost[:0]
	for _, id := range slices.Sorted(maps.Keys(r.losses)) {
		r.report.Lost = append(r.report.Lost, *r.losses[id])
	}
}

func (l *Loss) add(g gap) {
	l.Events += g.to - g.from + 1
	if len(l.Sequences) < maxRanges {
		l.Sequences = append(l.Sequences, SequenceRange{g.from, g.to})
	}
}

// beyondCopying says that the state is lost, or that what can be read of it does
// not make one.
func (r *repair) beyondCopying() (bool, error) {
	switch c := r.found; {
	case c.state == nil || c.empty:
		return true, nil
	case !c.unreadable:
		return false, nil
	}
	st, err := openState(r.opts.FS, r.path("state"), slog.New(slog.DiscardHandler), true, nil)
	if err != nil {
		return false, err
	}
	opened := false
	key := metaKey("opened")
	_, err = st.scanReadable([]byte{prefixMeta}, func(k, _ []byte) error {
		opened = opened || bytes.Equal(k, key)
		return nil
	})
	return !opened, errors.Join(err, st.db.Close())
}

func (r *repair) loss(id store.BusID) *Loss {
	l := r.losses[id]
	if l == nil {
		l = &Loss{Bus: fmt.Sprint(id), Sequences: []SequenceRange{}}
		if b := r.found.buses[id]; b != nil && b.name != "" {
			l.Bus = b.name
		}
		r.losses[id] = l
	}
	return l
}

// row takes note of a row of the state that is wrong, and puts what mends it
// into the batch, if there is one.
func (r *repair) row(prefix byte, key, value []byte, why error) {
	k := rowReader{rest: key[1:]}
	switch {
	case errors.Is(why, errNotFoundByDelivery):
		r.mendDead(&k)
		return
	case errors.Is(why, errNotListed):
		due, id := k.i64(), k.u64()
		if r.batch != nil {
			_ = r.batch.Set(schedBusKey(nil, store.BusID(k.u32()), due, id), nil, nil)
		}
		return
	case errors.Is(why, errNotNamed):
		return // count lets all names be made anew
	}
	r.report.Rows++
	if r.batch != nil {
		_ = r.batch.Delete(key, nil)
	}
	r.keepRow(key, value)
	switch prefix {
	case prefixQueue:
		id := store.SubscriptionID(k.u32())
		if p, ok := parsePlace(k.rest); ok {
			r.loss(p.bus).Deliveries++
			r.dropDelivery(id, p, value)
		}
	case prefixDead:
		id := store.SubscriptionID(k.u32())
		k.take(16) // of the death
		if p, ok := parsePlace(k.rest); ok {
			r.loss(p.bus).DeadLetters++
			if r.batch != nil {
				_ = r.batch.Delete(queueKey(nil, prefixDeadID, id, p), nil)
			}
			r.dropAttempts(id, p)
		}
	case prefixSched:
		due, id := k.i64(), k.u64()
		if r.batch != nil {
			_ = r.batch.Delete(schedBusKey(nil, store.BusID(k.u32()), due, id), nil)
		}
	}
	r.commitSome()
}

// commitSome keeps the batch small. What it leaves half done is finished when
// the repair is run again, and until then the store does not open.
func (r *repair) commitSome() {
	if r.batch == nil || r.batch.Len() < 1<<20 {
		return
	}
	_ = r.state.commit(r.batch) // the last one says what went wrong
	r.batch = r.state.db.NewBatch()
}

func (r *repair) mendDead(k *rowReader) {
	id, d := store.SubscriptionID(k.u32()), death{k.i64(), k.u64()}
	if p, ok := parsePlace(k.rest); ok && r.batch != nil {
		_ = r.batch.Set(queueKey(nil, prefixDeadID, id, p), d.append(nil), nil)
	}
}

// dropDelivery removes what stands beside the row of a delivery. If it was in a
// line, the lines of its queue are made anew once the store is open.
func (r *repair) dropDelivery(id store.SubscriptionID, p place, value []byte) {
	if r.batch == nil {
		return
	}
	r.changed[id] = true
	if row, err := parseQueueRow(value); err == nil {
		_ = r.batch.Delete(timedKey(nil, id, row.dueAt(), p), nil)
		_ = r.batch.Delete(parkedKey(nil, id, row.key, p), nil)
		_ = r.batch.Delete(parkedKey(nil, id, strictKey, p), nil)
	}
	r.dropAttempts(id, p)
}

func (r *repair) dropAttempts(id store.SubscriptionID, p place) {
	if r.batch == nil {
		return
	}
	_ = r.batch.Delete(owedByKey(nil, id, p), nil)
	from := attemptKey(nil, id, p, 0)
	_ = r.batch.DeleteRange(from, successor(from[:len(from)-4]), nil)
}

// keepRow writes a row that goes into the folder of dropped bytes.
func (r *repair) keepRow(key, value []byte) {
	if r.batch == nil || r.rows == nil {
		return
	}
	_, _ = fmt.Fprintf(r.rows, "%s %s\n", hex.EncodeToString(key), hex.EncodeToString(value))
}

// maxRounds bounds how often a repair looks again: what was mended may show
// what was hidden behind it.
const maxRounds = 4

// apply makes the repair.
func (r *repair) apply(ctx context.Context) (err error) {
	if err := r.openAside(); err != nil {
		return err
	}
	if err := writeWhole(r.opts.FS, r.opts.Dir, repairMark, []byte(r.report.Aside+"\n")); err != nil {
		return err
	}
	if r.badFormat {
		if err := r.keepFile(formatFile); err != nil {
			return err
		}
		if err := writeFormat(r.opts.FS, r.opts.Dir); err != nil {
			return err
		}
	}
	r.applying = true
	r.changed = map[store.SubscriptionID]bool{}
	r.report.Rows = 0 // those that are seen now count
	for _, l := range r.losses {
		l.Deliveries, l.DeadLetters = 0, 0
	}
	if err := r.mendLogs(ctx); err != nil {
		return err
	}
	switch {
	case r.rebuild:
		err = r.newState(ctx)
	case r.found.unreadable:
		err = r.salvage()
	}
	if err != nil {
		return err
	}
	for round := 0; !r.rebuild && round < maxRounds; round++ {
		clean, err := r.mendState(ctx, round == 0 && r.interrupted)
		if err != nil {
			return err
		}
		if clean {
			break
		}
	}
	r.sumLosses()
	if r.rows != nil {
		if err := errors.Join(r.rows.Sync(), r.rows.Close()); err != nil {
			return err
		}
	}
	if err := r.opts.FS.Remove(r.path(repairMark)); err != nil {
		return err
	}
	if err := syncDir(r.opts.FS, r.opts.Dir); err != nil {
		return err
	}
	return r.prove(ctx)
}

// openAside makes the folder that keeps what is dropped.
func (r *repair) openAside() (err error) {
	name := "repair-" + r.opts.Clock().UTC().Format("20060102T150405Z")
	for n := 2; ; n++ {
		if _, err := r.opts.FS.Stat(r.path(name)); oserror.IsNotExist(err) {
			break
		} else if err != nil {
			return err
		}
		name = fmt.Sprintf("repair-%s-%d", r.opts.Clock().UTC().Format("20060102T150405Z"), n)
	}
	r.aside = r.path(name)
	r.report.Aside = r.aside
	if err := r.opts.FS.MkdirAll(r.aside, 0o755); err != nil {
		return err
	}
	r.rows, err = r.opts.FS.Create(r.opts.FS.PathJoin(r.aside, "state.rows"), vfs.WriteCategoryUnspecified)
	return err
}

// keepFile copies a file of the store to the folder of dropped bytes.
func (r *repair) keepFile(name string) error {
	f, err := r.opts.FS.Open(r.path(name))
	if oserror.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	err = r.keep(name, f)
	return errors.Join(err, f.Close())
}

func (r *repair) keep(name string, from io.Reader) error {
	f, err := r.opts.FS.Create(r.opts.FS.PathJoin(r.aside, name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// keepState moves the state to the folder of dropped bytes.
func (r *repair) keepState() error {
	if _, err := r.opts.FS.Stat(r.path("state")); oserror.IsNotExist(err) {
		return nil
	}
	if err := r.opts.FS.Rename(r.path("state"), r.opts.FS.PathJoin(r.aside, "state")); err != nil {
		return err
	}
	return errors.Join(syncDir(r.opts.FS, r.aside), syncDir(r.opts.FS, r.opts.Dir))
}

// mendLogs makes log and traces readable.
func (r *repair) mendLogs(ctx context.Context) error {
	mend := func(dir string, unsynced bool) error {
		return seglog.Repair(ctx, r.opts.FS, r.path(dir), unsynced, func(name string, b io.Reader) error {
			return r.keep(dir+"-"+name, b)
		})
	}
	if err := mend("log", false); err != nil {
		return err
	}
	if !r.traces {
		return nil
	}
	return mend("trace", true)
}

// mendState looks at the state once and mends what it sees. clean says that
// there was nothing. With all, what can be built anew is.
func (r *repair) mendState(ctx context.Context, all bool) (clean bool, err error) {
	st, err := openState(r.opts.FS, r.path("state"), slog.New(slog.DiscardHandler), false, nil)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	c := newChecker(r.opts.CheckOptions)
	c.state, c.repair, r.state, r.batch = st, r, st, st.db.NewBatch()
	defer func() { err = errors.Join(err, r.batch.Close()); r.batch = nil }()
	if err := c.run(ctx); err != nil {
		return false, err
	}
	if c.report.Found == 0 && !all {
		return true, nil
	}
	if c.damaged || all {
		if err := r.index(ctx, c); err != nil {
			return false, err
		}
	}
	if err := st.commit(r.batch); err != nil {
		return false, err
	}
	r.batch = st.db.NewBatch()
	if err := r.count(st); err != nil {
		return false, err
	}
	last := r.batch
	r.batch = st.db.NewBatch()
	return false, st.commitSynced(last)
}

// count writes the numbers of all rows anew. The names of scheduled events and
// their number are made by the next start, when they are not there.
func (r *repair) count(st *state) error {
	_ = r.batch.DeleteRange([]byte{prefixSchedID}, []byte{prefixSchedID + 1}, nil)
	_ = r.batch.Delete(metaKey("scheduled"), nil)
	rows := map[uint32]counts{}
	queues := map[uint32]bool{} // of replays
	add := func(prefix byte, one counts) error {
		return st.scanPrefix([]byte{prefix}, func(key, _ []byte) (bool, error) {
			k := rowReader{rest: key[1:]}
			id := k.u32()
			rows[id] = rows[id].add(one)
			return true, nil
		})
	}
	err := errors.Join(add(prefixQueue, counts{records: 1}), add(prefixDead, counts{dead: 1}), add(prefixBlocked, counts{blocked: 1}))
	err = errors.Join(err, st.scanPrefix([]byte{prefixLane}, func(key, value []byte) (bool, error) {
		k, v := rowReader{rest: key[5:]}, rowReader{rest: value}
		if owner, queue := k.u32(), v.u32(); owner != queue {
			queues[queue] = true
		}
		return true, nil
	}))
	if err != nil {
		return err
	}
	err = st.scanPrefix([]byte{prefixCounts}, func(key, value []byte) (bool, error) {
		k := rowReader{rest: key[1:]}
		id := k.u32()
		was, err := parseCounts(value)
		n := rows[id]
		if queues[id] && err == nil { // what died of a replay stands under its subscription
			n.dead = was.dead
		}
		delete(rows, id)
		_ = r.batch.Set(slices.Clone(key), n.append(nil), nil)
		return true, nil
	})
	for id, n := range rows {
		_ = r.batch.Set(idKey(nil, prefixCounts, id), n.append(nil), nil)
	}
	var owed counts
	err = errors.Join(err, st.scanPrefix([]byte{prefixOwed}, func(_, value []byte) (bool, error) {
		owed.records += owedSize(value)
		return true, nil
	}))
	return errors.Join(err, r.batch.Set(metaKey("owed"), owed.append(nil), nil))
}

// prove opens the store, as a start of the server does, makes the lines of
// queues anew that have lost a delivery, and checks all of it again.
func (r *repair) prove(ctx context.Context) error {
	s, err := openLocked(Options{FS: r.opts.FS, Dir: r.opts.Dir, NoBackground: true, DiskReserve: -1})
	if err != nil {
		return fmt.Errorf("the repaired store does not open; what was dropped is in %q: %w", r.aside, err)
	}
	for _, sub := range s.allSubs() {
		sub.mu.Lock()
		for _, q := range append(sub.queues(), sub) {
			if r.changed[q.id] && sub.order != store.OrderNone && err == nil {
				err = s.reorder(q, sub.order)
			}
		}
		sub.mu.Unlock()
	}
	if err := errors.Join(err, s.Close()); err != nil {
		return err
	}
	c := newChecker(r.opts.CheckOptions)
	if err := c.read(ctx); err != nil {
		return err
	}
	if c.report.Found > 0 {
		p := c.report.Problems[0]
		return fmt.Errorf("%d problems are left that cannot be repaired, the first: %s: %s; what was dropped is in %q", c.report.Found, p.Where, p.What, r.aside)
	}
	r.report.Applied = true
	return nil
}
