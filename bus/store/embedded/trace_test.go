package embedded

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func TestOutcomesOfABlockAreSortedByEventAndKeepTheirOrder(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	var buf []traceRef
	for range 200 {
		refs := make([]traceRef, r.IntN(400))
		runs := 1 + r.IntN(20)
		for i := range refs {
			refs[i] = traceRef{seq: uint64(i/runs + r.IntN(3)), bus: store.BusID(1 + r.IntN(2)), off: uint32(i)}
		}
		want := slices.Clone(refs)
		slices.SortFunc(want, func(x, y traceRef) int {
			return cmp.Or(cmp.Compare(x.bus, y.bus), cmp.Compare(x.seq, y.seq), cmp.Compare(x.off, y.off))
		})
		var got []traceRef
		if got, buf = sortRefs(refs, buf); !slices.Equal(got, want) {
			t.Fatalf("seed %d: %v, want %v", seed, got, want)
		}
	}
}

// Blocks take the memory of those before them: what is in memory, and what was
// written, has to stay what it was.
func TestTracesStayWhatTheyWereWhenTheirMemoryIsUsedAgain(t *testing.T) {
	s, err := Open(Options{FS: vfs.NewMem(), Dir: "data", NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	bus, err := s.OpenBus(ctx, "a", store.BusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sub := openSubs(t, s, bus, "r/1")[0]
	const events = 5000 // several blocks
	for from := 1; from <= events; from += 1000 {
		appendNumbered(t, s, bus, from, from+999)
		settleNumbered(t, s, bus, sub)
	}
	for seq := uint64(1); seq <= events; seq++ {
		all, err := s.TraceOf(ctx, bus, seq)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) != 1 || all[0].State != "delivered" || len(all[0].Attempts) != 1 || all[0].Attempts[0].Address != fmt.Sprint("to ", seq) {
			t.Fatalf("event %d: %+v", seq, all)
		}
	}
}

// settleNumbered routes what a bus has to sub and delivers it, in an order that
// is not that of the events.
func settleNumbered(t *testing.T, s *Store, bus store.BusID, sub store.SubscriptionID) {
	t.Helper()
	ctx := context.Background()
	records, err := s.Read(ctx, bus, s.Position(bus)+1, 1000, 4<<20, nil)
	if err != nil {
		t.Fatal(err)
	}
	var events []store.RoutedEvent
	for _, r := range records {
		events = append(events, store.RoutedEvent{Record: r, Matches: []store.Routed{{Subscription: sub}}})
	}
	if err := s.Enqueue(ctx, bus, records[len(records)-1].Sequence, events); err != nil {
		t.Fatal(err)
	}
	var out []store.Settlement
	for len(out) < len(records) {
		ds, _, err := s.Claim(ctx, sub, s.opts.Clock(), 256, nil)
		if err != nil || len(ds) == 0 {
			t.Fatalf("%d of %d claimed: %v", len(out), len(records), err)
		}
		for _, d := range ds {
			a := &store.Attempt{Number: 1, Started: s.opts.Clock(), Duration: time.Second, Status: 200, Address: fmt.Sprint("to ", d.ID.Sequence)}
			out = append(out, store.Settlement{ID: d.ID, Attempt: a})
		}
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	for some := range slices.Chunk(out, 100) {
		if err := s.Settle(ctx, some); err != nil {
			t.Fatal(err)
		}
	}
}
