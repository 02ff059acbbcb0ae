package storetest

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
)

// trial is a testing.TB that keeps its failures to itself, so that something
// can be run to see whether it fails.
type trial struct {
	testing.TB

	mu       sync.Mutex
	failures []string
	skipped  bool
	cleanups []func()
}

// try runs f, with its clean-ups, and returns its failures.
func try(t testing.TB, f func(t testing.TB)) *trial {
	tr := &trial{TB: t}
	for _, run := range []func(){func() { f(tr) }, tr.cleanUp} {
		done := make(chan struct{})
		go func() { // FailNow ends the goroutine
			defer close(done)
			defer func() {
				if r := recover(); r != nil {
					tr.note(fmt.Sprintf("panic: %v\n%s", r, debug.Stack()))
				}
			}()
			run()
		}()
		<-done
	}
	return tr
}

func (t *trial) cleanUp() {
	t.mu.Lock()
	cleanups := t.cleanups
	t.mu.Unlock()
	for _, c := range slices.Backward(cleanups) {
		c()
	}
}

func (t *trial) note(failure string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.failures) < 20 {
		t.failures = append(t.failures, failure)
	}
}

func (t *trial) Cleanup(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cleanups = append(t.cleanups, f)
}

func (t *trial) Helper()                   {}
func (t *trial) Log(...any)                {}
func (t *trial) Logf(string, ...any)       {}
func (t *trial) Fail()                     { t.note("failed") }
func (t *trial) FailNow()                  { t.note("failed"); runtime.Goexit() }
func (t *trial) Error(args ...any)         { t.note(fmt.Sprint(args...)) }
func (t *trial) Errorf(f string, a ...any) { t.note(fmt.Sprintf(f, a...)) }
func (t *trial) Fatal(args ...any)         { t.note(fmt.Sprint(args...)); runtime.Goexit() }
func (t *trial) Fatalf(f string, a ...any) { t.note(fmt.Sprintf(f, a...)); runtime.Goexit() }
func (t *trial) Skip(...any)               { t.SkipNow() }
func (t *trial) Skipf(string, ...any)      { t.SkipNow() }

func (t *trial) SkipNow() {
	t.mu.Lock()
	t.skipped = true
	t.mu.Unlock()
	runtime.Goexit()
}

func (t *trial) Failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.failures) > 0
}

func (t *trial) Skipped() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.skipped
}
