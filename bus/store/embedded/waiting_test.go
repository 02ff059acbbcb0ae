package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func TestPublishesAreRefusedWhileTooMuchWaitsToBeSynced(t *testing.T) {
	ctx := context.Background()
	s, err := Open(Options{FS: vfs.NewCrashableMem(), Dir: "data", MaxWaiting: 1, NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	bus, err := s.OpenBus(ctx, "a", store.BusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(ctx, []store.Entry{{Bus: bus, Event: small(t, "alone")}}); err != nil {
		t.Fatalf("nothing waits, and an event above the limit is refused: %v", err)
	}
	// The disk is held up at this lock, so that one publish waits below it.
	s.dedupe.mu.Lock()
	first := make(chan error, 1)
	go func() {
		_, err := s.Append(ctx, []store.Entry{{Bus: bus, Event: small(t, "first")}})
		first <- err
	}()
	for s.log.PendingBytes() == 0 {
		select {
		case err := <-first:
			t.Fatalf("answered before it was written: %v", err)
		default:
		}
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			_, err := s.Append(ctx, []store.Entry{{Bus: bus, Event: small(t, fmt.Sprint(i))}})
			var limit *store.LimitError
			if !errors.As(err, &limit) || limit.Limit != "waiting" || !limit.Busy || limit.Bound != 1 {
				t.Errorf("got %v, want the limit waiting", err)
			}
		})
	}
	all.Wait()
	s.dedupe.mu.Unlock()
	if err := <-first; err != nil {
		t.Error(err)
	}
	if b, err := s.Bounds(bus); err != nil || b.Last != 2 {
		t.Errorf("got %+v, %v, want the two events that were accepted", b, err)
	}
}
