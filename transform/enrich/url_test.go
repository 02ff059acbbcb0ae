package enrich

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/transform"
)

// Whatever an event holds, a call goes to the host, the path and the parameter
// that the rule names, or is not made.
func FuzzURLStaysWhereItIs(f *testing.F) {
	for _, s := range []string{"c-1", "", ".", "..", "../..", "a/b", `a\b`, "a?b=c", "a#b", "a%2e%2e", "%2e%2e", "@evil.example", "//evil.example", "a&q=b;c", "é", "\x00\r\n", "a b+c", "[::1]:80"} {
		f.Add(s, s)
	}
	env, err := rules.NewEnv()
	if err != nil {
		f.Fatal(err)
	}
	u, err := CompileURL(env, node("https://crm.example.com/v1/${{ event.data.p }}/x-${{ event.data.p }}?a=1&q=${{ event.data.q }}&z=2"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, p, q string) {
		p, q = strings.ToValidUTF8(p, "?"), strings.ToValidUTF8(q, "?")
		data, err := json.Marshal(map[string]string{"p": p, "q": q})
		if err != nil {
			t.Fatal(err)
		}
		ev, err := event.FromStructured([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":`+string(data)+`}`), event.Limits{})
		if err != nil {
			t.Skip()
		}
		got, err := u.Of(transform.Context{}, ev)
		if err != nil {
			return
		}
		segments := strings.Split(got.EscapedPath(), "/")
		params := got.Query()
		if got.Scheme != "https" || got.Host != "crm.example.com" || got.User != nil || got.Fragment != "" ||
			len(segments) != 4 || got.Path != "/v1/"+p+"/x-"+p || p == "" || p == "." || p == ".." ||
			len(params) != 3 || params.Get("q") != q || params.Get("a") != "1" || params.Get("z") != "2" || len(params["q"]) != 1 {
			t.Errorf("%q and %q make %s", p, q, got)
		}
		if strings.ContainsAny(got.RequestURI(), " \r\n\x00#") {
			t.Errorf("the request line has %q", got.RequestURI())
		}
	})
}
