package seglog

import (
	"errors"
	"fmt"
)

var (
	// ErrFailed is matched (errors.Is) by the error of every append that met a failed write
	// or sync, and of those refused until the log has recovered. The entry is not visible to
	// this process; after a crash it may or may not be there, for the device may have kept it.
	ErrFailed = errors.New("the log cannot write")
	// ErrClosed answers calls after Close.
	ErrClosed = errors.New("the log is closed")
	// ErrTooLarge answers an append whose frame does not fit into one segment, see Log.MaxPayload.
	ErrTooLarge = errors.New("the record is larger than a segment can hold")
	// ErrFull answers an append with NoWait while MaxPendingBytes are waiting.
	ErrFull = errors.New("too much is waiting to be written")
	// ErrGone says that the position lies in a removed segment.
	ErrGone = errors.New("the position is gone: its segment was removed")
	// ErrMoved is matched by *MovedError.
	ErrMoved = errors.New("the position was moved by a rewrite")
	// ErrNotSealed answers Remove and Rewrite of a segment that is still written to.
	ErrNotSealed = errors.New("the segment is not sealed")
	// ErrBusy answers Remove and Rewrite of a segment that is being rewritten.
	ErrBusy = errors.New("the segment is being rewritten")
	// ErrBadPosition says that no frame starts at the position though it lies in live data.
	ErrBadPosition = errors.New("no frame starts at the position")
)

// FailedError is the error of an append that met a failed write or sync. It matches
// ErrFailed and its cause.
type FailedError struct {
	Op    string // what failed: "write", "sync", "rotate", "reopen"
	File  string
	Cause error
}

func (e *FailedError) Error() string {
	return fmt.Sprintf("%s: %s: %v; appends are refused until a new segment can be opened", e.File, e.Op, e.Cause)
}

// Unwrap returns the cause.
func (e *FailedError) Unwrap() error { return e.Cause }

// Is reports whether target is ErrFailed.
func (e *FailedError) Is(target error) bool { return target == ErrFailed }

// CorruptionError names a place where bytes that were synced are damaged or missing.
type CorruptionError struct {
	File    string
	Segment uint64
	Offset  int64 // bytes from the start of the file
	Reason  string
}

func (e *CorruptionError) Error() string {
	return fmt.Sprintf("%s:%d: synced data is damaged: %s", e.File, e.Offset, e.Reason)
}

// MovedError says where the frames of a rewritten run now start; the caller finds its own
// by scanning from there. It matches ErrMoved.
type MovedError struct {
	Position Position // the one asked for
	To       Position // the start of the replacement
}

func (e *MovedError) Error() string {
	return fmt.Sprintf("position %v was moved by a rewrite; its run starts at %v", e.Position, e.To)
}

// Is reports whether target is ErrMoved.
func (e *MovedError) Is(target error) bool { return target == ErrMoved }
