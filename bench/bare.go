package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// appendLoop is the least that durable appends of many publishers cost: one
// goroutine takes all records that wait, writes them with one write, syncs
// once and wakes the publishers. It has no frames, checksums, segments, index
// or readers, and overwrites one file that was written before, so that a sync
// has no metadata to write.
type appendLoop struct {
	file vfs.File
	size int64

	mu      sync.Mutex
	waiting *appendGroup
	idle    bool // the loop waits on wake
	closed  bool
	wake    chan struct{}
	ended   chan struct{}
}

// appendGroup is the records of one write. done is closed when they are
// durable; err is set before.
type appendGroup struct {
	records [][]byte
	done    chan struct{}
	err     error
}

// bareFsync is the loop as a contender.
const bareFsync = "append+fsync"

// newAppendLoop starts a loop that writes size bytes before it begins again at
// the start of its file.
func newAppendLoop(dir string, size int64) (*appendLoop, error) {
	f, err := newWrittenFile(dir, size)
	if err != nil {
		return nil, err
	}
	l := &appendLoop{file: f, size: size, waiting: newAppendGroup(),
		wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go l.run()
	return l, nil
}

// newWrittenFile makes a file of size bytes that are on the disk.
func newWrittenFile(dir string, size int64) (vfs.File, error) {
	path := filepath.Join(dir, "bare")
	f, err := vfs.Default.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	chunk := bytes.Repeat([]byte{1}, 1<<20)
	for at := int64(0); at < size; at += int64(len(chunk)) {
		if _, err := f.Write(chunk); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	return vfs.Default.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
}

func newAppendGroup() *appendGroup { return &appendGroup{done: make(chan struct{})} }

// append returns when record is durable.
func (l *appendLoop) append(record []byte) error {
	l.mu.Lock()
	g := l.waiting
	g.records = append(g.records, record)
	wake := l.idle
	l.idle = false
	l.mu.Unlock()
	if wake {
		l.wake <- struct{}{}
	}
	<-g.done
	return g.err
}

// take returns the group that waits, or waits for one; nil at the end.
func (l *appendLoop) take() *appendGroup {
	for {
		l.mu.Lock()
		g := l.waiting
		if len(g.records) > 0 {
			l.waiting = newAppendGroup()
			l.waiting.records = make([][]byte, 0, len(g.records))
			l.mu.Unlock()
			return g
		}
		if l.closed {
			l.mu.Unlock()
			return nil
		}
		l.idle = true
		l.mu.Unlock()
		<-l.wake
	}
}

func (l *appendLoop) run() {
	defer close(l.ended)
	var buf []byte
	var at int64
	for g := l.take(); g != nil; g = l.take() {
		buf = buf[:0]
		for _, r := range g.records {
			buf = append(buf, r...)
		}
		if at+int64(len(buf)) > l.size {
			at = 0
		}
		if _, g.err = l.file.WriteAt(buf, at); g.err == nil {
			g.err = l.file.SyncData()
		}
		at += int64(len(buf))
		close(g.done)
	}
}

func (l *appendLoop) close() error {
	l.mu.Lock()
	l.closed = true
	if l.idle {
		l.idle = false
		l.wake <- struct{}{}
	}
	l.mu.Unlock()
	<-l.ended
	return l.file.Close()
}

// bareAppend is the contender: publishers that append records of size bytes.
func bareAppend(e *environment, c *closer, publishers, size int) (contender, error) {
	dir, err := e.folder(c, "bare")
	if err != nil {
		return contender{}, err
	}
	l, err := newAppendLoop(dir, e.appendFile)
	if err != nil {
		return contender{}, fmt.Errorf("bare append loop: %w", err)
	}
	c.add(l.close)
	workers := make([]worker, publishers)
	for i := range workers {
		record := bytes.Repeat([]byte{'x'}, size)
		workers[i] = func() (int, error) { return 1, l.append(record) }
	}
	return contender{bareFsync, func(ctx context.Context, d time.Duration) (measures, error) {
		t, err := drive(ctx, workers, d)
		if err != nil {
			return nil, err
		}
		return t.measures(), nil
	}}, nil
}
