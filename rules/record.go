package rules

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// record is what a Set reads of a rule to match an event: its counts, and behind
// them in the same piece of memory the code of its condition. A set with many
// rules meets each of them in no cache, and then goes to one place. The counts
// may be changed by several goroutines; the code never changes.
type record struct {
	matched, rejected, failed atomic.Uint64
	size                      uint32 // of the code; 0 for a condition that has none
}

const recordHead = unsafe.Offsetof(record{}.size) + unsafe.Sizeof(record{}.size)

// code is the first size bytes of the code, and r.size is all of it.
func (r *record) code(size uint32) code {
	return code(unsafe.String((*byte)(unsafe.Add(unsafe.Pointer(r), recordHead)), size))
}

// recordSlab gives room for records that are made one after the other, one after
// the other: a set that matches many rules goes through them. A rule keeps what
// is beside its record from being freed, but that is little.
type recordSlab struct {
	mu   sync.Mutex
	rest []uint64 // so that counts are aligned
}

const (
	// slabWords fill 8 KiB, a size of which nothing is wasted and that begins with
	// a line of memory.
	slabWords = 1024
	lineWords = 8
)

// next is a record of the code, with counts of its own.
func (s *recordSlab) next(c code) *record {
	words := int(max(unsafe.Sizeof(record{}), recordHead+uintptr(len(c)))+7) / 8
	r := (*record)(unsafe.Pointer(unsafe.SliceData(s.room(words))))
	r.size = uint32(len(c))
	copy(unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(r), recordHead)), len(c)), c)
	return r
}

// room is so many words, in as few lines as they fill.
func (s *recordSlab) room(words int) []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if left := len(s.rest) % lineWords; left > 0 && left < (words-1)%lineWords+1 {
		s.rest = s.rest[left:]
	}
	if words > len(s.rest) {
		if words > slabWords/4 {
			return make([]uint64, words)
		}
		s.rest = make([]uint64, slabWords)
	}
	room := s.rest[:words]
	s.rest = s.rest[words:]
	return room
}

func (r *record) count(o outcome) (failures uint64) {
	switch o {
	case yes:
		r.matched.Add(1)
	case no:
		r.rejected.Add(1)
	default:
		failures = r.failed.Add(1)
	}
	return failures
}
