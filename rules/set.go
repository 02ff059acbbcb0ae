package rules

import (
	"sync"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// ID stands for one subscription in a Set; the engine chooses it.
type ID uint32

// Entry is one subscription: a target of a rule. All entries of one rule have
// the same Matcher.
type Entry struct {
	ID      ID
	Rule    string
	Matcher *Matcher
}

// Set is the rules of one bus. It never changes; the engine makes another one
// and swaps it atomically. It is safe for concurrent use.
type Set struct {
	groups []group
	always []group // their filters match everything
	size   int
	views  sync.Pool
}

// group is the rules that have one program, which is run once for an event.
type group struct {
	program *program
	rules   []ruleEntry
}

type ruleEntry struct {
	matcher *Matcher
	ids     []ID
}

// NewSet makes a Set. It keeps nothing of the slice.
func NewSet(entries []Entry) *Set {
	s := &Set{size: len(entries)}
	s.views.New = func() any { return new(view) }
	places := make(map[*program]int)
	for _, e := range entries {
		p := e.Matcher.program
		i, ok := places[p]
		if !ok {
			i = len(s.groups)
			places[p] = i
			s.groups = append(s.groups, group{program: p})
		}
		s.groups[i].add(e)
	}
	if i, ok := places[nil]; ok {
		s.always = append(s.always, s.groups[i])
		s.groups = append(s.groups[:i], s.groups[i+1:]...)
	}
	return s
}

func (g *group) add(e Entry) {
	for i := range g.rules {
		if g.rules[i].matcher == e.Matcher {
			g.rules[i].ids = append(g.rules[i].ids, e.ID)
			return
		}
	}
	g.rules = append(g.rules, ruleEntry{e.Matcher, []ID{e.ID}})
}

// Match appends the subscriptions that get the event to dst, in no particular
// order, each once. A filter that fails does not match and is counted.
func (s *Set) Match(ev *event.Event, dst []ID) []ID {
	for i := range s.always {
		dst = s.always[i].settle(dst, true, nil)
	}
	if len(s.groups) == 0 {
		return dst
	}
	v := s.views.Get().(*view)
	v.ev = ev
	for i := range s.groups {
		g := &s.groups[i]
		ok, err := g.program.test(v)
		dst = g.settle(dst, ok, err)
		v.arena.rewind()
	}
	v.release()
	s.views.Put(v)
	return dst
}

func (g *group) settle(dst []ID, ok bool, err error) []ID {
	for i := range g.rules {
		r := &g.rules[i]
		r.matcher.count(ok, err)
		if ok {
			dst = append(dst, r.ids...)
		}
	}
	return dst
}

// Len is the number of entries.
func (s *Set) Len() int { return s.size }
