package embedded

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// TestTransactionsAreAllOrNothingOverCrashes cuts the power at random moments
// around prepares, commits and rollbacks, also between a commit's frame and what
// the state makes of it, and checks that each transaction whose call was
// answered stands as it was answered, that the others are whole in one state or
// the other, and that no event comes without its transaction or twice.
func TestTransactionsAreAllOrNothingOverCrashes(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+4*tries(); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			transactionCrashes(t, rand.New(rand.NewPCG(seed, 11)))
		})
	}
}

func transactionCrashes(t *testing.T, r *rand.Rand) {
	ctx, clock := context.Background(), newClock()
	fs := vfs.NewCrashableMem()
	size := map[uint64]int{}
	state := map[uint64]store.TransactionState{} // as it was answered
	for epoch := range 6 {
		s, err := Open(Options{Dir: "data", FS: fs, Clock: clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		var buses []store.BusID
		for _, name := range []string{"a", "b"} {
			b, err := s.OpenBus(ctx, name, store.BusOptions{})
			if err != nil {
				t.Fatal(err)
			}
			buses = append(buses, b)
		}
		transactionsWhole(t, s, buses, size, state)
		var clone *vfs.MemFS
		cut := func() {
			if clone == nil && r.IntN(30) == 0 {
				clone = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
			}
		}
		for step := 0; step < 60 && clone == nil; step++ {
			var ids []uint64
			for id := range size {
				if !state[id].Finished() {
					ids = append(ids, id)
				}
			}
			switch n := r.IntN(5); {
			case n == 0 || len(ids) == 0:
				var batch []store.Entry
				for i := range 1 + r.IntN(5) {
					batch = append(batch, store.Entry{Bus: buses[r.IntN(2)], Event: small(t, fmt.Sprint(epoch, "-", step, "-", i)), Window: time.Hour,
						Dedupe: [16]byte{byte(epoch), byte(step), byte(i)}})
				}
				got, err := s.OpenTransaction(ctx, batch, "", time.Time{})
				if err != nil {
					t.Fatal(err)
				}
				size[got.ID], state[got.ID] = len(batch), store.TransactionOpen
			case n < 4:
				id := ids[r.IntN(len(ids))]
				if n == 1 {
					err = s.RollbackTransaction(ctx, id)
					state[id] = store.TransactionRolledBack
				} else {
					_, err = s.CommitTransaction(ctx, id)
					state[id] = store.TransactionCommitted
				}
				if err != nil {
					t.Fatal(err)
				}
			default:
				if err := s.state.flush(); err != nil {
					t.Fatal(err)
				}
			}
			cut()
			// One more commit, cut off between its frame and the state.
			if clone == nil && r.IntN(20) == 0 && len(ids) > 0 && !state[ids[0]].Finished() {
				batch, err := s.entriesOf(ids[0])
				if err != nil {
					t.Fatal(err)
				}
				if _, err := s.append(ctx, batch, nil, ids[0]); err != nil {
					t.Fatal(err)
				}
				state[ids[0]] = store.TransactionCommitted
				clone = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
			}
		}
		if clone == nil {
			clone = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
		}
		_ = s.Close()
		fs = clone
	}
}

// transactionsWhole checks all transactions against what was answered.
func transactionsWhole(t *testing.T, s *Store, buses []store.BusID, size map[uint64]int, state map[uint64]store.TransactionState) {
	t.Helper()
	ctx := context.Background()
	want, got := 0, 0
	for id, n := range size {
		tx, events, err := s.GetTransaction(ctx, id)
		if err != nil || tx.State != state[id] {
			t.Fatalf("transaction %d is %v (%v), and was answered as %v", id, tx.State, err, state[id])
		}
		if tx.State == store.TransactionCommitted {
			want += n
			for _, e := range events {
				rec, err := s.Get(ctx, e.Bus, e.Result.Sequence)
				if err != nil || rec.Event.ID() != e.ID {
					t.Fatalf("transaction %d: event %q is not at its place: %v", id, e.ID, err)
				}
			}
			if err := s.RollbackTransaction(ctx, id); !errors.Is(err, store.ErrCommitted) {
				t.Fatalf("rolling back transaction %d: %v", id, err)
			}
		}
	}
	for _, b := range buses {
		bounds, err := s.Bounds(b)
		if err != nil {
			t.Fatal(err)
		}
		got += int(bounds.Last)
	}
	if got != want {
		t.Fatalf("the buses hold %d events, those of committed transactions are %d", got, want)
	}
}
