package enrich

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// asked is a call that counts and answers with its number.
type asked struct {
	mu    sync.Mutex
	calls int
	err   error
	wait  time.Duration
	deny  bool // the answer is not to be kept
}

func (a *asked) call() ([]byte, bool, error) {
	a.mu.Lock()
	a.calls++
	text, wait, err := strings.Repeat("x", a.calls), a.wait, a.err
	a.mu.Unlock()
	time.Sleep(wait)
	return []byte(text), !a.deny, err
}

func TestCacheKeepsAnswersForATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a := newCache(0, time.Minute), &asked{}
		expect := func(want string, wantHit bool) {
			t.Helper()
			if got, hit, err := c.get(t.Context(), "k", a.call); err != nil || string(got) != want || hit != wantHit {
				t.Errorf("%s, %v, %v", got, hit, err)
			}
		}
		expect("x", false)
		time.Sleep(59 * time.Second)
		expect("x", true)
		time.Sleep(time.Second)
		expect("xx", false)
		expect("xx", true)
	})
}

func TestCacheKeepsWhatWasUsedLast(t *testing.T) {
	c, a := newCache(2, time.Minute), &asked{}
	for _, step := range []struct {
		key string
		hit bool
	}{{"a", false}, {"b", false}, {"a", true}, {"c", false}, {"a", true}, {"b", false}, {"c", false}} {
		if _, hit, err := c.get(t.Context(), step.key, a.call); err != nil || hit != step.hit {
			t.Errorf("%s: hit %v, %v", step.key, hit, err)
		}
	}
	if len(c.entries) != 2 || c.order.Len() != 2 {
		t.Errorf("%d entries", len(c.entries))
	}
}

func TestCacheIsBoundedInBytes(t *testing.T) {
	c := newCache(0, time.Minute)
	for i := range 100 {
		key := strings.Repeat("k", i+1)
		if _, _, err := c.get(t.Context(), key, func() ([]byte, bool, error) { return make([]byte, MaxAnswer), true, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if held := c.bytes; held > maxCacheBytes || held < maxCacheBytes-2*MaxAnswer || len(c.entries) != c.order.Len() {
		t.Errorf("%d bytes in %d entries", held, len(c.entries))
	}
}

func TestCacheKeepsNoFailures(t *testing.T) {
	c, a := newCache(0, time.Minute), &asked{err: errors.New("no")}
	for range 3 {
		if _, hit, err := c.get(t.Context(), "k", a.call); err == nil || hit {
			t.Error("a failure is an answer")
		}
	}
	a.err, a.deny = nil, true
	for range 2 {
		if _, hit, err := c.get(t.Context(), "k", a.call); err != nil || hit {
			t.Error("what is not to be kept is")
		}
	}
	if a.calls != 5 || len(c.flights) != 0 {
		t.Errorf("%d calls", a.calls)
	}
}

func TestOneCallIsMadeForAKeyAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a := newCache(0, time.Minute), &asked{wait: time.Second}
		other := &asked{wait: time.Second}
		var all sync.WaitGroup
		hits := make(chan bool, 20)
		for range 20 {
			all.Go(func() {
				got, hit, err := c.get(t.Context(), "k", a.call)
				if err != nil || string(got) != "x" {
					t.Errorf("%s, %v", got, err)
				}
				hits <- hit
			})
		}
		all.Go(func() { _, _, _ = c.get(t.Context(), "other", other.call) })
		begun := time.Now()
		all.Wait()
		close(hits)
		n := 0
		for hit := range hits {
			if hit {
				n++
			}
		}
		if a.calls != 1 || other.calls != 1 || n != 19 || time.Since(begun) != time.Second {
			t.Errorf("%d and %d calls, %d hits in %v", a.calls, other.calls, n, time.Since(begun))
		}
	})
}

func TestAFailureIsSharedByThoseWhoWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a := newCache(0, time.Minute), &asked{wait: time.Second, err: errors.New("no")}
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				if _, hit, err := c.get(t.Context(), "k", a.call); err == nil || hit {
					t.Error("no failure")
				}
			})
		}
		all.Wait()
		if a.calls != 1 {
			t.Errorf("%d calls", a.calls)
		}
	})
}

// Whoever makes the call for others may be ended, or panic; one of the others
// makes it then. Who waits may be ended, too.
func TestACallThatIsEndedIsMadeByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a := newCache(0, time.Minute), &asked{}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			_, _, _ = c.get(ctx, "k", func() ([]byte, bool, error) { <-ctx.Done(); return nil, false, ctx.Err() })
		})
		synctest.Wait()
		all.Go(func() {
			if got, _, err := c.get(t.Context(), "k", a.call); err != nil || string(got) != "x" {
				t.Errorf("%s, %v", got, err)
			}
		})
		impatient, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if _, _, err := c.get(impatient, "k", a.call); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		cancel()
		all.Wait()
		func() {
			defer func() { _ = recover() }()
			_, _, _ = c.get(t.Context(), "p", func() ([]byte, bool, error) { panic("oh") })
		}()
		if _, _, err := c.get(t.Context(), "p", a.call); err != nil || len(c.flights) != 0 {
			t.Errorf("%v", err)
		}
	})
}
