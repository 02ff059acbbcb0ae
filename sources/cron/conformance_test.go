package cron

import (
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/sources/sourcetest"
)

func TestConformance(t *testing.T) {
	sourcetest.Run(t, sourcetest.Harness{
		Bubble: true,
		New: func(t *testing.T) sourcetest.Fixture {
			c := Spec().New().(*Config)
			c.Schedule = "*/5 * * * * *"
			c.Event = Event{Type: "com.example.tick", Subject: "s", Data: map[string]any{"n": 1}}
			begin := time.Now()
			return sourcetest.Fixture{
				Config: c,
				Check: func(t *testing.T, n int, e *event.Event) {
					want := begin.Truncate(5 * time.Second).Add(time.Duration(n) * 5 * time.Second)
					at, ok := e.Time()
					if !ok || !at.Equal(want) {
						t.Errorf("tick %d is at %s; want %s", n, e.TimeText(), want)
					}
					if e.ID() != "conformance/"+want.UTC().Format(time.RFC3339) || e.Source() != "/cron/conformance" ||
						e.Type() != "com.example.tick" || e.Subject() != "s" || string(e.Data()) != `{"n":1}` || len(e.Extensions()) != 0 {
						t.Errorf("tick %d: %s", n, event.AppendStructured(nil, e))
					}
				},
			}
		},
	})
}
