package api

import (
	"context"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// closing counts how often it is closed.
type closing struct{ closed atomic.Int32 }

func (*closing) Info() store.SnapshotInfo { return store.SnapshotInfo{} }
func (*closing) Open(context.Context, string) (io.ReadCloser, error) {
	return nil, store.ErrNotFound
}
func (c *closing) Close() error { c.closed.Add(1); return nil }

func begun(t *testing.T, ss *snapshots) (*openSnapshot, *closing) {
	t.Helper()
	o, err := ss.reserve()
	if err != nil {
		t.Fatal(err)
	}
	sn := &closing{}
	if !ss.begin(o, sn) {
		t.Fatal("it does not begin")
	}
	return o, sn
}

// TestASnapshotThatNobodyReadsEnds follows a snapshot whose reader goes away,
// and one that is being read.
func TestASnapshotThatNobodyReadsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ss := &snapshots{}
		left, leftSn := begun(t, ss)
		read, readSn := begun(t, ss)
		if _, err := ss.reserve(); err == nil {
			t.Error("a third one is taken")
		}
		if _, err := ss.enter(read.id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(snapshotIdle + time.Second)
		synctest.Wait()
		if leftSn.closed.Load() != 1 || readSn.closed.Load() != 0 {
			t.Errorf("closed: %d and %d times", leftSn.closed.Load(), readSn.closed.Load())
		}
		if _, err := ss.enter(left.id); err == nil {
			t.Error("the one that ended can be read")
		}
		if err := ss.end(read.id); err != nil {
			t.Error(err)
		}
		if readSn.closed.Load() != 0 {
			t.Error("it is closed under its reader")
		}
		ss.leave(read)
		if readSn.closed.Load() != 1 {
			t.Error("it is not closed after its reader")
		}
		if _, err := ss.reserve(); err != nil {
			t.Error(err)
		}
	})
}

// TestShutdownEndsSnapshots closes one that is open, and one that is being taken.
func TestShutdownEndsSnapshots(t *testing.T) {
	ss := &snapshots{}
	_, sn := begun(t, ss)
	o, err := ss.reserve()
	if err != nil {
		t.Fatal(err)
	}
	ss.endAll()
	if sn.closed.Load() != 1 || ss.begin(o, &closing{}) {
		t.Error("a snapshot goes on")
	}
}
