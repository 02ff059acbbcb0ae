package storetest

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// Metamorphic does random operations with an engine and with a Model, side by
// side, and compares what can be seen after each. Where store.go leaves an
// engine free, as in which of the due deliveries a claim takes, the model
// follows the engine after checking that it may do so. When they differ, it
// looks for a shorter sequence of operations that differs too, and fails t with
// that and the seed.
func Metamorphic(t testing.TB, open func(t testing.TB, env Env) store.Store, seed uint64, steps int) {
	t.Helper()
	ops := operations(seed, steps)
	tr, trail := play(t, open, ops)
	if tr.Skipped() {
		t.Skip("the engine cannot be opened here")
	}
	if !tr.Failed() {
		return
	}
	ops = ops[:min(len(trail), len(ops))]
	ops, shortest, trail := shrink(t, open, ops, tr, trail)
	t.Fatalf("seed %d, %d steps; shrunk to %d operations:\n%s\ndiffers:\n%s",
		seed, steps, len(ops), strings.Join(trail, "\n"), strings.Join(shortest.failures, "\n"))
}

// operation is a step to be done: what it does follows from its own seed and
// the state that it finds, so that others may be left out.
type operation struct {
	do   func(*pairing, *rand.Rand)
	seed uint64
}

// operations draws a sequence of operations.
func operations(seed uint64, steps int) []operation {
	kinds := []struct {
		weight int
		do     func(*pairing, *rand.Rand)
	}{
		{20, (*pairing).publish},
		{12, (*pairing).routeSome},
		{25, (*pairing).claim},
		{25, (*pairing).settle},
		{10, (*pairing).advance},
		{3, (*pairing).pauseOrResume},
		{4, (*pairing).redrive},
		{2, (*pairing).purgeDead},
		{1, (*pairing).purge},
		{2, (*pairing).orphanOrAdopt},
		{2, (*pairing).cancel},
		{2, (*pairing).trim},
		{2, (*pairing).checkpoint},
		{2, (*pairing).reopen},
		{2, (*pairing).crash},
		{3, (*pairing).object},
		{3, (*pairing).openTransaction},
		{3, (*pairing).endTransaction},
		{2, (*pairing).openReplay},
		{7, (*pairing).feedReplay},
		{1, (*pairing).dropReplay},
		{2, (*pairing).seek},
		{2, (*pairing).switchTable},
	}
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	ops := make([]operation, steps)
	for i := range ops {
		at := rng.IntN(total)
		for _, k := range kinds {
			if at -= k.weight; at < 0 {
				ops[i] = operation{k.do, rng.Uint64()}
				break
			}
		}
	}
	return ops
}

// play does the operations with a new engine and a new model until they differ.
// The trail says in words what was done.
func play(t testing.TB, open Open, ops []operation) (*trial, []string) {
	var trail []string
	tr := try(t, func(t testing.TB) {
		p := newPairing(newFixture(t, open))
		defer func() { trail = p.trail }()
		for i, op := range ops {
			rng := rand.New(rand.NewPCG(op.seed, 1))
			p.trail = append(p.trail, "")
			op.do(p, rng)
			p.compare(rng, i%25 == 24 || i == len(ops)-1)
			if t.Failed() {
				return
			}
		}
	})
	return tr, trail
}

// shrink leaves out operations as long as the engine and the model still
// differ, for a limited time.
func shrink(t testing.TB, open Open, ops []operation, failed *trial, trail []string) ([]operation, *trial, []string) {
	deadline := time.Now().Add(2 * patience)
	for size := len(ops) / 2; size > 0; size /= 2 {
		for at := 0; at+size <= len(ops); {
			if time.Now().After(deadline) {
				return ops, failed, trail
			}
			fewer := append(append([]operation(nil), ops[:at]...), ops[at+size:]...)
			if tr, shorter := play(t, open, fewer); tr.Failed() {
				ops, failed, trail = fewer[:min(len(shorter), len(fewer))], tr, shorter
			} else {
				at += size
			}
		}
	}
	return ops, failed, trail
}
