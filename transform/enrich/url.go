package enrich

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/targets/http"
	"github.com/switchyard-dev/switchyard/transform"
)

// URL is an address with expressions in its path and query. What they result in
// is escaped where it stands, so that no event can lead a call to another host,
// up the path or into another parameter.
type URL struct {
	text  *transform.Text
	query []bool // of each part, whether it stands in the query
}

// CompileURL compiles an address. What is wrong with it is a *transform.Error, or
// several of them, joined.
func CompileURL(env *rules.Env, n *yaml.Node) (*URL, error) {
	text, err := transform.CompileText(env, n, "url")
	if err != nil {
		return nil, err
	}
	fail := func(format string, args ...any) (*URL, error) {
		return nil, &transform.Error{Line: n.Line, Column: n.Column, Message: fmt.Sprintf(format, args...)}
	}
	u := &URL{text: text}
	var example strings.Builder
	inQuery := false
	for _, p := range text.Parts() {
		if p.Expression {
			if !pastHost(example.String()) {
				return fail("an expression may stand in the path or the query only, not in what a call connects to")
			}
			example.WriteString("x")
		} else {
			example.WriteString(p.Text)
			inQuery = inQuery || strings.Contains(p.Text, "?")
		}
		u.query = append(u.query, inQuery)
	}
	if reason := http.CheckURL(example.String()); reason != "" {
		return fail("%s", reason)
	}
	if parsed, err := url.Parse(example.String()); err == nil && elsewhere(parsed) != "" {
		return fail("the path has the segment %q, which leads elsewhere; write the path that is meant", elsewhere(parsed))
	}
	return u, nil
}

// pastHost reports whether what begins an address has its host whole.
func pastHost(s string) bool {
	_, rest, ok := strings.Cut(s, "://")
	return ok && strings.ContainsAny(rest, "/?")
}

// Of is the address for an event.
func (u *URL) Of(c transform.Context, ev *event.Event) (*url.URL, error) {
	text, err := u.text.Append(nil, c, ev, func(dst []byte, part int, value string) ([]byte, error) {
		if u.query[part] {
			return append(dst, url.QueryEscape(value)...), nil
		}
		if value == "" {
			return dst, errors.New("it is empty, so the path would be another one")
		}
		return append(dst, url.PathEscape(value)...), nil
	})
	if err != nil {
		return nil, err
	}
	parsed, err := url.Parse(string(text))
	if err != nil {
		return nil, errors.New("url: what the expressions make is no address") // which may hold a secret
	}
	if segment := elsewhere(parsed); segment != "" {
		return nil, fmt.Errorf("url: the path has the segment %q, which leads elsewhere", segment)
	}
	return parsed, nil
}

// elsewhere is a segment of the path by which servers take another path, or "".
func elsewhere(u *url.URL) string {
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return segment
		}
	}
	return ""
}

// CheckHeader says why a header cannot be set by the user, "" when it can.
func CheckHeader(name, value string) string {
	if strings.Contains(value, "${{") {
		return "cannot hold expressions; put what depends on the event in the URL or the body"
	}
	return http.CheckHeader(name, value)
}
