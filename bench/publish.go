package main

import (
	"context"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/store/embedded"
)

// rawFsync is one goroutine that writes and syncs over and over, with nobody
// that waits for it.
const rawFsync = "raw fsync"

// publishScenario is how long a publish takes beside the sync that it waits for.
func publishScenario(publishers int) *scenario {
	return &scenario{
		name: named("publish", publishers),
		about: fmt.Sprintf("the time of a durable publish through the whole bus in process, %d publishers, %d deliveries each, beside one write and sync of as many bytes",
			publishers, fanOut),
		rows: []row{
			{measure: p50, limit: rawFsync},
			{measure: p99, limit: rawFsync, bar: bar{value: 3, most: true}},
			{measure: perSecond},
			{measure: cpuAnEvent},
		},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			t, err := newTemplate()
			if err != nil {
				return nil, err
			}
			b, err := openBus(ctx, e, c, t, embedded.Options{}, nil)
			if err != nil {
				return nil, err
			}
			raw, err := newSyncLoop(e, c)
			if err != nil {
				return nil, fmt.Errorf("raw sync loop: %w", err)
			}
			run := b.publishing(e, publishers)
			return []contender{
				withCPU(contender{ours, func(ctx context.Context, d time.Duration) (measures, error) {
					before := b.under.store.Stats().Fsyncs
					m, err := run(ctx, d)
					if err != nil {
						return nil, err
					}
					syncs := max(b.under.store.Stats().Fsyncs-before, 1)
					raw.bytes = max(int(m[counted]*float64(frameBytes(t))/float64(syncs)), frameBytes(t))
					return m, nil
				}}, ownCPU),
				{rawFsync, raw.run},
			}, nil
		},
	}
}

// syncLoop overwrites a file that was written before, so that a sync has no
// metadata to write, as little as the log's segments have.
type syncLoop struct {
	file  vfs.File
	size  int64
	at    int64
	bytes int // of one write: what the bus wrote for one sync in its last turn
}

func newSyncLoop(e *environment, c *closer) (*syncLoop, error) {
	dir, err := e.folder(c, "raw")
	if err != nil {
		return nil, err
	}
	f, err := newWrittenFile(dir, e.appendFile)
	if err != nil {
		return nil, err
	}
	c.add(f.Close)
	return &syncLoop{file: f, size: e.appendFile}, nil
}

// run writes and syncs for d.
func (l *syncLoop) run(ctx context.Context, d time.Duration) (measures, error) {
	buf := make([]byte, l.bytes)
	t, err := drive(ctx, []worker{func() (int, error) {
		if l.at+int64(len(buf)) > l.size {
			l.at = 0
		}
		if _, err := l.file.WriteAt(buf, l.at); err != nil {
			return 0, err
		}
		l.at += int64(len(buf))
		return 1, l.file.SyncData()
	}}, d)
	if err != nil {
		return nil, err
	}
	return t.measures(), nil
}
