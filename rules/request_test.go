package rules

import (
	"testing"

	"github.com/switchyard-dev/switchyard/bus/event"
)

func TestRequestExpressions(t *testing.T) {
	env, err := NewRequestEnv()
	if err != nil {
		t.Fatal(err)
	}
	raw := []byte(`{"repository":{"full_name":"a/b"},"n":7,"at":"2026-01-02T03:04:05+01:00","big":1e21}`)
	tree, err := event.ParseTree(raw)
	if err != nil {
		t.Fatal(err)
	}
	r := Request{Headers: map[string]string{"x-github-event": "push"}, Query: map[string]string{"q": "1"}, Body: tree, Raw: raw}
	tests := []struct{ name, src, want string }{
		{"headers", `"com.github." + request.headers["x-github-event"]`, "com.github.push"},
		{"the body", `request.body.repository.full_name`, "a/b"},
		{"the query", `request.query.q`, "1"},
		{"a whole number", `request.body.n`, "7"},
		{"a large number", `request.body.big`, "1000000000000000000000"},
		{"a timestamp", `timestamp(request.body.at)`, "2026-01-02T02:04:05Z"},
		{"has", `has(request.headers.nope) ? "a" : "b"`, "b"},
		{"optional", `request.headers[?"nope"].orValue("none")`, "none"},
		{"dyn", `dyn(request).query["q"]`, "1"},
		{"a missing header", `request.headers["nope"]`, "error: no such key: nope"},
		{"an object", `request.body.repository`, "error: the expression results in map, not in text or a time"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			x, err := env.Compile(tc.src)
			if err != nil {
				t.Fatal(err)
			}
			got, err := x.Eval(r)
			if err != nil {
				got = "error: " + err.Error()
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	x, _ := env.Compile(`request.body`)
	if got, err := x.Eval(Request{Raw: []byte("a=b")}); err != nil || got != "a=b" {
		t.Errorf("a body that is no JSON: %q, %v", got, err)
	}
	for src, want := range map[string]string{
		`request.header["a"]`: "1:9: undefined field 'header'; there are headers, query and body",
		`event.type`:          `1:1: undeclared reference to 'event'; the expression sees "request" only`,
		`request.headers`:     "1:1: the expression results in map(string, string), not in text or a time",
	} {
		if _, err := env.Compile(src); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", src, err, want)
		}
	}
}
