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
	sequence     uint64
	redrive      int // number of the redrive that brought it; 0 is the live flow
	began, ended time.Time
	taken, dead  bool // else it is to be tried again
}

// history is everything that receivers with an order saw, and what is owed to
// them. check holds it against what CONTRACT.md promises of order.
type history struct {
	mu       sync.Mutex
	tries    []try
	owed     map[string][]uint64 // by subscription and key, in bus order
	redriven map[string]int      // by subscription and sequence
}

func newHistory() *history {
	return &history{owed: map[string][]uint64{}, redriven: map[string]int{}}
}

func line(sub, key string) string { return sub + " " + key }

// owes notes an event that was published for a subscription.
func (h *history) owes(sub, key string, sequence uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.owed[line(sub, key)] = append(h.owed[line(sub, key)], sequence)
}

// redrives notes that a dead letter is about to be redriven by the n-th call.
func (h *history) redrives(sub string, sequence uint64, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.redriven[fmt.Sprint(sub, sequence)] = n
}

func (h *history) add(t try) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t.redrive = h.redriven[fmt.Sprint(t.sub, t.sequence)]
	h.tries = append(h.tries, t)
}

// check says what breaks a promise: that the attempts of one key are made one
// after another, each event only when those before it are taken or dead, that
// nothing is passed over or left, and that redrives are in order among themselves.
func (h *history) check() (broken []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	slices.SortStableFunc(h.tries, func(a, b try) int { return a.began.Compare(b.began) })
	live, again := map[string][]try{}, map[string][]try{}
	for _, t := range h.tries {
		at := line(t.sub, t.key)
		if t.redrive == 0 {
			live[at] = append(live[at], t)
		} else if t.taken {
			at += fmt.Sprint(" redrive ", t.redrive)
			again[at] = append(again[at], t)
		}
	}
	for at, owed := range h.owed {
		broken = append(broken, inLine(at, owed, live[at])...)
	}
	for at, tries := range again {
		slices.SortStableFunc(tries, func(a, b try) int { return a.ended.Compare(b.ended) })
		for i := 1; i < len(tries); i++ {
			if tries[i].sequence <= tries[i-1].sequence {
				broken = append(broken, fmt.Sprintf("%s: %d was taken after %d", at, tries[i].sequence, tries[i-1].sequence))
			}
		}
	}
	slices.Sort(broken)
	return broken
}

// inLine checks the live attempts of one key.
func inLine(at string, owed []uint64, tries []try) (broken []string) {
	next := 0 // of owed
	for i, t := range tries {
		if i > 0 && t.began.Before(tries[i-1].ended) {
			broken = append(broken, fmt.Sprintf("%s: %d began while %d was under way", at, t.sequence, tries[i-1].sequence))
		}
		switch {
		case next == len(owed):
			broken = append(broken, fmt.Sprintf("%s: %d came after all was settled", at, t.sequence))
		case t.sequence != owed[next]:
			broken = append(broken, fmt.Sprintf("%s: %d came while it was the turn of %d", at, t.sequence, owed[next]))
		case t.taken || t.dead:
			next++
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
						h.redrives("s", s, 1)
					}
				}
				h.add(one)
			}
			got := strings.Join(h.check(), "; ")
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("the history says %q, want %q", got, tc.want)
			}
		})
	}
}
