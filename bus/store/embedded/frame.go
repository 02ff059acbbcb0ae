package embedded

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// One Append is one frame of the log. Its payload, little endian:
//
//	0  uint8  kind (kindEvents, kindCommit)
//	1  uint32 number of entries
//	5         with kindCommit: uint64 number of the transaction
//
// and for each entry
//
//	0  uint8  flags
//	1  uint8  hops
//	2  uint8  length of via
//	3  uint8  0
//	4  uint32 bus
//	8  uint64 sequence, 0 if none was given
//	16 int64  recorded, Unix nanoseconds
//	24 int64  how long the dedupe key is remembered, nanoseconds
//	32 16     dedupe key
//	48 uint32 length of the event
//	52        with hasDue: int64 due, uint64 schedule id, int64 accepted
//	   via, event
//
// The publisher encodes all of it; the appender fills in flags, sequence,
// recorded and the schedule id.
const (
	kindEvents      = 1
	kindCommit      = 2 // the events of a transaction, which it ends
	payloadHeader   = 5
	commitHeader    = 8
	entryHeader     = 52
	entryDue        = 24
	maxVia          = 200
	flagVoid        = 1 << 0 // a duplicate: not there
	flagScheduled   = 1 << 1 // waits for its time; has no sequence
	flagHasDue      = 1 << 2
	flagFired       = 1 << 3 // was scheduled before, under the schedule id
	knownEntryFlags = 1<<4 - 1
)

var errBadFrame = errors.New("a frame of the log is not what this program writes")

func appendPayloadHeader(dst []byte, entries int) []byte {
	return binary.LittleEndian.AppendUint32(append(dst, kindEvents), uint32(entries))
}

// appendCommitHeader is the header of a frame that commits a transaction.
func appendCommitHeader(dst []byte, entries int, transaction uint64) []byte {
	dst = binary.LittleEndian.AppendUint32(append(dst, kindCommit), uint32(entries))
	return binary.LittleEndian.AppendUint64(dst, transaction)
}

// transactionOf is the transaction that a frame commits, 0 if it commits none.
func transactionOf(payload []byte) uint64 {
	if len(payload) < payloadHeader+commitHeader || payload[0] != kindCommit {
		return 0
	}
	return binary.LittleEndian.Uint64(payload[payloadHeader:])
}

// encodedSize is what appendEntry adds for e, at most.
func encodedSize(e *store.Entry) int {
	return entryHeader + entryDue + min(len(e.Via), maxVia) + e.Event.EncodedSize()
}

// fired says that an entry was scheduled before.
type fired struct {
	id       uint64
	due      int64
	accepted int64
}

func appendEntry(dst []byte, e *store.Entry, f *fired) []byte {
	via := e.Via
	if len(via) > maxVia {
		via = via[:maxVia]
	}
	var h [entryHeader + entryDue]byte
	n := entryHeader
	h[1], h[2] = e.Hops, uint8(len(via))
	binary.LittleEndian.PutUint32(h[4:], uint32(e.Bus))
	binary.LittleEndian.PutUint64(h[24:], uint64(e.Window))
	copy(h[32:], e.Dedupe[:])
	binary.LittleEndian.PutUint32(h[48:], uint32(e.Event.EncodedSize()))
	switch {
	case f != nil:
		h[0] = flagHasDue | flagFired
		binary.LittleEndian.PutUint64(h[52:], uint64(f.due))
		binary.LittleEndian.PutUint64(h[60:], f.id)
		binary.LittleEndian.PutUint64(h[68:], uint64(f.accepted))
		n += entryDue
	case !e.Due.IsZero():
		h[0] = flagHasDue
		binary.LittleEndian.PutUint64(h[52:], uint64(e.Due.UnixNano()))
		n += entryDue
	}
	dst = append(dst, h[:n]...)
	dst = append(dst, via...)
	return e.Event.AppendBinary(dst)
}

// entry is one entry of a payload, which it aliases.
type entry struct {
	raw    []byte // the whole of it
	flags  uint8
	via    []byte
	event  []byte
	bus    store.BusID
	seq    uint64
	record int64
}

func (e *entry) window() time.Duration {
	return time.Duration(binary.LittleEndian.Uint64(e.raw[24:]))
}
func (e *entry) key() [16]byte   { return [16]byte(e.raw[32:48]) }
func (e *entry) hops() uint8     { return e.raw[1] }
func (e *entry) hasDue() bool    { return e.flags&flagHasDue != 0 }
func (e *entry) due() int64      { return int64(binary.LittleEndian.Uint64(e.raw[52:])) }
func (e *entry) id() uint64      { return binary.LittleEndian.Uint64(e.raw[60:]) }
func (e *entry) accepted() int64 { return int64(binary.LittleEndian.Uint64(e.raw[68:])) }

// name is the identity by which a user knows the event: its source and id. What
// Switchyard publishes itself is deduplicated on something else.
func (e *entry) name() [16]byte {
	ev, err := event.Decode(e.event)
	if err != nil {
		return [16]byte{} // whoever reads the event will say so
	}
	return event.DedupeKey(ev.Source(), ev.ID())
}

func (e *entry) setFlag(f uint8) { e.flags |= f; e.raw[0] = e.flags }
func (e *entry) setSeq(seq uint64) {
	e.seq = seq
	binary.LittleEndian.PutUint64(e.raw[8:], seq)
}
func (e *entry) setRecorded(ns int64) {
	e.record = ns
	binary.LittleEndian.PutUint64(e.raw[16:], uint64(ns))
}
func (e *entry) setID(id uint64)     { binary.LittleEndian.PutUint64(e.raw[60:], id) }
func (e *entry) setAccepted(t int64) { binary.LittleEndian.PutUint64(e.raw[68:], uint64(t)) }

// stored makes a record of the entry, with a copy of its bytes.
func (e *entry) stored() (store.Record, error) {
	ev, err := event.Decode(append([]byte(nil), e.event...))
	if err != nil {
		return store.Record{}, err
	}
	return store.Record{
		Bus: e.bus, Sequence: e.seq, Recorded: fromNanos(e.record),
		Via: string(e.via), Hops: e.hops(), Event: ev,
	}, nil
}

// entries walks the entries of a payload.
type entries struct {
	rest  []byte
	count uint32
}

func parsePayload(payload []byte) (entries, error) {
	start := payloadHeader
	if transactionOf(payload) != 0 {
		start += commitHeader
	}
	if len(payload) < start || payload[0] != kindEvents && start == payloadHeader {
		return entries{}, errBadFrame
	}
	return entries{payload[start:], binary.LittleEndian.Uint32(payload[1:])}, nil
}

// next takes the next entry; ok is false after the last one.
func (es *entries) next(e *entry) (ok bool, err error) {
	if es.count == 0 {
		if len(es.rest) != 0 {
			return false, errBadFrame
		}
		return false, nil
	}
	b := es.rest
	if len(b) < entryHeader || b[0]&^knownEntryFlags != 0 {
		return false, errBadFrame
	}
	start := entryHeader
	if b[0]&flagHasDue != 0 {
		start += entryDue
	} else if b[0]&(flagScheduled|flagFired) != 0 {
		return false, errBadFrame
	}
	via, size := int(b[2]), int(binary.LittleEndian.Uint32(b[48:]))
	end := start + via + size
	if size < 0 || end < start || end > len(b) {
		return false, errBadFrame
	}
	*e = entry{
		raw: b[:end:end], flags: b[0], via: b[start : start+via], event: b[start+via : end : end],
		bus:    store.BusID(binary.LittleEndian.Uint32(b[4:])),
		seq:    binary.LittleEndian.Uint64(b[8:]),
		record: int64(binary.LittleEndian.Uint64(b[16:])),
	}
	es.rest = b[end:]
	es.count--
	return true, nil
}

func fromNanos(ns int64) time.Time { return time.Unix(0, ns).UTC() }

// keptAt is the steady time when the event was first kept, from which on its
// identity is known. It was recorded at.
func (e *entry) keptAt(at int64) int64 {
	if e.hasDue() && e.flags&(flagFired|flagScheduled) != 0 {
		return e.accepted()
	}
	return at
}
