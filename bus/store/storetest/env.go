package storetest

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// patience is how long a check waits for what must come, unless its Env has
// less.
const patience = 20 * time.Second

// Open opens an engine for a check, over what it kept in the Env before. It
// fails t when it cannot. It must give the engine the Env's clock.
type Open func(t testing.TB, env Env) store.Store

// Env is what a check gives an engine to live in. All openings of one store
// have equal Envs.
type Env struct {
	Dir   string // a folder of the check's own
	Name  string // a name of the check's own, for engines that live elsewhere
	Clock *Clock

	hooks *hooks
}

// hooks are what an engine told the suite about itself.
type hooks struct {
	mu       sync.Mutex
	step     func()
	crash    func()
	onlyOnce bool
	model    *Model
	patience time.Duration
}

func newEnv(t testing.TB) Env {
	dir := t.TempDir()
	return Env{
		Dir:   dir,
		Name:  filepath.Base(filepath.Dir(dir)) + "-" + filepath.Base(dir),
		Clock: NewClock(),
		hooks: &hooks{patience: patience},
	}
}

// OnStep is for an Open function: step makes the engine do the background work
// that is due now (scheduled events, checkpoints, traces). Eventually calls it
// before it looks. Without it checks wait for the engine to do so by itself.
func (e Env) OnStep(step func()) {
	e.hooks.mu.Lock()
	defer e.hooks.mu.Unlock()
	e.hooks.step = step
}

// OnCrash is for an Open function: crash ends the engine as a power cut would,
// losing what it has not made durable; the store is not closed afterwards.
// Without it nothing is checked about crashes.
func (e Env) OnCrash(crash func()) {
	e.hooks.mu.Lock()
	defer e.hooks.mu.Unlock()
	e.hooks.crash = crash
}

// CannotReopen is for an Open function: what the engine holds ends with it.
func (e Env) CannotReopen() {
	e.hooks.mu.Lock()
	defer e.hooks.mu.Unlock()
	e.hooks.onlyOnce = true
}

// Step lets the engine do its background work, if it said how.
func (e Env) Step() {
	e.hooks.mu.Lock()
	step := e.hooks.step
	e.hooks.mu.Unlock()
	if step != nil {
		step()
	}
}

// Eventually fails t unless done becomes true within some seconds. It steps the
// engine before it looks, each time.
func (e Env) Eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(e.patience())
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 20*time.Millisecond) {
		e.Step()
		if done() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain: %s", e.patience(), what)
		}
		time.Sleep(pause)
	}
}

func (e Env) patience() time.Duration {
	e.hooks.mu.Lock()
	defer e.hooks.mu.Unlock()
	return e.hooks.patience
}

// OpenModel is an Open function for the Model.
func OpenModel(_ testing.TB, env Env) store.Store {
	env.hooks.mu.Lock()
	defer env.hooks.mu.Unlock()
	if m := env.hooks.model; m != nil {
		env.hooks.model = m.Reopen()
	} else {
		env.hooks.model = NewModel(env.Clock.Now)
	}
	m := env.hooks.model
	env.hooks.step = m.Tick
	env.hooks.crash = func() {} // all that a model knows is durable
	return m
}

// Clock is a clock that stands still until it is moved. Its methods may be
// called from many goroutines.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock makes a clock that stands at a fixed time of a full second.
func NewClock() *Clock {
	return &Clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

// Now is the time on the clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock by d, back when d is negative.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
