package archive

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/objects"
)

// A segment, version 1 (the timelines of its events have the same form, with
// another magic and other records, see timelines.go):
//
//	magic      8 bytes "SYARCH01"
//	blocks     zstd frames, each of whole records
//	index      a zstd frame: of each block its offset and length in the object,
//	           its length unpacked, its CRC-32C packed, its first sequence, how
//	           many records it has, and the times of the first and last
//	footer     offset and length of the index packed, its length unpacked, its
//	           CRC-32C, magic
//
// A record: via (length, text), hops, recorded time (nanoseconds), event
// (length, storage encoding). Sequences follow from the block's first. Numbers
// are little endian, of fixed size in index and footer, else varints.

const (
	magic     = "SYARCH01"
	footer    = 8 + 4 + 4 + 4 + len(magic)
	blockRow  = 8 + 4 + 4 + 4 + 8 + 4 + 8 + 8
	blockSize = 256 << 10 // bytes of records that make a block
	// tailRead is how much of a segment's end is read for its index.
	tailRead = 64 << 10
	// mostUnpacked bounds what a block or an index may be unpacked.
	mostUnpacked = 1 << 30
)

func table() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// blockInfo is a block in the index.
type blockInfo struct {
	offset      int64
	packed      uint32
	unpacked    uint32
	sum         uint32
	first       uint64
	count       uint32
	begins, end int64 // recorded times in nanoseconds
}

func (b blockInfo) last() uint64 { return b.first + uint64(b.count) - 1 }

// encoder packs; it is safe for concurrent use and made once.
var encoder = sync.OnceValues(func() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
})

// decoder unpacks.
var decoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(mostUnpacked))
})

// writer makes one segment in memory.
type writer struct {
	magic        string
	out          bytes.Buffer
	block        []byte
	now          blockInfo
	index        []byte
	raw          int64 // bytes of events
	first, last  uint64
	begins, ends int64
}

// add appends an event. Events come in order, without gaps.
func (w *writer) add(r *store.Record) error {
	at := r.Recorded.UnixNano()
	if err := w.begin(r.Sequence, at); err != nil {
		return err
	}
	w.block = binary.AppendUvarint(w.block, uint64(len(r.Via)))
	w.block = append(w.block, r.Via...)
	w.block = append(w.block, r.Hops)
	w.block = binary.AppendVarint(w.block, at)
	w.block = binary.AppendUvarint(w.block, uint64(r.Event.EncodedSize()))
	w.block = r.Event.AppendBinary(w.block)
	w.raw += int64(r.Event.Size())
	return w.end(r.Sequence, at)
}

// begin is called before the record of an event is appended to the block.
func (w *writer) begin(seq uint64, at int64) error {
	if w.out.Len() == 0 {
		w.out.WriteString(w.magic)
		w.first, w.begins = seq, at
	} else if seq != w.last+1 {
		return fmt.Errorf("sequence %d follows %d", seq, w.last)
	}
	if w.now.count == 0 {
		w.now = blockInfo{first: seq, begins: at}
	}
	return nil
}

// end is called after that.
func (w *writer) end(seq uint64, at int64) error {
	w.now.count++
	w.now.end, w.ends, w.last = at, at, seq
	if len(w.block) >= blockSize {
		return w.seal()
	}
	return nil
}

// pack appends a zstd frame of data.
func (w *writer) pack(data []byte) (packed []byte, err error) {
	z, err := encoder()
	if err != nil {
		return nil, err
	}
	if len(data) > mostUnpacked {
		return nil, fmt.Errorf("a block of %d bytes", len(data))
	}
	packed = z.EncodeAll(data, nil)
	w.out.Write(packed)
	return packed, nil
}

// seal ends a block.
func (w *writer) seal() error {
	if w.now.count == 0 {
		return nil
	}
	b := w.now
	b.offset, b.unpacked = int64(w.out.Len()), uint32(len(w.block))
	packed, err := w.pack(w.block)
	if err != nil {
		return err
	}
	b.packed, b.sum = uint32(len(packed)), crc32.Checksum(packed, table())
	le := binary.LittleEndian
	w.index = le.AppendUint64(w.index, uint64(b.offset))
	w.index = le.AppendUint32(w.index, b.packed)
	w.index = le.AppendUint32(w.index, b.unpacked)
	w.index = le.AppendUint32(w.index, b.sum)
	w.index = le.AppendUint64(w.index, b.first)
	w.index = le.AppendUint32(w.index, b.count)
	w.index = le.AppendUint64(w.index, uint64(b.begins))
	w.index = le.AppendUint64(w.index, uint64(b.end))
	w.block, w.now = w.block[:0], blockInfo{}
	return nil
}

// finish ends the segment and says what it is called and holds.
func (w *writer) finish(prefix string) (g Segment, data []byte, err error) {
	if err := w.seal(); err != nil {
		return g, nil, err
	}
	at := w.out.Len()
	packed, err := w.pack(w.index)
	if err != nil {
		return g, nil, err
	}
	le := binary.LittleEndian
	var end []byte
	end = le.AppendUint64(end, uint64(at))
	end = le.AppendUint32(end, uint32(len(packed)))
	end = le.AppendUint32(end, uint32(len(w.index)))
	end = le.AppendUint32(end, crc32.Checksum(packed, table()))
	w.out.Write(append(end, w.magic...))
	g = Segment{First: w.first, Last: w.last, From: time.Unix(0, w.begins), To: time.Unix(0, w.ends), Bytes: int64(w.out.Len())}
	g.Object = nameOf(prefix, g)
	return g, w.out.Bytes(), nil
}

// EventsBetween is a range of sequences in words.
func EventsBetween(first, last uint64) string {
	if first == last {
		return fmt.Sprintf("event %d", first)
	}
	return fmt.Sprintf("events %d to %d", first, last)
}

// damaged is an error about an object.
func damaged(from objects.Storage, g Segment, format string, args ...any) error {
	return fmt.Errorf("object %q in %s, %s: %w: %w", g.Object, from, EventsBetween(g.First, g.Last), ErrMissing, fmt.Errorf(format, args...))
}

// fetch reads a range of an object, all of it.
func fetch(ctx context.Context, from objects.Storage, g Segment, offset, length int64) ([]byte, error) {
	r, err := from.Get(ctx, g.Object, offset, length)
	if errors.Is(err, objects.ErrNotFound) || errors.Is(err, objects.ErrRange) {
		return nil, damaged(from, g, "%w", err)
	}
	if err != nil {
		return nil, err
	}
	data := make([]byte, length)
	_, err = io.ReadFull(r, data)
	err = errors.Join(err, r.Close())
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return nil, damaged(from, g, "it ends early")
	}
	return data, err
}

// unpack checks and unpacks a zstd frame.
func unpack(packed []byte, sum, unpacked uint32) ([]byte, error) {
	if crc32.Checksum(packed, table()) != sum {
		return nil, errors.New("its checksum is wrong")
	}
	if unpacked > mostUnpacked {
		return nil, fmt.Errorf("%d bytes unpacked are too many", unpacked)
	}
	z, err := decoder()
	if err != nil {
		return nil, err
	}
	data, err := z.DecodeAll(packed, make([]byte, 0, unpacked))
	if err == nil && uint32(len(data)) != unpacked {
		err = fmt.Errorf("it unpacks to %d bytes, not %d", len(data), unpacked)
	}
	return data, err
}

// readIndex reads the index of a segment, or of its timelines, whose magic is
// another.
func readIndex(ctx context.Context, from objects.Storage, g Segment, magic string) ([]blockInfo, error) {
	if g.Bytes < int64(len(magic)+footer) {
		return nil, damaged(from, g, "it has only %d bytes", g.Bytes)
	}
	tail, err := fetch(ctx, from, g, max(0, g.Bytes-tailRead), min(g.Bytes, tailRead))
	if err != nil {
		return nil, err
	}
	end := tail[len(tail)-footer:]
	le := binary.LittleEndian
	at, packed, unpacked, sum := int64(le.Uint64(end)), le.Uint32(end[8:]), le.Uint32(end[12:]), le.Uint32(end[16:])
	if string(end[20:]) != magic || at < int64(len(magic)) || at+int64(packed)+int64(footer) != g.Bytes {
		return nil, damaged(from, g, "its end is not a segment's")
	}
	var index []byte
	if begin := g.Bytes - int64(len(tail)); at >= begin {
		index = tail[at-begin : len(tail)-footer]
	} else if index, err = fetch(ctx, from, g, at, int64(packed)); err != nil {
		return nil, err
	}
	rows, err := unpack(index, sum, unpacked)
	if err != nil {
		return nil, damaged(from, g, "its index: %w", err)
	}
	blocks, err := parseIndex(rows, g, at)
	if err != nil {
		return nil, damaged(from, g, "its index: %w", err)
	}
	return blocks, nil
}

// parseIndex reads the rows of an index and holds that they agree with the
// segment's name.
func parseIndex(rows []byte, g Segment, end int64) ([]blockInfo, error) {
	if len(rows) == 0 || len(rows)%blockRow != 0 {
		return nil, fmt.Errorf("%d bytes are no rows", len(rows))
	}
	le := binary.LittleEndian
	blocks := make([]blockInfo, 0, len(rows)/blockRow)
	next, at := g.First, int64(len(magic))
	for ; len(rows) > 0; rows = rows[blockRow:] {
		b := blockInfo{
			offset: int64(le.Uint64(rows)), packed: le.Uint32(rows[8:]), unpacked: le.Uint32(rows[12:]), sum: le.Uint32(rows[16:]),
			first: le.Uint64(rows[20:]), count: le.Uint32(rows[28:]), begins: int64(le.Uint64(rows[32:])), end: int64(le.Uint64(rows[40:])),
		}
		if b.first != next || b.offset != at || b.count == 0 || b.packed == 0 {
			return nil, fmt.Errorf("block %d does not follow the one before", len(blocks))
		}
		next, at = b.last()+1, at+int64(b.packed)
		blocks = append(blocks, b)
	}
	if next != g.Last+1 || at != end {
		return nil, fmt.Errorf("it ends with event %d", next-1)
	}
	return blocks, nil
}

// parseBlock reads the records of a block.
func parseBlock(data []byte, b blockInfo, bus store.BusID) ([]store.Record, error) {
	records := make([]store.Record, 0, min(b.count, uint32(len(data)/4+1)))
	bad := errors.New("a record is cut short")
	take := func() ([]byte, bool) {
		n, used := binary.Uvarint(data)
		if used <= 0 || n > uint64(len(data)-used) {
			return nil, false
		}
		part := data[used : used+int(n)]
		data = data[used+int(n):]
		return part, true
	}
	for i := range b.count {
		via, ok := take()
		if !ok || len(data) < 2 {
			return nil, bad
		}
		hops := data[0]
		at, used := binary.Varint(data[1:])
		if used <= 0 {
			return nil, bad
		}
		data = data[1+used:]
		raw, ok := take()
		if !ok {
			return nil, bad
		}
		// A copy of its own: the event may outlive the block by far.
		ev, err := event.Decode(bytes.Clone(raw))
		if err != nil {
			return nil, err
		}
		records = append(records, store.Record{
			Bus: bus, Sequence: b.first + uint64(i), Recorded: time.Unix(0, at).UTC(), Via: string(via), Hops: hops, Event: ev,
		})
	}
	if len(data) > 0 {
		return nil, errors.New("it has more than its records")
	}
	return records, nil
}

// Verify reads a segment and its timelines whole and returns how many events it
// has. The error names the object and what is wrong with it.
func Verify(ctx context.Context, from objects.Storage, g Segment) (events uint64, err error) {
	if g.Gap {
		return 0, nil
	}
	last := int64(math.MinInt64)
	err = eachBlock(ctx, from, g, magic, func(data []byte, b blockInfo) error {
		records, err := parseBlock(data, b, 0)
		if err != nil {
			return err
		}
		for _, r := range records {
			if at := r.Recorded.UnixNano(); at < last {
				return fmt.Errorf("event %d was recorded before the one before it", r.Sequence)
			} else {
				last = at
			}
		}
		events += uint64(len(records))
		return nil
	})
	if t, ok := g.timelines(); ok && err == nil {
		err = eachBlock(ctx, from, t, timelinesMagic, func(data []byte, b blockInfo) error {
			_, err := parseTimelines(data, b)
			return err
		})
	}
	return events, err
}

// eachBlock calls f for the blocks of an object.
func eachBlock(ctx context.Context, from objects.Storage, g Segment, magic string, f func(data []byte, b blockInfo) error) error {
	blocks, err := readIndex(ctx, from, g, magic)
	if err != nil {
		return err
	}
	for _, b := range blocks {
		data, err := fetchBlock(ctx, from, g, b)
		if err != nil {
			return err
		}
		if err := f(data, b); err != nil {
			return damaged(from, g, "block at %d: %w", b.offset, err)
		}
	}
	return nil
}

// fetchBlock reads one block of an object.
func fetchBlock(ctx context.Context, from objects.Storage, g Segment, b blockInfo) ([]byte, error) {
	packed, err := fetch(ctx, from, g, b.offset, int64(b.packed))
	if err != nil {
		return nil, err
	}
	data, err := unpack(packed, b.sum, b.unpacked)
	if err != nil {
		return nil, damaged(from, g, "block at %d: %w", b.offset, err)
	}
	return data, nil
}
