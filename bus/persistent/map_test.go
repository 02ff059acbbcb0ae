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

// Keys may have one hash, whatever the seed is, and more of them than a leaf has
// room for.
func TestKeysOfOneHashAreToldApart(t *testing.T) {
	const hash, many = 0xabcdef, 2 * leafMost
	var n *node[int, string]
	add := func(hash uint64, k int, v string) {
		t.Helper()
		var added bool
		if n, added = n.with(hash, entry[int, string]{k, v}, 0); added != (v == "v") {
			t.Errorf("key %d counts as added: %v", k, added)
		}
	}
	want := map[int]string{many: "v", 1: "other"}
	for k := range many {
		add(hash, k, "v")
		if k != 1 {
			want[k] = "v"
		}
	}
	add(hash+1, many, "v") // like them up to the last bits
	add(hash, 1, "other")
	for k := many; k >= 0; k-- {
		if got := maps.Collect((Map[int, string]{root: n}).All()); !maps.Equal(got, want) {
			t.Fatalf("it has %v, want %v", got, want)
		}
		at := uint64(hash)
		if k == many {
			at++
		}
		var removed bool
		if n, removed = n.without(at, k, 0); !removed {
			t.Fatalf("key %d is not there", k)
		}
		delete(want, k)
	}
	if n != nil {
		t.Error("nodes are left")
	}
}

func TestManyValuesAtOnceAreWhatTheyAreOneByOne(t *testing.T) {
	old := map[int]string{}
	for k := range 200 {
		old[k] = "old"
	}
	for _, changes := range []int{0, 3, 150} {
		values, want := map[int]string{}, maps.Clone(old)
		for i := range changes {
			values[100+i] = "new"
			want[100+i] = "new"
		}
		m := Of(old)
		same(t, "with all", m.WithAll(values), want)
		same(t, "the old one", m, old)
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
