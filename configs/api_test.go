package configs

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const shop = `
version: 1
buses: {orders: {}, audit: {}}
rules:
  all: {bus: orders, targets: [out]}
targets:
  out: {log: {}}
`

func TestParseObjectReadsJSONAndYAML(t *testing.T) {
	l := testLoader(t)
	for _, text := range []string{
		"{\"http\": {\"url\": \"https:\\/\\/example.com\\u002f\\ud83d\\ude00\", \"headers\": {\"A\": \"b\"}},\n\t\"concurrency\": 3}",
		"http: {url: \"https://example.com/\U0001F600\", headers: {A: b}}\nconcurrency: 3\n",
	} {
		o, diags := l.ParseObject(Targets, "t", []byte(text))
		if len(diags) > 0 {
			t.Fatal(diags)
		}
		want := `{"http":{"url":"https://example.com/😀","headers":{"A":"b"}},"concurrency":3}`
		if string(o.Raw) != want {
			t.Errorf("Raw = %s; want %s", o.Raw, want)
		}
		if want := strings.Replace(want, `"b"`, `"[redacted]"`, 1); string(o.View()) != want {
			t.Errorf("View = %s; want %s", o.View(), want)
		}
		text, err := json.Marshal(o)
		if err != nil || string(text) != string(o.View()) {
			t.Errorf("it marshals as %s, %v", text, err)
		}
	}
}

func TestParseObjectPointsIntoTheRequest(t *testing.T) {
	l := testLoader(t)
	for name, c := range map[string]struct{ kind, name, text, pointer, want string }{
		"an unknown key":                     {Targets, "t", "{\"log\": {},\n \"concurency\": 3}", "/concurency", `2:2: targets.t.concurency: unknown key "concurency"; did you mean "concurrency"?`},
		"a wrong type":                       {Targets, "t", `{"log": {}, "retry": {"attempts": "many"}}`, "/retry/attempts", `1:35: targets.t.retry.attempts: expected a whole number, not the text "many"`},
		"a reference to the environment":     {Targets, "t", `{"http": {"url": "http://a", "secret": "${env:SECRET}"}}`, "/http/secret", `1:40: targets.t.http.secret: "${env:SECRET}": references to the environment and to files work in configuration files only; send the value itself`},
		"a path of a file":                   {Targets, "t", `{"http": {"url": "http://a", "credsFile": "/etc/passwd"}}`, "/http/credsFile", `1:43: targets.t.http.credsFile: paths of files work in configuration files only`},
		"a path of a file by its type":       {Targets, "t", `{"http": {"url": "http://a", "certPath": "a.pem"}}`, "/http/certPath", `1:42: targets.t.http.certPath: paths of files work in configuration files only`},
		"one of several secrets as shown":    {Targets, "t", `{"http": {"url": "http://a", "secret": ["a", "[redacted]"]}}`, "/http/secret/1", `1:46: targets.t.http.secret[1]: "[redacted]" is how secrets are shown; give the secret itself`},
		"no secrets":                         {Targets, "t", `{"http": {"url": "http://a", "secret": []}}`, "/http/secret", `1:40: targets.t.http.secret: it is empty; give a secret, or take it out`},
		"a secret as it is shown":            {Targets, "t", `{"http": {"url": "http://a", "secret": "[redacted]"}}`, "/http/secret", `1:40: targets.t.http.secret: "[redacted]" is how secrets are shown; give the secret itself`},
		"a bad name":                         {Buses, "system.x", `{}`, "", `buses["system.x"]: names that begin with "system." are reserved`},
		"a kind that is none":                {"bus", "x", `{}`, "", `"bus" is not a kind of object; did you mean "buses"?`},
		"text that is neither JSON nor YAML": {Buses, "x", `{"a": [}`, "", `1:8: buses.x: not valid JSON: invalid character '}' looking for beginning of value`},
		"JSON with a tail":                   {Buses, "x", `{} {}`, "", `1:5: buses.x: not valid JSON: something follows after its end`},
		"nothing":                            {Buses, "x", ` `, "", `1:1: buses.x: it is empty`},
		"a list":                             {Buses, "x", `[]`, "", `1:1: buses.x: expected settings (key: value), not a list`},
		"a key given twice":                  {Buses, "x", `{"dedupe": "1m", "dedupe": "2m"}`, "/dedupe", `1:18: buses.x.dedupe: "dedupe" is given twice; the first is in line 1`},
		"an expression":                      {Rules, "r", `{"bus": "orders", "when": "event.type == \"a\" && evnt", "targets": ["out"]}`, "/when", `1:51: rules.r.when: undeclared reference to 'evnt'; the filter sees "event" only`},
		"an element":                         {Rules, "r", `{"bus": "orders", "targets": ["out", "out"]}`, "/targets/1", `1:38: rules.r.targets[1]: "out" is listed twice; an event goes to a target of a rule once`},
	} {
		t.Run(name, func(t *testing.T) {
			_, diags := l.ParseObject(c.kind, c.name, []byte(c.text))
			if diags.String() != c.want {
				t.Fatalf("got  %s\nwant %s", diags, c.want)
			}
			if got := diags[0].Pointer(); got != c.pointer {
				t.Errorf("Pointer = %q; want %q", got, c.pointer)
			}
		})
	}
}

func TestMergeChecksNamesAcrossFilesAndTheAPI(t *testing.T) {
	l := testLoader(t)
	file := load(t, shop)
	object := func(kind, name, text string) Object {
		o, diags := l.ParseObject(kind, name, []byte(text))
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		return o
	}
	objects := []Object{
		object(Targets, "extra", `{"log": {}}`),
		object(Rules, "more", `{"bus": "orders", "targets": ["out", "extra"]}`),
		object(Sources, "in", `{"bus": "audit", "plain": {}}`),
		{Kind: Buses, Name: "stored", Raw: json.RawMessage(`{"dedupe":"10m"}`)},
	}
	cfg, diags := l.Merge(file, objects)
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	if cfg.Rules.Len() != 2 || len(cfg.Targets) != 2 || len(cfg.Buses) != 3 || file.Rules.Len() != 1 {
		t.Errorf("merged %d rules, %d targets, %d buses; the file has %d rules", cfg.Rules.Len(), len(cfg.Targets), len(cfg.Buses), file.Rules.Len())
	}
	if got := cfg.Sources["in"].Dedupe; got != cfg.Buses["audit"].Dedupe {
		t.Errorf("a source of the API has dedupe %v", got)
	}
	if cfg.Rules.At("more").Origin.FromFile() || cfg.Rules.At("more").Origin.String() != "api" || !cfg.Rules.At("all").Origin.FromFile() {
		t.Error("the origins are wrong")
	}
	var names []string
	for _, o := range cfg.List(Targets) {
		names = append(names, o.Name+" "+o.Origin.String())
	}
	if diff := cmp.Diff([]string{"extra api", "out test.yaml:7"}, names); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"rules.all", "rules.more"}, cfg.Users(Targets, "out")); diff != "" {
		t.Error(diff)
	}

	objects = append(objects,
		object(Rules, "all", `{"bus": "orders", "targets": ["out"]}`),
		object(Rules, "lost", `{"bus": "order", "targets": ["gone"]}`),
		Object{Kind: Buses, Name: "broken", Raw: json.RawMessage(`{"dedup":"10m"}`)},
	)
	_, diags = l.Merge(file, objects)
	want := `rules.all: it is defined in test.yaml:5, and one of that name was made through the API; delete that one, or take this one out of the file
1:2: buses.broken.dedup: unknown key "dedup"; did you mean "dedupe"?
1:9: rules.lost.bus: there is no bus "order"; did you mean "orders"?
1:30: rules.lost.targets[0]: there is no target "gone"; the targets are extra, out`
	if got := diags.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if _, diags := l.Merge(nil, nil); len(diags) > 0 {
		t.Errorf("nothing at all: %v", diags)
	}
}

func TestViewHidesSecrets(t *testing.T) {
	l := testLoader(t)
	o, diags := l.ParseObject(Targets, "t", []byte(`{"http": {"url": "https://ada:hunter2@example.com/a@b,https://tok@example.org", "secret": "hunter2", "headers": {"A": "hunter2"}}}`))
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	want := `{"http":{"url":"https://[redacted]@example.com/a@b,https://[redacted]@example.org","secret":"[redacted]","headers":{"A":"[redacted]"}}}`
	if string(o.View()) != want {
		t.Errorf("View = %s; want %s", o.View(), want)
	}
	list, diags := l.ParseObject(Targets, "t", []byte(`{"http": {"url": "https://example.com", "secret": ["hunter2", "hunter3"]}}`))
	if got := string(list.View()); len(diags) > 0 || got != `{"http":{"url":"https://example.com","secret":["[redacted]","[redacted]"]}}` {
		t.Errorf("View = %s, %v", got, diags)
	}
	if !strings.Contains(string(o.Raw), `"secret":"hunter2"`) {
		t.Errorf("Raw = %s; want the secret in it", o.Raw)
	}
	if got := (Object{Kind: Targets, Raw: o.Raw}).View(); string(got) != "null" {
		t.Errorf("an object that was not decoded shows %s", got)
	}
}

func TestARuleTooManyIsRefusedThroughTheAPI(t *testing.T) {
	l := testLoader(t)
	file := load(t, "version: 1\nbuses: {b: {scanRules: 2}}\nrules: {z: {bus: b, when: size(event.data.z) > 1, targets: [t]}}\ntargets: {t: {log: {}}}\n")
	var objects []Object
	for i, name := range []string{"m", "a"} {
		o, diags := l.ParseObject(Rules, name, []byte(`{"bus":"b","when":"size(event.data.x) > 1","targets":["t"]}`))
		if len(diags) > 0 {
			t.Fatal(diags)
		}
		objects = append(objects, o)
		_, diags = l.Merge(file, objects)
		if diags.HasErrors() != (i == 1) {
			t.Fatalf("with %d rules: %v", i+2, diags)
		}
		if kind, culprit := append(diags, Diagnostic{})[0].Object(); i == 1 && (kind != Rules || culprit != "m") {
			t.Errorf("the error is about %s %s", kind, culprit)
		}
	}
}

func TestErrorsOfAPatternThroughTheAPIHavePointers(t *testing.T) {
	for body, want := range map[string]string{
		`{"bus":"b","targets":["t"],"pattern":{"detail":{"a/b":[{"prefx":"x"}]}}}`:           "/pattern/detail/a~1b/0",
		`{"bus":"b","targets":["t"],"filters":[{"exact":{"type":"a"}},{"prefix":{"id":1}}]}`: "/filters/1/prefix/id",
		`{"bus":"b","targets":["t"],"sql":"type ="}`:                                         "/sql",
		`{"bus":"b","targets":["t"],"when":"true","sql":"TRUE"}`:                             "/sql",
	} {
		_, diags := testLoader(t).ParseObject(Rules, "r", []byte(body))
		if errs := diags.Errors(); len(errs) != 1 || !strings.HasPrefix(errs[0].Pointer(), want) {
			t.Errorf("%s: %v; want one error at %s", body, diags, want)
		}
	}
}
