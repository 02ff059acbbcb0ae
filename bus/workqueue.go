package bus

import "sync"

// workQueue hands out keys that have work, each to one worker at a time. A key
// that is added while a worker has it is handed out again afterwards. Its
// length is bounded by the number of distinct keys.
type workQueue[K comparable] struct {
	mu      sync.Mutex
	ready   sync.Cond
	queue   []K
	state   map[K]workState
	stopped bool
}

type workState uint8

const (
	workQueued workState = iota + 1
	workRunning
	workAgain // running, and added meanwhile
)

func newWorkQueue[K comparable]() *workQueue[K] {
	q := &workQueue[K]{state: map[K]workState{}}
	q.ready.L = &q.mu
	return q
}

// add says that k has work.
func (q *workQueue[K]) add(k K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch q.state[k] {
	case 0:
		q.state[k] = workQueued
		q.queue = append(q.queue, k)
		q.ready.Signal()
	case workRunning:
		q.state[k] = workAgain
	}
}

// take waits for a key; ok is false once the queue was stopped.
func (q *workQueue[K]) take() (k K, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.queue) == 0 && !q.stopped {
		q.ready.Wait()
	}
	if q.stopped {
		return k, false
	}
	k = q.queue[0]
	q.queue = q.queue[1:]
	if len(q.queue) == 0 {
		q.queue = nil
	}
	q.state[k] = workRunning
	return k, true
}

// done gives back a key; again says that it has more work.
func (q *workQueue[K]) done(k K, again bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if again || q.state[k] == workAgain {
		q.state[k] = workQueued
		q.queue = append(q.queue, k)
		q.ready.Signal()
		return
	}
	delete(q.state, k)
}

// stop ends every take.
func (q *workQueue[K]) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	q.ready.Broadcast()
}
