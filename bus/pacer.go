package bus

import (
	"sync/atomic"
	"time"
)

const (
	// busyRate is from how many live events and deliveries a second on a replay
	// gives way to them.
	busyRate = 1000
	// liveShare is which part of the live deliveries those of replays may be
	// meanwhile: one of so many.
	liveShare = 32
	// restMost bounds how often longer a replay rests than it works.
	restMost = 19
	// restLongest is how long it rests at most before it looks again at what else
	// goes on.
	restLongest = 250 * time.Millisecond
)

// pacer makes a replay give way to the live flow: the more of that there is, the
// more it rests between its steps and the less it queues in one. Without a live
// flow it does not rest.
type pacer struct {
	live *atomic.Uint64 // grows with every live event and delivery
	seen uint64
	at   time.Time
	rate float64 // of these, a second
	debt time.Duration
}

// measure brings the rate up to the present.
func (p *pacer) measure() {
	now := time.Now()
	took := now.Sub(p.at)
	if took < 20*time.Millisecond {
		return
	}
	n := p.live.Load()
	if !p.at.IsZero() {
		p.rate = float64(n-p.seen) / took.Seconds()
	}
	p.seen, p.at = n, now
}

// chunk is how many events a step may read.
func (p *pacer) chunk() int {
	p.measure()
	if p.rate < busyRate {
		return replayEvents
	}
	return 256
}

// rest is how long to rest after a step that took so long and queued so many
// deliveries.
func (p *pacer) rest(took time.Duration, queued int) time.Duration {
	p.measure()
	if p.rate < busyRate {
		p.debt = 0
		return 0
	}
	work := time.Duration(float64(took) * min(p.rate/busyRate, restMost))
	share := time.Duration(float64(queued) / (p.rate / liveShare) * float64(time.Second))
	p.debt += max(work, share)
	rest := min(p.debt, restLongest)
	p.debt -= rest
	return rest
}
