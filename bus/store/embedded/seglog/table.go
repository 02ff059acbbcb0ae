package seglog

import (
	"slices"
	"sort"
)

// table is an immutable list of the live segments in order; the last is the one written to.
// replacing holds finished rewrites whose sources are still live: both can be read.
type table struct {
	segs      []*segment
	replacing []*segment
}

// find returns the segment of pos and the file offset in it. It may lie one past the
// newest segment only if nil is returned with no error.
func (t *table) find(pos Position) (*segment, int64, error) {
	i := sort.Search(len(t.segs), func(i int) bool { return t.segs[i].ordinal >= pos.Segment })
	if i == len(t.segs) {
		return nil, 0, nil
	}
	s, off := t.segs[i], pos.file()
	atStart := off <= headerBlock && pos.epoch() == 0
	switch {
	case pos.Segment == s.ordinal && pos.epoch() == s.epoch:
		return s, max(off, headerBlock), nil
	case atStart && (pos.Segment <= s.first):
		if pos.Segment < s.first && i == 0 && pos.Segment != 0 {
			return nil, 0, ErrGone
		}
		return s, headerBlock, nil
	}
	for _, r := range t.replacing {
		if pos.Segment == r.ordinal && pos.epoch() == r.epoch {
			return r, max(off, headerBlock), nil
		}
	}
	if pos.Segment < s.first {
		return nil, 0, ErrGone
	}
	return nil, 0, &MovedError{Position: pos, To: s.start()}
}

// after returns the segment that follows s, or nil.
func (t *table) after(s *segment) *segment {
	i := sort.Search(len(t.segs), func(i int) bool { return t.segs[i].ordinal > s.ordinal })
	if i == len(t.segs) {
		return nil
	}
	return t.segs[i]
}

// change publishes a changed copy of the table.
func (l *Log) change(edit func(t *table)) {
	l.tableMu.Lock()
	defer l.tableMu.Unlock()
	old := l.table.Load()
	t := &table{segs: slices.Clone(old.segs), replacing: slices.Clone(old.replacing)}
	edit(t)
	l.table.Store(t)
}

func without(segs []*segment, drop ...*segment) []*segment {
	return slices.DeleteFunc(segs, func(s *segment) bool { return slices.Contains(drop, s) })
}
