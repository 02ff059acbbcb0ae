package embedded

import (
	"encoding/binary"
	"math/bits"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// filter is a blocked Bloom filter over identities: it says of one that it is
// certainly not among those that were added, at the cost of one cache line.
type filter []uint64

const (
	bitsPerKey    = 24
	filterBits    = 7
	wordsPerBlock = 8
	bitsPerBlock  = 9 // log2 of 512
	blockMask     = 1<<bitsPerBlock - 1
)

// newFilter makes a filter for n identities.
func newFilter(n int) filter {
	blocks := max(n*bitsPerKey>>bitsPerBlock, 1)
	return make(filter, blocks*wordsPerBlock)
}

// hash mixes an identity into where its block is and which bits of it it sets.
func (id *identity) hash() (where, which uint64) {
	a := binary.LittleEndian.Uint64(id.key[:8])
	b := binary.LittleEndian.Uint64(id.key[8:]) + uint64(id.bus)*0x9e3779b97f4a7c15
	where = mix(a ^ mix(b))
	return where, mix(where + 0x9e3779b97f4a7c15)
}

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (f filter) blocks() int { return len(f) / wordsPerBlock }

func (f filter) block(where uint64) *[wordsPerBlock]uint64 {
	n, _ := bits.Mul64(where, uint64(f.blocks()))
	return (*[wordsPerBlock]uint64)(f[n*wordsPerBlock:])
}

// has looks at three bits at once before it looks at the others: one branch that
// nearly always goes the same way, so that look-ups in many filters overlap.
func (f filter) has(where, which uint64) bool {
	block := f.block(where)
	if bitOf(block, which)&bitOf(block, which>>bitsPerBlock)&bitOf(block, which>>(2*bitsPerBlock)) == 0 {
		return false
	}
	for range filterBits - 3 {
		if bitOf(block, which>>(3*bitsPerBlock)) == 0 {
			return false
		}
		which >>= bitsPerBlock
	}
	return true
}

func bitOf(block *[wordsPerBlock]uint64, bit uint64) uint64 {
	return block[bit&blockMask>>6] >> (bit & 63) & 1
}

func (f filter) add(where, which uint64) {
	block := f.block(where)
	for range filterBits {
		bit := which & blockMask
		block[bit>>6] |= 1 << (bit & 63)
		which >>= bitsPerBlock
	}
}

func (f filter) append(dst []byte) []byte {
	for _, w := range f {
		dst = be64(dst, w)
	}
	return dst
}

// storedFilter is what append wrote, for who asks it once: it is not decoded.
type storedFilter []byte

const bytesPerBlock = wordsPerBlock * 8

func asFilter(b []byte) (storedFilter, error) {
	if len(b) == 0 || len(b)%bytesPerBlock != 0 {
		return nil, errBadRow
	}
	return b, nil
}

// has is has of the filter; it reads one block.
func (f storedFilter) has(where, which uint64) bool {
	n, _ := bits.Mul64(where, uint64(len(f)/bytesPerBlock))
	var block [wordsPerBlock]uint64
	decodeWords(block[:], f[n*bytesPerBlock:])
	return filter(block[:]).has(where, which)
}

// parseFilter decodes what append wrote.
func parseFilter(b []byte) (filter, error) {
	stored, err := asFilter(b)
	if err != nil {
		return nil, err
	}
	f := make(filter, len(stored)/8)
	decodeWords(f, stored)
	return f, nil
}

func decodeWords(dst []uint64, b []byte) {
	for i := range dst {
		dst[i] = binary.BigEndian.Uint64(b[i*8:])
	}
}

// identity is what tells events of all buses apart.
type identity struct {
	bus store.BusID
	key [16]byte
}
