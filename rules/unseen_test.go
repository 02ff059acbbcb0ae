package rules

import (
	"fmt"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/event"
)

func TestPathsThatNoEventHas(t *testing.T) {
	env := mustEnv(t)
	var events []*event.Event
	for i := range 12 {
		kind := []string{"placed", "refunded"}[i%2]
		events = append(events, mustEvent(t, fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"/s","type":%q,"tenant":"a",
			"data":{"total":5,"items":[{"sku":"a"}],"%s":{"by":"x"}}}`, i, kind, kind)))
	}
	for _, tc := range []struct {
		name string
		f    Filter
		want string
	}{
		{"a slip in a path", Filter{When: `event.data.totl > 5`},
			`1:1: none of the last 12 events of bus orders has event.data.totl; the nearest is event.data.total`},
		{"a slip in front of others", Filter{When: `event.data.itms[0].sku == "a" && event.data.itms[0].qty == 1.0`},
			`1:1: none of the last 12 events of bus orders has event.data.itms; the nearest is event.data.items`},
		{"an extension", Filter{When: `event.tenent == "a"`},
			`1:1: none of the last 12 events of bus orders has event.tenent; the nearest is event.tenant`},
		{"a path of another type", Filter{When: `event.type == "placed" && event.data.refunded.by == "x"`},
			`1:27: none of the 6 events among the last 12 events of bus orders whose type fits has event.data.refunded`},
		{"a type that there is not", Filter{When: "event.type == \"place\" &&\n event.data.x == 1"},
			`1:1: none of the last 12 events of bus orders has the type "place"; the nearest is "placed"`},
		{"two types that there are not", Filter{When: `event.type in ["a", "b"] && event.data.x == 1`},
			`1:1: none of the last 12 events of bus orders has a type that fits`},
		{"a type in SQL", Filter{SQL: `type = 'refnded'`},
			`1:1: none of the last 12 events of bus orders has the type "refnded"; the nearest is "refunded"`},
		{"an extension in SQL", Filter{SQL: `tennant = 'a' OR type = 'placed'`},
			`1:1: none of the last 12 events of bus orders has event.tennant; the nearest is event.tenant`},
		{"an extension in filters", Filter{Filters: `[{"exact":{"type":"placed"}},{"prefix":{"tenants":"a"}}]`},
			`/1/prefix/tenants: none of the 6 events among the last 12 events of bus orders whose type fits has event.tenants; the nearest is event.tenant`},

		{"an extension in SQL that is compared as a number", Filter{SQL: `tennant > 3 OR LENGTH(tenat) > 3`},
			`1:1: none of the last 12 events of bus orders has event.tennant; the nearest is event.tenant
1:23: none of the last 12 events of bus orders has event.tenat; the nearest is event.tenant`},
		{"an extension in SQL in filters", Filter{Filters: `[{"sql":"tennant > 3"}]`},
			`/0/sql: none of the last 12 events of bus orders has event.tennant; the nearest is event.tenant`},
		{"an object that is to be absent", Filter{Pattern: `{"detail":{"placed":[{"exists":false}]}}`},
			`/detail/placed: event.data.placed is an object in some of the last 12 events of bus orders, and {exists: false} is true of an object; ask for a field in it`},

		{"a path in a pattern", Filter{Pattern: `{"detail":{"totl":[5],"items":{"sku":["a"]}}}`},
			`/detail/totl: none of the last 12 events of bus orders has event.data.totl; the nearest is event.data.total`},
		{"a path through an array in a pattern", Filter{Pattern: `{"type":["placed"],"detail":{"items.skuu":["a"]}}`},
			`/detail/items.skuu: none of the 6 events among the last 12 events of bus orders whose type fits has event.data.items.skuu`},
		{"a type in a pattern", Filter{Pattern: `{"detail-type":["plced"]}`},
			`/detail-type: none of the last 12 events of bus orders has the type "plced"; the nearest is "placed"`},

		{"a pattern that fits", Filter{Pattern: `{"detail-type":[{"prefix":"pl"}],"tenant":["b"],"detail":{"items":{"sku":["z"]},"placed.by":["y"],"gone":[{"exists":false}]}}`}, ""},
		{"paths that there are", Filter{When: `event.data.total > 5 && event.data.placed.by == "x" && event.tenant == "a"`}, ""},
		{"what has asks for", Filter{When: `has(event.data.totl) || event.data.?x.hasValue()`}, ""},
		{"a path behind has", Filter{When: `has(event.data.totl) && event.data.totl.x > 5`}, ""},
		{"a path behind in", Filter{When: `"totl" in event.data && event.data.totl > 5`}, ""},
		{"a choice of paths", Filter{When: `(has(event.data.total) ? event.data.total : event.data.amount) >= 1000`}, ""},
		{"a path with a default", Filter{When: `default(event.data.totl, 0) > 5 || coalesce(event.data.a, event.data.total) > 5`}, ""},
		{"an extension behind EXISTS", Filter{SQL: `EXISTS tennant AND tennant > 3`}, ""},
		{"an attribute that is not set", Filter{When: `event.subject == "a"`}, ""},
		{"a path within a list", Filter{When: `event.data.items.exists(i, i.qty > 1.0)`}, ""},
		{"no filter", Filter{}, ""},
		{"what does not compile", Filter{When: `event.`}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := lintText(env.Unseen(tc.f, events, "the last 12 events of bus orders")); got != tc.want {
				t.Errorf("\ngot  %s\nwant %s", got, tc.want)
			}
			if got := env.Unseen(tc.f, events[:LeastSeen-1], "few"); got != nil {
				t.Errorf("of few events: %v", got)
			}
		})
	}
}
