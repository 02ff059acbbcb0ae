package embedded

import (
	"math/rand/v2"
	"testing"
)

// TestGenerationAgreesWithAMap remembers, changes and forgets at random, among
// identities that share their places in the table.
func TestGenerationAgreesWithAMap(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	g, want := &generation{}, map[identity]known{}
	check := func(id identity) {
		t.Helper()
		got, ok := g.find(&id, id.slotHash())
		if k, there := want[id]; ok != there || got != k {
			t.Fatalf("%v: found %v, %t; want %v, %t", id, got, ok, k, there)
		}
	}
	for round := range 3 {
		for i := range 20_000 {
			id := identity{bus: 1, key: [16]byte{byte(r.IntN(256)), byte(r.IntN(64))}}
			switch r.IntN(4) {
			case 0:
				check(id)
			case 1:
				at := int64(r.IntN(2))
				g.forget(&id, func(k known) bool { return k.at == at })
				if k, ok := want[id]; ok && k.at == at {
					delete(want, id)
				}
			default:
				k := known{seq: uint64(i), at: int64(i % 2), window: 10}
				g.remember(&id, id.slotHash(), k)
				want[id] = k
			}
			check(id)
		}
		for id := range want {
			check(id)
		}
		if round == 1 {
			g.reset()
			clear(want)
		}
	}
}
