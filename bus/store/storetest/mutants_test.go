package storetest

import (
	"slices"
	"strings"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func mutants() []mutant {
	return slices.Concat(logMutants(), scheduleMutants(), queueMutants(), subscriptionMutants(), deadMutants(), retentionMutants(), otherMutants(), replayMutants(), searchMutants(), transactionMutants(), tableMutants())
}

func TestEveryMutantIsCaughtAndEveryCheckCatchesOne(t *testing.T) {
	byName := map[string]check{}
	for _, c := range checks() {
		if _, twice := byName[c.name]; twice {
			t.Errorf("two checks are called %q", c.name)
		}
		byName[c.name] = c
	}
	caughtBy, catches := caughtBy(), map[string]bool{}
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) {
			if len(caughtBy[m.name]) == 0 {
				t.Error("no check is said to catch it")
			}
			for _, name := range caughtBy[m.name] {
				catches[name] = true
				if !fails(t, byName[name], m) {
					t.Errorf("the check %q passes", name)
				}
			}
		})
	}
	for name := range byName {
		if !catches[name] {
			t.Errorf("no mutant fails the check %q", name)
		}
	}
}

// fails says whether a check fails for a mutant; that of a race is tried again.
func fails(t *testing.T, c check, m mutant) bool {
	for range 5 {
		if try(t, func(t testing.TB) { c.run(newFixture(t, openBroken(m.how))) }).Failed() {
			return true
		}
	}
	return false
}

// beyond are the mutants whose fault no operation of Metamorphic can show.
func beyond() []string {
	return []string{
		"refuses an empty batch", "keeps a batch and says that it failed", "keeps the first part of a batch that fails",
		"records at the time of a clock that goes back", "does not tell the watcher", "tells the watcher of another bus",
		"mixes up two of many buses", "does not heed the size of a page",
		"reads nothing when an event is larger than the page", "does not wait for more", "waits for ever",
		"takes any bus for an empty one", "lists scheduled events of any id", "cancels by what events are deduplicated on", "does not count scheduled events",
		"does not count duplicates", "does not count events", "fails on a match of a subscription that is gone",
		"claims over what it is given", "forgets the end of a long queue", "hands out a long queue from the front again",
		"keeps the order of its first opening", "lists subscriptions in another order",
		"purges a subscription that moves", "begins anew at a malformed cursor", "takes any cursor of the schedule", "pages dead letters by their number",
		"keeps nothing for longer than a year", "keeps the options of its first opening",
		"holds nothing", // no operation holds
		"drops no bus", "uses the id of a dropped bus again", "drops what is owed with its bus",
		"checks a version before it takes the lock", "cuts the values of objects", "refuses events",
		"lists attempts of the oldest event first", "lists attempts without what is known of a failure",
		"lists attempts of every subscription",           // no operation lists attempts
		"forgets many objects in a crash",                // no operation writes many
		"traces a removed subscription without its name", // its traces are not compared
		"leaves no trace of what a seek drops",           // what it drops is not compared
		"ends receipts an event early",
		"ends timelines an event early",                                      // nor for timelines of many events
		"does not list what has expired",                                     // no operation asks for it
		"takes a scheduled event for one that was published when it was due", // nor asks for receipts
		"goes on after Close", "lets those wait who wait when it is closed", "fails when it is closed twice",
		"lets a replay go first", "commits into other buses what a dropped one lacks", "remembers every transaction",
		"commits scheduled events of a transaction at once",
		"keeps events without a subject",                          // but when nothing else is left
		"cancels one of several events with a name",               // few wait side by side
		"does not find by an extension", "scans beyond the range", // scans are few among so many operations
	}
}

func TestMetamorphicCatchesMutants(t *testing.T) {
	for _, m := range mutants() {
		if slices.Contains(beyond(), m.name) {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			for seed := range uint64(40) {
				if tr, _ := play(t, openBroken(m.how), operations(seed, 300)); tr.Failed() {
					return
				}
			}
			t.Error("it passes")
		})
	}
}

func TestMetamorphicReportsTheSeedAndFewOperations(t *testing.T) {
	lose := openBroken(func(b *broken) { b.close = func() error { b.locked(dropLast); return b.Model.Close() } })
	tr := try(t, func(t testing.TB) { Metamorphic(t, lose, 4, 300) })
	if !tr.Failed() {
		t.Fatal("the mutant passes")
	}
	report := tr.failures[len(tr.failures)-1]
	for _, want := range []string{"seed 4, 300 steps", "append e", "reopen"} {
		if !strings.Contains(report, want) {
			t.Errorf("the report does not say %q:\n%s", want, report)
		}
	}
	if n := strings.Count(report, "\n"); n > 15 {
		t.Errorf("the report has %d lines:\n%s", n, report)
	}
}

func TestRunSkipsReopeningWhenThatIsImpossible(t *testing.T) {
	open := func(t testing.TB, env Env) store.Store {
		env.CannotReopen()
		return NewModel(env.Clock.Now)
	}
	for _, c := range checks() {
		tr := try(t, func(t testing.TB) { c.run(newFixture(t, ticking(open))) })
		if tr.Failed() {
			t.Errorf("%s: %v", c.name, tr.failures)
		}
	}
}

// ticking makes a model work in the background when it is stepped.
func ticking(open Open) Open {
	return func(t testing.TB, env Env) store.Store {
		s := open(t, env)
		env.OnStep(s.(*Model).Tick)
		return s
	}
}
