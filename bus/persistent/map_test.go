package persistent

import (
	"maps"
	"math/rand/v2"
	"testing"
)

// same fails unless m holds what want does.
func same(t *testing.T, what string, m Map[int, string], want map[int]string) {
	t.Helper()
	if m.Len() != len(want) {
		t.Fatalf("%s: %d entries, want %d", what, m.Len(), len(want))
	}
	if got := maps.Collect(m.All()); !maps.Equal(got, want) {
		t.Fatalf("%s: it has %v, want %v", what, got, want)
	}
	for k := range 300 {
		got, ok := m.Get(k)
		if value, has := want[k]; ok != has || got != value || m.At(k) != value {
			t.Fatalf("%s: key %d is %q, %v, want %q, %v", what, k, got, ok, value, has)
		}
	}
}

func TestAMapIsWhatItsChangesMadeAndOldOnesStayAsTheyWere(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	want := map[int]string{}
	for range 100 {
		want[r.IntN(300)] = "first"
	}
	m := Of(want)
	type kept struct {
		m    Map[int, string]
		want map[int]string
	}
	old := []kept{{Map[int, string]{}, map[int]string{}}, {m, maps.Clone(want)}}
	for i := range 5000 {
		k := r.IntN(300)
		if r.IntN(5) < 2+i/1000%2 { // grows and shrinks
			m = m.Without(k)
			delete(want, k)
		} else {
			v := string(rune('a' + r.IntN(26)))
			m = m.With(k, v)
			want[k] = v
		}
		if i%100 == 0 {
			old = append(old, kept{m, maps.Clone(want)})
		}
	}
	same(t, "the last", m, want)
	for _, o := range old {
		same(t, "an old one", o.m, o.want)
	}
	for k := range want {
		m = m.Without(k)
	}
	same(t, "emptied", m, map[int]string{})
	if m.root != nil {
		t.Error("an empty map keeps nodes")
	}
}

// Two keys may have one hash, whatever the seed is.
func TestKeysOfOneHashAreToldApart(t *testing.T) {
	const hash = 0xabcdef
	var n *node[int, string]
	for k := range 3 {
		n, _ = n.with(&entry[int, string]{hash: hash, key: k, value: "v"}, 0)
	}
	n, _ = n.with(&entry[int, string]{hash: hash + 1, key: 9, value: "v"}, 0) // like them up to the last bits
	n, replaced := n.with(&entry[int, string]{hash: hash, key: 1, value: "other"}, 0)
	if replaced {
		t.Error("a key that was there counts as one more")
	}
	want := map[int]string{0: "v", 1: "other", 2: "v", 9: "v"}
	for _, k := range []int{1, 0, 9, 2} {
		if got := maps.Collect((Map[int, string]{root: n}).All()); !maps.Equal(got, want) {
			t.Fatalf("it has %v, want %v", got, want)
		}
		at := uint64(hash)
		if k == 9 {
			at++
		}
		n, _ = n.without(k, at, 0)
		delete(want, k)
	}
	if n != nil {
		t.Error("nodes are left")
	}
}

func TestAWalkEndsWhenItIsToldTo(t *testing.T) {
	seen := 0
	for range Of(map[int]int{1: 1, 2: 2, 3: 3}).All() {
		if seen++; seen == 2 {
			break
		}
	}
	if seen != 2 {
		t.Errorf("%d entries", seen)
	}
}

func BenchmarkMap(b *testing.B) {
	m := map[uint32]*int{}
	for i := range uint32(100_000) {
		m[i] = new(int)
	}
	all := Of(m)
	b.Run("Of", func(b *testing.B) {
		for b.Loop() {
			Of(m)
		}
	})
	b.Run("Get", func(b *testing.B) {
		i := uint32(0)
		for b.Loop() {
			i = i*1664525 + 1013904223
			all.Get(i % 100_000)
		}
	})
	b.Run("Go map", func(b *testing.B) {
		i, sum := uint32(0), 0
		for b.Loop() {
			i = i*1664525 + 1013904223
			sum += *m[i%100_000]
		}
		_ = sum
	})
	b.Run("With", func(b *testing.B) {
		i := uint32(0)
		for b.Loop() {
			i = i*1664525 + 1013904223
			all.With(i%100_000, nil)
		}
	})
}
