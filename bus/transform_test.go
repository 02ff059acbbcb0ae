package bus_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/transform"
)

func (w *world) transform(json string) *transform.Transform {
	w.t.Helper()
	t, err := transform.CompileJSON(w.env, []byte(json), transform.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	return t
}

func TestATransformKnowsTheRuleAndWhenTheEventWasRecorded(t *testing.T) {
	within(t, func(w *world) {
		tg := &target{}
		p := w.plan(map[string]bus.TargetPlan{"t": {Target: tg}})
		r := p.Rules["all"]
		r.Transform = w.transform(`{"inputTransformer": {"inputTemplate": "{\"rule\": <aws.events.rule-arn>, \"at\": <aws.events.event.ingestion-time>}"}}`)
		p.Rules["all"] = r
		w.apply(p)
		w.run()
		recorded := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
		w.publish(w.event("1"))
		w.after(time.Hour)
		got := tg.attempts()
		if want := `{"rule": "arn:switchyard:events:::rule/orders/all", "at": "` + recorded + `"}`; len(got) != 1 || string(got[0].Event.Data()) != want {
			t.Errorf("%d attempts; want one with %s", len(got), want)
		}
	})
}

func TestATransformThatFailsMakesADeadLetterThatSaysWhy(t *testing.T) {
	for block, want := range map[string]string{
		`{"jq": ".data[]"}`:                                 `jq: cannot iterate over: null`,
		`{"jq": "[limit(1e9; repeat(1))]"}`:                 `jq: the program takes too many steps on this event`,
		`{"inputPath": "$.detail.x"}`:                       `inputPath: $.detail.x is not in the event`,
		`{"subject": "${{ event.nope }}", "jq": "1"}`:       `no such key: nope`,
		`{"time": "${{ event.id }}", "input": {"a": true}}`: `is not an RFC 3339 time`,
	} {
		within(t, func(w *world) {
			tg := &target{}
			p := w.plan(map[string]bus.TargetPlan{"t": {Target: tg}})
			r := p.Rules["all"]
			r.Transform = w.transform(block)
			p.Rules["all"] = r
			w.apply(p)
			w.run()
			w.publish(w.event("1"))
			synctest.Wait()
			letters := w.dead("all/t")
			if len(letters) != 1 || len(tg.attempts()) != 0 {
				t.Fatalf("%s: %d dead letters, %d attempts", block, len(letters), len(tg.attempts()))
			}
			if got := letters[0].Attempts[len(letters[0].Attempts)-1].Error; !strings.Contains(got, want) {
				t.Errorf("%s: %q; want %q", block, got, want)
			}
		})
	}
}
