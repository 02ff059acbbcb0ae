package api_test

import (
	"testing"
)

func TestAppliedObjectsAreAnsweredInTheOrderThatTheyAreMadeIn(t *testing.T) {
	s := newServer(t)
	res, body := s.call("POST", "/v1/apply?dryRun=true", `{"rules": {"b": {}, "a": {}}, "buses": {"z": {}}}`, "Content-Type", "application/json")
	want := `{"dryRun":true,"objects":[{"kind":"bus","name":"z","result":"created"},{"kind":"rule","name":"a","result":"created"},{"kind":"rule","name":"b","result":"created"}]}` + "\n"
	if res.StatusCode != 200 || body != want {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

func TestWhatCannotBeAppliedIsAProblemWithItsPlace(t *testing.T) {
	s := newServer(t)
	for _, c := range []struct {
		name, path, contentType, body string
		status                        int
		pointer                       string
	}{
		{"a fault in an object", "/v1/apply", "application/json", `{"rules": {"bad": {}}}`, 422, "/rules/bad/when"},
		{"an unknown section", "/v1/apply", "application/json", `{"rule": {}}`, 400, "/rule"},
		{"another content type", "/v1/apply", "text/plain", `{"rules": {}}`, 415, ""},
		{"a dry run that is neither", "/v1/apply?dryRun=maybe", "application/json", `{}`, 400, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, body := s.call("POST", c.path, c.body, "Content-Type", c.contentType)
			p := s.problemOf(res, body, c.status)
			if c.pointer != "" && (len(p.Errors) != 1 || p.Errors[0].Pointer != c.pointer) {
				t.Errorf("it does not point to %s: %s", c.pointer, body)
			}
		})
	}
}
