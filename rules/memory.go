package rules

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"strings"
)

// A compiled filter can be written down, so that a server that starts again
// with many rules need not parse and check each of them. What is written is
// good for the same build of the program only.

// memory is compiled filters that were written down, by their sources.
type memory map[memoryKey]string

type memoryKey [16]byte

func (f *filter) memoryKey() memoryKey { return keyOf(f.dialect, f.source) }

func keyOf(d dialect, source string) (k memoryKey) {
	h := sha256.New()
	h.Write([]byte{byte(d)})
	h.Write([]byte(source))
	copy(k[:], h.Sum(nil))
	return k
}

const memoryMagic = "switchyard filters 1\n"

// AppendCompiled appends the filters of matchers to dst in a form that Remember
// reads. Only those are written that take long to compile again, and none that
// have something to redact. build tells builds of the program apart.
func AppendCompiled(dst []byte, build string, matchers []*Matcher) []byte {
	start := len(dst)
	dst = appendText(append(dst, memoryMagic...), build)
	var body []byte
	seen := map[*filter]bool{}
	for _, m := range matchers {
		f := m.filter
		if f == nil || f.dialect != inCEL || m.redaction() != nil || seen[f] {
			continue
		}
		seen[f] = true
		var ok bool
		if body, ok = f.tree().append(append(body[:0], byte(f.class)), f.source); !ok {
			continue
		}
		key := f.memoryKey()
		dst = appendText(append(dst, key[:]...), string(body))
	}
	return binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
}

// Remember lets Compile take filters from what AppendCompiled wrote by the same
// build, until Forget. It returns how many there are; an error says that the
// data is of another build or damaged, and is of no use.
func (env *Env) Remember(build string, data []byte) (int, error) {
	body, ok := strings.CutPrefix(string(data), memoryMagic)
	if !ok || len(body) < 4 {
		return 0, errors.New("not compiled filters of this version")
	}
	sum := crc32.ChecksumIEEE(data[:len(data)-4])
	if binary.LittleEndian.Uint32(data[len(data)-4:]) != sum {
		return 0, errors.New("the compiled filters are damaged")
	}
	r := reader{rest: body[:len(body)-4]}
	if r.text() != build {
		return 0, errors.New("the compiled filters are of another build")
	}
	known := memory{}
	for r.rest != "" && !r.bad {
		var key memoryKey
		copy(key[:], r.take(len(key)))
		known[key] = r.text()
	}
	if r.bad {
		return 0, errors.New("the compiled filters are damaged")
	}
	env.memory.Store(&known)
	return len(known), nil
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
	data, ok := (*known)[keyOf(d, source)]
	if !ok {
		return node{}, 0, false
	}
	r := reader{rest: data, env: env, source: source}
	class := Class(r.byte())
	n := r.node(0)
	return n, class, !r.bad && r.rest == ""
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// append writes a condition; ok is false if it has a part that is not written.
func (n *node) append(dst []byte, source string) (_ []byte, ok bool) {
	dst = append(dst, byte(n.kind))
	switch n.kind {
	case constNode:
		return append(dst, byte(n.value)), true
	case andNode, orNode, notNode, ifNode:
		k := n.kids()
		dst = binary.AppendUvarint(dst, uint64(len(k)))
		for i := range k {
			if dst, ok = k[i].append(dst, source); !ok {
				return dst, false
			}
		}
		return dst, true
	case residualNode:
		r, ok := n.more.(*residue)
		if !ok {
			return dst, false
		}
		return r.append(dst), true
	case testNode:
	default:
		return dst, false
	}
	dst = append(dst, byte(n.test), byte(n.missing), byte(n.wrong), byte(n.place.reach))
	dst = appendText(dst, n.place.attr)
	dst = binary.AppendUvarint(dst, uint64(len(n.place.keys)))
	for _, k := range n.place.keys {
		dst = appendText(dst, k)
	}
	dst = appendScalar(dst, n.literal(), source)
	switch more := n.more.(type) {
	case nil, *byte:
	case operands:
		dst = binary.AppendUvarint(dst, uint64(len(more)))
		for _, o := range more {
			dst = appendScalar(dst, o, source)
		}
	case *expression:
		dst = more.long.append(dst)
	default:
		return dst, false
	}
	return dst, true
}

func (r *residue) append(dst []byte) []byte {
	linear := byte(0)
	if r.linear {
		linear = 1
	}
	return append(binary.AppendUvarint(dst, uint64(r.part-wholeFilter)), linear)
}

// appendScalar writes a text by its place in the source, where it stands there.
func appendScalar(dst []byte, s scalar, source string) []byte {
	dst = append(dst, byte(s.kind))
	switch s.kind {
	case boolValue, numberValue:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(s.num))
	case textValue:
		if at := strings.Index(source, s.text); at >= 0 {
			return binary.AppendUvarint(binary.AppendUvarint(dst, uint64(at)+1), uint64(len(s.text)))
		}
		return appendText(append(dst, 0), s.text)
	}
	return dst
}

// reader reads what was written. It is bad once something does not fit.
type reader struct {
	rest   string
	bad    bool
	env    *Env
	source string
}

func (r *reader) take(n int) string {
	if n < 0 || n > len(r.rest) {
		r.bad, r.rest = true, ""
		return ""
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}

func (r *reader) byte() byte {
	if s := r.take(1); s != "" {
		return s[0]
	}
	return 0
}

func (r *reader) number() int {
	var x uint64
	for shift := 0; shift < 35; shift += 7 {
		b := r.byte()
		x |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return int(x)
		}
	}
	r.bad = true
	return 0
}

func (r *reader) text() string { return r.take(r.number()) }

// count is a number of things of which each takes at least one byte.
func (r *reader) count() int {
	n := r.number()
	if n > len(r.rest) {
		r.bad = true
		return 0
	}
	return n
}

func (r *reader) scalar() (s scalar) {
	s.kind = valueKind(r.byte())
	switch s.kind {
	case boolValue, numberValue:
		if b := r.take(8); b != "" {
			s.num = math.Float64frombits(binary.LittleEndian.Uint64([]byte(b)))
		}
	case textValue:
		at := r.number()
		if at == 0 {
			s.text = strings.Clone(r.text())
			return s
		}
		n := r.number()
		if at-1 > len(r.source) || n > len(r.source)-(at-1) {
			r.bad = true
			return s
		}
		s.text = r.env.texts.within(r.source[at-1:at-1+n], r.source[at-1:at-1+n])
	}
	return s
}

func (r *reader) residue() *residue {
	part := r.number() + wholeFilter
	return &residue{env: r.env, source: r.source, part: int32(part), linear: r.byte() == 1}
}

func (r *reader) node(depth int) node {
	n := node{kind: nodeKind(r.byte())}
	if depth > maxNodes || r.bad {
		r.bad = true
		return n
	}
	switch n.kind {
	case constNode:
		n.value = outcome(r.byte())
	case andNode, orNode, notNode, ifNode:
		k := make(kids, r.count())
		for i := range k {
			k[i] = r.node(depth + 1)
		}
		r.bad = r.bad || len(k) == 0 || n.kind == notNode && len(k) != 1 || n.kind == ifNode && len(k) != 3
		n = parent(n.kind, k...)
	case residualNode:
		n.more = r.residue()
	case testNode:
		r.test(&n)
	default:
		r.bad = true
	}
	return n
}

func (r *reader) test(n *node) {
	n.test, n.missing, n.wrong = testKind(r.byte()), outcome(r.byte()), outcome(r.byte())
	reached, attr := reach(r.byte()), r.text()
	keys := make([]string, r.count())
	for i := range keys {
		keys[i] = r.text()
	}
	if r.bad || n.test > inNetwork || reached > reachAll {
		r.bad = true
		return
	}
	n.place = r.env.places.of(reached, attr, keys)
	*n = n.with(r.scalar())
	switch n.test {
	case isIn:
		in := make(operands, r.count())
		for i := range in {
			in[i] = r.scalar()
		}
		n.more = in
	case isMatch:
		x, err := newExpression(n.text())
		if err != nil {
			r.bad = true
			return
		}
		x.long = r.residue()
		n.more = x
	case isLike, inNetwork:
		r.bad = true
	}
}
