package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store/backup"
	"github.com/switchyard-dev/switchyard/bus/store/embedded"
	"github.com/switchyard-dev/switchyard/bus/store/objects"
)

const (
	withoutBackup = "without a backup"
	copiedPerSec  = "copied MB/s"
)

// backupScenario is what publishing loses to backups beside it.
func backupScenario() *scenario {
	return &scenario{
		name:  "backup",
		about: fmt.Sprintf("the whole bus in process, %d publishers, while full backups of its store are made to a folder on the same disk, one after another", busPublishers),
		rows:  []row{{measure: perSecond, limit: withoutBackup}, {measure: p99, limit: withoutBackup}, {measure: copiedPerSec}},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			t, err := newTemplate()
			if err != nil {
				return nil, err
			}
			b, err := openBus(ctx, e, c, t, embedded.Options{}, noOp{new(atomic.Int64)})
			if err != nil {
				return nil, err
			}
			dir, err := e.folder(c, "backups")
			if err != nil {
				return nil, err
			}
			run := b.publishing(e, busPublishers)
			return []contender{
				{ours, func(ctx context.Context, d time.Duration) (measures, error) { return b.besideBackups(ctx, d, dir, run) }},
				{withoutBackup, run},
			}, nil
		},
	}
}

// besideBackups runs while backups are made, each to a folder that has none;
// the last one is made to its end.
func (b *wholeBus) besideBackups(ctx context.Context, d time.Duration, dir string, run func(context.Context, time.Duration) (measures, error)) (measures, error) {
	var over atomic.Bool
	var copied int64
	var took time.Duration
	ended := make(chan error, 1)
	go func() {
		var err error
		for err == nil && (copied == 0 || !over.Load()) {
			began := time.Now()
			var n int64
			n, err = b.backUp(ctx, dir)
			copied += n
			took += time.Since(began)
		}
		ended <- err
	}()
	m, err := run(ctx, d)
	over.Store(true)
	if err = errors.Join(err, <-ended); err != nil {
		return nil, err
	}
	m[copiedPerSec] = float64(copied) / 1e6 / took.Seconds()
	return m, nil
}

// backUp makes one backup and removes it.
func (b *wholeBus) backUp(ctx context.Context, dir string) (copied int64, err error) {
	to, err := os.MkdirTemp(dir, "")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(to)) }()
	at, err := objects.Open(ctx, objects.Location{Scheme: "file", Path: to}, objects.Options{})
	if err != nil {
		return 0, err
	}
	sn, err := b.under.store.Snapshot(ctx)
	if err != nil {
		return 0, errors.Join(err, at.Close())
	}
	w, err := backup.Write(ctx, at, sn, backup.Options{Rate: backup.DefaultRate})
	return w.CopiedBytes, errors.Join(err, sn.Close(), at.Close())
}
