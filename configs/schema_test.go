package configs

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

func compileSchema(t *testing.T, kinds Kinds) *jsonschema.Schema {
	t.Helper()
	text, err := kinds.Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("config.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("config.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance is a YAML text as the schema sees it.
func instance(t *testing.T, text []byte) any {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal(text, &n); err != nil {
		t.Fatal(err)
	}
	d := &document{loader: testLoader(t), prefix: nil}
	e := expander{doc: d}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(d.appendJSON(nil, e.expand(n.Content[0]), d.asWritten)))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestExamplesSatisfyTheSchema(t *testing.T) {
	s := compileSchema(t, realKinds())
	for _, file := range exampleFiles(t) {
		if err := s.Validate(instance(t, readFile(t, file))); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// What the loader takes the schema takes, and unknown keys, kinds and names
// that one refuses the other refuses.
func TestSchemaAgreesWithTheLoader(t *testing.T) {
	s := compileSchema(t, fakeKinds())
	for text, valid := range map[string]bool{
		"version: 1":                         true,
		"version: 2":                         false,
		"buses: {}":                          false,
		"version: 1\nbuses:":                 true,
		"version: 1\nbuses: {a: }":           true,
		"version: 1\nbuses: {A: {}}":         false,
		"version: 1\nbuses: {system.a: {}}":  false,
		"version: 1\nbuses: {a: {dedup: 1}}": false,
		"version: 1\nbuses: {a: {dedupe: 1d12h, maxEventSize: 1MiB, retention: {age: 7d, size: 1048576}}}": true,
		"version: 1\nbuses: {a: {dedupe: 5}}":                                                                                                                  false,
		"version: 1\nbuses: {a: {dedupe: 0}}":                                                                                                                  true,
		"version: 1\nbuses: {a: {maxEventSize: 1MB}}":                                                                                                          false,
		"version: 1\nserver: {listen: \"a:1\", data: b}":                                                                                                       true,
		"version: 1\nserver: {listen: 1}":                                                                                                                      false,
		"version: 1\nnetwork: {allow: [10.0.0.0/8]}":                                                                                                           true,
		"version: 1\nnetwork: {allow: 10.0.0.0/8}":                                                                                                             false,
		"version: 1\nother: {}":                                                                                                                                false,
		"version: 1\nbuses: {a: }\nsources: {s: {bus: a, webhook: {secret: x}}}":                                                                               true,
		"version: 1\nbuses: {a: }\nsources: {s: {bus: a, webhook: {secret: x, port: \"${env:PORT}\"}}}":                                                        true,
		"version: 1\nbuses: {a: }\nsources: {s: {bus: a, webhook: {secret: x, port: \"80\"}}}":                                                                 false,
		"version: 1\nbuses: {a: }\nsources: {s: {bus: a, webhook: {secret: x, data: [1, {b: null}]}}}":                                                         true,
		"version: 1\nbuses: {a: }\nsources: {s: {bus: a, webhook: {secret: x, prt: 1}}}":                                                                       false,
		"version: 1\nbuses: {a: }\nsources: {s: {bus: a}}":                                                                                                     false,
		"version: 1\nbuses: {a: }\nsources: {s: {bus: a, webhook: {secret: x}, plain: {}}}":                                                                    false,
		"version: 1\nbuses: {a: }\nsources: {s: {plain: {}}}":                                                                                                  false,
		"version: 1\nbuses: {a: }\nrules: {r: {bus: a, targets: [t]}}\ntargets: {t: {log: }}":                                                                  true,
		"version: 1\nbuses: {a: }\nrules: {r: {bus: a}}":                                                                                                       false,
		"version: 1\nbuses: {a: }\nrules: {r: }":                                                                                                               false,
		"version: 1\nbuses: {a: }\nrules: {r: {bus: a, targets: [t], pattern: []}}\ntargets: {t: {log: {}}}":                                                   false,
		"version: 1\nbuses: {a: }\nrules: {r: {bus: a, targets: [t], pattern: }}\ntargets: {t: {log: {}}}":                                                     true,
		"version: 1\nbuses: {a: }\nrules: {r: {bus: a, targets: [t], filters: {}}}\ntargets: {t: {log: {}}}":                                                   false,
		"version: 1\nbuses: {a: }\nrules: {r: {bus: a, targets: [t], filters: [a]}}\ntargets: {t: {log: {}}}":                                                  false,
		"version: 1\nbuses: {a: }\nrules: {r: {bus: a, targets: [t], sql: 1}}\ntargets: {t: {log: {}}}":                                                        false,
		"version: 1\nbuses: {a: }\nrules: {r: {bus: a, targets: [t], tests: [{event: {}, expect: match}]}}\ntargets: {t: {log: {}}}":                           true,
		"version: 1\nbuses: {a: }\nrules: {r: {bus: a, targets: [t], tests: [{event: {}, expect: maybe}]}}\ntargets: {t: {log: {}}}":                           false,
		"version: 1\nbuses: {a: }\nrules: {r: {bus: a, targets: [t], tests: [{event: {}, expect: {data: 1}}]}}\ntargets: {t: {log: {}}}":                       false,
		"version: 1\nbuses: {a: }\nrules: {r: {bus: a, targets: [t], transform: {type: x, n: 5, b: true, subject: null, jq: .data}}}\ntargets: {t: {log: {}}}": true,
		"version: 1\nbuses: {a: }\nrules: {r: {bus: a, targets: [t], transform: {input: [1]}}}\ntargets: {t: {log: {}}}":                                       true,
		"version: 1\nbuses: {a: }\nrules: {r: {bus: a, targets: [t], transform: {inputPath: $.detail}}}\ntargets: {t: {log: {}}}":                              true,
		"version: 1\nbuses: {a: }\nrules: {r: {bus: a, targets: [t], transform: {inputTransformer: {inputTemplate: a}}}}\ntargets: {t: {log: {}}}":             true,
		"version: 1\nbuses: {a: }\nrules: {r: {bus: a, targets: [t], transform: {inputTransformer: {inputPathsMap: {a: $}}}}}\ntargets: {t: {log: {}}}":        false,
		"version: 1\nbuses: {a: }\nrules: {r: {bus: a, targets: [t], transform: {inputTransformer: {inputTemplate: a, x: b}}}}\ntargets: {t: {log: {}}}":       false,
		"version: 1\nbuses: {a: }\nrules: {r: {bus: a, targets: [t], transform: {jq: .data, data: {}}}}\ntargets: {t: {log: {}}}":                              false,
		"version: 1\nbuses: {a: }\nrules: {r: {bus: a, targets: [t], transform: {jq: 5}}}\ntargets: {t: {log: {}}}":                                            false,
		"version: 1\nbuses: {a: }\nrules: {r: {bus: a, targets: [t], transform: {subject: {}}}}\ntargets: {t: {log: {}}}":                                      false,
		"version: 1\nbuses: {a: }\nrules: {r: {bus: a, targets: [t], transform: {InputPath: $}}}\ntargets: {t: {log: {}}}":                                     false,
		"version: 1\nbuses: {a: }\nrules: {r: {bus: a, targets: [t], transform: {}}}\ntargets: {t: {log: {}}}":                                                 false,
		"version: 1\ntargets: {t: {log: {}, rate: 5/s, order: key, concurrency: 3, retry: {attempts: 1, age: 1h, initial: 1s, max: 2s}}}":                      true,
		"version: 1\ntargets: {t: {log: {}, rate: 5}}":                                                                                                         false,
		"version: 1\ntargets: {t: {log: {}, order: keys}}":                                                                                                     false,
		"version: 1\ntargets: {t: {log: {}, function: {}}}":                                                                                                    false,
		"version: 1\ntargets: {t: {log: {}, retry: {preset: x}}}":                                                                                              false,
		"version: 1\ntargets: {t: {http: {url: \"http://a\", mode: structured, headers: {A: b}, tags: []}}}":                                                   true,
		"version: 1\ntargets: {t: {http: {url: \"http://a\", secret: [a, b], certPath: a}}}":                                                                   true,
		"version: 1\ntargets: {t: {http: {url: \"http://a\", secret: a}}}":                                                                                     true,
		"version: 1\ntargets: {t: {http: {url: \"http://a\", secret: []}}}":                                                                                    false,
		"version: 1\ntargets: {t: {http: {url: \"http://a\", secret: [{}]}}}":                                                                                  false,
		"version: 1\ntargets: {t: {http: {url: \"http://a\", mode: other}}}":                                                                                   false,
		"version: 1\ntargets: {t: {http: {url: \"http://a\", headers: {A: 1}}}}":                                                                               false,
		"version: 1\ntargets: {t: {http: {url: \"http://a\"}, retry: {delays: [1s, 10s, 1m], attempts: 2}}}":                                                   true,
		"version: 1\ntargets: {t: {http: {url: \"http://a\"}, retry: {delays: 1s}}}":                                                                           false,
		"version: 1\ntargets: {t: {http: {url: \"http://a\"}, retry: {preset: standard-webhooks}}}":                                                            true,
		"version: 1\nbuses: {a: }\ntargets: {t: {http: {url: \"http://a\"}, replyTo: a}}":                                                                      true,
		"version: 1\nbuses: {a: }\ntargets: {t: {http: {url: \"http://a\"}, replyTo: [a]}}":                                                                    false,
		"version: 1\ntargets: {t: {http: {url: \"http://a\", mode: batched}}}":                                                                                 true,
		"version: 1\ntargets: {t: {kafka: {}}}":                                                                                                                false,
	} {
		_, diags := testLoader(t).LoadBytes("a.yaml", []byte(text))
		if diags.HasErrors() == valid {
			// The schema cannot know all that the loader does, but here both agree.
			if !strings.Contains(text, "expect: {data: 1}") {
				t.Errorf("loader: %s\nvalid = %v; want %v: %v", text, !diags.HasErrors(), valid, diags)
			}
			continue
		}
		if err := s.Validate(instance(t, []byte(text))); (err == nil) != valid {
			t.Errorf("schema: %s\nvalid = %v; want %v: %v", text, err == nil, valid, err)
		}
	}
}

// Every unknown key of the golden files is one for the schema, too.
func TestSchemaRefusesWhatTheGoldenFilesRefuse(t *testing.T) {
	s := compileSchema(t, fakeKinds())
	for _, name := range []string{"unknown_keys", "types", "version", "version_missing", "version_text", "aliases"} {
		if err := s.Validate(instance(t, readFile(t, filepath.Join("testdata", name+".yaml")))); err == nil {
			t.Errorf("%s.yaml satisfies the schema", name)
		}
	}
}
