// Package component holds what sources and targets have in common: how a kind
// describes itself, how its settings report problems, and a type for secrets.
//
// A component is one package: a Config with yaml and doc tags, its defaults,
// Validate, a constructor and one Spec value. Its documentation page, its part
// of the JSON Schema and its form in the console are made from the Spec.
package component

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"gopkg.in/yaml.v3"
)

// Config is the settings of one component: a pointer to a struct whose fields
// have yaml tags (the key) and doc tags (one sentence). New values come from a
// Spec with their defaults filled in.
type Config interface {
	// Validate reports every problem of the settings to p. It starts nothing
	// and opens nothing.
	Validate(p *Problems)
}

// FileChecker is a Config whose settings name files that can be looked at before
// anything uses them.
type FileChecker interface {
	// CheckFiles reports every problem of the files to p. It is called after a
	// Validate that found no errors. read gives a file as a whole, now is the
	// time to hold them against.
	CheckFiles(p *Problems, read func(path string) ([]byte, error), now time.Time)
}

// Spec describes a kind of component.
type Spec struct {
	Kind    string // the key of its settings in YAML
	Summary string // one sentence, for lists
	Doc     string // a paragraph or more in Markdown, for its page
}

// Problem is one thing that is wrong with settings.
type Problem struct {
	Path    []string // from the component's settings down: yaml keys and indexes
	Message string   // what is wrong and what to do
	Warning bool     // it does not stop the settings from being used
	// Dated says of an error that time brings it, not a change. A server only
	// warns of it, for one component should not keep it from starting.
	Dated  bool
	Line   int // inside a text value such as an expression, from 1; 0 if not known
	Column int // likewise
}

// Problems collects what Validate finds. The zero value is ready to use.
type Problems struct {
	All []Problem
}

// Add reports a problem of the field at path.
func (p *Problems) Add(message string, path ...string) {
	p.All = append(p.All, Problem{Path: path, Message: message})
}

// Addf is Add with a format; path has the field's keys separated by dots.
func (p *Problems) Addf(path []string, format string, args ...any) {
	p.All = append(p.All, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

// Warn reports something that is likely wrong but can be used.
func (p *Problems) Warn(message string, path ...string) {
	p.All = append(p.All, Problem{Path: path, Message: message, Warning: true})
}

// Secret is a text that is never shown: it prints, logs and marshals as
// "[redacted]". Reveal gives the text to the code that needs it.
type Secret struct{ text string }

// Redacted is what a Secret shows.
const Redacted = "[redacted]"

// NewSecret makes a Secret of text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal is the secret text itself.
func (s Secret) Reveal() string { return s.text }

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.text == "" }

// String implements fmt.Stringer without showing the text.
func (s Secret) String() string {
	if s.text == "" {
		return ""
	}
	return Redacted
}

// GoString implements fmt.GoStringer without showing the text.
func (s Secret) GoString() string { return "component.Secret(" + s.String() + ")" }

// LogValue implements slog.LogValuer without showing the text.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalJSON implements json.Marshaler without showing the text.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// MarshalYAML implements yaml.Marshaler without showing the text.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// UnmarshalYAML reads the secret from a scalar.
func (s *Secret) UnmarshalYAML(n *yaml.Node) error { return n.Decode(&s.text) }
