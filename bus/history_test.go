package bus_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// try is one attempt that a receiver saw.
type try struct {
	sub, key     string
	lane         string // the replay that brought it, as it is marked; "" is the live flow
	sequence     uint64
	epoch        int  // how many crashes there had been
	marked       bool // as redriven
	redrive      int  // number of the redrive that brought it; 0 is none
	began, ended time.Time
	taken, dead  bool // else it is to be tried again
}

// lostMost is how long before a crash what is repeated after it may have been
// settled: CONTRACT.md says about two seconds.
const lostMost = 3 * time.Second

// history is everything that receivers with an order saw, and what is owed to
// them. check holds it against what CONTRACT.md promises of order.
type history struct {
	mu       sync.Mutex
	tries    []try
	owed     map[lineOf][]uint64 // in bus order
	redriven map[redrivenOf]int
	crashes  []time.Time
}

// lineOf is what is in order: the deliveries of one key of a subscription, of
// the live flow or of one replay.
type lineOf struct{ sub, key, lane string }

// redrivenOf is a delivery that was a dead letter.
type redrivenOf struct {
	sub, lane string
	sequence  uint64
}

func newHistory() *history {
	return &history{owed: map[lineOf][]uint64{}, redriven: map[redrivenOf]int{}}
}

func (l lineOf) String() string { return strings.TrimSpace(l.sub + " " + l.key + " " + l.lane) }

// owes notes an event that was published for a subscription.
func (h *history) owes(sub, key string, sequence uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := lineOf{sub, key, ""}
	h.owed[at] = append(h.owed[at], sequence)
}

// replays notes that all that a subscription was ever owed is about to come
// again, marked with lane.
func (h *history) replays(sub, lane string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for at, owed := range h.owed {
		if at.sub == sub && at.lane == "" {
			h.owed[lineOf{sub, at.key, lane}] = slices.Clone(owed)
		}
	}
}

// redrives notes that a dead letter is about to be redriven by the n-th call.
func (h *history) redrives(sub, lane string, sequence uint64, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.redriven[redrivenOf{sub, lane, sequence}] = n
}

// crashed notes a crash: what the engine does after it is not seen.
func (h *history) crashed(at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.crashes = append(h.crashes, at)
}

// epoch is how many crashes there were.
func (h *history) epoch() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.crashes)
}

func (h *history) add(t try) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.epoch != len(h.crashes) {
		return // of an engine that has crashed
	}
	t.redrive = h.redriven[redrivenOf{t.sub, t.lane, t.sequence}]
	h.tries = append(h.tries, t)
}

// check says what breaks a promise: that the attempts of one line are made one
// after another, each event only when those before it are taken or dead, that
// nothing is passed over or left, that after a crash only the last seconds come
// again, in order, and that redrives are marked and in order among themselves.
func (h *history) check() (broken []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	slices.SortStableFunc(h.tries, func(a, b try) int { return a.began.Compare(b.began) })
	tries := map[lineOf][]try{}
	again := map[string][]try{}
	for _, t := range h.tries {
		at := lineOf{t.sub, t.key, t.lane}
		if t.marked != (t.redrive != 0) {
			broken = append(broken, fmt.Sprintf("%s: %d is marked as redriven: %v, and was: %v", at, t.sequence, t.marked, t.redrive != 0))
		}
		if t.redrive == 0 {
			tries[at] = append(tries[at], t)
		} else if t.taken {
			one := fmt.Sprint(at, " redrive ", t.redrive)
			again[one] = append(again[one], t)
		}
	}
	for at, owed := range h.owed {
		broken = append(broken, h.inLine(at, owed, tries[at])...)
		delete(tries, at)
	}
	for at, left := range tries {
		broken = append(broken, fmt.Sprintf("%s: %d came, and nothing was owed", at, left[0].sequence))
	}
	for at, tries := range again {
		slices.SortStableFunc(tries, func(a, b try) int { return a.ended.Compare(b.ended) })
		for i := 1; i < len(tries); i++ {
			if tries[i].sequence <= tries[i-1].sequence && tries[i].epoch == tries[i-1].epoch {
				broken = append(broken, fmt.Sprintf("%s: %d was taken after %d", at, tries[i].sequence, tries[i-1].sequence))
			}
		}
	}
	slices.Sort(broken)
	return broken
}

// inLine checks the attempts of one line that no redrive brought.
func (h *history) inLine(at lineOf, owed []uint64, tries []try) (broken []string) {
	next := 0 // of owed: what comes now if there was no crash
	back := 0 // of owed: at least this comes, as repeats of what was settled are in order, too
	settled := map[uint64]time.Time{}
	for i, t := range tries {
		if i > 0 && t.epoch != tries[i-1].epoch {
			back = 0
		} else if i > 0 && t.began.Before(tries[i-1].ended) {
			broken = append(broken, fmt.Sprintf("%s: %d began while %d was under way", at, t.sequence, tries[i-1].sequence))
		}
		if t.epoch == 0 {
			back = next
		}
		place := slices.Index(owed, t.sequence)
		switch {
		case place < 0:
			broken = append(broken, fmt.Sprintf("%s: %d came, and was never owed", at, t.sequence))
			continue
		case place > next:
			broken = append(broken, fmt.Sprintf("%s: %d came while it was the turn of %d", at, t.sequence, owed[next]))
			continue
		case place < back && next == len(owed):
			broken = append(broken, fmt.Sprintf("%s: %d came after all was settled", at, t.sequence))
			continue
		case place < back:
			broken = append(broken, fmt.Sprintf("%s: %d came while it was the turn of %d", at, t.sequence, owed[back]))
			continue
		case place < next:
			// What the first crash after it has not undone is kept for good.
			was := settled[t.sequence]
			first := slices.IndexFunc(h.crashes, func(c time.Time) bool { return !c.Before(was) })
			if crash := h.crashes[first]; crash.Sub(was) > lostMost {
				broken = append(broken, fmt.Sprintf("%s: %d came again after a crash, and was settled %v before it", at, t.sequence, crash.Sub(was)))
			}
		}
		back = place
		if t.taken || t.dead {
			settled[t.sequence] = t.ended
			back = place + 1
			next = max(next, back)
		}
	}
	if next < len(owed) {
		broken = append(broken, fmt.Sprintf("%s: %d was never settled", at, owed[next]))
	}
	return broken
}

func TestTheHistoryShowsWhatBreaksOrder(t *testing.T) {
	start := time.Unix(0, 0)
	made := func(sequence uint64, from, to int, how string) try {
		return try{sub: "s", key: "k", sequence: sequence, taken: how == "taken", dead: how == "dead",
			began: start.Add(time.Duration(from) * time.Second), ended: start.Add(time.Duration(to) * time.Second)}
	}
	after := func(t try) try { t.epoch = 1; return t }
	unmarked := func(t try) try { t.dead, t.marked = true, false; return t }
	replayed := func(tries ...try) []try {
		for i := range tries {
			tries[i].lane = "again"
		}
		return tries
	}
	all := []try{made(1, 0, 1, "taken"), made(2, 1, 2, "taken"), made(3, 2, 3, "taken")}
	for _, tc := range []struct {
		name  string
		tries []try
		again []uint64 // what a redrive brings
		want  string
	}{
		{"all in order, with a retry and a dead letter", []try{made(1, 0, 1, ""), made(1, 2, 3, "taken"), made(2, 3, 4, "dead"), made(3, 4, 5, "taken")}, nil, ""},
		{"two exchanged", []try{made(2, 0, 1, "taken"), made(1, 2, 3, "taken"), made(3, 4, 5, "taken")}, nil, "2 came while it was the turn of 1"},
		{"the next before the first is settled", []try{made(1, 0, 1, ""), made(2, 1, 2, "taken"), made(1, 2, 3, "taken"), made(3, 4, 5, "taken")}, nil, "2 came while it was the turn of 1"},
		{"two at once", []try{made(1, 0, 2, "taken"), made(2, 1, 3, "taken"), made(3, 4, 5, "taken")}, nil, "2 began while 1 was under way"},
		{"one left out", []try{made(1, 0, 1, "taken"), made(3, 1, 2, "taken")}, nil, "3 came while it was the turn of 2"},
		{"one never made", []try{made(1, 0, 1, "taken"), made(2, 1, 2, "taken")}, nil, "3 was never settled"},
		{"a repeat", []try{made(1, 0, 1, "taken"), made(2, 1, 2, "taken"), made(3, 2, 3, "taken"), made(3, 4, 5, "taken")}, nil, "3 came after all was settled"},
		{"a repeat after a crash", []try{made(1, 0, 1, "taken"), made(2, 1, 2, "taken"), after(made(2, 3, 4, "taken")), after(made(3, 4, 5, "taken"))}, nil, ""},
		{"some repeats after a crash, and some not", []try{made(1, 0, 1, "taken"), made(2, 1, 2, "taken"), after(made(1, 3, 4, "taken")), after(made(3, 4, 5, "taken"))}, nil, ""},
		{"repeats after a crash exchanged", []try{made(1, 0, 1, "taken"), made(2, 1, 2, "taken"), after(made(2, 3, 4, "taken")), after(made(1, 4, 5, "taken")), after(made(3, 5, 6, "taken"))}, nil, "1 came while it was the turn of 3"},
		{"a repeat after a crash at the same time", []try{made(1, 0, 1, "taken"), made(2, 1, 2, "taken"), after(made(2, 3, 5, "taken")), after(made(3, 4, 6, "taken"))}, nil, "3 began while 2 was under way"},
		{"a repeat after what follows it", []try{made(1, 0, 1, "taken"), made(2, 1, 2, "taken"), after(made(3, 3, 4, "taken")), after(made(2, 4, 5, "taken"))}, nil, "2 came after all was settled"},
		{"one lost in a crash", []try{made(1, 0, 1, "taken"), after(made(3, 3, 4, "taken"))}, nil, "3 came while it was the turn of 2"},
		{"a repeat of long ago", []try{made(1, -9, -8, "taken"), made(2, 1, 2, "taken"), after(made(1, 3, 4, "taken")), after(made(3, 4, 5, "taken"))}, nil, "1 came again after a crash, and was settled 11s before it"},
		{"a replay beside the live flow", append(replayed(made(1, 0, 3, "taken"), made(2, 3, 4, "dead"), made(3, 4, 5, "taken")), all...), nil, ""},
		{"a replay out of order", append(replayed(made(1, 0, 1, "taken"), made(3, 1, 2, "taken"), made(2, 2, 3, "taken")), all...), nil, "s k again: 3 came while it was the turn of 2"},
		{"a replay that ends early", append(replayed(made(1, 0, 1, "taken"), made(2, 1, 2, "taken")), all...), nil, "s k again: 3 was never settled"},
		{"a replay that is not marked", append([]try{made(1, 5, 6, "taken")}, all...), nil, "1 came after all was settled"},
		{"a redrive that is not marked", []try{made(1, 0, 1, "dead"), made(2, 1, 2, "taken"), made(3, 2, 3, "taken"), unmarked(made(1, 6, 7, "taken"))}, []uint64{1}, "1 is marked as redriven: false, and was: true"},
		{"redrives exchanged", []try{made(1, 0, 1, "dead"), made(2, 1, 2, "dead"), made(3, 2, 3, "taken"), made(2, 6, 7, "taken"), made(1, 8, 9, "taken")}, []uint64{1, 2}, "redrive 1: 1 was taken after 2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHistory()
			for s := range uint64(3) {
				h.owes("s", "k", s+1)
			}
			for i, one := range tc.tries {
				if i == 3 {
					for _, s := range tc.again {
						h.redrives("s", "", s, 1)
					}
				}
				if one.lane != "" && len(h.owed) == 1 {
					h.replays("s", "again")
				}
				if one.epoch > h.epoch() {
					h.crashed(start.Add(3 * time.Second))
				}
				one.marked = h.redriven[redrivenOf{"s", "", one.sequence}] != 0 && !one.dead
				h.add(one)
			}
			got := strings.Join(h.check(), "; ")
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("the history says %q, want %q", got, tc.want)
			}
		})
	}
}
