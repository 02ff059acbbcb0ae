package transform

import (
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/rules"
)

func TestPathsThatLeadToNothingDrawAWarning(t *testing.T) {
	env, err := rules.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ block, want string }{
		{"inputPath: $.data.x", "1:12: inputPath: $.data.x leads to nothing: in these paths the data is $.detail; did you mean $.detail.x?"},
		{"inputPath: $['data'].x[0]", "did you mean $.detail.x[0]?"},
		{"inputPath: $.data", "did you mean $.detail?"},
		{"inputPath: $.detial.x", "did you mean $.detail?"},
		{"inputPath: $.Detail.x", "did you mean $.detail?"},
		{"inputPath: $.detail_type", "a-z and 0-9 only"},
		{"inputPath: $.souce", "did you mean $.source?"},
		{"inputPath: $.source.name", "source is an attribute, which has no fields"},
		{"inputPath: $.detail-type.name", "detail-type is an attribute, which has no fields"},
		{"inputPath: $.customerId", "a-z and 0-9 only"},
		{"inputPath: $[0]", "an event is no list"},
		{"inputTransformer: {inputPathsMap: {x: $.data.x}, inputTemplate: '<x>'}", "inputTransformer.inputPathsMap.x: $.data.x leads to nothing"},
		{"inputPath: $.detail.data.x", ""},
		{"inputPath: $.detail-type", ""},
		{"inputPath: $.detailType", ""},
		{"inputPath: $.details", ""}, // an extension may be called so
		{"inputPath: $.retail", ""},
		{"inputPath: $.resource", ""},
		{"inputPath: $.resources[0]", ""},
		{"inputPath: $.tenant", ""},
		{"inputPath: $.*", ""},
		{"inputPath: $", ""},

		{"jq: .customer_id", "1:6: jq: no event has .customer_id: names of attributes have a-z and 0-9 only; the data is .data"},
		{"jq: '.[\"customerId\"]'", "no event has .customerId"},
		{"jq: '{id, total: .tyep}'", "did you mean .type?"},
		{"jq: '{orderId}'", "no event has .orderId"},
		{"jq: .detail.total", ".detail.total is in no event: detail is an attribute, which has no fields; the data is .data"},
		{"jq: '. | .order_id'", "no event has .order_id"},
		{"jq: '(.data.n + .order_n)'", "no event has .order_n"},
		{"jq: '.data as $d | .order_n'", "no event has .order_n"},
		{"jq: 'if .Type == \"x\" then 1 else 2 end'", "no event has .Type"},
		{"jq: 'select(.event_type == \"x\") | .data'", "no event has .event_type"},
		{"jq: '\"a \\(.order_n) b\"'", "no event has .order_n"},
		{"jq: .tenant", ""},
		{"jq: .data.customer_id", ""},
		{"jq: .data | .customer_id", ""},
		{"jq: '.data.items | map(.unit_price)'", ""},
		{"jq: '[.data.items[] | {unit_price}]'", ""},
		{"jq: '.order_id = 7'", ""}, // it makes it
		{"jq: '.data |= .order_id'", ""},
		{"jq: 'def f: .order_id; .data | f'", ""},
		{"jq: '.data_base64'", ""},
		{"jq: '.data as {order_id: $x} | $x'", ""},
		{"jq: .", ""},
	}
	for _, c := range tests {
		t.Run(c.block, func(t *testing.T) {
			var doc yaml.Node
			if err := yaml.Unmarshal([]byte(c.block), &doc); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range Lint(env, doc.Content[0], env.LintExpr) {
				got = append(got, w.Error())
			}
			text := strings.Join(got, "\n")
			if len(got) > 1 || (c.want == "") != (text == "") || !strings.Contains(text, c.want) {
				t.Errorf("it warns %q, want %q", text, c.want)
			}
		})
	}
}
