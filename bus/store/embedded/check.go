package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// CheckOptions are what Check looks at. Dir must be set.
type CheckOptions struct {
	// FS holds the files; default the operating system's.
	FS vfs.FS
	// Dir is the data folder. No process may have it open.
	Dir string
	// Progress, if set, is told after each segment of the log and each kind of
	// row of the state how many steps of one part are done.
	Progress func(part string, done, of int)
}

// Problem is one thing that is wrong with a store.
type Problem struct {
	// Where is the place: a file and bytes in it, or rows of the state.
	Where string `json:"where"`
	// What is wrong there, and what follows from it.
	What string `json:"what"`
}

// maxProblems bounds the problems that a report lists; all are counted.
const maxProblems = 1000

// Report is what a store holds and what is wrong with it.
type Report struct {
	Format   int        `json:"format"`
	Problems []Problem  `json:"problems"` // the first 1000
	Found    int        `json:"found"`    // problems in all
	Buses    []BusStats `json:"buses"`
	Log      LogStats   `json:"log"`
	State    []RowStats `json:"state"` // kinds of rows that there are
	Trace    LogStats   `json:"trace"`

	QueueRows   int64 `json:"queueRows"`
	DeadLetters int64 `json:"deadLetters"`
	Scheduled   int64 `json:"scheduled"`
	Owed        int64 `json:"owed"`      // events kept beyond their bus's retention
	OwedBytes   int64 `json:"owedBytes"` // of their bodies
}

// BusStats is what a store holds of one bus.
type BusStats struct {
	Name string `json:"name"`
	// Events can be read: those that retention has left and, of a bus with a
	// table, the rows that it has passed.
	Events int64  `json:"events"`
	Bytes  int64  `json:"bytes"` // of these, without framing
	First  uint64 `json:"first"` // the lowest of these; Last+1 if there are none
	Last   uint64 `json:"last"`  // the highest sequence ever; 0 before the first event
	// History is, of a bus with a table, from where on retention has left all.
	History uint64 `json:"history,omitempty"`
	// Subjects is how many rows a table has; nil without one.
	Subjects *int64 `json:"subjects,omitempty"`
	// Owed is how many events are kept, whatever else keeps them, although
	// retention has passed them: they are owed or dead letters. They can be read,
	// too, but Events does not count them.
	Owed int64 `json:"owed,omitempty"`
}

// LogStats sums up a segmented log.
type LogStats struct {
	Segments int   `json:"segments"`
	Bytes    int64 `json:"bytes"`
	Records  int64 `json:"records"`
	Torn     int64 `json:"torn"`    // bytes at its end that the next start cuts; nobody was promised them
	Damaged  int   `json:"damaged"` // places
}

// RowStats sums up one kind of row of the state.
type RowStats struct {
	Kind  string `json:"kind"`
	Rows  int64  `json:"rows"`
	Bytes int64  `json:"bytes"` // of keys and values
}

// Check reads all of a store that no process has open: every frame of its logs
// and every row of its state, and holds them against each other. It changes
// nothing. An error says that it could not look; what it found wrong stands in
// the report.
func Check(ctx context.Context, opts CheckOptions) (_ Report, err error) {
	if opts.FS == nil {
		opts.FS = vfs.Default
	}
	if opts.Progress == nil {
		opts.Progress = func(string, int, int) {}
	}
	c := newChecker(opts)
	if err := c.mustBeStore(); err != nil {
		return c.report, err
	}
	lock, err := lockDir(opts.FS, opts.Dir)
	if err != nil {
		return c.report, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if c.report.Format, err = readFormat(opts.FS, opts.Dir); err != nil {
		if errors.Is(err, errBadFormat) {
			err = fmt.Errorf("%w (switchyard store repair writes a new one)", err)
		}
		return c.report, err
	}
	err = c.read(ctx)
	return c.report, err
}

func newChecker(opts CheckOptions) *checker {
	c := &checker{opts: opts, buses: map[store.BusID]*checkedBus{}, held: map[holding]uint64{}}
	c.report.Problems, c.report.Buses, c.report.State = []Problem{}, []BusStats{}, []RowStats{}
	return c
}

// read opens the state, without writing to it, and runs the check. Afterwards
// the state is closed, but not nil if it could be opened.
func (c *checker) read(ctx context.Context) (err error) {
	st, err := openState(c.opts.FS, c.path("state"), slog.New(slog.DiscardHandler), true, nil)
	if err != nil {
		// The log is read all the same, so that one learns what is left.
		c.damaged = true
		c.problem("state", "it cannot be opened, and so the server does not start: %v", err)
	} else {
		c.state = st
		defer func() { err = errors.Join(err, st.db.Close()) }()
	}
	return c.run(ctx)
}

// checker is one Check.
type checker struct {
	opts    CheckOptions
	state   *state // nil if it cannot be opened
	named   bool   // it has the rows that find scheduled events by their names
	report  Report
	buses   map[store.BusID]*checkedBus
	covered seglog.Position    // up to which the state has what the log has
	places  []seglog.Position  // where index rows point, sorted; those below are passed
	end     seglog.Position    // of the newest record
	held    map[holding]uint64 // what segments of the log hold that the state should know of: the highest sequence

	lastBus store.BusID // the highest number that the state has given

	empty      bool // the state is
	unreadable bool // some rows of the state cannot be read
	nameless   bool // and among them may be some of buses
	damaged    bool // the log is, or what the state knows of it
	recount    bool // counts are not those of the rows
	repair     *repair
}

// checkedBus is what is known of a bus: from the state, then from the log.
type checkedBus struct {
	name     string // "" if the state has no such bus
	first    uint64 // that retention has left
	last     uint64 // that the state covers
	before   int64  // when that was recorded
	recorded int64
	seen     uint64 // the newest sequence in the log
	stats    BusStats
	index    []indexEntry    // not passed yet
	lost     []gap           // sequences at or after first that the log lacks
	tabled   bool            // it has a table
	rows     int64           // of the table, below first, without tombstones
	found    int64           // events in the log that are such rows
	newer    map[string]bool // subjects of events that the state does not cover yet: whether the newest is a row
	subjects int64           // of the table
	owed     int64           // copies of events
	given    []gap           // of them, those that a repair gave up
}

// gap is sequences that are missing, both ends included.
type gap struct{ from, to uint64 }

func parseGap(key, value []byte) (gap, error) {
	k, v := rowReader{rest: key}, rowReader{rest: value}
	k.take(5)
	return gap{k.u64(), v.u64()}, errors.Join(k.err(), v.err())
}

func (c *checker) path(name string) string { return c.opts.FS.PathJoin(c.opts.Dir, name) }

// mustBeStore refuses a folder that is none, before a lock file is made there.
func (c *checker) mustBeStore() error {
	if _, err := c.opts.FS.Stat(c.path(formatFile)); err != nil {
		return fmt.Errorf("%q is not a data folder of Switchyard; name the one that the server was started with (--data, or server.data): %w", c.opts.Dir, err)
	}
	return nil
}

func (c *checker) problem(where, what string, args ...any) {
	c.report.Found++
	if len(c.report.Problems) < maxProblems {
		c.report.Problems = append(c.report.Problems, Problem{where, fmt.Sprintf(what, args...)})
	}
}

func (c *checker) run(ctx context.Context) error {
	if err := unfinished(c.opts.FS, c.opts.Dir); err != nil && (c.repair == nil || !c.repair.applying) {
		c.problem(repairMark, "%v", err)
	}
	if c.state != nil {
		if ok, err := c.state.has(metaKey("opened")); err == nil && !ok {
			c.empty = true
			c.problem("state", "it is empty: which buses, subscriptions and objects there were is not known any more")
		}
		n, err := c.state.metaNumber("bus")
		if err != nil {
			c.problem("state", "how many buses there were cannot be read: %v", err)
		}
		c.lastBus = store.BusID(n)
		c.readBuses()
	}
	if err := c.checkLog(ctx); err != nil {
		return err
	}
	if c.state != nil {
		if err := c.checkState(ctx); err != nil {
			return err
		}
	}
	c.sumBuses()
	return c.checkTrace(ctx)
}

// checkLog reads every frame of the log of events.
func (c *checker) checkLog(ctx context.Context) error {
	l := &c.report.Log
	sum, err := seglog.Check(ctx, c.opts.FS, c.path("log"), seglog.Visitor{
		Record: c.frame,
		Damaged: func(d seglog.Damage) {
			l.Damaged++
			c.damaged = true
			c.problem(damagedPlace("log", d), "%s; events in it are lost", d.Reason)
		},
		Segment: func(done, of int) { c.opts.Progress("log", done, of) },
	})
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	l.Segments, l.Bytes, l.Records, l.Torn = sum.Segments, sum.Bytes, sum.Records, sum.Torn
	c.misplaced(seglog.Position{Segment: forever})
	if c.state != nil {
		covered, _, err := coveredRow(c.state)
		if err == nil && sum.End.Less(covered) {
			c.damaged = true
			c.problem("log", "it ends at %v, before %v, up to where the state knows it; the server does not start", sum.End, covered)
		}
		c.checkHeld()
	}
	for _, id := range slices.Sorted(maps.Keys(c.buses)) {
		b := c.buses[id]
		if b.name == "" {
			continue // dropped; its events go when their segments do
		}
		if b.seen < b.last && b.last >= b.first {
			c.lose(b, max(b.seen+1, b.first), b.last, "log")
		}
	}
	return nil
}

// sumBuses says what there is of each bus, when the log and the state were read.
func (c *checker) sumBuses() {
	for _, id := range slices.Sorted(maps.Keys(c.buses)) {
		b := c.buses[id]
		if b.name == "" {
			continue
		}
		b.stats.Name, b.stats.Owed = b.name, b.owed
		if b.stats.Last = max(b.seen, b.last, max(b.first, 1)-1); b.stats.Events == 0 {
			b.stats.First = b.stats.Last + 1
		}
		if b.tabled {
			for _, row := range b.newer {
				if row {
					b.subjects++
				}
			}
			b.stats.History, b.stats.Subjects = b.first, &b.subjects
		}
		c.report.Buses = append(c.report.Buses, b.stats)
	}
}

func damagedPlace(dir string, d seglog.Damage) string {
	switch {
	case d.File == "":
		return fmt.Sprintf("%s, segment %d", dir, d.Segment)
	case d.To == 0:
		return dir + "/" + d.File
	}
	return fmt.Sprintf("%s/%s, bytes %d to %d", dir, d.File, d.From, d.To)
}

// frame takes note of one record of the log.
func (c *checker) frame(pos seglog.Position, payload []byte) error {
	c.end = pos
	c.misplaced(pos)
	where := fmt.Sprintf("log, position %v", pos)
	err := walkPayload(payload, func(e *entry) error {
		if _, err := event.Decode(e.event); err != nil {
			c.problem(where, "an event of bus %d cannot be decoded: %v", e.bus, err)
		}
		if !c.empty && c.state != nil && e.bus > c.lastBus {
			c.lastBus = e.bus
			c.problem(where, "it has events of bus number %d, of which the state knows nothing; the server does not start with a state of an earlier time", e.bus)
		}
		if e.flags&flagScheduled == 0 {
			c.entry(c.bus(e.bus), e, pos, where)
		}
		return nil
	})
	if err != nil {
		c.problem(where, "%v; the server does not start if this is among the newest frames", err)
	}
	return nil
}

func (c *checker) bus(id store.BusID) *checkedBus {
	b := c.buses[id]
	if b == nil {
		b = &checkedBus{first: 1}
		c.buses[id] = b
	}
	return b
}

// entry holds one event against those of its bus before it.
func (c *checker) entry(b *checkedBus, e *entry, pos seglog.Position, where string) {
	if b.name == "" {
		b.stats.add(e)
		return
	}
	if e.seq < b.first { // retention has passed it
		if b.tabled {
			c.countRow(b, e, pos, where)
		}
		return
	}
	switch {
	case e.seq <= b.seen:
		c.problem(where, "bus %q: sequence %d comes after %d", b.name, e.seq, b.seen)
		return
	case e.seq > max(b.seen+1, b.first):
		c.lose(b, max(b.seen+1, b.first), e.seq-1, where)
	}
	if e.record < b.recorded {
		c.problem(where, "bus %q: sequence %d was recorded before the one before it", b.name, e.seq)
	}
	for len(b.index) > 0 && b.index[0].seq <= e.seq {
		if i := b.index[0]; pos.Less(i.pos) {
			c.damaged = true
			c.problem(fmt.Sprintf("state, index of bus %q", b.name), "sequence %d is said to stand at %v, but it stands before, at %v; it cannot be read", i.seq, i.pos, pos)
		}
		b.index = b.index[1:]
	}
	if b.tabled && c.covered.Less(pos) { // the next start makes it a row
		if subject, data, err := event.PeekSubject(e.event); err == nil && inTable(subject) {
			if b.newer == nil {
				b.newer = map[string]bool{}
			}
			b.newer[strings.Clone(subject)] = data
		}
	}
	b.seen, b.recorded = e.seq, e.record
	b.stats.add(e)
	if e.seq <= b.last {
		c.hold(e, pos)
	}
}

// add counts an event that can be read.
func (s *BusStats) add(e *entry) {
	if s.Events == 0 || e.seq < s.First {
		s.First = e.seq
	}
	s.Events++
	s.Bytes += int64(len(e.event))
}

// countRow counts an entry that is a row of the table of its bus.
func (c *checker) countRow(b *checkedBus, e *entry, pos seglog.Position, where string) {
	subject, _, err := event.PeekSubject(e.event)
	if err != nil || !inTable(subject) {
		return
	}
	_, err = c.state.get(tableRowKey(nil, e.bus, subject), func(v []byte) error {
		row, err := parseTableRow(v)
		if err == nil && row.seq == e.seq && !row.ends {
			b.found++
			b.stats.add(e)
			c.hold(e, pos)
		}
		return err
	})
	if err != nil {
		c.problem(where, "the row of subject %q: %v", subject, err)
	}
}

func (c *checker) lose(b *checkedBus, from, to uint64, where string) {
	b.lost = append(b.lost, gap{from, to})
	if slices.ContainsFunc(b.given, func(g gap) bool { return g.from <= from && to <= g.to }) {
		return
	}
	c.damaged = true
	is := "are"
	if from == to {
		is = "is"
	}
	c.problem(where, "bus %q: the %s %s missing", b.name, span("sequence", "sequences", from, to), is)
}

// counted is a number of things in words.
func counted(n int64, one, many string) string {
	if n == 1 {
		many = one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// span is the things from one number to another in words.
func span(one, many string, from, to uint64) string {
	if from == to {
		return fmt.Sprintf("%s %d", one, from)
	}
	return fmt.Sprintf("%s %d to %d", many, from, to)
}

// misplaced reports the index rows that point between frames before pos. One
// that points into a segment that was rewritten since, as a failure may leave
// it, is led to the new one.
func (c *checker) misplaced(pos seglog.Position) {
	for len(c.places) > 0 && !pos.Less(c.places[0]) {
		if p := c.places[0]; p != pos && !pos.Replaced(p) {
			c.damaged = true
			c.problem("state, index", "a row points at %v, where no record stands; events after it may not be found", p)
		}
		c.places = c.places[1:]
	}
}

// checkTrace reads what became of deliveries. It is not synced, so a crash may
// have damaged it: what is gone is missing in traces and nowhere else.
func (c *checker) checkTrace(ctx context.Context) error {
	t := &c.report.Trace
	if _, err := c.opts.FS.Stat(c.path("trace")); err != nil {
		return nil // nothing was delivered yet
	}
	sum, err := seglog.Check(ctx, c.opts.FS, c.path("trace"), seglog.Visitor{
		Record:  func(seglog.Position, []byte) error { return nil },
		Damaged: func(seglog.Damage) { t.Damaged++ },
		Segment: func(done, of int) { c.opts.Progress("trace", done, of) }, Unsynced: true,
	})
	if err != nil {
		return fmt.Errorf("read the traces: %w", err)
	}
	t.Segments, t.Bytes, t.Records, t.Torn = sum.Segments, sum.Bytes, sum.Records, sum.Torn
	return nil
}
