package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/targets/auth"
	"github.com/switchyard-dev/switchyard/targets/function"
	httptarget "github.com/switchyard-dev/switchyard/targets/http"
)

func TestAuthProblemsHaveTheirPlaces(t *testing.T) {
	_, diags := realLoader(t, nil).LoadBytes("a.yaml", []byte(`version: 1
buses: {b: {}}
rules: {r: {bus: b, targets: [two, token, plain]}}
targets:
  two:
    http:
      url: https://example.com
      auth:
        bearer: hunter2hunter2
        basic: {username: u, password: hunter2hunter2}
  token: {http: {url: "https://example.com", auth: {oauth2: {tokenURL: "http://169.254.169.254/t", clientID: i, clientSecret: s}}}}
  plain: {http: {url: "http://example.com", auth: {mtls: {cert: a.pem, key: b.pem}}}}
`))
	want := `a.yaml:9:17: targets.two.http.auth.bearer: requests are authenticated in one way, and there is basic, too; keep one
a.yaml:10:16: targets.two.http.auth.basic: requests are authenticated in one way, and there is bearer, too; keep one
a.yaml:11:72: warning: targets.token.http.auth.oauth2.tokenURL: targets may not reach 169.254.169.254, which is not a public address; deliveries will fail unless network.allow has it, such as 169.254.169.254/32
a.yaml:12:58: targets.plain.http.auth.mtls: a client certificate needs TLS; use https in url`
	if got := strings.TrimSpace(diags.String()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestCertificatesAreBesideTheirConfiguration(t *testing.T) {
	dir := t.TempDir()
	text := `version: 1
buses: {b: {}}
rules: {r: {bus: b, targets: [t, f]}}
targets:
  t: {http: {url: "https://example.com", auth: {mtls: {cert: tls/cert.pem, key: /etc/key.pem}}}}
  f: {function: {knative: {url: "https://example.com"}, auth: {mtls: {cert: c.pem, key: k.pem, ca: ca.pem}}}}
`
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key := certificate(t, "any", time.Now().Add(-time.Hour), time.Now().Add(100*24*time.Hour))
	l := realLoader(t, nil)
	l.ReadFile = func(path string) ([]byte, error) {
		switch filepath.Base(path) {
		case "a.yaml":
			return []byte(text), nil
		case "cert.pem", "c.pem", "ca.pem":
			return cert, nil
		}
		return key, nil
	}
	cfg, diags := l.LoadPath(dir)
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	want := auth.MTLS{Cert: component.File(filepath.Join(dir, "tls", "cert.pem")), Key: "/etc/key.pem"}
	if got := *cfg.Targets["t"].Config.(*httptarget.Config).Auth.MTLS; got != want {
		t.Errorf("%+v", got)
	}
	if got := cfg.Targets["f"].Config.(*function.Config).Auth.MTLS; got.CA != component.File(filepath.Join(dir, "ca.pem")) {
		t.Errorf("%+v", got)
	}
}

func TestAddressesOfFunctionsAreChecked(t *testing.T) {
	_, diags := realLoader(t, nil).LoadBytes("a.yaml", []byte(`version: 1
buses: {b: {}}
rules: {r: {bus: b, targets: [k, o, u, i, none]}}
targets:
  k: {function: {knative: {url: "http://169.254.169.254/"}}, replyTo: b}
  o: {function: {openfaas: {url: "http://169.254.169.254/", function: f}}}
  u: {function: {lambda: {url: "http://169.254.169.254/"}}}
  i: {function: {lambda: {invoke: {function: f, endpoint: "http://169.254.169.254/"}}}}
  none: {function: {timeout: 5s}}
`))
	var got strings.Builder
	for _, d := range diags {
		got.WriteString(d.Path + ": " + d.Message[:20] + "\n")
	}
	want := `targets.k.function.knative.url: targets may not reac
targets.o.function.openfaas.url: targets may not reac
targets.u.function.lambda.url: targets may not reac
targets.i.function.lambda.invoke.endpoint: targets may not reac
targets.none.function: needs a platform: on
`
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

func TestAuthIsNotShown(t *testing.T) {
	l := realLoader(t, nil)
	for _, kind := range []string{
		`{"bearer":"hunter2"}`, `{"basic":{"username":"u","password":"hunter2"}}`, `{"apiKey":{"header":"A","value":"hunter2"}}`,
		`{"oauth2":{"tokenURL":"https://a/t","clientID":"i","clientSecret":"hunter2"}}`,
		`{"sigv4":{"region":"r","service":"s","accessKey":"a","secretKey":"hunter2","sessionToken":"hunter2"}}`,
	} {
		o, diags := l.ParseObject(Targets, "t", []byte(`{"http":{"url":"https://example.com","auth":`+kind+`}}`))
		want := `{"http":{"url":"https://example.com","auth":` + strings.ReplaceAll(kind, "hunter2", "[redacted]") + `}}`
		if got := string(o.View()); len(diags) > 0 || got != want {
			t.Errorf("it is shown as %s, %v", got, diags)
		}
	}
	_, diags := l.ParseObject(Targets, "t", []byte(`{"http":{"url":"https://example.com","auth":{"mtls":{"cert":"/etc/a","key":"b"}}}}`))
	if got := diags.String(); strings.Count(got, "paths of files work in configuration files only") != 2 {
		t.Errorf("files in an object of the API: %s", got)
	}
}
