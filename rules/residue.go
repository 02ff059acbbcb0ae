package rules

import (
	"errors"
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
	r.env.shelf.put(r, p)
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
	if int(r.part) >= len(l.parts) {
		return nil, nil, errNoPart
	}
	return l.parts[r.part], checked, nil
}

// wholeFilter is the part that is all of a filter.
const wholeFilter = -1

var errNoPart = errors.New("the filter has no such part")

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

// shelf knows which residues have programs. When it is full it takes those away
// that were not used lately; when all were, a program serves once only, so that
// not each pushes out the next.
type shelf struct {
	mu   sync.Mutex
	most int
	have []*residue
	hand int
}

func (s *shelf) put(r *residue, p *program) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.program.Load() != nil {
		return // another was faster
	}
	if len(s.have) < s.most {
		s.have = append(s.have, r)
		r.program.Store(p)
		return
	}
	for range min(len(s.have), shelfLook) {
		old := s.have[s.hand]
		if !old.used.Swap(false) {
			old.program.Store(nil)
			s.have[s.hand] = r
			r.program.Store(p)
			return
		}
		s.hand = (s.hand + 1) % s.most
	}
}

// shelfLook is how many programs are looked at for one that may go. It is few
// beside how many there are, so that what was not used since the last round goes
// and not what happened to be asked a little earlier.
const shelfLook = 16
