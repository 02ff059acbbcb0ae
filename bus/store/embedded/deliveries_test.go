package embedded

import (
	"context"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// settleAll routes what a bus has to all, and to rare each event whose sequence is
// a multiple of every, and delivers all of it.
func settleAll(t testing.TB, s *Store, bus store.BusID, all, rare store.SubscriptionID, every uint64) {
	t.Helper()
	ctx := context.Background()
	for {
		from := s.Position(bus) + 1
		records, err := s.Read(ctx, bus, from, 1024, 4<<20, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(records) == 0 {
			return
		}
		var events []store.RoutedEvent
		for _, r := range records {
			e := store.RoutedEvent{Record: r, Matches: []store.Routed{{Subscription: all}}}
			if r.Sequence%every == 0 {
				e.Matches = append(e.Matches, store.Routed{Subscription: rare})
			}
			events = append(events, e)
		}
		if err := s.Enqueue(ctx, bus, records[len(records)-1].Sequence, events); err != nil {
			t.Fatal(err)
		}
		for _, sub := range []store.SubscriptionID{all, rare} {
			for {
				ds, _, err := s.Claim(ctx, sub, s.opts.Clock(), 256, nil)
				if err != nil {
					t.Fatal(err)
				}
				if len(ds) == 0 {
					break
				}
				var out []store.Settlement
				for _, d := range ds {
					out = append(out, store.Settlement{ID: d.ID, Attempt: &store.Attempt{Number: 1, Started: s.opts.Clock(), Status: 200}})
				}
				if err := s.Settle(ctx, out); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func openSubs(t testing.TB, s *Store, bus store.BusID, names ...string) (ids []store.SubscriptionID) {
	t.Helper()
	for _, name := range names {
		info, err := store.OpenSubscription(context.Background(), s, store.SubscriptionOptions{Name: name, Bus: bus})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, info.ID)
	}
	return ids
}

// listAll lists to the end, and counts the calls.
func listAll(t testing.TB, s *Store, bus store.BusID, q store.DeliveriesQuery) (all []uint64, calls int) {
	t.Helper()
	for {
		found, next, err := s.WithDeliveries(context.Background(), bus, q)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
		if calls++; next == 0 {
			return all, calls
		}
		if q.Newest {
			q.To = next
		} else {
			q.From = next
		}
	}
}

func TestBlocksThatCannotHaveAnOutcomeAreNotRead(t *testing.T) {
	fs := vfs.NewMem()
	open := func() *Store {
		s, err := Open(Options{FS: fs, Dir: "data", NoBackground: true})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	bus, err := s.OpenBus(context.Background(), "a", store.BusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	subs := openSubs(t, s, bus, "r/all", "r/rare", "r/never")
	const events = 3 * 4096
	for from := 1; from <= events; from += 1024 {
		appendNumbered(t, s, bus, from, from+1023)
		settleAll(t, s, bus, subs[0], subs[1], 6000)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	defer func() { s.Close() }()
	blocks := func(bucket uint64, sub store.SubscriptionID, state int) int {
		want := wantedOutcomes{subs: map[store.SubscriptionID]bool{sub: true}}
		want.states[state] = true
		found, err := s.trace.blocksOf(bus, bucket<<traceBucket, (bucket+1)<<traceBucket-1, &want)
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	for bucket := range uint64(3) { // 6000 is in the second, 12000 in the third
		if all, rare := blocks(bucket, subs[0], outcomeDone), blocks(bucket, subs[1], outcomeDone); all < 2 || rare > 1 || (rare == 1) != (bucket > 0) {
			t.Errorf("bucket %d: %d blocks have outcomes of all, %d of the rare one", bucket, all, rare)
		}
		if n := blocks(bucket, subs[2], outcomeDone) + blocks(bucket, subs[0], outcomeExpired); n > 1 { // a filter may err
			t.Errorf("bucket %d: %d blocks may have what never was", bucket, n)
		}
	}
	check := func() {
		t.Helper()
		for _, newest := range []bool{false, true} {
			for _, most := range []int{1, 1000, 1 << 20} {
				want := []uint64{6000, 12000}
				if newest {
					slices.Reverse(want)
				}
				q := store.DeliveriesQuery{Subscriptions: subs[1:], Delivered: true, Newest: newest, Max: most}
				if got, _ := listAll(t, s, bus, q); !slices.Equal(got, want) {
					t.Errorf("the rare ones, %d at a time: %v", most, got)
				}
				if most < 1000 {
					continue
				}
				q = store.DeliveriesQuery{Any: true, Delivered: true, Newest: newest, Max: most}
				got, _ := listAll(t, s, bus, q)
				if len(got) != events || got[0] != 1 && got[0] != events || !slices.IsSortedFunc(got, func(a, b uint64) int {
					if newest {
						a, b = b, a
					}
					return int(a) - int(b)
				}) {
					t.Errorf("all, %d at a time: %d events", most, len(got))
				}
			}
		}
	}
	check()
	// Rows of releases before have no filter.
	batch := s.state.db.NewBatch()
	err = s.state.scanPrefix([]byte{prefixBlock}, func(key, value []byte) (bool, error) {
		return true, batch.Set(key, value[:16], nil)
	})
	if err == nil {
		err = s.state.commit(batch)
	}
	if err != nil {
		t.Fatal(err)
	}
	if n := blocks(0, subs[2], outcomeDone); n < 2 {
		t.Errorf("of rows without a filter only %d blocks are read", n)
	}
	check()
}

// A list of a long bus ends early, again and again, rather than taking long.
func TestAListOfDeliveriesIsBounded(t *testing.T) {
	s, err := Open(Options{FS: vfs.NewMem(), Dir: "data", NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	id, err := s.OpenBus(context.Background(), "a", store.BusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.bus(id)
	if err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	b.last = 10_000_000 // as if
	b.mu.Unlock()
	all, calls := listAll(t, s, id, store.DeliveriesQuery{Any: true, Delivered: true, Max: 10})
	if want := (10_000_000>>traceBucket + bucketsListed) / bucketsListed; len(all) != 0 || calls != want {
		t.Errorf("%d calls, want %d; %v", calls, want, all)
	}
}
