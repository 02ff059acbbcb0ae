package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// TestExamplesOfGitHub posts the example payloads of the npm package
// @octokit/webhooks-examples as GitHub does.
func TestExamplesOfGitHub(t *testing.T) {
	path := os.Getenv("SWITCHYARD_WEBHOOK_EXAMPLES")
	if path == "" {
		if os.Getenv("SWITCHYARD_REQUIRE") == "all" {
			t.Fatal("SWITCHYARD_WEBHOOK_EXAMPLES is not set, and SWITCHYARD_REQUIRE=all")
		}
		t.Skip("SWITCHYARD_WEBHOOK_EXAMPLES does not name api.github.com/index.json of the npm package @octokit/webhooks-examples")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []struct {
		Name     string
		Examples []json.RawMessage
	}
	if err := json.Unmarshal(text, &kinds); err != nil {
		t.Fatal(err)
	}
	r := build(t, settings("github", key))
	posted := 0
	for _, kind := range kinds {
		for i, example := range kind.Examples {
			var body bytes.Buffer
			if err := json.Compact(&body, example); err != nil {
				t.Fatal(err)
			}
			name := fmt.Sprintf("%s/%d", kind.Name, i)
			delivery := "delivery-" + name
			send := func(contentType, text string) *httptestAnswer {
				w := r.post("github", text, "Content-Type", contentType, "X-GitHub-Event", kind.Name, "X-GitHub-Delivery", delivery)
				a := &httptestAnswer{status: w.Code, text: w.Body.String()}
				_ = json.Unmarshal(w.Body.Bytes(), a) // checked below
				return a
			}
			a := send("application/json", body.String())
			if a.status != http.StatusAccepted || len(a.Results) != 1 || a.Results[0].Duplicate {
				t.Errorf("%s: %d %s", name, a.status, a.text)
				continue
			}
			posted++
			checkExample(t, name, kind.Name, delivery, body.Bytes(), r.sink.Events()[posted-1])
			// GitHub sends again what was not answered in time; a webhook may
			// also be set to send forms.
			for _, a := range []*httptestAnswer{
				send("application/json", body.String()),
				send("application/x-www-form-urlencoded", "payload="+url.QueryEscape(body.String())),
			} {
				if a.status != http.StatusAccepted || len(a.Results) != 1 || !a.Results[0].Duplicate || a.Results[0].Sequence != uint64(posted) {
					t.Errorf("%s again: %d %s", name, a.status, a.text)
				}
			}
		}
	}
	if n := len(r.sink.Events()); n != posted || posted == 0 {
		t.Errorf("%d events of %d deliveries", n, posted)
	}
	if len(r.rejected) != 0 {
		t.Errorf("counted as refused: %v", r.rejected)
	}
	t.Logf("%d deliveries of %d kinds, each three times", posted, len(kinds))
}

type httptestAnswer struct {
	status  int
	text    string
	Results []struct {
		Sequence  uint64
		Duplicate bool
	}
}

func checkExample(t *testing.T, name, kind, delivery string, body []byte, e *event.Event) {
	t.Helper()
	var payload struct {
		Repository struct {
			FullName string `json:"full_name"`
			HTMLURL  string `json:"html_url"`
		}
		Organization struct{ Login string }
	}
	if err := json.Unmarshal(body, &payload); err != nil {
		t.Fatal(err)
	}
	source := payload.Repository.HTMLURL
	if source == "" && payload.Organization.Login != "" {
		source = "https://github.com/" + payload.Organization.Login
	}
	if source != "" && e.Source() != source || !strings.HasPrefix(e.Source(), "http") {
		t.Errorf("%s: source %q; want %q", name, e.Source(), source)
	}
	if e.Type() != "com.github."+kind || e.Subject() != payload.Repository.FullName || e.ID() != delivery || e.DataContentType() != "application/json" {
		t.Errorf("%s: type %q, subject %q, id %q, content type %q", name, e.Type(), e.Subject(), e.ID(), e.DataContentType())
	}
	if !bytes.Equal(e.Data(), body) {
		t.Errorf("%s: the data is not what was sent", name)
	}
}
