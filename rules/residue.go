package rules

import (
	"sync"
	"sync/atomic"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/parser"
)

// residue is a part of a filter that only CEL can evaluate. Its program is
// planned when it is first wanted, and may be dropped again when many others
// are, for one takes several kilobytes.
type residue struct {
	env        *Env
	source     string // of the whole filter
	part       int32  // which of its residues, in the order of the source
	linear     bool
	program    atomic.Pointer[program]
	used       atomic.Bool // since the shelf last looked
	suspension suspension
}

func (r *residue) straight() bool { return r.linear }

func (r *residue) test(v *view) (bool, error) {
	p := r.program.Load()
	if p == nil {
		var err error
		if p, err = r.plan(); err != nil {
			return false, err
		}
	}
	if !r.used.Load() {
		r.used.Store(true)
	}
	return p.test(v)
}

// plan compiles the filter again, for the program of the part.
func (r *residue) plan() (*program, error) {
	e, checked, err := r.expr()
	if err != nil {
		return nil, err
	}
	p, err := r.env.part(r.source, checked.NativeRep(), e)
	if err != nil {
		return nil, err
	}
	p.suspension = &r.suspension
	if !r.program.CompareAndSwap(nil, p) {
		return r.program.Load(), nil
	}
	r.env.shelf.put(r)
	return p, nil
}

func (r *residue) expr() (ast.Expr, *cel.Ast, error) {
	checked, err := r.env.check(r.source, "the filter")
	if err != nil {
		return nil, nil, err
	}
	if r.part == wholeFilter {
		return checked.NativeRep().Expr(), checked, nil
	}
	l := lowering{env: r.env, source: r.source, keep: true}
	l.lower(checked.NativeRep().Expr())
	return l.parts[r.part], checked, nil
}

// wholeFilter is the part that is all of a filter.
const wholeFilter = -1

func (r *residue) text() string {
	e, checked, err := r.expr()
	if err != nil || r.part == wholeFilter {
		return r.source
	}
	text, err := parser.Unparse(e, checked.NativeRep().SourceInfo())
	if err != nil {
		return r.source
	}
	return text
}

// shelf knows which residues have programs, and takes those away that were not
// used for the longest, about.
type shelf struct {
	mu   sync.Mutex
	most int
	have []*residue
	hand int
}

func (s *shelf) put(r *residue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.have) < s.most {
		s.have = append(s.have, r)
		return
	}
	for range 2 * len(s.have) { // after one round, none is in use
		old := s.have[s.hand]
		if !old.used.Swap(false) {
			old.program.Store(nil)
			s.have[s.hand] = r
			s.hand = (s.hand + 1) % s.most
			return
		}
		s.hand = (s.hand + 1) % s.most
	}
	s.have[s.hand].program.Store(nil)
	s.have[s.hand] = r
}
