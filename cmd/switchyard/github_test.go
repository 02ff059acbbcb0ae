package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const githubSecret = "it is not a secret"

// githubDelivery is one of GitHub's deliveries: what the test posts, and what it
// expects of the rules.
type githubDelivery struct {
	kind, id string
	body     []byte
	payload  any // body, decoded with json.Number
	sequence uint64
}

// githubDeliveries reads the example payloads of the npm package
// @octokit/webhooks-examples.
func githubDeliveries(t *testing.T) []*githubDelivery {
	t.Helper()
	path := os.Getenv("SWITCHYARD_WEBHOOK_EXAMPLES")
	require(t, path != "", "SWITCHYARD_WEBHOOK_EXAMPLES, which names api.github.com/index.json of @octokit/webhooks-examples,")
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
	var out []*githubDelivery
	for _, k := range kinds {
		for i, example := range k.Examples {
			var body bytes.Buffer
			if err := json.Compact(&body, example); err != nil {
				t.Fatal(err)
			}
			out = append(out, &githubDelivery{kind: k.Name, id: fmt.Sprintf("%s-%d", k.Name, i), body: body.Bytes(), payload: decodeNumbers(t, body.Bytes())})
		}
	}
	if len(out) < 100 {
		t.Fatalf("only %d examples", len(out))
	}
	return out
}

// decodeNumbers decodes JSON without losing a digit.
func decodeNumbers(t testing.TB, text []byte) any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%v: %.200s", err, text)
	}
	return v
}

// at is the value at a path of keys, nil if there is none.
func at(v any, path ...string) any {
	for _, key := range path {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

// the is the text at a path, "" if there is none.
func the(v any, path ...string) string { s, _ := at(v, path...).(string); return s }

// object is a JSON object.
type object = map[string]any

// githubRule is a rule as a user writes it, and beside it what it has to do,
// said in Go over the payload.
type githubRule struct {
	yaml    string
	matches func(d *githubDelivery) bool
	data    func(d *githubDelivery) any // nil: the payload as it is
	typ     string                      // "": the type as it was
	subject func(p any) string          // nil: the repository, as it was
	none    bool                        // no example matches it
}

func githubRules() map[string]githubRule {
	is := func(kind string, more func(p any) bool) func(*githubDelivery) bool {
		return func(d *githubDelivery) bool { return d.kind == kind && (more == nil || more(d.payload)) }
	}
	return map[string]githubRule{
		"opened": {
			yaml: `
    when: event.type == "com.github.pull_request" && event.data.action == "opened"
    transform:
      type: com.example.review.wanted
      data:
        number: "${{ event.data.number }}"
        text: "#${{ event.data.number }} ${{ event.data.pull_request.title }} (${{ event.data.pull_request.user.login }})"
        from: {id: "${{ event.data.pull_request.id }}", draft: "${{ event.data.pull_request.draft }}"}`,
			matches: is("pull_request", func(p any) bool { return at(p, "action") == "opened" }),
			typ:     "com.example.review.wanted",
			data: func(d *githubDelivery) any {
				pr := at(d.payload, "pull_request")
				return object{
					"number": at(d.payload, "number"),
					"text":   fmt.Sprintf("#%v %s (%s)", at(d.payload, "number"), the(pr, "title"), the(pr, "user", "login")),
					"from":   object{"id": at(pr, "id"), "draft": at(pr, "draft")},
				}
			},
		},
		"merged": {
			yaml:    "\n    when: event.data.pull_request.merged",
			matches: func(d *githubDelivery) bool { return at(d.payload, "pull_request", "merged") == true },
			none:    true,
		},
		"unmerged": {
			yaml:    "\n    when: '!event.data.pull_request.merged'\n    transform: {data: {pr: \"${{ event.data.pull_request }}\"}}",
			matches: func(d *githubDelivery) bool { return at(d.payload, "pull_request", "merged") == false },
			data:    func(d *githubDelivery) any { return object{"pr": at(d.payload, "pull_request")} },
		},
		"bugs": {
			yaml: `
    when: event.type == "com.github.issues" && event.data.issue.labels.exists(l, l.name == "bug")
    transform:
      data: {issue: "${{ event.data.issue.number }}", labels: "${{ event.data.issue.labels.map(l, l.name) }}", url: "${{ event.data.issue.html_url }}"}`,
			matches: is("issues", func(p any) bool {
				labels, _ := at(p, "issue", "labels").([]any)
				for _, l := range labels {
					if the(l, "name") == "bug" {
						return true
					}
				}
				return false
			}),
			data: func(d *githubDelivery) any {
				names := []any{}
				for _, l := range at(d.payload, "issue", "labels").([]any) {
					names = append(names, at(l, "name"))
				}
				return object{"issue": at(d.payload, "issue", "number"), "labels": names, "url": at(d.payload, "issue", "html_url")}
			},
		},
		"branches": {
			yaml: `
    when: event.type == "com.github.push" && event.data.ref.startsWith("refs/heads/") && event.data.commits.size() > 0
    transform:
      subject: "${{ event.data.ref.substring(11) }}"
      data: {commits: "${{ event.data.commits.map(c, c.id) }}", by: "${{ event.data.pusher.name }}"}`,
			matches: is("push", func(p any) bool {
				commits, _ := at(p, "commits").([]any)
				return strings.HasPrefix(the(p, "ref"), "refs/heads/") && len(commits) > 0
			}),
			subject: func(p any) string { return strings.TrimPrefix(the(p, "ref"), "refs/heads/") },
			data: func(d *githubDelivery) any {
				ids := []any{}
				for _, c := range at(d.payload, "commits").([]any) {
					ids = append(ids, at(c, "id"))
				}
				return object{"commits": ids, "by": at(d.payload, "pusher", "name")}
			},
		},
		"tags": {
			yaml:    "\n    when: event.data.ref.startsWith(\"refs/tags/\")\n    transform: {data: {tag: \"${{ event.data.ref }}\"}}",
			matches: func(d *githubDelivery) bool { return strings.HasPrefix(the(d.payload, "ref"), "refs/tags/") },
			data:    func(d *githubDelivery) any { return object{"tag": at(d.payload, "ref")} },
		},
		"releases": {
			yaml: `
    when: event.type == "com.github.release" && event.data.action == "published"
    transform: {data: "${{ event.data.release }}"}`,
			matches: is("release", func(p any) bool { return at(p, "action") == "published" }),
			data:    func(d *githubDelivery) any { return at(d.payload, "release") },
		},
		"young-accounts": {
			yaml: `
    when: event.data.sender.id > 20000000 && event.data.sender.type == "User"
    transform: {data: {id: "${{ event.data.sender.id }}", text: "${{ event.data.sender.login }} is ${{ event.data.sender.id }}"}}`,
			matches: func(d *githubDelivery) bool {
				n, _ := at(d.payload, "sender", "id").(json.Number)
				id, err := n.Int64()
				return err == nil && id > 20000000 && the(d.payload, "sender", "type") == "User"
			},
			data: func(d *githubDelivery) any {
				id := at(d.payload, "sender", "id")
				return object{"id": id, "text": fmt.Sprintf("%s is %v", the(d.payload, "sender", "login"), id)}
			},
		},
		"organizations": {
			yaml: "\n    when: has(event.data.organization) && event.data.organization.login in [\"Octocoders\", \"octo-org\"]",
			matches: func(d *githubDelivery) bool {
				o := the(d.payload, "organization", "login")
				return o == "Octocoders" || o == "octo-org"
			},
		},
		"checks": {
			yaml:    "\n    when: event.type.startsWith(\"com.github.check_\")",
			matches: func(d *githubDelivery) bool { return strings.HasPrefix(d.kind, "check_") },
		},
		"public": {
			yaml: "\n    when: event.type in [\"com.github.star\", \"com.github.fork\", \"com.github.issues\"] && event.data.repository.private == false",
			matches: func(d *githubDelivery) bool {
				return (d.kind == "star" || d.kind == "fork" || d.kind == "issues") && at(d.payload, "repository", "private") == false
			},
		},
		"deployments": {
			yaml:    "\n    when: event.type.matches(\"^com[.]github[.]deployment(_status)?$\")",
			matches: func(d *githubDelivery) bool { return d.kind == "deployment" || d.kind == "deployment_status" },
		},
	}
}

func TestGitHubsDeliveriesGoWhereTheRulesSay(t *testing.T) {
	deliveries, rules := githubDeliveries(t), githubRules()
	got := newEventReceiver(t)
	var config strings.Builder
	fmt.Fprintf(&config, "version: 1\nbuses: {github: {maxEventSize: 25MiB}}\nsources: {github: {bus: github, webhook: {preset: github, secret: %q}}}\nrules:\n", githubSecret)
	for name, r := range rules {
		fmt.Fprintf(&config, "  %s:\n    bus: github\n    targets: [%s]%s\n", name, name, r.yaml)
	}
	config.WriteString("targets:\n")
	for i, name := range slices.Sorted(maps.Keys(rules)) {
		fmt.Fprintf(&config, "  %s: {http: {url: %q, mode: %s}}\n", name, got.URL+"/"+name, []string{"binary", "structured"}[i%2])
	}
	s := serve(t, t.TempDir(), config.String())

	postTwice(t, s, deliveries)
	refusedIsCounted(t, s, deliveries[0])
	stored := readBack(t, s, "github")
	if len(stored) != len(deliveries) {
		t.Errorf("%d events are stored for %d deliveries", len(stored), len(deliveries))
	}
	for _, d := range deliveries {
		e := stored[d.id]
		if e == nil || the(e, "type") != "com.github."+d.kind || the(e, "sequence") != fmt.Sprintf("%020d", d.sequence) || !reflect.DeepEqual(e["data"], d.payload) {
			t.Errorf("%s: read back as %.300v", d.id, e)
		}
	}
	eventually(t, "that all is routed and delivered", 60*time.Second, func() bool {
		_, trace := s.call(http.MethodGet, fmt.Sprintf("/v1/buses/github/events/%d/trace", len(deliveries)), "", "")
		return strings.Contains(trace, `"routed":true`) && s.settled()
	})
	for name, r := range rules {
		r.check(t, name, deliveries, got.of("/"+name))
	}
}

// postTwice posts every delivery as GitHub signs it, twice at the same time.
func postTwice(t *testing.T, s *server, deliveries []*githubDelivery) {
	t.Helper()
	type answer struct {
		Results []struct {
			ID        string
			Sequence  uint64
			Duplicate bool
		}
	}
	work := make(chan *githubDelivery)
	var posters sync.WaitGroup
	for range 8 {
		posters.Go(func() {
			for d := range work {
				var answers [2]answer
				var both sync.WaitGroup
				for i := range answers {
					both.Go(func() {
						status, body := d.post(t, s, "sha256="+d.sign(githubSecret))
						if err := json.Unmarshal([]byte(body), &answers[i]); err != nil || status != http.StatusAccepted || len(answers[i].Results) != 1 {
							t.Errorf("%s: %d %s", d.id, status, body)
							answers[i] = answer{}
						}
					})
				}
				both.Wait()
				if len(answers[0].Results) != 1 || len(answers[1].Results) != 1 {
					continue
				}
				a, b := answers[0].Results[0], answers[1].Results[0]
				if a.Duplicate == b.Duplicate || a.Sequence != b.Sequence || a.ID != d.id || b.ID != d.id {
					t.Errorf("%s twice: %+v and %+v", d.id, a, b)
				}
				d.sequence = a.Sequence
			}
		})
	}
	for _, d := range deliveries {
		work <- d
	}
	close(work)
	posters.Wait()
}

func (d *githubDelivery) sign(secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(d.body)
	return hex.EncodeToString(mac.Sum(nil))
}

// post posts a delivery; without a signature if that is "".
func (d *githubDelivery) post(t *testing.T, s *server, signature string) (status int, body string) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/v1/hooks/github", bytes.NewReader(d.body))
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "GitHub-Hookshot/044aadd")
	req.Header.Set("X-GitHub-Event", d.kind)
	req.Header.Set("X-GitHub-Delivery", d.id)
	if signature != "" {
		req.Header.Set("X-Hub-Signature-256", signature)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	return res.StatusCode, string(text)
}

func refusedIsCounted(t *testing.T, s *server, d *githubDelivery) {
	t.Helper()
	for what, signature := range map[string]string{"unsigned": "", "signed with another secret": "sha256=" + d.sign("another")} {
		if status, body := d.post(t, s, signature); status != http.StatusUnauthorized || !strings.Contains(body, `"status":401`) {
			t.Errorf("%s: %d %s", what, status, body)
		}
	}
	_, metrics := s.call(http.MethodGet, "/metrics", "", "")
	counted := 0
	for _, m := range regexp.MustCompile(`(?m)^switchyard_source_rejected_total\{.*source="github".*\} (\d+)$`).FindAllStringSubmatch(metrics, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		counted += n
	}
	if counted != 2 {
		t.Errorf("%d refused requests are counted, want 2", counted)
	}
}

// readBack reads a whole bus, page after page, by event id.
func readBack(t *testing.T, s *server, bus string) map[string]object {
	t.Helper()
	out := map[string]object{}
	next := regexp.MustCompile(`^<(.*)>; rel="next"$`)
	for path := "/v1/buses/" + bus + "/events?limit=50"; path != ""; {
		res, err := http.Get(s.url + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %v %s", path, res.StatusCode, err, text)
		}
		for _, e := range decodeNumbers(t, text).([]any) {
			if out[the(e, "id")] != nil {
				t.Errorf("%s is stored twice", the(e, "id"))
			}
			out[the(e, "id")] = e.(object)
		}
		path = ""
		if m := next.FindStringSubmatch(res.Header.Get("Link")); m != nil {
			path = m[1]
		}
	}
	return out
}

// check compares what arrived for a rule with what the payloads say.
func (r githubRule) check(t *testing.T, name string, deliveries []*githubDelivery, got map[string][]receivedEvent) {
	t.Helper()
	want := 0
	for _, d := range deliveries {
		arrived := got[d.id]
		delete(got, d.id)
		if !r.matches(d) {
			if len(arrived) > 0 {
				t.Errorf("rule %s should not have matched %s", name, d.id)
			}
			continue
		}
		want++
		if len(arrived) != 1 {
			t.Errorf("rule %s: %s arrived %d times", name, d.id, len(arrived))
			continue
		}
		data, typ, subject := d.payload, "com.github."+d.kind, the(d.payload, "repository", "full_name")
		if r.data != nil {
			data = r.data(d)
		}
		if r.typ != "" {
			typ = r.typ
		}
		if r.subject != nil {
			subject = r.subject(d.payload)
		}
		if e := arrived[0]; e.typ != typ || e.subject != subject || !reflect.DeepEqual(decodeNumbers(t, e.data), data) {
			t.Errorf("rule %s: %s arrived as %s about %q with %.500s, want %s about %q with %.500v", name, d.id, e.typ, e.subject, e.data, typ, subject, data)
		}
	}
	for id := range got {
		t.Errorf("rule %s: %q arrived, which nobody sent", name, id)
	}
	if (want == 0) != r.none {
		t.Errorf("rule %s matches %d of the examples", name, want)
	}
	t.Logf("rule %s: %d deliveries", name, want)
}

// receivedEvent is an event as a receiver got it.
type receivedEvent struct {
	id, typ, subject string
	data             []byte
}

// eventReceiver takes events in the binary and the structured mode.
type eventReceiver struct {
	*httptest.Server
	// before, when not nil, runs before a request is noted and answered.
	before func(*http.Request)

	mu     sync.Mutex
	byPath map[string]map[string][]receivedEvent
}

func newEventReceiver(t testing.TB) *eventReceiver {
	r := &eventReceiver{byPath: map[string]map[string][]receivedEvent{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *eventReceiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	if r.before != nil {
		r.before(req)
	}
	e := receivedEvent{req.Header.Get("Ce-Id"), req.Header.Get("Ce-Type"), req.Header.Get("Ce-Subject"), body}
	if strings.HasPrefix(req.Header.Get("Content-Type"), structured) {
		var s struct {
			ID, Type, Subject string
			Data              json.RawMessage
		}
		if err := json.Unmarshal(body, &s); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		e = receivedEvent{s.ID, s.Type, s.Subject, s.Data}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byPath[req.URL.Path] == nil {
		r.byPath[req.URL.Path] = map[string][]receivedEvent{}
	}
	r.byPath[req.URL.Path][e.id] = append(r.byPath[req.URL.Path][e.id], e)
}

// of is what came at a path, by event id.
func (r *eventReceiver) of(path string) map[string][]receivedEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string][]receivedEvent{}
	for id, all := range r.byPath[path] {
		out[id] = append([]receivedEvent(nil), all...)
	}
	return out
}
