package transform

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// instance is the example event of EventBridge's documentation.
const instance = `{"specversion":"1.0","id":"7bf73129-1428-4cd3-a780-95db273d1602","type":"EC2 Instance State-change Notification",
"source":"aws.ec2","account":"123456789012","time":"2015-11-11T21:29:54Z","region":"us-east-1",
"resources":"arn:aws:ec2:us-east-1:123456789012:instance/i-abcd1111","hot":true,
"data":{"instance-id":"i-0123456789","state":"RUNNING","n":12345678901234567890,"nil":null,"quote":"say \"hi\"\n","tags":["a","b"],
"payload":{"acc_id":"0a787ecb-4015","sf_id":"baz"},"disks":[{"id":"d1"},{"id":"d2"}],"a/b":1,"a.b":2}}`

const paths = `inputPathsMap: {timestamp: $.time, instance: $.detail.instance-id, state: $.detail.state, nope: $.detail.nope, payload: $.detail.payload,
    n: $.detail.n, quote: $.detail.quote, tags: $.detail.tags, hot: $.hot, nil: $.detail.nil, ids: "$.detail.disks[*].id"}`

var here = Context{Bus: "infra", Rule: "example", Recorded: time.Date(2026, 11, 22, 10, 0, 0, 5e6, time.UTC)}

// The first are the examples of EventBridge's documentation.
func TestInputTransformer(t *testing.T) {
	tests := []struct{ name, template, want string }{
		{"simple string", `"instance <instance> is in <state>"`, `"instance i-0123456789 is in RUNNING"`},
		{"string with escaped quotes", `"instance \"<instance>\" is in <state>"`, `"instance \"i-0123456789\" is in RUNNING"`},
		{"simple JSON", `{"instance" : <instance>, "state": <state>}`, `{"instance" : "i-0123456789", "state": "RUNNING"}`},
		{"JSON with strings and variables", `{"instance" : <instance>, "state": "<state>", "instanceStatus": "instance \"<instance>\" is in <state>"}`,
			`{"instance" : "i-0123456789", "state": "RUNNING", "instanceStatus": "instance \"i-0123456789\" is in RUNNING"}`},
		{"JSON with a mix of variables and static information", `{"instance" : <instance>, "state": [ 9, <state>, true ], "Transformed" : "Yes"}`,
			`{"instance" : "i-0123456789", "state": [ 9, "RUNNING", true ], "Transformed" : "Yes"}`},
		{"reserved variables in JSON", `{"ruleArn" : <aws.events.rule-arn>, "ruleName" : <aws.events.rule-name>, "at": <aws.events.event.ingestion-time>}`,
			`{"ruleArn" : "arn:switchyard:events:us-east-1:123456789012:rule/infra/example", "ruleName" : "example", "at": "2026-11-22T10:00:00.005Z"}`},
		{"reserved variables in a string", `"<aws.events.rule-name> triggered"`, `"example triggered"`},
		{"the log group", `{"timestamp" : <timestamp>, "message": "instance \"<instance>\" is in <state>"}`,
			`{"timestamp" : "2015-11-11T21:29:54Z", "message": "instance \"i-0123456789\" is in RUNNING"}`},
		{"plain text", `<instance> is in state <state>`, `"i-0123456789 is in state RUNNING"`},
		{"the API's example with quote marks", `<instance> is in state "<state>"`, `"i-0123456789 is in state \"RUNNING\""`},

		{"the original event without its detail", `{"e": <aws.events.event>}`,
			`{"e": {"version":"0","id":"7bf73129-1428-4cd3-a780-95db273d1602","detailType":"EC2 Instance State-change Notification","source":"aws.ec2","account":"123456789012","time":"2015-11-11T21:29:54Z","region":"us-east-1","resources":["arn:aws:ec2:us-east-1:123456789012:instance/i-abcd1111"],"hot":true}}`},
		{"a variable alone", `<payload>`, `{"acc_id":"0a787ecb-4015","sf_id":"baz"}`},
		{"a missing path in a string is nothing", `"a <nope> b"`, `"a  b"`},
		{"a missing path elsewhere is an empty string", `{"a": <nope>}`, `{"a": ""}`},
		{"an object in a string loses its quotes", `"got <payload>"`, `"got {acc_id:0a787ecb-4015,sf_id:baz}"`},
		{"an array in a string loses its quotes", `"got <tags>"`, `"got [a,b]"`},
		{"a number keeps its digits", `{"n": <n>, "s": "<n>"}`, `{"n": 12345678901234567890, "s": "12345678901234567890"}`},
		{"a null", `{"n": <nil>, "s": "<nil>"}`, `{"n": null, "s": "null"}`},
		{"an extension keeps its type", `{"h": <hot>}`, `{"h": true}`},
		{"text is escaped in a string", `{"q": "<quote>!", "r": <quote>}`, `{"q": "say \"hi\"\n!", "r": "say \"hi\"\n"}`},
		{"text in plain text", `said: <quote>`, `"said: say \"hi\"\n"`},
		{"lines of quoted text", "\"one <instance>\"\n  \"two \\\"<state>\\\" <\"\n", `"one i-0123456789\ntwo \"RUNNING\" <"`},
		{"lines of plain text", "one <instance>\ntwo", `"one i-0123456789\ntwo"`},
		{"a wildcard", `{"ids": <ids>}`, `{"ids": ["d1","d2"]}`},
		{"a template that is a list", `[<instance>, {"s": <state>}]`, `["i-0123456789", {"s": "RUNNING"}]`},
		{"less and greater signs", `"1 < 2, 3 > 2, <>, < state >"`, `"1 < 2, 3 > 2, <>, < state >"`},
		{"an escaped quote before a variable", `{"a": "\"", "b": <state>}`, `{"a": "\"", "b": "RUNNING"}`},

		{"a quoted placeholder in a key", `{"<state>": 1}`, `{"RUNNING": 1}`},
	}
	env := mustEnv(t)
	ev := mustEvent(t, instance)
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			tr, err := compileYAML(env, transformer(tc.template))
			if err != nil {
				t.Fatal(err)
			}
			out, err := tr.ApplyIn(here, ev)
			if err != nil {
				t.Fatal(err)
			}
			if string(out.Data()) != tc.want || out.Format() != event.JSON {
				t.Errorf("got  %s\nwant %s", out.Data(), tc.want)
			}
		})
	}
}

func transformer(template string) string {
	return "inputTransformer:\n  " + paths + "\n  inputTemplate: |-\n    " + strings.ReplaceAll(template, "\n", "\n    ")
}

func TestTemplatesThatNeverMakeJSONAreRefused(t *testing.T) {
	env := mustEnv(t)
	for template, want := range map[string]struct {
		column  int
		message string
	}{
		`<instance> is in state <status>`: {24, "<status> is neither in inputPathsMap nor predefined"},
		`"<aws.events.pipe>"`:             {2, "<aws.events.pipe> is neither in inputPathsMap nor predefined"},
		`{<state>: 1}`:                    {2, "the template is not JSON: an object's key should stand here"},
		`{"a": <state>,}`:                 {15, "the template is not JSON: an object's key should stand here"},
		`{"a": <state><state>}`:           {14, "the template is not JSON: a comma or } should follow an object's member"},
		`{"a": 1<state>}`:                 {8, "the template is not JSON: a comma or } should follow an object's member"},
		`"a" b`:                           {5, "the template is neither JSON nor lines of quoted text: more text after the JSON value"},
		`{"a": "<state>}`:                 {7, "the template is not JSON: a string has no end"},
		`{"a": 1, "a": <state>}`:          {10, `the template is not JSON: an object has this key twice`},
		"\"a\"\n\"\\<state>\"":            {4, "the template is neither JSON nor lines of quoted text: more text after the JSON value"},
	} {
		_, err := compileYAML(env, transformer(template))
		var e *Error
		if !errors.As(err, &e) || e.Message != want.message || e.TextLine == 1 && e.TextColumn != want.column || e.Key != "inputTransformer.inputTemplate" {
			t.Errorf("%s: column %d: %v", template, e.TextColumn, err)
		}
	}
}

func TestForms(t *testing.T) {
	tests := []struct{ name, block, want string }{
		// EventBridge's other ways.
		{"a path", `inputPath: $.detail.payload`, `data={"acc_id":"0a787ecb-4015","sf_id":"baz"}`},
		{"a path copies a number", `inputPath: $.detail.n`, `data=12345678901234567890`},
		{"a path to text", `inputPath: $.detail.payload.sf_id`, `data="baz"`},
		{"a path by index", `inputPath: "$.detail.disks[1]"`, `data={"id":"d2"}`},
		{"a path to an attribute", `inputPath: $.source`, `data="aws.ec2"`},
		{"a path to an extension", `inputPath: $.hot`, `data=true`},
		{"a path with a slash", `inputPath: $.detail.a/b`, `data=1`},
		{"a path in brackets", `inputPath: $['detail']["a.b"]`, `data=2`},
		{"a wildcard over an object", `inputPath: $.detail.payload.*`, `data=["0a787ecb-4015","baz"]`},
		{"a wildcard that finds nothing", `inputPath: $.detail.state[*].x`, `data=[]`},
		{"the resources", `inputPath: $.resources`, `data=["arn:aws:ec2:us-east-1:123456789012:instance/i-abcd1111"]`},
		{"the whole event", `inputPath: $`, `data={"version":"0","id":"7bf73129-1428-4cd3-a780-95db273d1602","detail-type":"EC2 Instance State-change Notification","source":"aws.ec2","account":"123456789012","time":"2015-11-11T21:29:54Z","region":"us-east-1","resources":["arn:aws:ec2:us-east-1:123456789012:instance/i-abcd1111"],"hot":true,"detail":{"instance-id":`},
		{"a constant", `input: {b: 1, a: [1.50, null, x]}`, `data={"b":1,"a":[1.50,null,"x"]}`},
		{"a constant of JSON text", `input: '{"b": 1, "a": 12345678901234567890}'`, `data={"b": 1, "a": 12345678901234567890}`},
		{"a constant that is JSON null", `input: null`, `data=null`},
		{"a constant string", `input: '"hello"'`, `data="hello"`},
		{"attributes beside it", "type: \"x.${{ event.data.state }}\"\nsource: /other\ninputPath: $.detail.state", `type=x.RUNNING data="RUNNING"`},
		{"a string under a content type of text", "datacontenttype: text/plain\ninputTransformer: {inputTemplate: 'rule <aws.events.rule-name>'}", `datacontenttype=text/plain raw=rule example format=2`},
		{"a string of jq under a content type of text", "datacontenttype: text/csv\njq: '[.id, .data.state] | @csv'", `raw="7bf73129-1428-4cd3-a780-95db273d1602","RUNNING" format=2`},

		// jq.
		{"jq sees the event", `jq: '{id, type, s: .data.state, hot}'`, `data={"hot":true,"id":"7bf73129-1428-4cd3-a780-95db273d1602","s":"RUNNING","type":"EC2 Instance State-change Notification"}`},
		{"jq keeps digits", `jq: '.data | {n, m: (.n + 1), f: 0.1}'`, `data={"f":0.1,"m":12345678901234567891,"n":12345678901234567890}`},
		{"jq with a function, a reduction and text", `jq: 'def f($x): $x * 2; {a: (reduce range(5) as $i (0; . + f($i))), b: "\(.data.tags | join("-"))!"}'`, `data={"a":20,"b":"a-b!"}`},
		{"jq updates", `jq: '.data | .n *= 2 | .state += "?" | .tags |= map(ascii_upcase) | del(.payload, .quote, .disks, ."a/b", ."a.b", .nil, ."instance-id")'`, `data={"n":24691357802469135780,"state":"RUNNING?","tags":["A","B"]}`},
		{"jq updates many at once", `jq: '.data.disks | .[].id += "x" | (.[] | select(.id == "d1x")).id |= ascii_upcase | map(.id)'`, `data=["D1X","d2x"]`},
		{"jq with paths", `jq: '.data | [paths(type == "string")] | length'`, `data=9`},
		{"jq with entries and groups", `jq: '.data.disks | group_by(.id) | map({key: .[0].id, value: length}) | from_entries'`, `data={"d1":1,"d2":1}`},
		{"jq with regular expressions", `jq: '.data["instance-id"] | [test("^i-"), sub("-(?<a>[0-9]{3})"; "/\(.a)."), (capture("(?<n>[0-9]+)").n | tonumber)]'`, `data=[true,"i/012.3456789",123456789]`},
		{"jq catches errors", `jq: 'try (.data.state | error) catch "caught \(.)"'`, `data="caught RUNNING"`},
		{"jq with an alternative", `jq: '.data.nope // "none"'`, `data="none"`},
		{"jq repeats text", `jq: '"ab" * 3'`, `data="ababab"`},
		{"jq sums", `jq: '[add(1, 2), ([[1], [2]] | add), ([[1, 2], [3]] | transpose)]'`, `data=[3,[1,2],[[1,3],[2,null]]]`},
		{"jq with what is no number", `jq: '[nan, infinite]'`, `data=[null,1.7976931348623157e+308]`},
		{"jq sets a path", `jq: 'setpath(["data", "tags", 3]; 1) | .data.tags'`, `data=["a","b",null,1]`},
		{"jq with recursion", `jq: '[.. | strings] | length'`, `data=18`},
		{"jq with variables and patterns", `jq: '.data as {state: $s, disks: [{id: $d}]} | {$s, $d, "\($s)": 1}'`, `data={"RUNNING":1,"d":"d1","s":"RUNNING"}`},
		{"jq with a limit", `jq: '[limit(3; repeat(1)), first(range(10; 20))]'`, `data=[1,1,1,10]`},
	}
	env := mustEnv(t)
	ev := mustEvent(t, instance)
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			tr, err := compileYAML(env, tc.block)
			if err != nil {
				t.Fatal(err)
			}
			out, err := tr.ApplyIn(here, ev)
			if err != nil {
				t.Fatal(err)
			}
			check(t, out, tc.want)
			if out.ID() != ev.ID() {
				t.Errorf("the id became %q", out.ID())
			}
		})
	}
}

// Data that is not JSON is what jq and the paths of EventBridge find, too.
func TestFormsOverOtherData(t *testing.T) {
	env := mustEnv(t)
	text := mustEvent(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/plain","data":"hi \"you\""}`)
	binary := mustEvent(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"image/png","data_base64":"/wA="}`)
	none := mustEvent(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`)
	for _, tc := range []struct {
		ev          *event.Event
		block, want string
	}{
		{text, `inputPath: $.detail`, `"hi \"you\""`},
		{text, `jq: .data`, `"hi \"you\""`},
		{binary, `inputPath: $.detail`, `"/wA="`},
		{binary, `jq: .data_base64`, `"/wA="`},
		{none, `inputTransformer: {inputPathsMap: {d: $.detail, t: $.time}, inputTemplate: '{"d": <d>, "t": <t>}'}`, `{"d": "", "t": "2026-11-22T10:00:00.005Z"}`},
		{none, `jq: 'has("data")'`, `false`},
	} {
		tr, err := compileYAML(env, tc.block)
		if err != nil {
			t.Error(err)
			continue
		}
		out, err := tr.ApplyIn(here, tc.ev)
		if err != nil || string(out.Data()) != tc.want || out.DataContentType() != "application/json" {
			t.Errorf("%s is %v, %v; want %s", tc.block, out, err, tc.want)
		}
	}
}

func TestFormsFail(t *testing.T) {
	tests := []struct{ name, block, want string }{
		{"on a path to nothing", `inputPath: $.detail.nope.x`, `transform: inputPath: $.detail.nope.x is not in the event`},
		{"on no result of jq", `jq: .data.tags[] | select(. == "x")`, `transform: jq: the program results in nothing; it must result in one value, which // can stand in for`},
		{"on two results of jq", `jq: .data.tags[]`, `transform: jq: the program results in more than one value; put them in an array: [ ... ]`},
		{"on an error of jq", `jq: .data.state.x`, `transform: jq: expected an object but got: string ("RUNNING")`},
		{"on an error of the program", `jq: error("no \(.id)")`, `transform: jq: error: no 7bf73129-1428-4cd3-a780-95db273d1602`},
		{"on an error after the result", `jq: 1, error("x")`, `transform: jq: error: x`},
		{"when the program halts", `jq: halt`, `transform: jq: the program halted; it must result in one value`},
		{"on an object under a content type of text", "datacontenttype: text/plain\njq: .data", `transform: jq: under datacontenttype "text/plain" data must be one string`},
		{"on an attribute that is invalid", "time: \"${{ event.data.state }}\"\njq: .data", `transform: time: "event.data.state": "RUNNING" is not an RFC 3339 time`},
		{"on a result that is too large", `jq: '"0123456789" * 150000'`, `transform: jq: the result is too large`},
		{"on a result with a key twice", `inputTransformer: {inputPathsMap: {a: $.detail.state}, inputTemplate: '{"<a>": 1, "RUNNING": 2}'}`, `transform: inputTransformer: the result is not JSON: an object has this key twice (at byte 15)`},
	}
	env := mustEnv(t)
	ev := mustEvent(t, instance)
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			tr, err := compileYAML(env, tc.block)
			if err != nil {
				t.Fatal(err)
			}
			_, err = tr.ApplyIn(here, ev)
			var a *ApplyError
			if !errors.As(err, &a) || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestProblemsOfForms(t *testing.T) {
	tests := []struct{ name, block, want string }{
		{"two ways", "data: {a: 1}\njq: .data", "2:1: jq: the block has data already; a transform makes data in one way only"},
		{"three ways", "jq: .\ninput: 1\ninputPath: $", "2:1: input: the block has jq already; a transform makes data in one way only\n3:1: inputPath: the block has jq already; a transform makes data in one way only"},
		{"another spelling", "inputpath: $.detail", "1:1: inputpath: did you mean inputPath? An extension cannot have this name here"},
		{"the spelling of EventBridge", "InputTransformer: {}", "1:1: InputTransformer: did you mean inputTransformer? An extension cannot have this name here"},
		{"jq that is no text", "jq: {a: 1}", "1:5: jq: a jq program is text; quote it, or write it as a block with |"},
		{"jq that is empty", "jq: ' '", "1:5: jq: the program is empty; . is the whole event"},
		{"a syntax error in jq", "jq: '.data | | 5'", "1:14: jq: syntax error: unexpected token \"|\""},
		{"jq that ends early", "jq: .data | (", "1:14: jq: syntax error: unexpected EOF"},
		{"an unknown function in jq", "jq: .data | foo(1)", "1:13: jq: function not defined: foo/1"},
		{"an unknown variable in jq", "jq: .data | $x", "1:13: jq: variable not defined: $x"},
		{"the environment in jq", "jq: $ENV.HOME", "1:5: jq: $ENV is not available: a transform does not see the environment"},
		{"the environment in jq, elsewhere", "jq: '[.data, {a: env}]'", "1:18: jq: env is not available: a transform does not see the environment"},
		{"further inputs in jq", "jq: '[inputs]'", "1:7: jq: inputs is not available: the only input is the event"},
		{"the clock in jq", "jq: '.data + {at: now}'", "1:19: jq: now is not available: a transform must make the same on every attempt; .time is the event's time"},
		{"modules in jq", `jq: 'import "a" as a; .'`, "1:6: jq: import and include are not available in a transform"},
		{"our own variable in jq", `jq: $__run`, "1:5: jq: $__run is not defined"},
		{"a path without a dollar", "inputPath: detail.x", "1:12: inputPath: a path begins with $, such as $.detail.id"},
		{"a path with a filter", "inputPath: \"$.detail[?(@.x)]\"", `1:21: inputPath: "[?(@.x)]" is not supported in a path; there are names, indexes and *`},
		{"a path with an empty name", "inputPath: $..x", "1:13: inputPath: a name or * should stand after the dot"},
		{"a path with a space", "inputPath: \"$.detail.a b\"", "1:23: inputPath: \" \" cannot stand in a path; write names with it as ['...']"},
		{"a constant that is no JSON", "input: hello", `1:8: input: a text here is JSON text, and this is not: not the start of a JSON value (at byte 0); write the value itself, or '"..."' for a JSON string`},
		{"a constant with an expression", `input: {a: "${{ event.id }}"}`, "1:8: input: it is a constant, without expressions; data may have them"},
		{"a transformer that is no mapping", "inputTransformer: x", "1:19: inputTransformer: an inputTransformer is a mapping of inputPathsMap and inputTemplate"},
		{"a transformer without a template", "inputTransformer: {inputPathsMap: {a: $.id}}", "1:19: inputTransformer: it has no inputTemplate"},
		{"a key that a transformer lacks", "inputTransformer: {inputTemplate: x, template: y}", "1:38: inputTransformer.template: unknown key; an inputTransformer is a mapping of inputPathsMap and inputTemplate"},
		{"a bad path and a bad name in the map", "inputTransformer: {inputPathsMap: {a: id, \"b c\": $.id, aws.x: $.id}, inputTemplate: <a>}",
			"1:39: inputTransformer.inputPathsMap.a: a path begins with $, such as $.detail.id\n1:43: inputTransformer.inputPathsMap[\"b c\"]: a name has letters, digits, - and _ only\n1:56: inputTransformer.inputPathsMap[\"aws.x\"]: names that begin with aws. are predefined"},
		{"an object under text", "datacontenttype: text/plain\ninput: {a: 1}", `1:1: input: under datacontenttype "text/plain" data must be one string`},
	}
	env := mustEnv(t)
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			_, err := compileYAML(env, tc.block)
			if err == nil || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}
