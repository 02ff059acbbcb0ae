package store

import (
	"context"
	"io"
	"time"
)

// Snapshotter is implemented by engines that can be copied while they run.
type Snapshotter interface {
	// Snapshot fixes what the engine holds at this moment: every acknowledged
	// event and a state that belongs to them. Nothing stops meanwhile, except
	// that retention frees no files until the snapshot is closed. ErrClosed.
	Snapshot(ctx context.Context) (Snapshot, error)
}

// Snapshot is files that together are a store as it was at one moment. Methods
// may be called from many goroutines.
type Snapshot interface {
	Info() SnapshotInfo
	// Open reads a file of Info from its beginning; it has as many bytes as
	// that says. ErrNotFound for any other name.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	// Close lets go of the files. It is idempotent.
	Close() error
}

// SnapshotInfo says what a snapshot has.
type SnapshotInfo struct {
	Format int `json:"format" doc:"Version of the store's format."`
	// Store tells a store from others; it stays the same when one is restored.
	Store string         `json:"store,omitempty" doc:"Tells the store from others; it stays the same over a restore."`
	Taken time.Time      `json:"taken" doc:"Everything that was acknowledged before is in it."`
	Files []SnapshotFile `json:"files"`
}

// SnapshotFile is one file of a snapshot.
type SnapshotFile struct {
	Name string `json:"name" doc:"Path in the data folder, with slashes."`
	Size int64  `json:"size" doc:"Bytes."`
	// Identity is the same for files with the same bytes only, of whatever store.
	Identity string `json:"identity" doc:"Files with the same identity have the same bytes, in all snapshots of all stores."`
	// Segment is set for the files of the log of events.
	Segment *SnapshotSegment `json:"segment,omitempty"`
}

// SnapshotSegment says which part of the log a file is. A later snapshot may
// have the same segment with more in it.
type SnapshotSegment struct {
	First   uint64 `json:"first" doc:"The first of the numbers that it has; there are several after segments were brought together."`
	Last    uint64 `json:"last" doc:"The last of them."`
	Lineage string `json:"lineage" doc:"Segments of the same lineage begin with the same bytes."`
}
