package embedded

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

func randomIdentity(r *rand.Rand) (id identity) {
	id.bus = 1
	binary.LittleEndian.PutUint64(id.key[:], r.Uint64())
	binary.LittleEndian.PutUint64(id.key[8:], r.Uint64())
	return id
}

func TestAFilterKnowsWhatWasAddedAndLittleElse(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 20, 1000, generationSize} {
		f := newFilter(n)
		added := make([]identity, n)
		for i := range added {
			added[i] = randomIdentity(r)
			f.add(added[i].hash())
		}
		row := f.append(nil)
		read, err := parseFilter(row)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := asFilter(row)
		if err != nil {
			t.Fatal(err)
		}
		for i := range added {
			if where, which := added[i].hash(); !f.has(where, which) || !read.has(where, which) || !stored.has(where, which) {
				t.Fatalf("a filter of %d identities misses one", n)
			}
		}
		const asked, most = 1 << 20, 300
		found := 0
		for range asked {
			id := randomIdentity(r)
			known := f.has(id.hash())
			if known {
				found++
			}
			if stored.has(id.hash()) != known {
				t.Fatalf("a stored filter of %d identities says of one what the filter does not", n)
			}
		}
		if n == generationSize && found > most {
			t.Errorf("a filter of a full generation takes %d of %d unknown identities for known, more than %d", found, asked, most)
		}
	}
}
