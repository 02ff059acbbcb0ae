package storetest

import (
	"fmt"
	"runtime/debug"
	"sync"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// parallel runs f(0) to f(n-1) at once and waits for all; their errors fail t.
func parallel(t testing.TB, n int, f func(worker int) error) {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for w := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() {
				if r := recover(); r != nil {
					errs[w] = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
				}
			}()
			errs[w] = f(w)
		}()
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// reopenIfPossible reopens the store unless what it holds would end with it,
// and says whether it did.
func (f *fixture) reopenIfPossible() bool {
	f.Helper()
	f.env.hooks.mu.Lock()
	once := f.env.hooks.onlyOnce
	f.env.hooks.mu.Unlock()
	if !once {
		f.reopen()
	}
	return !once
}

func (f *fixture) wantSameRecords(want, got []store.Record) {
	f.Helper()
	if len(got) != len(want) {
		f.Fatalf("got %d records, want %d", len(got), len(want))
	}
	for i := range want {
		f.wantSameRecord(want[i], got[i])
	}
}

func (f *fixture) wantSameRecord(want, got store.Record) {
	f.Helper()
	if !sameRecord(want, got) {
		f.Errorf("got record %s, want %s", recordText(got), recordText(want))
	}
}
