package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/switchyard-dev/switchyard/bench/child"
)

// The names of measures; they say the unit.
const (
	perSecond    = "events/s"
	p50          = "p50 ms"
	p99          = "p99 ms"
	milliseconds = "ms"
	megabytes    = "MB"

	cpuMilliseconds = "CPU ms"
)

// ours is the contender that bars are set for.
const ours = "switchyard"

// measures are the results of one contender in one round, by name.
type measures map[string]float64

// contender does a scenario's work in its own way.
type contender struct {
	name string
	// run works for about d and says how it went. It fails when the counts do
	// not fit: everything that was accepted has to be there, or to have arrived.
	run func(ctx context.Context, d time.Duration) (measures, error)
}

// row is one line of the table: a measure of a contender beside that of a limit.
type row struct {
	measure string
	of      string // the contender; "" is ours
	limit   string // the contender that it is compared with; "" for none
	bar     bar
}

// bar is what a row has to reach; the zero bar asks nothing.
type bar struct {
	value float64
	// most says that the value is the highest allowed and not the lowest.
	most bool
	// absolute says that the measure itself is compared and not its ratio.
	absolute bool
}

// scenario is one thing that is measured.
type scenario struct {
	name  string
	about string
	rows  []row
	// steady takes the time of settings.steady for a round; once makes one
	// round only; cold leaves out the short round that warms everything up.
	steady, once, cold bool
	// open prepares the contenders, in the order in which they take turns.
	// What it opens goes to the closer.
	open func(ctx context.Context, e *environment, c *closer) ([]contender, error)
}

// warmUp is the longest round that is not counted.
const warmUp = 500 * time.Millisecond

// rest is the pause between two contenders, for what one leaves behind.
const rest = 200 * time.Millisecond

// measure runs the scenario and returns each contender's measures, round by round.
func (sc *scenario) measure(ctx context.Context, e *environment) (_ map[string][]measures, err error) {
	var c closer
	defer func() { err = errors.Join(err, c.close()) }()
	fmt.Fprintf(e.progress, "%s: preparing\n", sc.name)
	contenders, err := sc.open(ctx, e, &c)
	if err != nil {
		return nil, err
	}
	d, rounds := e.round, e.rounds
	if sc.steady {
		d = e.steady
	}
	if sc.once {
		rounds = 1
	}
	got := map[string][]measures{}
	first := 0
	if !sc.cold && !sc.once {
		first = -1
	}
	for round := first; round < rounds; round++ {
		for _, one := range contenders {
			length := d
			if round < 0 {
				length = min(d, warmUp)
			}
			m, err := one.run(ctx, length)
			if err != nil {
				return got, fmt.Errorf("%s: %w", one.name, err)
			}
			if round < 0 {
				continue
			}
			got[one.name] = append(got[one.name], m)
			fmt.Fprintf(e.progress, "%s: round %d of %d, %s: %s\n", sc.name, round+1, rounds, one.name, m)
			if err := sleep(ctx, min(rest, d)); err != nil {
				return got, err
			}
		}
	}
	return got, nil
}

// String lists the measures by name.
func (m measures) String() string {
	names := make([]string, 0, len(m))
	for name := range m {
		if name == counted {
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	text := ""
	for i, name := range names {
		if i > 0 {
			text += ", "
		}
		text += number(m[name]) + " " + name
	}
	return text
}

// sleep waits for d, or for the end of ctx, which is its error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// closer closes what was opened, the last first.
type closer struct{ funcs []func() error }

func (c *closer) add(f func() error) { c.funcs = append(c.funcs, f) }

func (c *closer) close() error {
	var errs []error
	for _, f := range slices.Backward(c.funcs) {
		errs = append(errs, f())
	}
	c.funcs = nil
	return errors.Join(errs...)
}

// environment is what scenarios work in.
type environment struct {
	settings
	progress io.Writer
	root     string // our own folder, removed at the end
	ids      idSource
	built    string
}

func newEnvironment(s settings, progress io.Writer) (*environment, error) {
	root, err := os.MkdirTemp(s.dir, "bench-data-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the data: %w; name another place with -dir", err)
	}
	if root, err = filepath.Abs(root); err != nil {
		return nil, err
	}
	e := &environment{settings: s, progress: progress, root: root}
	e.ids.last.Store(time.Now().UnixNano())
	return e, nil
}

func (e *environment) close() error { return os.RemoveAll(e.root) }

// folder makes a new folder, which goes when the scenario ends.
func (e *environment) folder(c *closer, name string) (string, error) {
	dir, err := os.MkdirTemp(e.root, name+"-")
	if err != nil {
		return "", err
	}
	c.add(func() error { return os.RemoveAll(dir) })
	return dir, nil
}

// program is the switchyard program, which is built when it is first asked for.
func (e *environment) program(ctx context.Context) (string, error) {
	switch {
	case e.binary != "":
		return filepath.Abs(e.binary)
	case e.built != "":
		return e.built, nil
	}
	built, err := child.Build(ctx, e.root)
	if err != nil {
		return "", err
	}
	e.built = built
	return built, nil
}
