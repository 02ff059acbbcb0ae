package configs

import (
	"strings"
	"testing"
	"time"
)

func TestArchives(t *testing.T) {
	cfg := load(t, `version: 1
buses:
  orders: {archive: {to: "s3://events/orders?region=eu-west-1&endpoint=http://127.0.0.1:9000&pathStyle=true", age: 365d, accessKey: id, secretKey: hunter2}}
  small: {archive: {to: "file:///var/lib/archive", segment: 1MiB, after: 5m}}
  none: {}
`)
	a := cfg.Buses["orders"].Archive
	if a.Location.Bucket != "events" || !a.Location.PathStyle || a.Age.Std() != 365*24*time.Hour || a.After.Std() != time.Hour || a.Segment != 32<<20 {
		t.Errorf("%+v", a)
	}
	if keys := a.Keys(); keys.AccessKey != "id" || keys.SecretKey.Reveal() != "hunter2" {
		t.Errorf("%+v", keys)
	}
	if a := cfg.Buses["small"].Archive; a.Location.Path != "/var/lib/archive" || a.After.Std() != 5*time.Minute {
		t.Errorf("%+v", a)
	}
	if a := cfg.Buses["none"].Archive; a.To != "" {
		t.Errorf("%+v", a)
	}
	o, ok := cfg.Object(Buses, "orders")
	if !ok || strings.Contains(string(o.View()), "hunter2") || !strings.Contains(string(o.View()), "s3://events/orders") {
		t.Errorf("as it is shown: %s", o.View())
	}
}

func TestArchivesThatCannotBeAreErrors(t *testing.T) {
	for settings, want := range map[string]string{
		`{}`:                                      `archive.to: it must say where to`,
		`{age: 30d}`:                              `it must say where to`,
		`{to: "ftp://x/y"}`:                       `archive.to: scheme "ftp" is not supported`,
		`{to: "s3://id:hunter2@bucket/x"}`:        `credentials do not belong in the address`,
		`{to: "gs://bucket"}`:                     `-tags cloud`,
		`{to: /a, accessKey: id, secretKey: k}`:   `an access key is for s3:// only`,
		`{to: "s3://bucket", secretKey: hunter2}`: `belong together`,
		`{to: /a, age: 1d}`:                       `archive.age: it is shorter than retention.age (7d)`,
		`{to: /a, after: 0s}`:                     `archive.after: it must be more than 0`,
		`{to: /a, segment: 1KiB}`:                 `archive.segment: it must be between 64KiB and 256MiB`,
		`{to: /a, segments: 1KiB}`:                `did you mean "segment"`,
	} {
		_, diags := testLoader(t).LoadBytes("test.yaml", []byte("version: 1\nbuses: {orders: {archive: "+settings+"}}\n"))
		if got := diags.String(); !strings.Contains(got, want) || strings.Contains(got, "hunter2") || !diags.HasErrors() {
			t.Errorf("%s: %s, want %q", settings, got, want)
		}
	}
	_, diags := testLoader(t).ParseObject(Buses, "orders", []byte(`{"archive": {"to": "/etc"}}`))
	if !strings.Contains(diags.String(), "configuration files only") {
		t.Errorf("through the API: %s", diags)
	}
}
