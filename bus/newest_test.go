package bus

import (
	"encoding/json"
	"testing"
	"time"
)

// What is seen of a history without parsing it is what parsing it says, or
// nothing.
func TestTheNewestVersionIsSeenWithoutParsing(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	of := func(bus, definition string) RulePlan { return RulePlan{Bus: bus, Definition: []byte(definition)} }
	version := func(n uint64, bus, definition string) RuleVersion {
		return RuleVersion{Version: n, Since: at, Bus: bus, After: 9, Definition: json.RawMessage(definition)}
	}
	nested := `{"transform":{"data":{"version":7,"bus":"a","definition":{"bus":"b"}}},"when":"a < \"{\" && b > '}'"}`
	for name, c := range map[string]struct {
		history RuleHistory
		rule    RulePlan
		seen    bool
	}{
		"the only one":            {RuleHistory{version(1, "a", `{"bus":"a"}`)}, of("a", `{"bus":"a"}`), true},
		"the last of three":       {RuleHistory{version(11, "a", `{"x":1}`), version(12, "b", nested), version(13, "a", nested)}, of("a", nested), true},
		"an older one":            {RuleHistory{version(1, "a", `{"x":1}`), version(2, "a", `{"x":2}`)}, of("a", `{"x":1}`), false},
		"another bus":             {RuleHistory{version(1, "a", `{"x":1}`)}, of("b", `{"x":1}`), false},
		"a part of a definition":  {RuleHistory{version(3, "a", `{"y":0,"definition":{"x":1}}`)}, of("a", `{"x":1}`), false},
		"removed":                 {RuleHistory{version(1, "a", `{"x":1}`), {Version: 2, Since: at, Removed: true}}, of("a", `{"x":1}`), false},
		"no definition":           {RuleHistory{{Version: 1, Since: at, Bus: "a"}}, of("a", ""), false},
		"a bus of many braces":    {RuleHistory{version(1, `a{"`, `{"x":1}`)}, of(`a{"`, `{"x":1}`), false},
		"a definition that wraps": {RuleHistory{version(1, "a", `{"x":1}`)}, of("a", `{"definition":{"x":1}}`), false},
	} {
		t.Run(name, func(t *testing.T) {
			written, err := plainJSON(c.history)
			if err != nil {
				t.Fatal(err)
			}
			got := sameNewest(written, c.rule)
			last := c.history[len(c.history)-1]
			if c.seen && got != last.Version || !c.seen && got != 0 {
				t.Errorf("version %d of %s", got, written)
			}
			if got > 0 && !sameDefinition(last, c.rule) {
				t.Error("it is not the rule")
			}
		})
	}
	if sameNewest(nil, of("a", `{"x":1}`)) != 0 || sameNewest([]byte(`{"x":1}}]`), of("a", `{"x":1}`)) != 0 {
		t.Error("something is seen in what is no history")
	}
}
