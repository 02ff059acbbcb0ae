package seglog

import "time"

// gathering decides whether the appender lets publishers that were just answered join the
// group that waits. Publishers that append again at once come back while the next group is
// already being synced, so that two halves of them would take turns, with twice the syncs.
// When they were seen to come back in much less time than a sync takes, it pays to wait for
// them; when they do not come, or come slower, nobody waits. Guarded by Log.mu.
type gathering struct {
	expected int           // entries that were answered last
	come     int           // entries since
	answered time.Time     // when
	back     time.Duration // how long those answered take to come back, smoothed
	sync     time.Duration // how long a write with its sync takes, smoothed
	want     int           // the appender waits until the first group has that many
}

// smooth moves a smoothed value towards what was seen; the first counts in full.
func smooth(old, seen time.Duration) time.Duration {
	if old == 0 {
		return seen
	}
	return old + (seen-old)/8
}

// synced takes note of how long a write and its sync took.
func (l *Log) synced(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gather.sync = smooth(l.gather.sync, d)
}

// answeredGroup takes note of a group of n entries that was answered; mu is held.
func (g *gathering) answeredGroup(n int) {
	g.expected, g.come, g.answered = n, 0, time.Now()
}

// joined takes note of an entry that joined a group, which has n now, and reports whether the
// appender is to be woken for that; mu is held.
func (g *gathering) joined(n int) bool {
	if g.come++; g.come == g.expected {
		g.back = smooth(g.back, time.Since(g.answered))
	}
	if g.want == 0 || n < g.want {
		return false
	}
	g.want = 0
	return true
}

// gatherMore waits for publishers that are expected back soon to join the group that waits.
// It is called and returns with mu held.
func (l *Log) gatherMore(timer *time.Timer) {
	g := &l.gather
	missing := g.expected - g.come
	soon := g.back < g.sync*3/4
	if missing <= 0 || l.closing || !soon && time.Duration(missing)*g.sync < 4*g.back {
		return
	}
	g.want = len(l.queue[0].Entries) + missing
	timer.Reset(min(2*g.back, g.sync))
	l.mu.Unlock()
	woken := false
	select {
	case <-l.wake:
		woken = true
	case <-timer.C:
	}
	l.mu.Lock()
	if g.want == 0 && !woken {
		<-l.wake // somebody is about to send
	}
	if soon && g.want != 0 && !woken {
		g.back = g.sync // they did not come
	}
	g.want = 0
}
