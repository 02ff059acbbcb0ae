package embedded

import (
	"bytes"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// FuzzDecode gives damaged bytes to everything that reads frames, blocks and
// rows: errors are fine, panics are not.
func FuzzDecode(f *testing.F) {
	e := store.Entry{Bus: 1, Event: kilobyte(f, "x"), Via: "http", Window: time.Minute, Due: time.Unix(1, 0)}
	payload := appendEntry(appendPayloadHeader(nil, 2), &e, nil)
	f.Add(appendEntry(payload, &e, &fired{1, 2, 3}))
	var b block
	b.add(&outcome{bus: 1, seq: 2, sub: 3, queued: 4, settled: 5, attempt: &store.Attempt{Number: 1, Address: "a:1"}})
	b.add(&outcome{bus: 1, seq: 2, sub: 4, state: outcomeDead, reason: "why"})
	f.Add(b.encode(nil))
	f.Add(appendAttempt(nil, &store.Attempt{Error: "no", Response: "none"}))
	f.Add(appendAttempt(nil, &store.Attempt{Published: store.EventPlace{Bus: 1, Sequence: 2}}))
	f.Add(appendAttempt(nil, &store.Attempt{ReplyDropped: "no", Failure: &store.Failure{Class: "status", Died: fromNanos(1), Reason: "no"}}))
	f.Add(appendText(queueRow{key: 7}.append(nil), "reason"))
	f.Add((&subscription{name: "r/t"}).row())
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = walkPayload(bytes.Clone(data), func(e *entry) error {
			_, err := e.stored()
			_, _, _ = e.key(), e.window(), e.hops()
			if e.hasDue() {
				_, _, _ = e.due(), e.id(), e.accepted()
			}
			return err
		})
		_, _, _ = decodeScheduled(data)
		_ = owedSize(data)
		_ = findOutcomes(data, 1, 2, 2, func(outcome) {})
		_, _ = parseOutcome(data)
		_, _ = parseAttempt(data)
		_, _ = parseDead(place{}, death{}, data)
		_, _ = parseQueueRow(data)
		_ = new(subscription).parse(1, data)
		_, _ = parseBusRow(1, data)
		_, _ = parseIndexEntry(data, data)
		_, _ = parseCounts(data)
		_ = (&bus{}).readLastRow(data)
	})
}
