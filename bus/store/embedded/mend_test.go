package embedded

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// mutations are the operations that change a disk.
var mutations = []errorfs.OpKind{
	errorfs.OpCreate, errorfs.OpLink, errorfs.OpRename, errorfs.OpReuseForWrite, errorfs.OpMkdirAll,
	errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo,
}

// queued hands events of a bus to a subscription, from where its router is.
func queued(t *testing.T, s *Store, bus store.BusID, sub store.SubscriptionID) error {
	t.Helper()
	rs, err := s.Read(context.Background(), bus, s.Position(bus)+1, 1000, 1<<20, nil)
	if err != nil || len(rs) == 0 {
		return err
	}
	var events []store.RoutedEvent
	for _, r := range rs {
		events = append(events, store.RoutedEvent{Record: r, Matches: []store.Routed{{Subscription: sub}}})
	}
	return s.Enqueue(context.Background(), bus, rs[len(rs)-1].Sequence, events)
}

func TestAFailedStateIsOpenedAgainAndOwesWhatItOwed(t *testing.T) {
	ctx := context.Background()
	for _, cause := range []error{errInjected, syscall.ENOSPC, syscall.EMFILE} {
		t.Run(cause.Error(), func(t *testing.T) {
			s, on, mem := failing(t, "state", mutations, cause)
			defer func() { _ = s.Close() }()
			bus, err := s.OpenBus(ctx, "a", store.BusOptions{})
			must(t, err)
			info, err := store.OpenSubscription(ctx, s, store.SubscriptionOptions{Name: "r/t", Bus: bus})
			must(t, err)
			publish := func(id string) (store.Result, error) {
				rs, err := s.Append(ctx, []store.Entry{{Bus: bus, Event: small(t, id), Dedupe: dedupeKeyOf(id), Window: time.Hour}})
				if err != nil {
					return store.Result{}, err
				}
				return rs[0], nil
			}
			// One is done and durable, one dead, one claimed, one in memory only.
			for i := range 3 {
				_, err := publish(fmt.Sprint(i))
				must(t, err)
			}
			must(t, queued(t, s, bus, info.ID))
			ds, _, err := s.Claim(ctx, info.ID, s.opts.Clock(), 3, nil)
			must(t, err)
			must(t, s.Settle(ctx, []store.Settlement{{ID: ds[0].ID, Kind: store.Done}, {ID: ds[1].ID, Kind: store.Dead, Reason: "no"}}))
			must(t, s.Checkpoint(ctx))
			_, err = publish("3")
			must(t, err)
			must(t, queued(t, s, bus, info.ID))

			on.Store(true)
			if _, err := s.PutObject(ctx, "k", "n", nil, store.AnyVersion); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("a command gives %v", err)
			}
			if _, err := publish("4"); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("publishing gives %v", err)
			}
			if err := s.Err(); !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, cause) {
				t.Errorf("Err is %v", err)
			}
			if err := s.mend(); errors.Is(err, store.ErrClosed) || err == nil && s.Err() == nil {
				t.Errorf("mended on a disk that fails: %v", err)
			}
			on.Store(false)
			must(t, s.mend())
			if err := s.Err(); err != nil {
				t.Fatalf("Err is still %v", err)
			}
			// The router learns that it has to go back.
			if err := s.Enqueue(ctx, bus, 4, nil); !errors.Is(err, store.ErrRewound) {
				t.Errorf("enqueueing without asking gives %v", err)
			}
			if r, err := publish("3"); err != nil || !r.Duplicate {
				t.Errorf("what was acknowledged before is %+v, %v", r, err)
			}
			if r, err := publish("4"); err != nil || r.Duplicate || r.Sequence != 5 {
				t.Errorf("what was refused is %+v, %v", r, err)
			}
			must(t, queued(t, s, bus, info.ID))
			if ds, _, err = s.Claim(ctx, info.ID, s.opts.Clock(), 10, nil); err != nil || len(ds) != 3 {
				t.Fatalf("claimed %d deliveries, %v", len(ds), err)
			}
			for i, want := range []string{"2", "3", "4"} {
				if got := ds[i].Record.Event.ID(); got != want {
					t.Errorf("claimed %s for %s", got, want)
				}
			}
			if info, _ := s.Subscription(info.ID); info.Dead != 1 {
				t.Errorf("%d dead letters", info.Dead)
			}
			must(t, s.Close())
			report, err := Check(ctx, CheckOptions{FS: mem, Dir: "data"})
			if err != nil || len(report.Problems) > 0 {
				t.Errorf("check: %v, %v", report.Problems, err)
			}
		})
	}
}

// told counts what a store tells.
type told struct{ appended, ready atomic.Int64 }

func (w *told) Appended(store.BusID)       { w.appended.Add(1) }
func (w *told) Ready(store.SubscriptionID) { w.ready.Add(1) }

func TestAFailedStateIsMendedByItselfOnceTheDiskIsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		var on atomic.Bool
		fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if on.Load() && slices.Contains(mutations, op.Kind) && (strings.Contains(op.Path, "state") || strings.Contains(op.Path, "PROBE")) {
				return syscall.ENOSPC
			}
			return nil
		}))
		s, err := Open(Options{FS: fs, Dir: "data", DiskReserve: -1})
		must(t, err)
		defer s.Close()
		w := &told{}
		s.Watch(w)
		bus, err := s.OpenBus(ctx, "a", store.BusOptions{})
		must(t, err)
		info, err := store.OpenSubscription(ctx, s, store.SubscriptionOptions{Name: "r/t", Bus: bus})
		must(t, err)
		must(t, publishTo(t, s, bus, "1"))
		must(t, queued(t, s, bus, info.ID))
		waiting := make(chan error, 1)
		go func() { waiting <- s.Await(ctx, bus, 1) }()
		time.Sleep(2 * time.Second)
		on.Store(true)
		_, err = s.PutObject(ctx, "k", "n", nil, store.AnyVersion)
		if !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("a command gives %v", err)
		}
		time.Sleep(time.Minute)
		if err := s.Err(); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("on a full disk: %v", err)
		}
		if rs, err := s.Read(ctx, bus, 1, 10, 1<<20, nil); err != nil || len(rs) != 1 {
			t.Errorf("on a full disk %d events can be read, %v", len(rs), err)
		}
		on.Store(false)
		appended, ready := w.appended.Load(), w.ready.Load()
		time.Sleep(2 * lastMend)
		if err := s.Err(); err != nil {
			t.Fatalf("with space again: %v", err)
		}
		if w.appended.Load() == appended || w.ready.Load() == ready {
			t.Error("the watcher was not told what there is to do")
		}
		must(t, publishTo(t, s, bus, "2"))
		must(t, <-waiting)
		ds, _, err := s.Claim(ctx, info.ID, time.Now(), 10, nil)
		if err != nil || len(ds) != 1 {
			t.Errorf("claimed %d, %v", len(ds), err)
		}
	})
}
