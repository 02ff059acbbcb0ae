package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// server is a Switchyard that is broken again and again: a process of its own,
// or an engine in this process on a file system in memory. Its methods are
// called by one goroutine.
type server interface {
	// caller calls it. It is valid over restarts.
	caller() *caller
	// start starts it with routes in force and waits until it is ready.
	start(ctx context.Context, in []route) error
	// restart ends it in a way, and starts it again on what is left, after
	// between, which mends what was broken. It says when it ended.
	restart(ctx context.Context, how outageKind, between func() error) (outage, error)
	// tear leaves what a torn write leaves behind the end of the log, while the
	// server is down: for between.
	tear() error
	// reload puts other routes in force.
	reload(ctx context.Context, in []route) error
	// troubles are the kinds that trouble takes.
	troubles() []trouble
	// trouble begins one, or ends the one that is.
	trouble(t trouble) error
	// ready waits until it takes events again, at most for the given time.
	ready(ctx context.Context, most time.Duration) error
	// close ends it and removes what it kept.
	close() error
}

// trouble is what can be wrong with the disk.
type trouble string

const (
	noTrouble   trouble = ""
	diskFull    trouble = "disk full"
	diskReserve trouble = "disk reserve" // little is free
	logSync     trouble = "log sync"     // fails
	logWrite    trouble = "log write"
	stateWrite  trouble = "state write"
	traceWrite  trouble = "trace write"
)

// tearTail leaves behind the end of a log in dir what a write that was cut off
// may leave: bytes of which nothing was ever promised. What stands before stays
// as it is.
func tearTail(fs vfs.FS, dir string, random *rand.Rand) error {
	nothing := seglog.Visitor{
		Record: func(seglog.Position, []byte) error { return nil }, Damaged: func(seglog.Damage) {}, Segment: func(int, int) {},
	}
	checked, err := seglog.Check(context.Background(), fs, dir, nothing)
	if err != nil {
		return fmt.Errorf("find the end of the log: %w", err)
	}
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(names, func(name string) bool {
		return strings.HasPrefix(name, fmt.Sprintf("%016x", checked.End.Segment)) && strings.HasSuffix(name, ".seg")
	})
	if i < 0 {
		return nil // there is no segment yet
	}
	f, err := fs.OpenReadWrite(fs.PathJoin(dir, names[i]), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	defer f.Close()
	end := checked.End.Offset & (1<<32 - 1)
	torn := make([]byte, 8*(1+random.IntN(100)))
	switch random.IntN(3) {
	case 0: // random bytes
		for i := range torn {
			torn[i] = byte(random.Uint32())
		}
	case 1: // zeros
	case 2: // a frame's head, and not the rest of it
		head := make([]byte, len(torn))
		if n, _ := f.ReadAt(head, max(4096, end-int64(len(head)))); n > 32 {
			torn = head[:n/2&^7]
		}
	}
	if _, err := f.WriteAt(torn, end); err != nil {
		return err
	}
	return f.Sync()
}

// awaitReady waits until the server takes events, at most for the given time.
func awaitReady(ctx context.Context, c *caller, most time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		got, err := c.call(ctx, http.MethodGet, "/readyz", "", nil)
		if err == nil && got.ok() {
			return nil
		}
		if pause(ctx, again) != nil {
			return fmt.Errorf("the server is not ready after %v: %s: %w", most, got.body, errors.Join(err, ctx.Err()))
		}
	}
}
