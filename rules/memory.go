package rules

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strings"

	"github.com/switchyard-dev/switchyard/bus/packed"
)

// A compiled filter can be written down, so that a server that starts again
// with many rules need not parse and check each of them. What is written is
// good for the same build of the program only.

// memory is compiled filters that were written down, by their sources, and the
// places that they look at.
type memory struct {
	filters map[memoryKey]string
	places  []*place
	steps   [][]patternStep
}

type memoryKey [16]byte

func (f *filter) memoryKey() memoryKey { return keyOf(f.dialect, f.source) }

func keyOf(d dialect, source string) (k memoryKey) {
	// In one piece on the stack, if it is short: there are many of them.
	sum := sha256.Sum256(append(append(make([]byte, 0, 256), byte(d)), source...))
	copy(k[:], sum[:])
	return k
}

const memoryMagic = "switchyard filters 2\n"

// AppendCompiled appends the filters of matchers to dst in a form that Remember
// reads, but none that have something to redact. build tells builds of the
// program apart.
func AppendCompiled(dst []byte, build string, matchers []*Matcher) []byte {
	start := len(dst)
	dst = packed.Begin(dst, memoryMagic, build)
	w := memoryWriter{placeAt: map[*place]int{}, stepsAt: map[*patternStep]int{}}
	var filters, body []byte
	seen := make(map[*filter]bool, len(matchers))
	for _, m := range matchers {
		f := m.filter
		if f == nil || m.redaction() != nil || seen[f] {
			continue
		}
		seen[f] = true
		w.source = f.source
		body = w.node(append(body[:0], byte(f.class)), f.tree())
		key := f.memoryKey()
		filters = packed.AppendText(append(filters, key[:]...), body)
	}
	dst = append(packed.AppendNumber(w.tables(dst), len(seen)), filters...)
	return packed.End(dst, start)
}

// Remember lets Compile take filters from what AppendCompiled wrote by the same
// build, until Forget; data is not to be changed any more. It returns how many
// there are; an error says that the data is of another build or damaged, and is of
// no use.
func (env *Env) Remember(build string, data []byte) (int, error) {
	p, err := packed.Open(data, memoryMagic, build)
	if err != nil {
		return 0, fmt.Errorf("the compiled filters: %w", err)
	}
	known := &memory{}
	r := reader{Reader: p, env: env, memory: known}
	r.tables()
	n := r.Count()
	known.filters = make(map[memoryKey]string, n)
	for range n {
		var key memoryKey
		copy(key[:], r.Take(len(key)))
		known.filters[key] = r.Text()
	}
	if r.Bad || r.Rest != "" {
		return 0, fmt.Errorf("the compiled filters: %w", packed.ErrDamaged)
	}
	env.memory.Store(known)
	return len(known.filters), nil
}

// Forget drops what Remember took.
func (env *Env) Forget() { env.memory.Store(nil) }

// Compiled is how many filters were compiled from their sources.
func (env *Env) Compiled() uint64 { return env.compiled.Load() }

// recall is a filter that was written down.
func (env *Env) recall(d dialect, source string) (node, Class, bool) {
	known := env.memory.Load()
	if known == nil {
		return node{}, 0, false
	}
	data, ok := known.filters[keyOf(d, source)]
	if !ok {
		return node{}, 0, false
	}
	r := reader{Reader: packed.Reader{Rest: data}, env: env, memory: known, source: source}
	class := Class(r.Byte())
	n := r.node(0)
	return n, class, !r.Bad && r.Rest == ""
}

// memoryWriter writes conditions. Places, and the steps of patterns, are written
// once for all of them.
type memoryWriter struct {
	source  string // of the filter
	places  []byte
	placeAt map[*place]int // their numbers
	steps   []byte
	stepsAt map[*patternStep]int
}

// tables writes the places and steps of all filters.
func (w *memoryWriter) tables(dst []byte) []byte {
	dst = append(packed.AppendNumber(dst, len(w.placeAt)), w.places...)
	return append(packed.AppendNumber(dst, len(w.stepsAt)), w.steps...)
}

func (w *memoryWriter) place(dst []byte, p *place) []byte {
	at, ok := w.placeAt[p]
	if !ok {
		at = len(w.placeAt)
		w.placeAt[p] = at
		w.places = packed.AppendText(append(w.places, byte(p.reach)), p.attr)
		w.places = packed.AppendNumber(w.places, len(p.keys))
		for _, k := range p.keys {
			w.places = packed.AppendText(w.places, k)
		}
	}
	return packed.AppendNumber(dst, at)
}

// pattern writes its steps as the places that these lead to.
func (w *memoryWriter) pattern(dst []byte, p *pattern) []byte {
	at, ok := w.stepsAt[p.step]
	if !ok {
		at = len(w.stepsAt)
		w.stepsAt[p.step] = at
		w.steps = packed.AppendNumber(w.steps, len(p.step.places))
		for _, to := range p.step.places {
			w.steps = w.place(w.steps, to)
		}
	}
	dst = packed.AppendNumber(dst, at)
	for i := range p.tests() {
		dst = w.node(dst, &p.tests()[i])
	}
	if p.rare == nil || p.rare.ways == nil {
		return packed.AppendNumber(dst, 0) // the costs come from the tests
	}
	dst = packed.AppendNumber(dst, len(p.rare.ways))
	for i := range p.rare.ways {
		dst = appendFields(appendFields(dst, &p.rare.ways[i].fields), &p.rare.ways[i].needs)
	}
	return w.node(dst, &p.rare.shadow)
}

func appendFields(dst []byte, s *fieldSet) []byte {
	for _, word := range s {
		dst = binary.AppendUvarint(dst, word)
	}
	return dst
}

// node writes a condition.
func (w *memoryWriter) node(dst []byte, n *node) []byte {
	dst = append(dst, byte(n.kind))
	switch n.kind {
	case constNode:
		return append(dst, byte(n.value))
	case testNode:
		return w.test(dst, n)
	case patternNode:
		return w.pattern(dst, n.more.(*pattern))
	case residualNode:
		return w.residual(dst, n.more.(residual))
	}
	k := n.kids()
	dst = packed.AppendNumber(dst, len(k))
	for i := range k {
		dst = w.node(dst, &k[i])
	}
	return dst
}

func (w *memoryWriter) test(dst []byte, n *node) []byte {
	dst = w.place(append(dst, byte(n.test), byte(n.missing), byte(n.wrong)), n.place)
	dst = w.scalar(dst, n.literal())
	switch more := n.more.(type) {
	case operands:
		dst = packed.AppendNumber(dst, len(more))
		for _, o := range more {
			dst = w.scalar(dst, o)
		}
	case *expression:
		if more.long == nil {
			return append(dst, 0)
		}
		dst = more.long.append(append(dst, 1))
	case *glob:
		dst = packed.AppendNumber(append(dst, bit(more.fold)), len(more.parts))
		for _, part := range more.parts {
			dst = packed.AppendNumber(dst, len(part.pieces))
			for _, piece := range part.pieces {
				dst = packed.AppendText(dst, piece)
			}
		}
	case netip.Prefix:
		dst = packed.AppendText(dst, more.String())
	}
	return dst
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// residualKind is what kind of residual was written.
type residualKind uint8

const (
	celResidual residualKind = iota
	sqlExpression
	sqlNotFailing
	numericText
)

func (w *memoryWriter) residual(dst []byte, r residual) []byte {
	switch r := r.(type) {
	case *residue:
		return r.append(append(dst, byte(celResidual)))
	case *sqlResidual:
		dst = w.text(append(dst, byte(sqlExpression), bit(r.linear)), r.whole)
		return packed.AppendNumber(packed.AppendNumber(packed.AppendNumber(dst, r.part), r.start), r.end)
	case *sqlDecided:
		return w.node(w.text(append(dst, byte(sqlNotFailing)), r.source), &r.node)
	}
	a := r.(*numericAttribute)
	return w.node(w.text(w.place(append(dst, byte(numericText)), a.place), a.source), &a.limits)
}

func (r *residue) append(dst []byte) []byte {
	return append(packed.AppendNumber(dst, int(r.part-wholeFilter)), bit(r.linear))
}

func (w *memoryWriter) scalar(dst []byte, s scalar) []byte {
	dst = append(dst, byte(s.kind))
	switch s.kind {
	case boolValue, numberValue:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(s.num))
	case textValue:
		return w.text(dst, s.text)
	}
	return dst
}

// text writes a text by its place in the source, where it stands there.
func (w *memoryWriter) text(dst []byte, s string) []byte {
	if at := strings.Index(w.source, s); at >= 0 {
		return packed.AppendNumber(packed.AppendNumber(dst, at+1), len(s))
	}
	return packed.AppendText(append(dst, 0), s)
}
