package transform

import (
	"sync"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/rules"
)

func TestATransformForLaterIsCompiledWhenItIsFirstApplied(t *testing.T) {
	env, err := rules.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	ev, err := event.FromStructured([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"n":7}}`), event.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	tr := Later(env, func() *yaml.Node {
		asked++
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte("type: made\ndata: {n: '${{ event.data.n }}'}\n"), &doc); err != nil {
			t.Error(err)
		}
		return doc.Content[0]
	})
	if len(tr.Enriched()) > 0 || asked > 0 {
		t.Error("it was compiled at once")
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			out, err := tr.Apply(ev)
			if err != nil {
				t.Error(err)
				return
			}
			if got := string(out.Data()); out.Type() != "made" || got != `{"n":7}` {
				t.Errorf("%s %s", out.Type(), got)
			}
		})
	}
	all.Wait()
	if asked != 1 {
		t.Errorf("it was compiled %d times", asked)
	}
	for name, block := range map[string]*yaml.Node{"no block": nil, "no mapping": {Kind: yaml.ScalarNode, Tag: "!!str", Value: "x"}} {
		if _, err := Later(env, func() *yaml.Node { return block }).Apply(ev); err == nil {
			t.Errorf("%s: it was applied", name)
		}
	}
}
