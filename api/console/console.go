// Package console serves the web console: pages that show what happened to
// events, and let people act on it, over the public API. The pages are plain ES
// modules and one style sheet, embedded as they are in the folder web; they load
// nothing from other hosts and run no inline script. A Handler is made once and
// is safe for concurrent use.
package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// Path is where the console is served; its files are below it.
const Path = "/console"

// policy lets the pages load what is beside them, and call the API, and nothing
// else: text of an event that got into a page as markup could not run.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

//go:embed web
var web embed.FS

// types are the content types of the files, by their extension: those that the
// system knows differ between machines.
func types() map[string]string {
	return map[string]string{
		".html": "text/html; charset=utf-8",
		".css":  "text/css; charset=utf-8",
		".js":   "text/javascript; charset=utf-8",
		".svg":  "image/svg+xml",
	}
}

// Handler serves the files of the console. Make it with New.
type Handler struct {
	files   map[string]file // by the path below Path
	missing http.Handler
}

// file is one file as it is served.
type file struct {
	body      []byte
	typ, etag string
}

// New makes the handler; missing answers for paths where no file is.
func New(missing http.Handler) (*Handler, error) {
	h := &Handler{files: map[string]file{}, missing: missing}
	known := types()
	err := fs.WalkDir(web, "web", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		typ, ok := known[path.Ext(name)]
		if !ok {
			return fmt.Errorf("the console's file %s has no known content type", name)
		}
		body, err := web.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		h.files[strings.TrimPrefix(name, "web")] = file{body, typ, `"` + hex.EncodeToString(sum[:12]) + `"`}
		return nil
	})
	h.files["/"] = h.files["/index.html"]
	return h, err
}

// ServeHTTP implements http.Handler. It takes GET and HEAD requests alone, which
// is the caller's to see to.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, below := strings.CutPrefix(r.URL.Path, Path)
	if below && name == "" {
		w.Header().Set("Location", path.Base(Path)+"/") // relative, for proxies that serve below a folder
		w.WriteHeader(http.StatusMovedPermanently)
		return
	}
	f, ok := h.files[name]
	if !below || !ok {
		h.missing.ServeHTTP(w, r)
		return
	}
	head := w.Header()
	head.Set("Content-Security-Policy", policy)
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cache-Control", "no-cache") // kept, and asked for again: a new release is seen at once
	head.Set("ETag", f.etag)
	if unchanged(r.Header.Get("If-None-Match"), f.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	head.Set("Content-Type", f.typ)
	head.Set("Content-Length", strconv.Itoa(len(f.body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(f.body)
	}
}

// unchanged reports whether a client has the version that etag names.
func unchanged(header, etag string) bool {
	for part := range strings.SplitSeq(header, ",") {
		if part = strings.TrimSpace(part); part == "*" || strings.TrimPrefix(part, "W/") == etag {
			return true
		}
	}
	return false
}
