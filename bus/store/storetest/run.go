package storetest

import (
	"runtime/debug"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// check is one thing that users rely on.
type check struct {
	name string
	run  func(f *fixture)
}

// Run is the conformance suite: it holds an engine against everything that
// store.go promises and that can be seen through the interfaces. Each check
// opens a store of its own.
func Run(t *testing.T, open func(t testing.TB, env Env) store.Store) {
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			defer func() { // an engine that panics, or makes a check panic, fails only that
				if r := recover(); r != nil {
					t.Errorf("panic: %v\n%s", r, debug.Stack())
				}
			}()
			c.run(newFixture(t, open))
		})
	}
}

func checks() (all []check) {
	for _, group := range [][]check{
		logChecks(), readChecks(), dedupeChecks(), scheduleChecks(),
		queueChecks(), claimChecks(), reopenChecks(), orderChecks(),
		subscriptionChecks(), pauseChecks(), deadChecks(), retentionChecks(),
		replayChecks(), seekChecks(), transactionChecks(),
		catalogChecks(), traceChecks(), lifeChecks(), searchChecks(), tableChecks(),
	} {
		all = append(all, group...)
	}
	return all
}
