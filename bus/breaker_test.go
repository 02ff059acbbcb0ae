package bus

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestABreakerKeepsItsPromises drives a breaker with random outcomes and holds
// it against what it promises.
func TestABreakerKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy := BreakerPolicy{Failures: rapid.IntRange(0, 12).Draw(t, "failures"),
			Open: time.Duration(rapid.Int64Range(0, int64(2*time.Hour)).Draw(t, "open"))}
		first := policy.Open
		if first == 0 {
			first = DefaultBreakerOpen
		}
		b := breaker{policy: policy}
		now := time.Unix(0, 0)
		inRow := 0
		probing, stale := trial(0), trial(0) // under way; of an opening before
		var last time.Duration               // how long it was open the last time in a row
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Minute)).Draw(t, "pass")))
			state := b.state(now)
			probe := trial(0)
			if rapid.Bool().Draw(t, "begin") {
				probe = b.probe(now)
				if (probe != 0) != (state == breakerHalfOpen && probing == 0) {
					t.Fatalf("a trial in state %v, with one under way %v: %v", state, probing, probe)
				}
				probing = max(probing, probe)
			}
			if state == breakerOpen && probe != 0 {
				t.Fatal("an open breaker let a delivery through")
			}
			if probe == 0 && probing != 0 && rapid.Bool().Draw(t, "the trial ends") {
				probe = probing
			}
			ended := probe
			if probe == 0 && stale != 0 && rapid.Bool().Draw(t, "a trial of before ends") {
				ended = stale // counts like any other attempt
			}
			v := verdict(rapid.IntRange(0, 3).Draw(t, "verdict"))
			was := b.opened
			b.observe(now, v, ended)
			if probe != 0 {
				probing = 0
			}
			switch v {
			case worked, refused:
				if probing != 0 {
					stale = probing
				}
				inRow, last, probing = 0, 0, 0
				if b.state(now) != breakerClosed {
					t.Fatalf("it is %v after the target answered", b.state(now))
				}
			case busy:
				if b.opened != was {
					t.Fatal("a target that asked for a pause opened or closed it")
				}
			case failed:
				inRow++
				wanted := policy.Failures > 0 && (probe != 0 || was == 0 && inRow >= policy.Failures)
				if opened := b.opened > was; opened != wanted {
					t.Fatalf("after %d failures in a row (of %d), trial %v: opened %v", inRow, policy.Failures, probe, opened)
				} else if opened {
					rest := b.until.Sub(now)
					want := min(max(MaxOpen, first), 2*last)
					if last == 0 {
						want = first
					}
					if rest != want {
						t.Fatalf("it is open for %v after %v, want %v", rest, last, want)
					}
					last = rest
				}
			}
		}
	})
}

func TestTheLimitGrowsWhileAnswersAreFastAndShrinksOncePerRound(t *testing.T) {
	l := newLimiter(firstLimit, 32)
	fill := func() {
		for {
			if _, ok := l.acquire(&subscription{}); !ok {
				return
			}
		}
	}
	for range 100 {
		fill()
		l.answered(10 * time.Millisecond)
		l.release()
	}
	if limit, _ := l.now(); limit != 32 {
		t.Fatalf("the limit is %d after 100 fast answers, want its ceiling", limit)
	}
	fill()
	for range 32 { // all that was under way times out
		l.overloaded()
	}
	if limit, _ := l.now(); limit != 22 {
		t.Errorf("the limit is %d after one round of timeouts, want 22", limit)
	}
	for range 1000 {
		l.overloaded()
	}
	if limit, _ := l.now(); limit != 1 {
		t.Errorf("the limit is %d after many timeouts, want 1", limit)
	}
	l.again()
	if limit, _ := l.now(); limit != firstLimit {
		t.Errorf("the limit is %d after a rest, want %d", limit, firstLimit)
	}
}

func TestTheLimitShrinksWhileAnswersAreSlowerThanUsual(t *testing.T) {
	l := newLimiter(32, 32)
	for range 100 {
		l.answered(10 * time.Millisecond)
	}
	for range 60 {
		l.answered(200 * time.Millisecond)
	}
	limit, _ := l.now()
	if limit >= 32 || limit < slowFloor {
		t.Errorf("the limit is %d while answers take twenty times as long", limit)
	}
	for range 2000 { // it is the usual after a while
		l.mu.Lock()
		l.inFlight = int(l.limit)
		l.mu.Unlock()
		l.answered(200 * time.Millisecond)
	}
	if after, _ := l.now(); after <= limit {
		t.Errorf("the limit stays at %d when the target is slow for good", after)
	}
}
