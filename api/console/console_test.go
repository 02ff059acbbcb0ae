package console_test

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/switchyard-dev/switchyard/api/console"
)

// ask makes a request to the handler; headers are pairs.
func ask(t *testing.T, method, target string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	h, err := console.New(http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// sources are the files of the console by their name below web.
func sources(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	folder := os.DirFS("web")
	err := fs.WalkDir(folder, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(folder, name)
		out[name] = string(body)
		return err
	})
	if err != nil || len(out) < 5 {
		t.Fatalf("%d files, %v", len(out), err)
	}
	return out
}

func TestEveryFileIsServedWithItsTypeAndThePolicy(t *testing.T) {
	types := map[string]string{".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
	for name, body := range sources(t) {
		w := ask(t, http.MethodGet, "/console/"+name)
		head := w.Header()
		if w.Code != http.StatusOK || w.Body.String() != body || !strings.HasPrefix(head.Get("Content-Type"), types[path.Ext(name)]) {
			t.Errorf("%s: %d, %d bytes of %q", name, w.Code, w.Body.Len(), head.Get("Content-Type"))
		}
		policy := head.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "form-action 'none'", "base-uri 'none'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: the policy %q lacks %s", name, policy, part)
			}
		}
		if strings.Contains(policy, "unsafe") || head.Get("X-Content-Type-Options") != "nosniff" || head.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: headers %v", name, head)
		}
	}
}

func TestTheAddressWithoutASlashLeadsToThePages(t *testing.T) {
	w := ask(t, http.MethodGet, "/console")
	if w.Code != http.StatusMovedPermanently || w.Header().Get("Location") != "console/" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if w := ask(t, http.MethodGet, "/console/"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "<title>Switchyard</title>") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestAnUnchangedFileIsNotSentAgain(t *testing.T) {
	etag := ask(t, http.MethodGet, "/console/app.js").Header().Get("ETag")
	for header, want := range map[string]int{
		etag: http.StatusNotModified, `"other", W/` + etag: http.StatusNotModified, "*": http.StatusNotModified, `"other"`: http.StatusOK,
	} {
		if w := ask(t, http.MethodGet, "/console/app.js", "If-None-Match", header); w.Code != want || (w.Body.Len() > 0) != (want == http.StatusOK) {
			t.Errorf("If-None-Match %s: %d with %d bytes", header, w.Code, w.Body.Len())
		}
	}
	if w := ask(t, http.MethodHead, "/console/app.js"); w.Code != http.StatusOK || w.Body.Len() != 0 || w.Header().Get("Content-Length") == "" {
		t.Errorf("HEAD: %d, %d bytes, %v", w.Code, w.Body.Len(), w.Header())
	}
}

func TestWhatIsNoFileIsLeftToTheServer(t *testing.T) {
	for _, target := range []string{"/console/pages", "/console/nothing.js", "/console//app.js", "/console/../console.go", "/consoles/", "/console/pages/"} {
		if w := ask(t, http.MethodGet, target); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", target, w.Code)
		}
	}
}

func TestEveryFileThatIsReferredToExists(t *testing.T) {
	files := sources(t)
	refers := regexp.MustCompile(`(?:from |import )'([^']+)'|(?:src|href)="([^"#]+)"`)
	found := 0
	for name, body := range files {
		for _, m := range refers.FindAllStringSubmatch(body, -1) {
			to := path.Join(path.Dir(name), m[1]+m[2])
			if _, ok := files[to]; !ok {
				t.Errorf("%s refers to %s, which is not there", name, to)
			}
			found++
		}
	}
	if found < 10 {
		t.Errorf("only %d references were looked at", found)
	}
}

func TestNothingIsInlineAndNothingComesFromElsewhere(t *testing.T) {
	forbidden := map[string]*regexp.Regexp{
		"an inline script":       regexp.MustCompile(`<script(?:[^>]*)>[^<]+`),
		"an inline style":        regexp.MustCompile(`<style|\sstyle="|setAttribute\('style'`),
		"an inline handler":      regexp.MustCompile(`<[^>]+\son[a-z]+="`),
		"markup made of text":    regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function`),
		"a file of another host": regexp.MustCompile(`(?:src|href|from|import|url)\s*[=(]?\s*["'(](?:https?:)?//`),
	}
	for name, body := range sources(t) {
		for what, pattern := range forbidden {
			if at := pattern.FindString(body); at != "" {
				t.Errorf("%s has %s: %s", name, what, at)
			}
		}
	}
}
