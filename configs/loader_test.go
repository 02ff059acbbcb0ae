package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/switchyard-dev/switchyard/bus/component"
)

// Every testdata/*.yaml has its diagnostics beside it.
func TestDiagnosticsAreAsInTheGoldenFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, diags := testLoader(t).LoadPath(file)
			got := diags.String()
			for _, secret := range []string{"hunter2", "eighty-eighty", "secretname", "gopher"} {
				if strings.Contains(got, secret) {
					t.Errorf("%q came from a reference and is shown:\n%s", secret, got)
				}
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", got+"\n")
		})
	}
}

func load(t *testing.T, text string) *Config {
	t.Helper()
	cfg, diags := testLoader(t).LoadBytes("test.yaml", []byte(text))
	if diags.HasErrors() {
		t.Fatalf("unexpected errors:\n%s", diags)
	}
	return cfg
}

func TestDefaultsAreFilledIn(t *testing.T) {
	cfg := load(t, `
version: 1
buses:
  orders:
  small: {dedupe: 10m, retention: {size: 10GiB}, maxEventSize: 1MiB}
sources:
  hooks: {bus: orders, webhook: {secret: abc}}
  short: {webhook: {secret: abc}, bus: orders, dedupe: 5m}
  plain: {bus: small, plain: {}}
rules:
  all: {bus: orders, targets: [t, full]}
targets:
  t: {http: {url: http://example.com}}
  full:
    log:
    retry: {attempts: 3, max: 1m}
    concurrency: 2
    rate: 30/m
    order: key
    deadLetter: {bus: small}
`)
	week := component.Duration(7 * 24 * time.Hour)
	archive := Archive{After: component.Duration(time.Hour), Segment: 32 << 20} // none, with its defaults
	if diff := cmp.Diff(map[string]Bus{
		"orders": {Retention: Retention{Age: week}, Dedupe: component.Duration(2 * time.Minute), MaxEventSize: 256 << 10, Compact: CompactNone, ScanRules: 1000, Archive: archive, Origin: Origin{"test.yaml", 4}},
		"small":  {Retention: Retention{Age: week, Size: 10 << 30}, Dedupe: component.Duration(10 * time.Minute), MaxEventSize: 1 << 20, Compact: CompactNone, ScanRules: 1000, Archive: archive, Origin: Origin{"test.yaml", 5}},
	}, cfg.Buses, cmp.AllowUnexported(component.Secret{})); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]time.Duration{"hooks": 72 * time.Hour, "short": 5 * time.Minute, "plain": 10 * time.Minute} {
		if got := cfg.Sources[name].Dedupe.Std(); got != want {
			t.Errorf("source %s: dedupe = %v; want %v", name, got, want)
		}
	}
	if got, want := cfg.Targets["t"], defaultTarget(); !cmp.Equal(got.Retry, want.Retry) || got.Concurrency != 32 || got.Order != OrderNone || !got.Rate.IsZero() || got.Kind != "http" {
		t.Errorf("target t = %+v", got)
	}
	full := cfg.Targets["full"]
	if full.Retry.Attempts != 3 || full.Retry.Max.Std() != time.Minute || full.Retry.Age.Std() != 24*time.Hour ||
		full.Rate.PerSecond() != 0.5 || full.Order != OrderKey || full.DeadLetterBus() != "small" {
		t.Errorf("target full = %+v", full)
	}
	if cfg.Server != (Server{Listen: "127.0.0.1:8080", Data: "./data", Limits: Limits{Waiting: 64 << 20, DiskReserve: 256 << 20}}) {
		t.Errorf("server = %+v", cfg.Server)
	}
}

func TestSchedulesOfRetries(t *testing.T) {
	day, never := 24*time.Hour, time.Duration(0)
	standard := []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 10 * time.Hour}
	for retry, want := range map[string]struct {
		delays   []time.Duration
		jitter   float64
		attempts int
		age      time.Duration
	}{
		"{}":                                    {nil, 0, 185, day},
		"{initial: 2s, max: 3s, attempts: 4}":   {nil, 0, 4, day},
		"{delays: }":                            {nil, 0, 185, day},
		"{delays: [1s, 0s, 1d12h]}":             {[]time.Duration{time.Second, 0, 36 * time.Hour}, 0, 185, never},
		"{delays: [1s], age: 1m, attempts: 1}":  {[]time.Duration{time.Second}, 0, 1, time.Minute},
		"{delays: [1s], age: , preset: }":       {[]time.Duration{time.Second}, 0, 185, never},
		"{preset: standard-webhooks}":           {standard, 0.2, 185, never},
		"{preset: standard-webhooks, age: 24h}": {standard, 0.2, 185, day},
	} {
		r := load(t, "version: 1\ntargets: {t: {http: {url: http://example.com}, retry: "+retry+"}}\n").Targets["t"].Retry
		delays, jitter := r.Schedule()
		if !cmp.Equal(delays, want.delays) || jitter != want.jitter || r.Attempts != want.attempts || r.Age.Std() != want.age {
			t.Errorf("%s: %v with jitter %v, %d attempts, age %v; want %+v", retry, delays, jitter, r.Attempts, r.Age.Std(), want)
		}
	}
}

func TestTheBusOfRepliesIsInUse(t *testing.T) {
	cfg := load(t, "version: 1\nbuses: {replies: {}}\ntargets: {t: {http: {url: http://example.com}, replyTo: replies}}\n")
	if got := cfg.Targets["t"].ReplyTo; got != "replies" {
		t.Errorf("replyTo is %q", got)
	}
	if got := cfg.Users(Buses, "replies"); !cmp.Equal(got, []string{"targets.t"}) {
		t.Errorf("the bus is used by %v", got)
	}
}

func TestReferencesAreResolvedBeforeTyping(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "secret.txt", "from a file\n")
	l := testLoader(t)
	path := write(t, dir, "s.yaml", `
version: 1
server: {data: state}
buses: {orders: {}}
sources:
  s:
    bus: orders
    webhook:
      secret: "${file:secret.txt}"
      port: ${env:PORT}
      on: "${env:ON}"
      data: {text: "${env:PORT}", literal: "$${env:PORT}", cel: "${{ event.id }}", mixed: "a-${env:NAME}-$${b}", price: $5}
rules:
  r: {bus: orders, targets: [t]}
targets:
  t: {http: {url: http://example.com, credsFile: nats.creds, certPath: a/b.pem}}
`)
	cfg, diags := l.LoadPath(path)
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	hook := cfg.Sources["s"].Config.(*hookConfig)
	if hook.Secret.Reveal() != "from a file" || hook.Port != 8080 || !hook.On {
		t.Errorf("settings = %+v, secret %q", hook, hook.Secret.Reveal())
	}
	want := map[string]any{"text": "8080", "literal": "${env:PORT}", "cel": "${{ event.id }}", "mixed": "a-secretname-${b}", "price": "$5"}
	if diff := cmp.Diff(want, hook.Data); diff != "" {
		t.Error(diff)
	}
	if got := cfg.Server.Data; got != filepath.Join(dir, "state") {
		t.Errorf("data = %s; want it in the file's folder", got)
	}
	if got := cfg.Targets["t"].Config.(*sendConfig).CertPath; string(got) != filepath.Join(dir, "a", "b.pem") {
		t.Errorf("certPath = %s; want it in the file's folder", got)
	}
	if got := cfg.Targets["t"].Config.(*sendConfig).CredsFile; got != filepath.Join(dir, "nats.creds") {
		t.Errorf("credsFile = %s; want it in the file's folder", got)
	}
	o, _ := cfg.Object(Sources, "s")
	for _, text := range []string{string(o.Raw), string(o.View())} {
		if !strings.Contains(text, `"secret":"${file:secret.txt}","port":"${env:PORT}"`) || strings.Contains(text, "secretname") || strings.Contains(text, "from a file") {
			t.Errorf("the object is not as written: %s", text)
		}
	}
}

func TestFolderIsOneConfiguration(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", "version: 1\nserver: {listen: \"127.0.0.1:1\"}\nbuses: {orders: {}}\ntargets:\n  t: {log: {}}\n")
	write(t, dir, "b.yml", "version: 1\nrules:\n  r: {bus: orders, targets: [t]}\n")
	write(t, dir, ".hidden.yaml", "nonsense")
	write(t, dir, "notes.txt", "nonsense")
	cfg, diags := testLoader(t).LoadPath(dir)
	if len(diags) > 0 || cfg.Rules.Len() != 1 || len(cfg.Targets) != 1 {
		t.Fatal(cfg, diags)
	}
	write(t, dir, "c.yaml", "version: 1\nserver: {listen: \"127.0.0.1:2\"}\ntargets:\n  t: {log: {}}\n")
	_, diags = testLoader(t).LoadPath(dir)
	got := strings.ReplaceAll(diags.String(), dir, "DIR")
	want := `DIR/c.yaml:2:1: server: it is already set in DIR/a.yaml:2; keep one of the two
DIR/c.yaml:4:3: targets.t: it is already defined in DIR/a.yaml:5; a name is defined once`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestPathsThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(dir, "absent.yaml"): "absent.yaml: it cannot be read: no such file or directory",
		dir:                               ": the folder has no files that end in .yaml or .yml",
	} {
		if _, diags := testLoader(t).LoadPath(path); len(diags) != 1 || !strings.HasSuffix(diags[0].String(), want) {
			t.Errorf("LoadPath(%s): %v; want …%s", path, diags, want)
		}
	}
	_, diags := testLoader(t).LoadBytes("big.yaml", make([]byte, maxFile+1))
	if len(diags) != 1 || !strings.Contains(diags[0].Message, "at most") {
		t.Errorf("a file that is too large: %v", diags)
	}
}

func TestMergeKeysFillInWhatIsNotGiven(t *testing.T) {
	cfg := load(t, `
version: 1
buses: {orders: {}}
rules: {a: {bus: orders, targets: [one, two]}}
targets:
  one: &base
    http: &http {url: http://example.com, timeout: 5s}
    concurrency: 4
  two:
    <<: *base
    concurrency: 5
    http: {<<: [*http], url: http://example.org}
`)
	one, two := cfg.Targets["one"], cfg.Targets["two"]
	h := two.Config.(*sendConfig)
	if one.Concurrency != 4 || two.Concurrency != 5 || h.URL != "http://example.org" || h.Timeout.Std() != 5*time.Second {
		t.Errorf("one = %+v, two = %+v, http = %+v", one, two, h)
	}
	if one.Fingerprint == two.Fingerprint {
		t.Error("different settings have the same fingerprint")
	}
}

func TestFingerprintChangesWithASecretOfTheEnvironment(t *testing.T) {
	text := []byte("version: 1\ntargets: {t: {http: {url: http://example.com, secret: \"${env:S}\"}}}\n")
	prints := map[string]bool{}
	for _, secret := range []string{"a", "b", "a"} {
		l := testLoader(t)
		l.Env = func(string) (string, bool) { return secret, true }
		cfg, diags := l.LoadBytes("a.yaml", text)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		prints[cfg.Targets["t"].Fingerprint] = true
	}
	if len(prints) != 2 {
		t.Errorf("%d fingerprints; want 2", len(prints))
	}
}

func TestListenOfTheCommandLineDecidesWarnings(t *testing.T) {
	text := []byte("version: 1\nbuses: {b: {}}\nrules: {r: {bus: b, targets: [t]}}\ntargets: {t: {http: {url: \"http://127.0.0.1:9000\"}}}\n")
	l := testLoader(t)
	if _, diags := l.LoadBytes("a.yaml", text); len(diags) > 0 {
		t.Errorf("with a loopback address to listen on: %v", diags)
	}
	l.Listen = ":8080"
	if _, diags := l.LoadBytes("a.yaml", text); len(diags.Warnings()) != 1 || diags.HasErrors() {
		t.Errorf("with a public address to listen on: %v; want one warning", diags)
	}
}

func TestRates(t *testing.T) {
	for text, want := range map[string]float64{"500/s": 500, "30/m": 0.5, "3600/h": 1, "5 / s": 5, "500/s burst 1000": 500} {
		r, err := ParseRate(text)
		if err != nil || r.PerSecond() != want {
			t.Errorf("ParseRate(%q) = %v, %v", text, r, err)
		}
		if back, err := ParseRate(r.String()); err != nil || back != r {
			t.Errorf("ParseRate(%q) = %v, %v", r, back, err)
		}
	}
	for _, text := range []string{"", "5", "/s", "0/s", "-1/s", "5/d", "5/s/s", "1.5/s", "5/s burst", "5/s burst 0", "5/s burst 1.5", "5/s burst 9999999", "burst 5"} {
		if r, err := ParseRate(text); err == nil {
			t.Errorf("ParseRate(%q) = %v; want an error", text, r)
		}
	}
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRulesThatDidNotChangeKeepTheirMatchers(t *testing.T) {
	l := testLoader(t)
	read := func(second string) *Config {
		t.Helper()
		cfg, found := l.LoadBytes("a.yaml", []byte("version: 1\nbuses: {b: {}}\ntargets: {t: {log: {}}}\nrules:\n"+
			"  same: {bus: b, when: event.type == \"a\", targets: [t]}\n  other: {bus: b, when: '"+second+"', targets: [t]}\n"))
		if found.HasErrors() {
			t.Fatal(found)
		}
		return cfg
	}
	first := read(`event.type == "b"`)
	l.Current = first
	again := read(`event.type == "c"`)
	if again.Rules.At("same").Matcher != first.Rules.At("same").Matcher {
		t.Error("a rule that did not change was compiled again")
	}
	if again.Rules.At("other").Matcher == first.Rules.At("other").Matcher {
		t.Error("a rule that changed kept its matcher")
	}
}

func TestPresetsOfRetries(t *testing.T) {
	for preset, want := range map[string]struct {
		retries int
		total   time.Duration
	}{
		PresetStandardWebhooks: {7, 27*time.Hour + 35*time.Minute + 5*time.Second},
		PresetAWS:              {0, 0},
		PresetRocketMQ:         {16, 4*time.Hour + 45*time.Minute + 40*time.Second},
		PresetAlibabaDecay:     {176, 511*time.Second + 167*512*time.Second},
	} {
		delays, _ := Retry{Preset: preset}.Schedule()
		var total time.Duration
		for _, d := range delays {
			total += d
		}
		if len(delays) != want.retries || total != want.total {
			t.Errorf("%s: %d retries in %v, want %d in %v", preset, len(delays), total, want.retries, want.total)
		}
	}
}

func TestSyntaxErrorsNameTheLineAtFault(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		line int
	}{
		"a key between two levels":           {"version: 1\nbuses:\n  orders: {}\n audit: {}\nrules: {}\n", 4},
		"a key between two levels, deep":     {"version: 1\nrules:\n  r:\n    bus: orders\n   when: x\n    targets: [t]\n", 5},
		"text behind a quoted text":          {"version: 1\nrules:\n  r:\n    when: \"a\" == b\n    bus: orders\n", 4},
		"a bracket too many":                 {"version: 1\n\n# a comment\nbuses: {a: {}}}\nrules: {}\n", 4},
		"a key in a list":                    {"version: 1\nrules:\n  r:\n    targets:\n      - a\n      b: c\n", 6},
		"a brace that is not closed":         {"version: 1\nbuses:\n  orders: {\nrules: {}\n", 3},
		"a bracket that is not closed":       {"version: 1\nrules:\n  r:\n    targets: [a\n    bus: orders\n", 4},
		"a bracket that ends the file":       {"version: 1\nbuses: [\n", 2},
		"a line that is too far to the left": {"version: 1\nrules:\n  r:\n    when: >-\n      x\n     y: 1\n", 6},
		"a tab":                              {"version: 1\nbuses:\n\torders: {}\n", 3},
		"a mapping in a line":                {"version: 1\na: b: c\n", 2},
		"a quote that is not closed":         {"version: 1\na: \"b\nc: d\n", 2},
		"a fault in the first line":          {"a: @b\n", 1},
		"a bracket too many in the first":    {"a: {b: 1}}\nc: d\n", 1},
		"an anchor that is not there":        {"version: 1\nbuses:\n  a: *nothing\n", 3},
		"a second document":                  {"version: 1\nbuses: {}\n---\nrules:\n  r:\n    bus: orders\n   when: x\n", 7},
		"line ends of Windows":               {"version: 1\r\nbuses:\r\n  a: {}\r\n b: {}\r\n", 4},
	} {
		t.Run(name, func(t *testing.T) {
			_, found := testLoader(t).LoadBytes("a.yaml", []byte(c.text))
			if len(found) != 1 || found[0].Line != c.line {
				t.Errorf("it is said to be in %s; want line %d", found, c.line)
			}
		})
	}
}
