package embedded

import (
	"encoding/binary"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// Every key of the state begins with one of these bytes. Numbers in keys are
// big endian, so that keys order as their numbers do.
const (
	prefixMeta     = 'm' // m name
	prefixBus      = 'B' // B bus                         → busRow
	prefixLast     = 'L' // L bus                         → lastRow: what the log held at the covered position
	prefixFirst    = 'F' // F bus                         → firstRow: what retention has removed
	prefixPosition = 'P' // P bus                         → router's position
	prefixIndex    = 'x' // x bus seq                     → indexEntry
	prefixSegment  = 'g' // g segment bus                 → segmentRow
	prefixJournal  = 'j' // j number                      → identities, in the order in which they came
	prefixRun      = 'r' // r run                         → window, newest, count, filter
	prefixPage     = 'h' // h run key bus                 → identities from that one on, sorted
	prefixDedupe   = 'd' // d window bucket bus key       → sequence, time
	prefixSub      = 'S' // S sub                         → subRow
	prefixCounts   = 'N' // N sub                         → counts (merged)
	prefixError    = 'E' // E sub                         → the last error
	prefixQueue    = 'q' // q sub bus seq run             → queueRow
	prefixTimed    = 't' // t sub due bus seq run         → nothing
	prefixBlocked  = 'b' // b sub key                     → bus seq run of the head of the line
	prefixParked   = 'p' // p sub key bus seq run         → nothing
	prefixAttempt  = 'a' // a bus seq sub run n           → attempt
	prefixDead     = 'l' // l sub died n bus seq run      → deadRow
	prefixDeadID   = 'k' // k sub bus seq run             → died n
	prefixSched    = 's' // s due id bus                  → scheduled entry
	prefixSchedBus = 'z' // z bus due id                  → nothing
	prefixSchedID  = 'i' // i bus identity due id         → nothing
	prefixOwed     = 'o' // o bus seq                     → a record that outlives retention
	prefixOwedBy   = 'O' // O bus seq sub run             → nothing: who owes it
	prefixObject   = 'c' // c kind 0 name                 → version, value
	prefixBlock    = 'e' // e bus bucket segment offset   → least and greatest sequence, a filter over outcomes
	prefixLane     = 'Y' // Y run sub                     → laneRow: a replay's part of a subscription
	prefixTx       = 'T' // T transaction                 → transactionRow
	prefixTxEvents = 'U' // U transaction                 → its events, while it waits
	prefixTxResult = 'V' // V transaction                 → what became of them
	prefixBlocks   = 'f' // f segment bus                 → greatest sequence in that trace segment
	prefixFormer   = 'n' // n sub                         → former: a subscription that was removed
	prefixLost     = 'G' // G bus seq                     → the last of the sequences from seq on that a repair gave up
	prefixSummary  = 'u' // u bus chunk                    → a filter over the attributes of the chunk's events
	prefixTable    = 'W' // W bus                         → tableState: the bus has a table
	prefixRow      = 'w' // w bus subject                 → tableRow: the newest event of a subject
)

func be32(dst []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(dst, v) }
func be64(dst []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(dst, v) }

// place is what tells deliveries of one subscription apart; it orders as the
// keys do.
type place struct {
	bus store.BusID
	run uint32
	seq uint64
}

func (p place) less(o place) bool {
	if p.bus != o.bus {
		return p.bus < o.bus
	}
	if p.seq != o.seq {
		return p.seq < o.seq
	}
	return p.run < o.run
}

func (p place) append(dst []byte) []byte {
	return be32(be64(be32(dst, uint32(p.bus)), p.seq), p.run)
}

const placeSize = 16

func parsePlace(b []byte) (place, bool) {
	if len(b) != placeSize {
		return place{}, false
	}
	return place{
		bus: store.BusID(binary.BigEndian.Uint32(b)),
		seq: binary.BigEndian.Uint64(b[4:]),
		run: binary.BigEndian.Uint32(b[12:]),
	}, true
}

func metaKey(name string) []byte { return append([]byte{prefixMeta}, name...) }

// idKey is the key of a row of one bus, subscription or segment.
func idKey(dst []byte, prefix byte, id uint32) []byte { return be32(append(dst, prefix), id) }

func seqKey(dst []byte, prefix byte, bus store.BusID, seq uint64) []byte {
	return be64(idKey(dst, prefix, uint32(bus)), seq)
}

func segmentKey(dst []byte, prefix byte, segment uint64, bus store.BusID) []byte {
	return be32(be64(append(dst, prefix), segment), uint32(bus))
}

func queueKey(dst []byte, prefix byte, sub store.SubscriptionID, p place) []byte {
	return p.append(idKey(dst, prefix, uint32(sub)))
}

func timedKey(dst []byte, sub store.SubscriptionID, due int64, p place) []byte {
	return p.append(be64(idKey(dst, prefixTimed, uint32(sub)), uint64(due)))
}

func blockedKey(dst []byte, sub store.SubscriptionID, key uint64) []byte {
	return be64(idKey(dst, prefixBlocked, uint32(sub)), key)
}

func parkedKey(dst []byte, sub store.SubscriptionID, key uint64, p place) []byte {
	return p.append(be64(idKey(dst, prefixParked, uint32(sub)), key))
}

func attemptKey(dst []byte, sub store.SubscriptionID, p place, n uint32) []byte {
	dst = be32(seqKey(dst, prefixAttempt, p.bus, p.seq), uint32(sub))
	return be32(be32(dst, p.run), n)
}

// death orders dead letters of one subscription.
type death struct {
	died int64
	n    uint64
}

func (d death) append(dst []byte) []byte { return be64(be64(dst, uint64(d.died)), d.n) }

func deadKey(dst []byte, sub store.SubscriptionID, d death, p place) []byte {
	return p.append(d.append(idKey(dst, prefixDead, uint32(sub))))
}

func schedKey(dst []byte, due int64, id uint64, bus store.BusID) []byte {
	return be32(be64(be64(append(dst, prefixSched), uint64(due)), id), uint32(bus))
}

func schedBusKey(dst []byte, bus store.BusID, due int64, id uint64) []byte {
	return be64(be64(idKey(dst, prefixSchedBus, uint32(bus)), uint64(due)), id)
}

// schedIDKey is the key by which a scheduled event is found by its source and
// id, of which name is the event.DedupeKey.
func schedIDKey(dst []byte, bus store.BusID, name [16]byte, due int64, id uint64) []byte {
	return be64(be64(append(idKey(dst, prefixSchedID, uint32(bus)), name[:]...), uint64(due)), id)
}

func owedByKey(dst []byte, sub store.SubscriptionID, p place) []byte {
	return be32(be32(seqKey(dst, prefixOwedBy, p.bus, p.seq), uint32(sub)), p.run)
}

func objectKey(kind, name string) []byte {
	b := append([]byte{prefixObject}, kind...)
	return append(append(b, 0), name...)
}

// successor is the least key that is greater than every key that begins with
// prefix.
func successor(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
