// Package seglog is a segmented append-only log of opaque records with group commit, the
// log under the embedded engine. It knows nothing of events or buses.
//
// Publishers hand entries to one appender goroutine, which takes all that wait, writes them
// with one write, syncs once and answers them: it batches while the disk is busy and never
// waits for a batch to fill. A record is one frame under one checksum and never crosses a
// segment, so it is whole or absent. Readers see only what is synced.
//
// Concurrency: every method of Log may be called from any goroutine, except that hooks and
// callbacks run in the appender goroutine and must not call Append, AppendAsync, Reopen or
// Close. One process at a time may have a directory open; the caller holds that lock.
//
// After a crash the log holds every acknowledged record in order, and possibly a run of
// records that came right after them and were not acknowledged.
package seglog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options configure a Log. The zero value of each field is its default; FS and Dir must be set.
type Options struct {
	// FS holds the files. Required.
	FS vfs.FS
	// Dir is made if it is missing; nothing else may write to it. Required.
	Dir string
	// SegmentSize is when a segment is sealed, in bytes: default 64 MiB, from 8 KiB to just
	// under 4 GiB. It also bounds a record. It may change between runs.
	SegmentSize int64
	// Recycle is how many retired segment files are kept to be overwritten, which is faster
	// than growing new ones. Default 4; negative keeps none.
	Recycle int
	// FillAhead, if set, is asked in a goroutine of its own, before every part, whether the
	// next segment's file may be written full of zeros ahead of its time, where it is not a
	// recycled one: syncs of a file that grows take up to twice as long.
	FillAhead func() bool
	// NoSync never syncs: records are visible once written, and a crash may lose or cut what
	// the system had not yet written by itself. Damage at open is then dropped, not reported.
	NoSync bool
	// MaxGroupBytes bounds one write, in bytes; a larger record is written alone. Default 4 MiB.
	MaxGroupBytes int
	// MaxPendingBytes bounds the bytes that wait for the appender; above it appends block.
	// Default 64 MiB.
	MaxPendingBytes int64
	// MaxOpenFiles bounds idle read handles. Default 64.
	MaxOpenFiles int
	// ReadAhead is how many bytes a scan reads at once. Default 1 MiB.
	ReadAhead int

	// Reserve, if set, is asked before each group; its error is the answer to the group's
	// appends, as it is. Nothing was written then and the log stays healthy.
	Reserve func() error
	// Seal, if set, is called for each group in log order before it is written. It may change
	// or replace Payload of each entry (within Log.MaxPayload) and drop entries. Its error is
	// the answer to the whole group. Whoever assigns sequences here takes them back in Failed.
	Seal func(*Group) error
	// Committed, if set, is called in log order with the entries of a group that were written,
	// after they are durable and visible and before they are answered. A group that crosses
	// into a new segment is committed in parts.
	Committed func(*Group)
	// Failed, if set, is called with the entries that Seal saw, did not drop, and that were
	// not written. No Seal happens between a group's Seal and its Failed.
	Failed func(*Group, error)

	// FsyncDuration and GroupSize observe each group, if set; bytes are those written.
	FsyncDuration func(time.Duration)
	GroupSize     func(frames, bytes int)
	// Logger gets failures and recoveries. Default: discarded.
	Logger *slog.Logger
}

func (o *Options) withDefaults() error {
	setDefault(&o.SegmentSize, 64<<20)
	setDefault(&o.Recycle, 4)
	setDefault(&o.MaxGroupBytes, 4<<20)
	setDefault(&o.MaxPendingBytes, 64<<20)
	setDefault(&o.MaxOpenFiles, 64)
	setDefault(&o.ReadAhead, 1<<20)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if o.FS == nil {
		errs = append(errs, errors.New("seglog: Options.FS is missing"))
	}
	if o.Dir == "" {
		errs = append(errs, errors.New("seglog: Options.Dir is missing"))
	}
	if o.SegmentSize < minSegment || o.SegmentSize > maxSegment {
		errs = append(errs, fmt.Errorf("seglog: Options.SegmentSize is %d; it must be from %d to %d bytes", o.SegmentSize, int64(minSegment), int64(maxSegment)))
	}
	if o.MaxGroupBytes < 0 || o.MaxPendingBytes < 0 || o.MaxOpenFiles < 0 || o.ReadAhead < 0 {
		errs = append(errs, errors.New("seglog: MaxGroupBytes, MaxPendingBytes, MaxOpenFiles and ReadAhead must not be negative"))
	}
	return errors.Join(errs...)
}

func setDefault[T int | int64](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// State is whether a log takes appends.
type State int

// The states of a Log.
const (
	Healthy State = iota
	Failing       // a write or sync failed; a new segment is being tried with back-off
	Closed
)

// String returns "healthy", "failing" or "closed".
func (s State) String() string {
	switch s {
	case Healthy:
		return "healthy"
	case Failing:
		return "failing"
	default:
		return "closed"
	}
}

// Log is an open log. Make it with Open.
type Log struct {
	opts Options

	mu       sync.Mutex // guards the queue and the state
	queue    []*Group   // in order; the appender takes the first, publishers join the last
	spare    []*Group
	look     *time.Timer // runs lateGroups
	looking  bool        // look is set
	pending  int64       // bytes in queue and in the group being written
	space    chan struct{}
	idle     bool // the appender waits on wake
	gather   gathering
	closing  bool
	failure  error         // why the log is Failing
	healed   chan struct{} // closed when a Failing log recovers
	wake     chan struct{}
	stop     chan struct{} // closed by Close
	kick     chan chan error
	stopped  chan struct{} // closed when the appender has ended
	closeErr error

	tableMu sync.Mutex // serialises changes of table
	table   atomic.Pointer[table]
	active  atomic.Pointer[segment] // the last of table
	files   fileCache
	pool    filePool
	maint   sync.Mutex // serialises Remove and the ends of rewrites

	prepared atomic.Int64 // bytes of the prepared segment's file
	entries  sync.Pool    // of *Entry, for AppendBytes
	readers  sync.Pool    // of *frameReader, for Scan

	home Identity // of the directory

	w appender // used by the appender goroutine only
}

// Open opens the log in opts.Dir, or starts one. It brings what a crash left to an end, then
// calls replay, in order, for each record at or after replayFrom (the zero Position: for all
// that are there). replay may be nil; the bytes it gets are valid during the call. Its error
// ends Open and is returned. If replayFrom was removed, replay starts with the oldest
// record; if it was moved by a rewrite, with the first of the replacement.
//
// Damage to bytes that were synced is a *CorruptionError, and so is an end of the log before
// replayFrom. A torn tail, which a power cut leaves of a group that was not acknowledged, is
// cut: overwritten with zeros and synced, so that it never comes back. All that replay sees
// is durable.
func Open(opts Options, replay func(pos Position, payload []byte) error, replayFrom Position) (*Log, error) {
	if err := opts.withDefaults(); err != nil {
		return nil, err
	}
	l := &Log{
		opts:    opts,
		wake:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		kick:    make(chan chan error),
		stopped: make(chan struct{}),
	}
	l.look = time.AfterFunc(lateAfter, l.lateGroups)
	l.files.max, l.files.open = opts.MaxOpenFiles, map[*segment]*handle{}
	l.pool.limit = max(opts.Recycle, 0)
	if err := l.recover(replayFrom); err != nil {
		l.abortOpen()
		return nil, err
	}
	var err error
	if l.home, err = Identify(opts.FS, opts.Dir); err != nil {
		l.abortOpen()
		return nil, fmt.Errorf("look at the log's directory: %w", err)
	}
	if replay != nil {
		if err := l.replay(replay, replayFrom); err != nil {
			l.abortOpen()
			return nil, err
		}
	}
	go l.run()
	return l, nil
}

func (l *Log) abortOpen() {
	l.files.close()
	if l.w.file != nil {
		_ = l.w.file.Close()
	}
}

func (l *Log) replay(fn func(Position, []byte) error, from Position) error {
	_, err := l.Scan(context.Background(), from, Position{}, fn)
	var moved *MovedError
	if errors.As(err, &moved) && moved.Position == from {
		_, err = l.Scan(context.Background(), moved.To, Position{}, fn)
	} else if errors.Is(err, ErrGone) {
		_, err = l.Scan(context.Background(), Position{}, Position{}, fn)
	}
	if errors.Is(err, io.EOF) && l.opts.NoSync {
		return nil
	}
	return err
}

// Close answers what waits, marks the log as cleanly closed and ends its goroutines. Later
// appends and reads get ErrClosed. A log that is Failing tries once more to put its
// acknowledged end on record; if that fails, entries that were answered with ErrFailed may
// be there at the next open, as after a crash. Close may be called more than once.
func (l *Log) Close() error {
	l.mu.Lock()
	if !l.closing {
		l.closing = true
		close(l.stop)
		l.freeSpace()
		if l.idle {
			l.idle = false
			l.wake <- struct{}{}
		}
	}
	l.mu.Unlock()
	<-l.stopped
	return l.closeErr
}

// State returns whether the log takes appends, without waiting.
func (l *Log) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closing:
		return Closed
	case l.failure != nil:
		return Failing
	}
	return Healthy
}

// Err returns nil for a healthy log, else what its appends are refused with.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refusal()
}

func (l *Log) refusal() error {
	if l.closing {
		return ErrClosed
	}
	return l.failure
}

// Reopen tries at once to get a Failing log to write again, instead of waiting for the next
// try of its own, and returns what came of it. On a healthy log it does nothing.
func (l *Log) Reopen(ctx context.Context) error {
	l.mu.Lock()
	err, healed := l.refusal(), l.healed
	l.mu.Unlock()
	if err == nil || errors.Is(err, ErrClosed) {
		return err
	}
	reply := make(chan error, 1)
	select {
	case l.kick <- reply:
		return <-reply
	case <-healed:
		return nil
	case <-l.stop:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// MaxPayload returns the bytes of the largest record that fits into a segment.
func (l *Log) MaxPayload() int {
	return int(l.opts.SegmentSize-headerBlock-tailReserve-frameHeaderSize) &^ (frameAlign - 1)
}

// Synced returns the position below which everything is durable: where the next record
// will stand at the earliest. It never goes back.
func (l *Log) Synced() Position {
	s := l.active.Load()
	return s.position(s.end.Load())
}
