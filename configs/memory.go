package configs

import (
	"crypto/sha256"
	"fmt"
	"strconv"

	"github.com/switchyard-dev/switchyard/bus/packed"
)

// Memory is the rules of configuration files as they were found to be, written
// down so that a program that starts again with the same files need not decode
// and check each of them. It holds nothing that a file's text does not say alone:
// a rule with a reference to the environment or to a file, and one that calls
// endpoints, is left out, and so is all that is not a rule; those are read from
// the file again.
//
// The zero value is empty. A Memory is used by one load at a time.
type Memory struct {
	known map[documentKey]string
	last  []rememberedDocument // of the files of the last load, in their order
	fresh bool                 // some of last were not known
}

// documentKey tells texts apart, and the files that they stand in.
type documentKey [sha256.Size]byte

type rememberedDocument struct {
	key  documentKey
	body string
}

const memoryMagic = "switchyard rules 2\n"

// Remember lets loads take rules from what Append wrote for the same build of
// the program, until Forget; data is not to be changed any more, for what is
// loaded shares memory with it. An error says that the data is of another build or
// damaged, and is of no use.
func (m *Memory) Remember(build string, data []byte) error {
	r, err := packed.Open(data, memoryMagic, build)
	if err != nil {
		return fmt.Errorf("the rules that were kept: %w", err)
	}
	known := map[documentKey]string{}
	for r.Rest != "" {
		var key documentKey
		copy(key[:], r.Take(len(key)))
		known[key] = r.Text()
	}
	if r.Bad {
		return fmt.Errorf("the rules that were kept: %w", packed.ErrDamaged)
	}
	m.known = known
	return nil
}

// Append appends the rules of the last load to dst in a form that Remember reads.
// build tells builds of the program apart.
func (m *Memory) Append(dst []byte, build string) []byte {
	start := len(dst)
	dst = packed.Begin(dst, memoryMagic, build)
	for _, d := range m.last {
		dst = packed.AppendText(append(dst, d.key[:]...), d.body)
	}
	return packed.End(dst, start)
}

// Fresh reports whether the last load read something that Remember did not give,
// so that it is worth to be written.
func (m *Memory) Fresh() bool { return m.fresh }

// Forget drops all; what was loaded stays good.
func (m *Memory) Forget() { *m = Memory{} }

// keep notes what was found of a document.
func (m *Memory) keep(key documentKey, body string) {
	_, known := m.known[key]
	m.last, m.fresh = append(m.last, rememberedDocument{key, body}), m.fresh || !known
}

// key is what decides, beside the program, what the rules of a text are.
func (d *document) key(text []byte) (k documentKey) {
	h := sha256.New()
	h.Write(packed.AppendText(nil, d.file))
	h.Write(strconv.AppendInt(nil, int64(d.loader.MostLinted), 10))
	h.Write([]byte{'\n'})
	h.Write(text)
	h.Sum(k[:0])
	return k
}
