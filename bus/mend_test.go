package bus_test

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

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store/embedded"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/targets"
)

// A disk that is full now and again, while events come: what
// was acknowledged is delivered.
func TestWhatWasAcknowledgedIsDeliveredAcrossFailuresOfTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, full := onAFullDisk(t)
		e := w.engine
		live := &target{}
		w.to(live, bus.TargetPlan{})
		w.run()
		acked := map[string]bool{}
		for i := range 400 {
			if i%100 == 50 {
				full.Store(true)
			}
			if i%100 == 70 {
				full.Store(false)
			}
			id := fmt.Sprint("e", i)
			if _, err := e.Publish(context.Background(), []bus.Publication{{Bus: "orders", Event: w.event(id)}}, bus.PublishOptions{Via: "test"}); err == nil {
				acked[id] = true
			}
			time.Sleep(100 * time.Millisecond)
		}
		w.after(10 * time.Second)
		if len(acked) < 200 || len(acked) == 400 {
			t.Errorf("%d of 400 were acknowledged", len(acked))
		}
		seen := map[string]int{}
		for _, d := range live.attempts() {
			seen[d.Event.ID()]++
		}
		lost, twice := 0, 0
		for id := range acked {
			if seen[id] == 0 {
				lost++
			}
			if seen[id] > 1 {
				twice++
			}
		}
		if lost > 0 {
			t.Errorf("%d events that were acknowledged were not delivered", lost)
		}
		if twice > 200 {
			t.Errorf("%d were delivered more than once; only the last seconds before a failure should be", twice)
		}
		w.stop()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}

// What was matched and not delivered when the state failed is matched again,
// though no other event comes.
func TestAQuietBusIsRoutedAgainAfterAFailureOfTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, full := onAFullDisk(t)
		var well atomic.Bool
		live := &target{deliver: func(context.Context, *targets.Delivery) error {
			if !well.Load() {
				time.Sleep(9 * time.Second)
				return errors.New("down")
			}
			return nil
		}}
		w.to(live, bus.TargetPlan{})
		w.run()
		w.publish(w.event("1"), w.event("2"), w.event("3"))
		time.Sleep(time.Second)
		full.Store(true)
		time.Sleep(5 * time.Second)
		full.Store(false)
		time.Sleep(5 * time.Second)
		well.Store(true)
		before := len(live.attempts())
		w.after(time.Minute)
		if n := len(live.attempts()) - before; n < 3 {
			t.Errorf("%d of 3 events were delivered after it", n)
		}
		w.stop()
		if err := w.engine.Close(); err != nil {
			t.Error(err)
		}
	})
}

// onAFullDisk is a world on a disk that has no room for the store's state while
// full says so.
func onAFullDisk(t *testing.T) (w *world, full *atomic.Bool) {
	full = new(atomic.Bool)
	changes := []errorfs.OpKind{errorfs.OpCreate, errorfs.OpRename, errorfs.OpReuseForWrite, errorfs.OpFileWrite,
		errorfs.OpFileWriteAt, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo}
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && slices.Contains(changes, op.Kind) && (strings.Contains(op.Path, "state") || strings.Contains(op.Path, "PROBE")) {
			return syscall.ENOSPC
		}
		return nil
	}))
	s, err := embedded.Open(embedded.Options{FS: fs, Dir: "data", DiskReserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	env, err := rules.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	e, err := bus.New(bus.Options{Store: s})
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, env: env, engine: e}, full
}
