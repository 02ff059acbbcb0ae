package configs

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Diagnostic is one thing that is wrong with a configuration: where, what, and
// what to do about it.
type Diagnostic struct {
	File    string // "" for an object that came through the API
	Line    int    // from 1; 0 if not known
	Column  int    // from 1; 0 if not known
	Path    string // such as targets.billing.http.url
	Message string
	Warning bool // the configuration can be used all the same

	path  keyPath
	above int // how many keys of path stand above the document that was read
}

// String is the diagnostic in one line, as a compiler would print it:
//
//	configs/shop.yaml:14:10: targets.billing.http.url: scheme "ftp" is not supported; use http or https
func (d Diagnostic) String() string {
	var b strings.Builder
	if d.File != "" {
		b.WriteString(d.File)
		b.WriteByte(':')
	}
	if d.Line > 0 {
		b.WriteString(strconv.Itoa(d.Line))
		b.WriteByte(':')
		if d.Column > 0 {
			b.WriteString(strconv.Itoa(d.Column))
			b.WriteByte(':')
		}
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	if d.Warning {
		b.WriteString("warning: ")
	}
	if d.Path != "" {
		b.WriteString(d.Path)
		b.WriteString(": ")
	}
	b.WriteString(d.Message)
	return b.String()
}

// Pointer is a JSON pointer (RFC 6901) to the fault in the document that was
// read: the whole file, or the object as it came through the API.
func (d Diagnostic) Pointer() string {
	var b strings.Builder
	for _, s := range d.path[min(d.above, len(d.path)):] {
		b.WriteByte('/')
		if s.element {
			b.WriteString(strconv.Itoa(s.index))
			continue
		}
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(s.key, "~", "~0"), "/", "~1"))
	}
	return b.String()
}

// Object is the kind and name of the object that the diagnostic is about, ""
// if it is about none.
func (d Diagnostic) Object() (kind, name string) {
	if len(d.path) < 2 {
		return "", ""
	}
	return d.path[0].key, d.path[1].key
}

// Diagnostics are diagnostics in order of file, line and column.
type Diagnostics []Diagnostic

// HasErrors reports whether one of them is more than a warning.
func (d Diagnostics) HasErrors() bool {
	return slices.ContainsFunc(d, func(x Diagnostic) bool { return !x.Warning })
}

// Errors are those that are more than warnings.
func (d Diagnostics) Errors() Diagnostics { return d.filter(false) }

// Warnings are those that are only warnings.
func (d Diagnostics) Warnings() Diagnostics { return d.filter(true) }

func (d Diagnostics) filter(warning bool) Diagnostics {
	var out Diagnostics
	for _, x := range d {
		if x.Warning == warning {
			out = append(out, x)
		}
	}
	return out
}

// Err is an error with a line for each diagnostic that is more than a warning,
// nil if there is none.
func (d Diagnostics) Err() error {
	if !d.HasErrors() {
		return nil
	}
	return errors.New(d.Errors().String())
}

// String has a line for each diagnostic.
func (d Diagnostics) String() string {
	lines := make([]string, len(d))
	for i, x := range d {
		lines[i] = x.String()
	}
	return strings.Join(lines, "\n")
}

// sort puts them in order of file, line and column.
func (d Diagnostics) sort() {
	slices.SortStableFunc(d, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// step is one step down in a document: a key, or an element of a list.
type step struct {
	key     string
	index   int
	element bool
}

// keyPath leads from the top of a document to a value in it.
type keyPath []step

func pathOf(keys ...string) keyPath {
	var p keyPath
	for _, k := range keys {
		p = append(p, step{key: k})
	}
	return p
}

// down is the path to what stands under key; it never shares memory with p.
func (p keyPath) down(key string) keyPath {
	return append(slices.Clip(p), step{key: key})
}

// at is the path to an element; it never shares memory with p.
func (p keyPath) at(index int) keyPath {
	return append(slices.Clip(p), step{index: index, element: true})
}

func (p keyPath) equal(q keyPath) bool { return slices.Equal(p, q) }

// String joins the keys with dots and puts unusual ones in brackets.
func (p keyPath) String() string {
	var b strings.Builder
	for _, s := range p {
		switch {
		case s.element:
			b.WriteByte('[')
			b.WriteString(strconv.Itoa(s.index))
			b.WriteByte(']')
		case s.key != "" && strings.IndexFunc(s.key, unusual) < 0:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s.key)
		default:
			b.WriteByte('[')
			b.WriteString(quote(s.key))
			b.WriteByte(']')
		}
	}
	return b.String()
}

func unusual(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
}

// quote quotes what a user wrote, shortened to a readable length.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		cut := most
		for cut > 0 && s[cut]&0xC0 == 0x80 {
			cut--
		}
		return strconv.Quote(s[:cut] + "…")
	}
	return strconv.Quote(s)
}
