package transform

import (
	"errors"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/rules"
)

func mustEnv(t testing.TB) *rules.Env {
	t.Helper()
	env, err := rules.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func mustEvent(t testing.TB, json string) *event.Event {
	t.Helper()
	ev, err := event.FromStructured([]byte(json), event.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func compileYAML(env *rules.Env, block string) (*Transform, error) {
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(block), &n); err != nil {
		return nil, err
	}
	if n.Kind == 0 {
		return Compile(env, nil)
	}
	return Compile(env, &n)
}

const order = `{"specversion":"1.0","id":"1","source":"/shop","type":"com.example.order.placed","subject":"eu/de","time":"2026-11-22T10:00:00+01:00","n":5,"hot":true,` +
	`"data":{"id":7,"total":150,"big":12345678901234567890,"frac":1.10,"huge":1e21,"name":"Ana \"A\"","esc":"\u00e9","nil":null,"yes":true,"tags":["a", 1],"obj":{"z":1, "a":[1.0]}}}`

func TestTransforms(t *testing.T) {
	tests := []struct{ name, block, want string }{
		{"the contract's example", `
type: com.example.crm.order
data:
  order: "${{ event.data.id }}"
  note: "order ${{ event.data.id }} from ${{ event.source }}"`,
			`type=com.example.crm.order data={"order":7,"note":"order 7 from /shop"}`},
		{"a path copies a large number", `data: {v: "${{ event.data.big }}"}`, `data={"v":12345678901234567890}`},
		{"a path copies a fraction", `data: {v: "${{ event.data.frac }}"}`, `data={"v":1.10}`},
		{"a path copies an exponent", `data: {v: "${{ event.data.huge }}"}`, `data={"v":1e21}`},
		{"a path copies an object with its spaces", `data: {v: "${{ event.data.obj }}"}`, `data={"v":{"z":1, "a":[1.0]}}`},
		{"a path copies a string with its escapes", `data: {v: "${{ event.data.esc }}"}`, `data={"v":"\u00e9"}`},
		{"a path by index", `data: "${{ event.data[\"tags\"][1] }}"`, `data=1`},
		{"the whole data", `data: {was: "${{ event.data }}"}`, `data={"was":{"id":7,`},
		{"a chosen path copies", `data: {v: "${{ has(event.data.big) ? event.data.big : 0 }}", w: "${{ has(event.data.x) ? event.data.x : 0 }}"}`, `data={"v":12345678901234567890,"w":0}`},
		{"an optional path copies", `data: {v: "${{ event.data.?big.orValue(0) }}", w: "${{ event.data.?x.?y.orValue(null) }}", x: "${{ event.data.?x.orValue(event.data.frac) }}"}`, `data={"v":12345678901234567890,"w":null,"x":1.10}`},
		{"a large number is interpolated whole", `data: "n ${{ event.data.big }}"`, `data="n 12345678901234567890"`},
		{"a whole number has no exponent in text", `data: "n ${{ event.data.huge }}"`, `data="n 1000000000000000000000"`},
		{"a fraction keeps its digits in text", `data: "n ${{ event.data.frac }}"`, `data="n 1.10"`},
		{"a computed number has no exponent in text", `data: "n ${{ event.data.total * 1e20 }}"`, `data="n 15000000000000000000000"`},
		{"a computed number", `data: {n: "${{ event.data.total + 1.0 }}", i: "${{ int(event.data.total) / 2 }}", f: "${{ event.data.total / 4.0 }}"}`, `data={"n":151,"i":75,"f":37.5}`},
		{"bools, null and containers in text", `data: "${{ event.data.yes }} ${{ event.data.nil }} ${{ event.data.tags }} ${{ event.data.obj }}"`, `data="true null [\"a\", 1] {\"z\":1, \"a\":[1.0]}"`},
		{"a string is interpolated decoded", `data: "${{ event.data.name }}, ${{ event.data.esc }}"`, `data="Ana \"A\", é"`},
		{"times in text and alone", `data: {a: "at ${{ event.time }}", b: "${{ event.time }}"}`, `data={"a":"at 2026-11-22T09:00:00Z","b":"2026-11-22T09:00:00Z"}`},
		{"an escaped opening", `data: {a: "$${{ x }}", b: "$$ ${{ event.id }} $${{", c: "$${env:X}"}`, `data={"a":"${{ x }}","b":"$$ 1 ${{","c":"$${env:X}"}`},
		{"expressions with braces and strings", `data: {a: '${{ {"a": {"b": 1}} }}', b: '${{ "}}" + "{" }}', c: "${{ r'\\' }}"}`, `data={"a":{"a":{"b":1}},"b":"}}{","c":"\\"}`},
		{"YAML scalars keep their types", `data: {i: 1, f: 1.50, big: 123456789012345678901234567890, h: 0x10, b: true, n: null, s: "1", t: 2026-01-01, e: "", neg: -0.0}`,
			`data={"i":1,"f":1.50,"big":123456789012345678901234567890,"h":16,"b":true,"n":null,"s":"1","t":"2026-01-01","e":"","neg":-0.0}`},
		{"keys keep their order", `data: {z: 1, a: {y: 2, b: 3}, m: 4}`, `data={"z":1,"a":{"y":2,"b":3},"m":4}`},
		{"lists", `data: [1, "${{ event.data.id }}", {a: "${{ event.id }}"}]`, `data=[1,7,{"a":"1"}]`},
		{"anchors", "data:\n  a: &x {v: \"${{ event.id }}\"}\n  b: *x", `data={"a":{"v":"1"},"b":{"v":"1"}}`},
		{"maps that an expression makes have sorted keys", `data: '${{ {"b": 1, "a": [true, null, "x"]} }}'`, `data={"a":[true,null,"x"],"b":1}`},
		{"comprehensions", `data: '${{ event.data.tags.map(t, {"t": t}) }}'`, `data=[{"t":"a"},{"t":1}]`},
		{"data null is JSON null", `data: null`, `data=null`},
		{"attributes alone keep the data", `subject: "x/${{ event.data.id }}"`, `subject=x/7 data={"id":7,`},
		{"a null removes an attribute", "subject: null\nhot: ~", `-subject -hot`},
		{"an expression that is null removes an attribute", `subject: "${{ event.data.nil }}"`, `-subject`},
		{"numbers and bools are typed extensions", "a: 5\nb: true\nc: \"${{ event.data.id }}\"\nd: \"${{ event.data.yes }}\"\ne: \"${{ event.data.id }}!\"\nf: \"5\"", `a=5:1 b=true:2 c=7:1 d=true:2 e=7!:0 f=5:0`},
		{"numbers become text in attributes of the specification", "id: \"${{ event.data.id }}\"\nsubject: 5", `id=7:0 subject=5:0`},
		{"time from an expression", `time: "${{ event.time + duration('1h') }}"`, `time=2026-11-22T10:00:00Z`},
		{"time as a YAML timestamp", `time: 2026-01-02T03:04:05Z`, `time=2026-01-02T03:04:05Z`},
		{"text data", "datacontenttype: text/plain\ndata: \"hello ${{ event.data.name }}\"", `datacontenttype=text/plain raw=hello Ana "A" format=2`},
		{"a number as text data", "datacontenttype: text/plain\ndata: \"${{ event.data.big }}\"", `raw=12345678901234567890 format=2`},
		{"binary data", "data: \"${{ base64.decode('/wA=') }}\"", "datacontenttype=application/octet-stream raw=\xff\x00 format=3"},
		{"binary data of a type", "datacontenttype: image/png\ndata: \"${{ base64.decode('/wA=') }}\"", "datacontenttype=image/png raw=\xff\x00 format=3"},
		{"bytes in JSON", "data: {a: \"${{ b'hi' }}\"}", `data={"a":"aGk="}`},
		{"another JSON type", "datacontenttype: application/vnd.x+json\ndata: {a: 1}", `datacontenttype=application/vnd.x+json data={"a":1}`},
	}
	env := mustEnv(t)
	ev := mustEvent(t, order)
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			tr, err := compileYAML(env, tc.block)
			if err != nil {
				t.Fatal(err)
			}
			out, err := tr.Apply(ev)
			if err != nil {
				t.Fatal(err)
			}
			check(t, out, tc.want)
			if out.Source() != ev.Source() {
				t.Errorf("source became %q", out.Source())
			}
		})
	}
}

// check compares an event with a description: name=value, name=value:kind,
// -name, data=JSON (a prefix will do), raw=bytes.
func check(t *testing.T, ev *event.Event, want string) {
	t.Helper()
	for want != "" {
		var word string
		switch {
		case strings.HasPrefix(want, "data="):
			word, want = want, ""
			if !strings.HasPrefix(string(ev.Data()), word[5:]) || ev.Format() != event.JSON {
				t.Errorf("data %s (format %d), want %s", ev.Data(), ev.Format(), word[5:])
			}
			continue
		case strings.HasPrefix(want, "raw="):
			var format string
			word, format, _ = strings.Cut(want, " format=")
			want = ""
			if string(ev.Data()) != word[4:] || string('0'+rune(ev.Format())) != format {
				t.Errorf("data %q (format %d), want %q %s", ev.Data(), ev.Format(), word[4:], format)
			}
			continue
		}
		word, want, _ = strings.Cut(want, " ")
		if name, ok := strings.CutPrefix(word, "-"); ok {
			if _, set := ev.Attribute(name); set {
				t.Errorf("%s is still set", name)
			}
			continue
		}
		name, text, _ := strings.Cut(word, "=")
		v, ok := ev.Attribute(name)
		kind := ""
		if i := strings.LastIndexByte(text, ':'); i == len(text)-2 && strings.Count(text, ":") == 1 {
			text, kind = text[:i], text[i+1:]
		}
		if !ok || v.Text() != text || kind != "" && string('0'+rune(v.Kind())) != kind {
			t.Errorf("%s is %q of kind %d, want %s", name, v.Text(), v.Kind(), word)
		}
	}
}

func TestApplyFails(t *testing.T) {
	tests := []struct{ name, block, want string }{
		{"on a missing field", `data: {a: {b: ["${{ event.data.nope }}"]}}`,
			`transform: data.a.b[0]: "event.data.nope": no such key: nope; where it may be absent, write default(..., value)`},
		{"on a missing field in text", `subject: "x ${{ event.data.nope }}"`,
			`transform: subject: "event.data.nope": no such key: nope; where it may be absent, write default(..., value)`},
		{"on an absent optional", `data: "${{ event.data.?nope }}"`, `transform: data: "event.data.?nope": the optional value is absent; give it a default with orValue`},
		{"on a null id", `id: "${{ event.data.nil }}"`, `transform: id: "event.data.nil": is required and cannot be null`},
		{"on an empty subject", `subject: "${{ '' }}"`, `transform: subject: "''": must not be empty`},
		{"on an object as attribute", `subject: "${{ event.data.obj }}"`, `transform: subject: "event.data.obj": an object or array cannot be an attribute; use json.encode(...)`},
		{"on a fraction as extension", `x: "${{ event.data.frac }}"`, `transform: x: "event.data.frac": 1.10 is not a whole number of 32 bits; make it text with "...${{ }}" or string(...)`},
		{"on a time that is none", `time: "${{ event.subject }}"`, `transform: time: "event.subject": "eu/de" is not an RFC 3339 time`},
		{"on an object under text", "datacontenttype: \"${{ 'text/plain' }}\"\ndata: {a: 1}", `transform: data: under datacontenttype "text/plain" data must be one string`},
		{"on the event itself", `data: "${{ event }}"`, `transform: data: "event": the whole event cannot be a value; choose its attributes`},
		{"on not a number", `data: "${{ 0.0/0.0 }}"`, `transform: data: "0.0/0.0": NaN cannot be written as JSON`},
	}
	env := mustEnv(t)
	ev := mustEvent(t, order)
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			tr, err := compileYAML(env, tc.block)
			if err != nil {
				t.Fatal(err)
			}
			_, err = tr.Apply(ev)
			var a *ApplyError
			if !errors.As(err, &a) || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestCompileProblems(t *testing.T) {
	tests := []struct{ name, block, want string }{
		{"an expression at its place", "type: a\ndata:\n  note: \"x ${{ foo }}\"", `3:16: data.note: undeclared reference to 'foo'; the expression sees "event" only`},
		{"a plain scalar", "data: ${{ event.type.startsWith(3) }}", `1:22: data: startsWith cannot be applied to string.(int); it takes a text, in quotes`},
		{"all of them, in order", "Type: a\ndata:\n  a: \"${{ foo }}\"\n  b: [\"${{ \"]\nspecversion: \"2.0\"",
			"1:1: Type: \"Type\" is not the name of an attribute: names are lower-case letters and digits; what belongs to the payload stands under data\n" +
				"3:11: data.a: undeclared reference to 'foo'; the expression sees \"event\" only\n" +
				"4:8: data.b[0]: ${{ has no }}; write $${{ for the text ${{\n" +
				"5:14: specversion: \"2.0\" is not supported; only \"1.0\" is"},
		{"an expression in a key", `data: {"${{ event.id }}": 1}`, `1:8: data: expressions in keys are not supported; build the object with an expression: "${{ {event.data.name: 1} }}"`},
		{"a structured attribute", `subject: {a: 1}`, `1:10: subject: an attribute is text, a whole number or a bool; what is structured belongs under data`},
		{"a null id", `id: null`, `1:5: id: is required and cannot be null`},
		{"a time that is none", `time: yesterday`, `1:7: time: "yesterday" is not an RFC 3339 time`},
		{"a large extension", `x: 5000000000`, `1:4: x: 5000000000 is not a whole number of 32 bits; quote it to make it text`},
		{"infinity", `data: {a: .inf}`, `1:11: data.a: .inf is not a number that JSON can have`},
		{"an empty block", `{}`, `1:1: the transform is empty`},
		{"not a mapping", `[]`, `1:1: a transform is a mapping of attribute names and data`},
		{"an object under text", "datacontenttype: text/plain\ndata: {a: 1}", `1:1: data: under datacontenttype "text/plain" data must be one string`},
		{"an empty expression", `data: "${{ }}"`, `1:12: data: the expression is empty`},
		{"merge keys", "data:\n  <<: {a: 1}", `2:3: data: merge keys (<<) are not supported here`},
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
