package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// rowKinds names the rows of the state for people.
var rowKinds = [...]struct {
	prefix byte
	name   string
}{
	{prefixMeta, "numbers"}, {prefixBus, "buses"}, {prefixLast, "ends of buses"}, {prefixFirst, "beginnings of buses"},
	{prefixPosition, "router positions"}, {prefixIndex, "index"}, {prefixSegment, "segments"},
	{prefixJournal, "dedupe journal"}, {prefixRun, "dedupe runs"}, {prefixPage, "dedupe pages"}, {prefixDedupe, "dedupe"},
	{prefixSub, "subscriptions"}, {prefixCounts, "counts"}, {prefixError, "last errors"},
	{prefixQueue, "queue"}, {prefixTimed, "queue by time"}, {prefixBlocked, "lines"}, {prefixParked, "queue in lines"},
	{prefixAttempt, "attempts"}, {prefixDead, "dead letters"}, {prefixDeadID, "dead letters by delivery"},
	{prefixSched, "scheduled"}, {prefixSchedBus, "scheduled by bus"}, {prefixSchedID, "scheduled by name"}, {prefixOwed, "owed"}, {prefixOwedBy, "owed by"},
	{prefixObject, "catalogue"}, {prefixLane, "replays"}, {prefixBlock, "trace index"}, {prefixBlocks, "trace segments"},
	{prefixTx, "transactions"}, {prefixTxEvents, "events of transactions"}, {prefixTxResult, "results of transactions"},
	{prefixSummary, "summaries"}, {prefixLost, "lost events"}, {prefixFormer, "removed subscriptions"}, {prefixTable, "tables"}, {prefixRow, "rows of tables"},
}

// readBuses takes what the state says of each bus before the log is read.
func (c *checker) readBuses() {
	_, err := c.state.get(metaKey("covered"), func(v []byte) error {
		r := rowReader{rest: v}
		c.covered = seglog.Position{Segment: r.u64(), Offset: r.i64()}
		return r.err()
	})
	if err != nil {
		c.problem(c.kind(prefixMeta), "the position that the state covers: %v", err)
	}
	c.rows(prefixBus, 5, func(key, value []byte) error {
		k := rowReader{rest: key[1:]}
		row, err := parseBusRow(store.BusID(k.u32()), value)
		if err == nil {
			c.buses[row.id] = &checkedBus{name: row.name, first: 1}
		}
		return err
	})
	byBus := func(prefix byte, size int, f func(b *checkedBus, key, value []byte) error) {
		c.rows(prefix, size, func(key, value []byte) error {
			k := rowReader{rest: key[1:]}
			if b := c.buses[store.BusID(k.u32())]; b != nil {
				return f(b, key, value)
			}
			return nil
		})
	}
	byBus(prefixFirst, 5, func(b *checkedBus, _, value []byte) error {
		r := rowReader{rest: value}
		b.first = r.u64()
		return r.err()
	})
	byBus(prefixTable, 5, func(b *checkedBus, _, value []byte) error {
		b.tabled = true
		_, err := parseTableState(value)
		return err
	})
	byBus(prefixLast, 5, func(b *checkedBus, _, value []byte) error {
		var row bus
		err := row.readLastRow(value)
		b.last, b.before = row.last, row.recorded
		return err
	})
	byBus(prefixIndex, 13, func(b *checkedBus, key, value []byte) error {
		e, err := parseIndexEntry(key, value)
		if err == nil && e.seq >= b.first {
			b.index = append(b.index, e)
			c.places = append(c.places, e.pos)
		}
		return err
	})
	byBus(prefixLost, 13, func(b *checkedBus, key, value []byte) error {
		g, err := parseGap(key, value)
		b.given = append(b.given, g)
		return err
	})
	slices.SortFunc(c.places, seglog.Position.Compare)
	c.places = slices.Compact(c.places)
}

// rows calls f for the rows under a prefix whose keys have a size (0: any), and
// reports those that cannot be read. f sees those that a repair keeps.
func (c *checker) rows(prefix byte, size int, f func(key, value []byte) error) {
	damage, err := c.state.scanReadable([]byte{prefix}, func(key, value []byte) error {
		err := errBadRow
		if size == 0 || len(key) == size {
			err = f(key, value)
		}
		if err != nil {
			c.problem(c.kind(prefix), "row %x: %v", key, err)
			c.faulty(prefix, key, value, err)
		}
		return nil
	})
	if err = errors.Join(damage, err); err != nil {
		c.problem(c.kind(prefix), "some of it cannot be read: %v", err)
		c.unreadable = true
		c.nameless = c.nameless || prefix == prefixBus
	}
}

// faulty hands a row to a repair, if this is one.
func (c *checker) faulty(prefix byte, key, value []byte, err error) {
	if c.repair != nil {
		c.repair.row(prefix, key, value, err)
	}
}

func (c *checker) kind(prefix byte) string {
	for _, k := range rowKinds {
		if k.prefix == prefix {
			return "state, " + k.name
		}
	}
	return fmt.Sprintf("state, rows %q", prefix)
}

// checkState reads every row and holds those that belong together against each
// other.
func (c *checker) checkState(ctx context.Context) error {
	// The counts of the rows of each subscription come first, to be counted down.
	left := map[uint32]counts{}
	c.rows(prefixCounts, 5, func(key, value []byte) error {
		k := rowReader{rest: key[1:]}
		n, err := parseCounts(value)
		left[k.u32()] = n
		return err
	})
	c.named, _ = c.state.has(metaKey("scheduled"))
	for i, kind := range rowKinds {
		if err := ctx.Err(); err != nil {
			return err
		}
		sum := RowStats{Kind: kind.name}
		c.rows(kind.prefix, 0, func(key, value []byte) error {
			sum.Rows++
			sum.Bytes += int64(len(key) + len(value))
			return c.row(kind.prefix, key, value, left)
		})
		if sum.Rows > 0 {
			c.report.State = append(c.report.State, sum)
		}
		c.opts.Progress("state", i+1, len(rowKinds))
	}
	for _, id := range slices.Sorted(maps.Keys(c.buses)) {
		if b := c.buses[id]; b.rows > b.found {
			c.problem(c.kind(prefixRow), "bus %q: the events of %s are missing in the log", b.name, counted(b.rows-b.found, "subject", "subjects"))
		}
	}
	for id, n := range left {
		if n.records != 0 || n.dead != 0 {
			c.recount = true
			c.problem(c.kind(prefixCounts), "queue %d counts %s and %s more than it has", id, counted(n.records, "delivery", "deliveries"), counted(n.dead, "dead letter", "dead letters"))
		}
	}
	if err := c.countScheduled(); err != nil {
		c.recount = true
		c.problem(c.kind(prefixMeta), "%v", err)
	}
	var owed counts
	_, err := c.state.get(metaKey("owed"), func(v []byte) (err error) {
		owed, err = parseCounts(v)
		return err
	})
	if err != nil || owed.records != c.report.OwedBytes {
		c.recount = true
		c.problem(c.kind(prefixMeta), "the bytes that are owed are counted as %d, but are %d (%v)", owed.records, c.report.OwedBytes, err)
	}
	return nil
}

// countScheduled holds the count of scheduled events against them. A store of a
// release before there was one is given it when it is opened.
func (c *checker) countScheduled() error {
	counted := counts{records: c.report.Scheduled}
	_, err := c.state.get(metaKey("scheduled"), func(v []byte) (err error) {
		counted, err = parseCounts(v)
		return err
	})
	if err == nil && counted.records != c.report.Scheduled {
		err = fmt.Errorf("%d scheduled events are counted, but %d wait", counted.records, c.report.Scheduled)
	}
	return err
}

// row looks at one row.
func (c *checker) row(prefix byte, key, value []byte, left map[uint32]counts) error {
	r := rowReader{rest: key[1:]}
	switch prefix {
	case prefixSub:
		return new(subscription).parse(store.SubscriptionID(r.u32()), value)
	case prefixFormer:
		_, err := parseFormer(value)
		return err
	case prefixQueue:
		id := r.u32()
		left[id] = left[id].add(counts{records: -1})
		c.report.QueueRows++
		p, ok := parsePlace(r.rest)
		if !ok {
			return errBadRow
		}
		if _, err := parseQueueRow(value); err != nil {
			return err
		}
		return c.body(id, p)
	case prefixDead:
		id := r.u32()
		left[id] = left[id].add(counts{dead: -1})
		c.report.DeadLetters++
		d := death{r.i64(), r.u64()}
		p, ok := parsePlace(r.rest)
		if !ok {
			return errBadRow
		}
		if _, err := parseDead(p, d, value); err != nil {
			return err
		}
		if err := c.needs(queueKey(nil, prefixDeadID, store.SubscriptionID(id), p), errNotFoundByDelivery); err != nil {
			return err
		}
		return c.body(id, p)
	case prefixLane: // what died of a replay is counted there too, and stands under the subscription
		_, owner := r.u32(), r.u32()
		v := rowReader{rest: value}
		if queue := v.u32(); queue != owner {
			n := left[queue]
			n.dead = 0
			left[queue] = n
		}
		return errors.Join(r.err(), v.err())
	case prefixTimed:
		id := r.u32()
		r.u64()
		p, ok := parsePlace(r.rest)
		if !ok {
			return errBadRow
		}
		return c.needs(queueKey(nil, prefixQueue, store.SubscriptionID(id), p), errors.New("it names a delivery that is not queued"))
	case prefixOwed:
		if b := c.buses[store.BusID(r.u32())]; b != nil {
			b.owed++
		}
		c.report.Owed++
		c.report.OwedBytes += owedSize(value)
		es := entries{rest: value, count: 1}
		var e entry
		if ok, err := es.next(&e); err != nil || !ok {
			return errBadRow
		}
		_, err := e.stored()
		return err
	case prefixRow:
		b := c.buses[store.BusID(r.u32())]
		row, err := parseTableRow(value)
		if b == nil || row.ends {
			return errors.Join(r.err(), err)
		}
		// What a newer event replaces may be gone already.
		if _, replaced := b.newer[string(r.rest)]; !replaced {
			b.subjects++
			if row.seq < b.first {
				b.rows++
			}
		}
		return errors.Join(r.err(), err)
	case prefixSched:
		c.report.Scheduled++
		due, id := r.i64(), r.u64()
		bus := store.BusID(r.u32())
		if err := c.needs(schedBusKey(nil, bus, due, id), errNotListed); err != nil {
			return err
		}
		e, _, err := decodeScheduled(value)
		if err != nil || !c.named {
			return err
		}
		return c.needs(schedIDKey(nil, bus, event.DedupeKey(e.Event.Source(), e.Event.ID()), due, id), errNotNamed)
	case prefixSchedBus:
		bus, due, id := store.BusID(r.u32()), r.i64(), r.u64()
		return c.needs(schedKey(nil, due, id, bus), errNotWaiting)
	case prefixSchedID:
		bus := store.BusID(r.u32())
		r.take(16)
		due, id := r.i64(), r.u64()
		return c.needs(schedKey(nil, due, id, bus), errNotWaiting)
	}
	return nil
}

// What a row lacks that a repair writes anew.
var (
	errNotFoundByDelivery = errors.New("it cannot be found by its delivery")
	errNotListed          = errors.New("it is missing in its bus's list")
	errNotNamed           = errors.New("it cannot be found by its source and id")
)

// errNotWaiting says that a row finds a scheduled event that is not there.
var errNotWaiting = errors.New("it names an event that does not wait")

// needs is the error lacking if there is no row called key.
func (c *checker) needs(key []byte, lacking error) error {
	ok, err := c.state.has(key)
	if err == nil && !ok {
		err = lacking
	}
	return err
}

// body says whether the event of a delivery is there: in the log, or as a copy.
func (c *checker) body(sub uint32, p place) error {
	b := c.buses[p.bus]
	if b != nil && b.name != "" && p.seq >= b.first && p.seq <= b.seen &&
		!slices.ContainsFunc(b.lost, func(g gap) bool { return g.from <= p.seq && p.seq <= g.to }) {
		return nil
	}
	err := c.needs(seqKey(nil, prefixOwed, p.bus, p.seq), errNoBody)
	if errors.Is(err, errNoBody) {
		err = fmt.Errorf("sequence %d of %s, that %s owes, is not there", p.seq, c.busName(p.bus), c.subName(sub))
	}
	return err
}

// errNoBody says that an event is neither in the log nor kept as a copy.
var errNoBody = errors.New("the event is not there")

func (c *checker) busName(id store.BusID) string {
	if b := c.buses[id]; b != nil && b.name != "" {
		return fmt.Sprintf("bus %q", b.name)
	}
	return fmt.Sprintf("bus %d", id)
}

func (c *checker) subName(id uint32) string {
	name := fmt.Sprintf("subscription %d", id)
	_, _ = c.state.get(idKey(nil, prefixSub, id), func(v []byte) error {
		var sub subscription
		err := sub.parse(store.SubscriptionID(id), v)
		if err == nil {
			name = fmt.Sprintf("subscription %q", sub.name)
		}
		return err // a row that cannot be read is reported where rows are looked at
	})
	return name
}

// holding is a bus in a segment of the log.
type holding struct {
	segment uint64
	bus     store.BusID
}

// hold takes note of an event that the state is to know of by its segment.
func (c *checker) hold(e *entry, pos seglog.Position) {
	key := holding{pos.Segment, e.bus}
	c.held[key] = max(c.held[key], e.seq)
}

// checkHeld reports the segments of which the state does not know that a bus
// needs them. The rows of segments that were made one stand below its number
// until its own is there.
func (c *checker) checkHeld() {
	segments := make([]uint64, 0, len(c.held))
	for key := range c.held {
		segments = append(segments, key.segment)
	}
	slices.Sort(segments)
	c.rows(prefixSegment, 13, func(key, value []byte) error {
		k, v := rowReader{rest: key[1:]}, rowReader{rest: value}
		segment, bus, row := k.u64(), store.BusID(k.u32()), v.segmentRow()
		if at, _ := slices.BinarySearch(segments, segment); at < len(segments) {
			if in := (holding{segments[at], bus}); row.max >= c.held[in] {
				delete(c.held, in)
			}
		}
		return v.err()
	})
	left := slices.SortedFunc(maps.Keys(c.held), func(x, y holding) int {
		return cmp.Or(cmp.Compare(x.segment, y.segment), cmp.Compare(x.bus, y.bus))
	})
	for _, in := range left {
		c.damaged = true
		c.problem(c.kind(prefixSegment), "bus %q: it is not known that segment %d of the log holds its sequence %d; retention may remove that with the segment",
			c.buses[in.bus].name, in.segment, c.held[in])
	}
}
