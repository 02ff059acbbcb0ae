package objectstest

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/switchyard-dev/switchyard/bus/store/objects"
)

// ErrInjected is what a Faulty storage fails with.
var ErrInjected = errors.New("injected failure")

// Op is one call of a storage, as Faulty sees it.
type Op struct {
	Kind  string // "put", "get", "stat", "list" or "delete"
	Name  string // or the prefix of a list
	After bool   // the call was made under it and succeeded; an error now is an answer that got lost
}

// Faulty is a storage whose calls fail when Fail says so. Its methods may be
// called from many goroutines.
type Faulty struct {
	objects.Storage
	mu   sync.Mutex
	fail func(Op) error
}

// NewFaulty returns s, failing as fail says; nil never fails.
func NewFaulty(s objects.Storage, fail func(Op) error) *Faulty {
	return &Faulty{Storage: s, fail: fail}
}

// SetFail changes when calls fail from now on.
func (f *Faulty) SetFail(fail func(Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

func (f *Faulty) check(kind, name string, after bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail == nil {
		return nil
	}
	return f.fail(Op{kind, name, after})
}

// around makes a call between its two chances to fail.
func (f *Faulty) around(kind, name string, call func() error) error {
	if err := f.check(kind, name, false); err != nil {
		return err
	}
	if err := call(); err != nil {
		return err
	}
	return f.check(kind, name, true)
}

// Put implements objects.Storage.
func (f *Faulty) Put(ctx context.Context, name string, r io.Reader, size int64) error {
	return f.around("put", name, func() error { return f.Storage.Put(ctx, name, r, size) })
}

// Get implements objects.Storage.
func (f *Faulty) Get(ctx context.Context, name string, offset, length int64) (r io.ReadCloser, err error) {
	err = f.around("get", name, func() error {
		r, err = f.Storage.Get(ctx, name, offset, length)
		return err
	})
	if err != nil && r != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, err
}

// Stat implements objects.Storage.
func (f *Faulty) Stat(ctx context.Context, name string) (info objects.Info, err error) {
	err = f.around("stat", name, func() error {
		info, err = f.Storage.Stat(ctx, name)
		return err
	})
	return info, err
}

// List implements objects.Storage.
func (f *Faulty) List(ctx context.Context, prefix, after string, limit int) (found []objects.Info, err error) {
	err = f.around("list", prefix, func() error {
		found, err = f.Storage.List(ctx, prefix, after, limit)
		return err
	})
	return found, err
}

// Delete implements objects.Storage.
func (f *Faulty) Delete(ctx context.Context, name string) error {
	return f.around("delete", name, func() error { return f.Storage.Delete(ctx, name) })
}
