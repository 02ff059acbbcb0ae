package configs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/sources"
	"github.com/switchyard-dev/switchyard/sources/cron"
	natssource "github.com/switchyard-dev/switchyard/sources/nats"
	"github.com/switchyard-dev/switchyard/sources/webhook"
	"github.com/switchyard-dev/switchyard/targets"
	bustarget "github.com/switchyard-dev/switchyard/targets/bus"
	"github.com/switchyard-dev/switchyard/targets/function"
	httptarget "github.com/switchyard-dev/switchyard/targets/http"
	logtarget "github.com/switchyard-dev/switchyard/targets/log"
	natstarget "github.com/switchyard-dev/switchyard/targets/nats"
	"github.com/switchyard-dev/switchyard/targets/pull"
)

// realKinds are the kinds that ship with Switchyard.
func realKinds() Kinds {
	return Kinds{
		Sources: []sources.Spec{cron.Spec(), natssource.Spec(), webhook.Spec()},
		Targets: []targets.Spec{bustarget.Spec(), function.Spec(), httptarget.Spec(), logtarget.Spec(), natstarget.Spec(), pull.Spec()},
	}
}

func realLoader(t *testing.T, env map[string]string) *Loader {
	t.Helper()
	e, err := rules.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	return &Loader{Kinds: realKinds(), Rules: e, Env: func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	}}
}

func githubEnv() map[string]string {
	return map[string]string{"GITHUB_WEBHOOK_SECRET": "a-secret-of-the-webhook", "DEPLOY_TOKEN": "token-for-deploying"}
}

// Everything in configs/ is valid, alone and together, without a warning.
func TestExamplesAreValidAndKeepTheirFixtures(t *testing.T) {
	for _, file := range append(exampleFiles(t), ".") {
		t.Run(file, func(t *testing.T) {
			cfg, diags := realLoader(t, githubEnv()).LoadPath(file)
			if len(diags) > 0 {
				t.Fatal(diags)
			}
			for name, r := range cfg.Rules.All() {
				if len(r.Tests) == 0 {
					t.Errorf("rule %s has no fixture", name)
				}
			}
			for _, res := range RunFixtures(cfg) {
				if !res.Passed {
					t.Errorf("%s: rule %s, test %d: %v", res.Origin, res.Rule, res.Number, res.Problems)
				}
			}
		})
	}
}

func TestQuickstartNeedsNoEnvironment(t *testing.T) {
	if _, diags := realLoader(t, nil).LoadPath("quickstart.yaml"); len(diags) > 0 {
		t.Error(diags)
	}
}

func TestDocsAreUpToDate(t *testing.T) {
	golden(t, filepath.FromSlash("../docs/configuration.md"), string(realKinds().Docs()))
}

func exampleFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	return files
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
