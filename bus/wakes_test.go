package bus

import (
	"testing"
	"time"
)

func TestAWakeComesAfterTheSameWaitWhateverTheClockIsSetTo(t *testing.T) {
	w := newWakes(func(*subscription) { t.Error("called an hour early") })
	defer w.stop()
	w.at(&subscription{}, time.Unix(0, time.Now().Add(time.Hour).UnixNano())) // as a store says it
	// Only a time with a monotonic part is not moved when the clock is set.
	if at := w.heap[0].at; at == at.Round(0) {
		t.Errorf("%v has no monotonic part", at)
	}
}
