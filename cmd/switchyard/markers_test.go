package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"
)

// markers are secrets that are told apart, and what is searched for them.
type markers struct {
	t      *testing.T
	texts  map[string]string // the marker of each place
	bucket string            // where archives and backups go to
	seen   map[string]bool   // what was reported
}

// of is the marker of a place: a text that nothing else has.
func (m *markers) of(place string) string {
	if m.texts[place] == "" {
		m.texts[place] = fmt.Sprintf("zqx%03dhunter%03dzqx", len(m.texts), len(m.texts)*7)
	}
	return m.texts[place]
}

// search reports each marker that a text has, as it is or in an encoding.
func (m *markers) search(where, text string) {
	for place, marker := range m.texts {
		for form, look := range map[string]string{
			"as it is": marker, "in hex": hex.EncodeToString([]byte(marker)), "escaped": url.QueryEscape(marker),
			"in base64":                 base64.RawStdEncoding.EncodeToString([]byte(marker))[:24],
			"in base64, behind 1 byte":  base64.RawStdEncoding.EncodeToString([]byte("-" + marker))[2:26],
			"in base64, behind 2 bytes": base64.RawStdEncoding.EncodeToString([]byte("--" + marker))[3:27],
		} {
			if i := strings.Index(text, look); i >= 0 && !m.seen[where+place] {
				m.seen[where+place] = true
				m.t.Errorf("%s shows the secret of %s %s: …%s…", where, place, form, text[max(0, i-120):min(len(text), i+len(look)+40)])
			}
		}
	}
}

// secretPlaces are the settings that the schema has as secrets, with a star for
// names.
func secretPlaces(t *testing.T) map[string]bool {
	t.Helper()
	var out strings.Builder
	root := newRoot()
	root.SetOut(&out)
	if code := execute(root, []string{"schema"}); code != 0 {
		t.Fatal(out.String())
	}
	var schema map[string]any
	if err := json.Unmarshal([]byte(out.String()), &schema); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	var walk func(s any, path string, within []string)
	walk = func(s any, path string, within []string) {
		switch s := s.(type) {
		case map[string]any:
			if ref, ok := s["$ref"].(string); ok && !slices.Contains(within, ref) {
				walk(schema["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")], path, append(within, ref))
			}
			if s["writeOnly"] == true {
				found[path] = true
			}
			for _, key := range []string{"anyOf", "oneOf", "allOf", "items"} {
				walk(s[key], path, within)
			}
			if more, ok := s["additionalProperties"].(map[string]any); ok {
				walk(more, path+".*", within)
			}
			properties, _ := s["properties"].(map[string]any)
			for key, of := range properties {
				walk(of, path+"."+key, within)
			}
		case []any:
			for _, one := range s {
				walk(one, path, within)
			}
		}
	}
	walk(schema, "", nil)
	return found
}

// markedPlaces are the settings of a configuration whose values are markers, in
// the words of secretPlaces.
func markedPlaces(t *testing.T, m *markers, config string, places map[string]bool) map[string]bool {
	t.Helper()
	var root yaml.Node
	if err := yaml.Unmarshal([]byte(config), &root); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	var walk func(n *yaml.Node, paths []string)
	walk = func(n *yaml.Node, paths []string) {
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				var next []string
				for _, p := range paths {
					next = append(next, p+"."+n.Content[i].Value, p+".*")
				}
				walk(n.Content[i+1], next)
			}
		case yaml.ScalarNode:
			for _, p := range paths {
				if places[p] && slices.Contains(slices.Collect(maps.Values(m.texts)), n.Value) {
					found[p] = true
				}
			}
		default:
			for _, c := range n.Content {
				walk(c, paths)
			}
		}
	}
	walk(&root, []string{""})
	return found
}

// indiscreet answers with everything that it was sent.
func indiscreet(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	echo := r.Method + " " + r.RequestURI + " " + string(body)
	for name, values := range r.Header {
		echo += " " + name + ": " + strings.Join(values, ", ")
		if user, password, ok := r.BasicAuth(); ok {
			echo += " " + user + " " + password
		}
	}
	switch path := strings.Split(r.URL.Path, "/")[1]; path {
	case "slow":
		select {
		case <-r.Context().Done():
		case <-time.After(2 * time.Second):
		}
	case "moved":
		w.Header().Set("Location", "https://elsewhere.example.com/?was="+url.QueryEscape(echo))
		w.WriteHeader(http.StatusFound)
		return
	case "token":
		w.Header().Set("WWW-Authenticate", strings.ReplaceAll(echo, `"`, "'"))
		w.WriteHeader(http.StatusUnauthorized)
	case "busy":
		w.WriteHeader(http.StatusInternalServerError)
	default:
		w.WriteHeader(http.StatusBadRequest)
	}
	fmt.Fprint(w, echo)
}

// TestNoSecretIsEverShown puts a marker into every setting that holds a secret,
// makes everything fail at receivers that repeat whatever they are sent, and
// looks for the markers in all that can be seen of a server.
func TestNoSecretIsEverShown(t *testing.T) {
	m := &markers{t: t, texts: map[string]string{}, seen: map[string]bool{}}
	receiver := httptest.NewServer(http.HandlerFunc(indiscreet))
	t.Cleanup(receiver.Close)
	m.bucket = "s3://wrong-bucket/prefix?region=eu-west-1&pathStyle=true&endpoint=" + url.QueryEscape(receiver.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", m.of("AWS access key"))
	t.Setenv("AWS_SECRET_ACCESS_KEY", m.of("AWS secret key"))
	auths := map[string]string{
		"bearer":      `{bearer: %s}`,
		"basic":       `{basic: {username: u, password: %s}}`,
		"key":         `{apiKey: {header: X-Api-Key, value: %s}}`,
		"query":       `{apiKey: {query: key, value: %s}}`,
		"oauth2":      `{oauth2: {tokenURL: "` + receiver.URL + `/token", clientID: i, clientSecret: %s}}`,
		"oauth2-post": `{oauth2: {tokenURL: "` + receiver.URL + `/token", clientID: i, clientAuth: post, clientSecret: %s}}`,
		"sigv4":       `{sigv4: {region: eu-west-1, service: lambda, accessKey: k, secretKey: %s, sessionToken: ` + m.of("session") + `}}`,
	}
	var targets, names []string
	add := func(name, settings string) {
		targets = append(targets, "  "+name+": "+strings.TrimSuffix(settings, "}")+", retry: {attempts: 2, initial: 10ms}}")
		names = append(names, name)
	}
	for kind, form := range auths {
		for _, to := range []string{"wrong", "busy", "slow", "moved", "refused", "tls"} {
			name := kind + "-" + to
			address := receiver.URL + "/" + to
			switch to {
			case "refused":
				address = "http://127.0.0.1:1/"
			case "tls":
				address = strings.Replace(receiver.URL, "http:", "https:", 1)
			}
			settings := fmt.Sprintf(`, timeout: 300ms, headers: {X-Secret: %s}, secret: [%s, %s], auth: `+form,
				m.of(name+" header"), m.of(name+" secret"), m.of(name+" old secret"), m.of(name))
			add(name, `{http: {url: "`+address+`"`+settings+`}}`)
			if to == "wrong" || to == "refused" {
				add("f-"+name, `{function: {knative: {url: "`+address+`"}`+settings+`}}`)
			}
		}
	}
	add("n-token", `{nats: {url: "nats://127.0.0.1:1", subject: a, token: `+m.of("nats token")+`}}`)
	add("n-user", `{nats: {url: "nats://127.0.0.1:1", subject: a, username: u, password: `+m.of("nats password")+`}}`)
	// What references bring is a secret wherever it stands.
	t.Setenv("MARKED_PATH", m.of("env in a path"))
	t.Setenv("MARKED_SUBJECT", m.of("env in a subject"))
	t.Setenv("MARKED_FILTER", m.of("env in a filter"))
	t.Setenv("MARKED_TRANSFORM", m.of("env in a transform"))
	t.Setenv("MARKED_CLIENT", m.of("env in a client id"))
	add("e-wrong", `{http: {url: "`+receiver.URL+`/wrong/${env:MARKED_PATH}"}}`)
	add("e-busy", `{http: {url: "`+receiver.URL+`/busy/${env:MARKED_PATH}"}}`)
	add("e-refused", `{http: {url: "http://127.0.0.1:1/${env:MARKED_PATH}"}}`)
	add("e-tls", `{http: {url: "`+strings.Replace(receiver.URL, "http:", "https:", 1)+`/${env:MARKED_PATH}"}}`)
	add("e-client", `{http: {url: "`+receiver.URL+`/wrong", auth: {oauth2: {tokenURL: "`+receiver.URL+`/token/${env:MARKED_PATH}", clientID: "${env:MARKED_CLIENT}", clientSecret: `+m.of("env client")+`}}}}`)
	add("e-nats", `{nats: {url: "nats://127.0.0.1:1", subject: "${env:MARKED_SUBJECT}"}}`)
	targets = append(targets, "  printed: {log: {}}")
	enrich := `{x: {http: {url: "%s", headers: {X-Secret: ` + m.of("enrich") + `}}}}`
	config := `
version: 1
buses:
  orders: {}
  hooks: {}
  kept: {archive: {to: "` + m.bucket + `", after: 1s, accessKey: ` + m.of("archive access key") + `, secretKey: ` + m.of("archive secret key") + `, sessionToken: ` + m.of("archive token") + `}, retention: {age: 2s}}
sources:
  hook: {bus: hooks, webhook: {preset: hmac, header: X-Sig, secret: ` + m.of("hook") + `, previousSecret: ` + m.of("old hook") + `}}
  nats-token: {bus: hooks, nats: {url: "nats://127.0.0.1:1", subject: a, token: ` + m.of("source token") + `}}
  nats-user: {bus: hooks, nats: {url: "nats://127.0.0.1:1", subject: a, username: u, password: ` + m.of("source password") + `}}
rules:
  all: {bus: orders, targets: [` + strings.Join(names, ", ") + `]}
  filter: {bus: orders, when: 'event.type == "${env:MARKED_FILTER}" || event.data.nothing == "${env:MARKED_FILTER}"', targets: [bearer-wrong]}
  transform: {bus: orders, transform: {data: {fails: '${{ event.data.nothing + "${env:MARKED_TRANSFORM}" }}'}}, targets: [bearer-wrong]}
  enrich-wrong: {bus: orders, enrich: ` + fmt.Sprintf(enrich, receiver.URL+"/wrong/${env:MARKED_PATH}") + `, transform: {data: "${{ enriched.x }}"}, targets: [bearer-wrong]}
  enrich-busy: {bus: orders, enrich: ` + fmt.Sprintf(enrich, receiver.URL+"/busy/${env:MARKED_PATH}") + `, transform: {data: "${{ enriched.x }}"}, targets: [bearer-wrong]}
  enrich-null: {bus: orders, enrich: ` + strings.Replace(fmt.Sprintf(enrich, receiver.URL+"/busy/${env:MARKED_PATH}"), "}}}}", "}}, onError: null}}", 1) + `, transform: {data: "${{ enriched.x }}"}, targets: [printed]}
  enrich-refused: {bus: orders, enrich: ` + fmt.Sprintf(enrich, "http://127.0.0.1:1/${env:MARKED_PATH}") + `, transform: {data: "${{ enriched.x }}"}, targets: [bearer-wrong]}
targets:
` + strings.Join(targets, "\n") + "\n"

	places := secretPlaces(t)
	marked := markedPlaces(t, m, config, places)
	for place := range places {
		if !marked[place] {
			t.Errorf("%s holds a secret and has no marker here: add one, so that it is looked for", place)
		}
	}
	if len(places) < 15 {
		t.Fatalf("the schema has only %d secrets: %v", len(places), places)
	}

	dir := t.TempDir()
	s := serve(t, dir, config, "--log-level", "debug")
	if status, body := s.call("POST", "/v1/buses/orders/events", structured, order("1", 1)); status != http.StatusAccepted {
		t.Fatalf("publish: %d %s", status, body)
	}
	if status, body := s.call("POST", "/v1/buses/kept/events", structured, order("1", 1)); status != http.StatusAccepted {
		t.Fatalf("publish: %d %s", status, body)
	}
	status, body := s.call("POST", "/v1/hooks/hook", "application/json", `{}`)
	m.search(fmt.Sprint("the answer to a bad signature, ", status), body)
	m.putsOfTheAPI(s, receiver.URL)
	eventually(t, "that nothing is left to be tried", 60*time.Second, func() bool {
		_, body := s.call("GET", "/v1/subscriptions?limit=1000", "", "")
		return strings.Count(body, `"depth":0`) >= len(names)
	})
	m.getAll(s)
	m.commands(t, s, dir, config)
	s.stop()
	for _, c := range [][]string{{"store", "check", "--data", filepath.Join(dir, "data")}, {"store", "stats", "--data", filepath.Join(dir, "data")}} {
		for _, more := range [][]string{nil, {"-o", "json"}} {
			out, _ := s.cli(append(c, more...)...)
			m.search(strings.Join(c, " "), out)
		}
	}
	m.search("the log", s.stderr())
	m.search("standard output", s.stdout())
	if !strings.Contains(s.stderr(), "level=DEBUG") {
		t.Error("the log has no debug lines: it was not looked at what they show")
	}
}

// putsOfTheAPI looks at what the API answers to objects with secrets, good ones
// and bad ones.
func (m *markers) putsOfTheAPI(s *server, receiver string) {
	put := func(path, body string, want int) {
		m.t.Helper()
		status, answer := s.call("PUT", path, "application/json", body)
		if status != want {
			m.t.Errorf("PUT %s: %d %s", path, status, answer)
		}
		m.search("the answer to PUT "+path, answer)
		_, answer = s.call("GET", path, "", "")
		m.search("GET "+path, answer)
	}
	x := m.of("api")
	good := `{"http":{"url":"` + receiver + `/wrong","headers":{"X-A":"` + m.of("api header") + `"},"secret":["` + m.of("api secret") + `"],"auth":{"bearer":"` + x + `"}}}`
	put("/v1/targets/api", good, http.StatusCreated)
	put("/v1/targets/api", strings.Replace(good, "/wrong", "/busy", 1), http.StatusOK)
	for _, bad := range []string{
		`{"http":{"url":"https://a.example/","auth":{"bearer":{"token":"` + x + `"}}}}`,
		`{"http":{"url":"https://a.example/","auth":{"bearer":["` + x + `"]}}}`,
		`{"http":{"url":"https://a.example/","auth":{"basic":{"username":"a:b","password":"` + x + `"}}}}`,
		`{"http":{"url":"https://a.example/","auth":{"bearer":"` + x + `\n"}}}`,
		`{"http":{"url":"https://a.example/","headers":{"X-A":"` + x + `\u0001"}}}`,
		`{"http":{"url":"https://a.example/","headers":{"X-A":{"b":"` + x + `"}}}}`,
		`{"http":{"url":"https://a.example/","secret":{"a":"` + x + `"}}}`,
		`{"http":{"url":"https://a.example/","secret":"whsec_` + x + `!"}}`,
		`{"http":{"url":"https://u:` + x + `@a.example/"}}`,
		`{"nats":{"url":"nats://u:` + x + `@a b","subject":"a"}}`,
		`{"nats":{"url":"nats://127.0.0.1:1","subject":"a","token":"` + x + `","password":"` + x + `"}}`,
		`{"http":{"url":"https://a.example/","secret":"` + x + `",}}`,
		`{"http":{"url":"https://a.example/","secret":"` + x + `"`,
	} {
		status, answer := s.call("PUT", "/v1/targets/bad", "application/json", bad)
		if status < 400 || status >= 500 {
			m.t.Errorf("PUT of %s: %d %s", bad, status, answer)
		}
		m.search("the answer to PUT of "+strings.ReplaceAll(bad, x, "X"), answer)
	}
}

// getAll looks at everything that can be got.
func (m *markers) getAll(s *server) {
	get := func(path string) string {
		_, body := s.call("GET", path, "", "")
		m.search("GET "+path, body)
		return body
	}
	list := func(path string) (names []string) {
		var page struct {
			Items []struct{ Name, Rule, Target string }
		}
		if err := json.Unmarshal([]byte(get(path+"?limit=1000")), &page); err != nil {
			m.t.Fatal(path, err)
		}
		for _, i := range page.Items {
			if i.Target != "" {
				i.Name = i.Rule + "/" + i.Target
			}
			names = append(names, i.Name)
		}
		return names
	}
	for _, kind := range []string{"buses", "sources", "rules", "targets"} {
		for _, name := range list("/v1/" + kind) {
			get("/v1/" + kind + "/" + name)
		}
	}
	attempts := 0
	for _, name := range list("/v1/subscriptions") {
		get("/v1/subscriptions/" + name)
		attempts += strings.Count(get("/v1/subscriptions/"+name+"/deadletters"), `"error"`)
		get("/v1/subscriptions/" + name + "/attempts")
	}
	if attempts < 40 {
		m.t.Errorf("only %d failed attempts were looked at", attempts)
	}
	for _, path := range []string{"/v1/buses/orders/events", "/v1/buses/orders/events/1", "/v1/buses/orders/events/1/trace",
		"/v1/buses/orders/events/1/trace?explain=filter", "/v1/buses/orders/events/1/trace?explain=transform", "/v1/buses/system.events/events", "/v1/buses/kept", "/v1/buses/kept/events?from=1",
		"/v1/replays", "/v1/transactions", "/metrics", "/openapi.json", "/healthz", "/readyz", "/console", "/nowhere"} {
		get(path)
	}
	for _, rule := range []string{"filter", "transform", "enrich-busy"} {
		_, body := s.call("POST", "/v1/rules/test", "application/json", `{"rule":"`+rule+`","event":`+order("9", 1)+`}`)
		m.search("the test of rule "+rule, body)
	}
}

// commands looks at what every command prints that can print JSON.
func (m *markers) commands(t *testing.T, s *server, dir, config string) {
	good, bad, one := filepath.Join(dir, "switchyard.yaml"), filepath.Join(dir, "bad.yaml"), filepath.Join(dir, "event.json")
	broken := strings.NewReplacer("secret: [", "secrets: [", "timeout: 300ms", "timeout: -1s", "attempts: 2", "attempts: many",
		"bearer: ", "bearer: [a], bear: ", "event.type ==", "event.typ ==", "event.data.nothing +", "event.data.nothing +++").Replace(config)
	sent, resent := filepath.Join(dir, "sent", "sent.yaml"), filepath.Join(dir, "sent", "resent.yaml")
	if err := os.Mkdir(filepath.Dir(sent), 0o700); err != nil {
		t.Fatal(err)
	}
	applied := "version: 1\ntargets:\n  applied: {http: {url: \"https://a.example/\", secret: " + m.of("applied") + ", auth: {bearer: " + m.of("applied token") + "}}}\n"
	for file, text := range map[string]string{bad: broken, one: order("9", 1), sent: applied,
		resent: strings.Replace(applied, m.of("applied"), m.of("applied anew"), 1)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const sub = "all/bearer-wrong"
	backups := filepath.Join(dir, "backups")
	lines := map[string][][]string{
		"apply":               {{good}, {bad}, {sent}, {sent, "--dry-run"}},
		"diff":                {{good}, {sent}, {resent}},
		"delete":              {{"target", "applied"}},
		"archive list":        {{"kept"}, {"orders"}},
		"archive verify":      {{m.bucket}, {m.bucket, "kept"}},
		"attempts":            {{sub}},
		"backup":              {{backups}, {m.bucket}},
		"backup list":         {{backups}, {m.bucket}},
		"bench":               nil, // has no configuration but its own
		"backup verify":       {{backups}, {m.bucket}},
		"backup prune":        {{backups, "--keep", "9"}, {m.bucket, "--keep", "9"}},
		"deadletters list":    {{sub}},
		"deadletters purge":   {{sub, "--when", "false"}},
		"deadletters redrive": {{sub, "--when", "false"}},
		"get":                 {{"buses"}, {"sources"}, {"rules"}, {"targets"}, {"subscriptions"}, {"targets", "bearer-wrong"}, {"rules", "enrich-busy"}, {"sources", "hook"}, {"subscriptions", sub}},
		"publish":             {{"orders", "--file", one}, {"nowhere", "--file", one}},
		"replay":              {{"orders", "--rule", "filter", "--all"}},
		"replay list":         {{}},
		"replay show":         {{"1"}},
		"replay cancel":       {{"1"}},
		"rules test":          {{good, one}, {good}, {bad, one}},
		"scheduled list":      {{"orders"}},
		"scheduled cancel":    {{"orders", "--source", "/shop", "--id", "9"}},
		"search":              {{"orders"}, {"--bus", "orders"}},
		"pause":               {{sub}},
		"resume":              {{sub}},
		"seek":                {{sub, "end"}},
		"restore":             {{backups, "--data", filepath.Join(dir, "restored")}, {m.bucket, "--data", filepath.Join(dir, "other")}},
		"store check":         {{"--data", filepath.Join(dir, "data")}},
		"store stats":         {{"--data", filepath.Join(dir, "data")}},
		"store repair":        {{"--data", filepath.Join(dir, "data")}},
		"table":               {{"orders"}, {"orders", "eu/de"}},
		"tail":                nil, // prints events as they are published
		"trace":               {{"orders", "1"}},
		"transactions begin":  {{"orders", one}},
		"transactions list":   {{}},
		"transactions commit": {{"1"}}, "transactions rollback": {{"1"}},
		"validate": {{good}, {bad}, {good, "--server", s.url}},
		"version":  {{}},
		"schema":   {{}},
	}
	var walk func(c *cobra.Command, path string)
	walk = func(c *cobra.Command, path string) {
		for _, sub := range c.Commands() {
			walk(sub, strings.TrimSpace(path+" "+sub.Name()))
		}
		if c.Flags().Lookup("output") == nil {
			return
		}
		all, ok := lines[path]
		if !ok {
			t.Errorf("switchyard %s prints JSON and is not looked at here: add what to call it with", path)
		}
		for _, args := range all {
			for _, more := range [][]string{nil, {"-o", "json"}} {
				line := append(append(strings.Fields(path), args...), more...)
				out, _ := s.cli(line...)
				m.search("switchyard "+strings.Join(line, " "), out)
			}
		}
	}
	walk(newRoot(), "")
	out, code := s.cli("validate", bad)
	if code != exitUsage || strings.Count(out, "\n") < 20 {
		t.Errorf("the broken configuration: %d\n%s", code, out)
	}
}
