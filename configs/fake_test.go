package configs

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/sources"
	"github.com/switchyard-dev/switchyard/targets"
)

var update = flag.Bool("update", false, "write golden files")

// hookConfig, sendConfig and busConfig are kinds of which the texts of errors
// do not change with the real ones.
type hookConfig struct {
	Secret component.Secret `yaml:"secret" doc:"The secret."`
	Port   int              `yaml:"port" doc:"The port."`
	On     bool             `yaml:"on" doc:"A switch."`
	Limit  component.Size   `yaml:"limit" doc:"The limit."`
	Data   any              `yaml:"data" doc:"Anything."`
}

func (c *hookConfig) Validate(p *component.Problems) {
	if c.Secret.IsZero() {
		p.Add("a secret is required", "secret")
	}
	if c.Port < 0 || c.Port > 65535 {
		p.Addf([]string{"port"}, "%d is not a port", c.Port)
	}
}

func (*hookConfig) Build(sources.Env) (sources.Source, error) { return nil, nil }

type sendConfig struct {
	URL       string                      `yaml:"url" doc:"The address."`
	Mode      string                      `yaml:"mode" enum:"binary,structured,batched" doc:"The mode."`
	Timeout   component.Duration          `yaml:"timeout" doc:"The timeout."`
	Headers   map[string]component.Secret `yaml:"headers" doc:"Headers."`
	Secret    component.Secrets           `yaml:"secret" doc:"The secret."`
	CertPath  component.File              `yaml:"certPath" doc:"Another file."`
	CredsFile string                      `yaml:"credsFile" doc:"A file."`
	Tags      []string                    `yaml:"tags" doc:"Tags."`
}

func (c *sendConfig) Validate(p *component.Problems) {
	if c.URL == "" {
		p.Add("it is required", "url")
	} else if len(c.URL) < 4 || c.URL[:4] != "http" {
		p.Add("address "+strconv.Quote(c.URL)+" begins with "+c.URL[:min(len(c.URL), 9)]+"; use http", "url")
	}
	for i, t := range c.Tags {
		if t == "bad" {
			p.Warn("this tag is bad", "tags", strconv.Itoa(i))
		}
	}
}

func (*sendConfig) Build(targets.Env) (targets.Target, error) { return nil, nil }

type busConfig struct {
	Name string `yaml:"name" doc:"The bus."`
}

func (*busConfig) Validate(*component.Problems)              {}
func (*busConfig) Build(targets.Env) (targets.Target, error) { return nil, nil }

func fakeKinds() Kinds {
	return Kinds{
		Sources: []sources.Spec{{
			Spec: component.Spec{Kind: "webhook", Summary: "Takes requests."},
			New:  func() sources.Config { return &hookConfig{Port: 80} }, Dedupe: 72 * 3600e9,
		}, {
			Spec: component.Spec{Kind: "plain", Summary: "Has no window of its own."},
			New:  func() sources.Config { return &busSource{} },
		}},
		Targets: []targets.Spec{{
			Spec: component.Spec{Kind: "http", Summary: "Sends."},
			New:  func() targets.Config { return &sendConfig{Mode: "binary", Timeout: component.Duration(10e9)} },
		}, {
			Spec: component.Spec{Kind: "bus", Summary: "Chains."},
			New:  func() targets.Config { return &busConfig{} },
		}, {
			Spec: component.Spec{Kind: "log", Summary: "Prints."},
			New:  func() targets.Config { return &logConfig{} },
		}},
	}
}

type logConfig struct{}

func (*logConfig) Validate(*component.Problems)              {}
func (*logConfig) Build(targets.Env) (targets.Target, error) { return nil, nil }

type busSource struct{}

func (*busSource) Validate(*component.Problems)              {}
func (*busSource) Build(sources.Env) (sources.Source, error) { return nil, nil }

// testLoader has the fake kinds and an environment of its own.
func testLoader(t testing.TB) *Loader {
	t.Helper()
	env, err := rules.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	vars := map[string]string{
		"PORT": "8080", "BAD_PORT": "eighty-eighty", "SECRET": "hunter2hunter2", "ON": "true", "EMPTY": "",
		"ADDRESS": "gopher://user:hunter2@example.com", "NAME": "secretname", "CEL": "event.hunter2 ==",
	}
	return &Loader{Kinds: fakeKinds(), Rules: env, Env: func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	}}
}

// golden compares got with a file of testdata, or writes it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got), go test -update writes it:\n%s", file, diff)
	}
}
