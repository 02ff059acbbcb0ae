package storetest

import (
	"fmt"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func sameRecord(a, b store.Record) bool {
	return a.Bus == b.Bus && a.Sequence == b.Sequence && a.Recorded.Equal(b.Recorded) &&
		a.Via == b.Via && a.Hops == b.Hops && a.Event != nil && b.Event != nil && sameEvent(a.Event, b.Event)
}

func recordText(r store.Record) string {
	id := "none"
	if r.Event != nil {
		id = r.Event.ID()
	}
	return fmt.Sprintf("{bus %d seq %d recorded %v via %.40q hops %d event %q}", r.Bus, r.Sequence, r.Recorded.Format(time.RFC3339Nano), r.Via, r.Hops, id)
}

func sameAttempts(a, b []store.Attempt) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !sameAttempt(a[i], b[i]) {
			return false
		}
	}
	return true
}

func sameAttempt(a, b store.Attempt) bool {
	started := a.Started.Equal(b.Started)
	a.Started, b.Started = time.Time{}, time.Time{}
	failure := sameFailure(a.Failure, b.Failure)
	a.Failure, b.Failure = nil, nil
	return started && failure && a == b
}

func sameFailure(a, b *store.Failure) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Class == b.Class && a.Request == b.Request && a.Answer == b.Answer && a.NextAt.Equal(b.NextAt) &&
		a.Died.Equal(b.Died) && a.Reason == b.Reason
}
