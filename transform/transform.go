// Package transform makes the event that a target gets out of the event that
// was published, as the `transform` block of a rule says.
//
// It stands between the router and the targets: Compile when the configuration
// is loaded, Apply once for each delivery. A Transform never changes and is
// safe for concurrent use.
//
// # The block
//
// The key data describes the new data; every other key is the name of a
// CloudEvents attribute. What is not named is kept, id and source included.
// Strings may hold expressions, ${{ CEL }}, wherever they stand as values, but
// not in keys; $${{ is a literal ${{.
//
// A string that is one whole expression keeps its type, and a path into
// event.data copies the JSON text it points at: 12345678901234567890 and 1.10
// stay as they are. So do the paths in cond ? path : path and in
// event.data.?a.orValue(b). Numbers that an expression computes are doubles.
//
// In mixed text a string is put as it is, a number with its own digits (a whole
// number without an exponent), true, false and null as such, an object or array
// as JSON, a timestamp in RFC 3339, bytes in base64.
//
// A missing field is an error, never a silent null: write
// default(event.data.a, null) where it may be absent.
//
// The variable enriched has the answers of a rule's enrichments by name, and
// paths into it are copied in the same way; jq has them in $enriched. The paths
// of EventBridge's forms see the event only.
//
// # Attributes
//
// A string, a whole number of 32 bits and a bool set an extension of that type;
// for the attributes of the specification numbers and bools become text. A
// null removes an optional attribute. time is RFC 3339 text or a timestamp.
//
// # Data
//
// Setting data also sets datacontenttype to application/json, unless the block
// sets that too. Under a content type that is not JSON, data is one string,
// which becomes text or, when its expression results in bytes, those bytes.
// Bytes without a datacontenttype keep that of a binary event, else they are
// application/octet-stream; within JSON they are base64. data: null is the JSON
// value null. The order of keys in YAML is kept.
//
// In place of data, one of these may make it:
//
//   - jq: a program over the event in the JSON format of CloudEvents, with one
//     result (type jq).
//   - inputPath, input, inputTransformer: as EventBridge has them, over the event
//     in EventBridge's form (eventbridge.go, type inputTemplate).
//
// Attributes may be set by expressions beside them.
package transform

import (
	"errors"
	"fmt"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/rules"
)

// DefaultMaxSize is the least limit of a transformed event's size, in bytes.
const DefaultMaxSize = 1 << 20

// Options bounds what a transform may make.
type Options struct {
	// MaxSize is the most bytes of a transformed event; 0 is DefaultMaxSize or
	// four times the size of the original and the answers, whichever is more.
	MaxSize int
	// Enriched names the answers that expressions see in enriched.
	Enriched []string
}

// Transform is a compiled transform block.
type Transform struct {
	attributes []attribute
	data       template // nil when data is kept
	form       string   // the key that makes data
	maxSize    int
	redact     func(string) string
	enriched   []string // the answers that it reads, in order
	later      *later   // compiles it when it is first applied; nil: it is compiled
}

// Compile compiles the block with default Options. What is wrong with it is a
// *Error, or several of them, joined in the order of their places.
func Compile(env *rules.Env, block *yaml.Node) (*Transform, error) {
	return CompileWith(env, block, Options{})
}

// CompileWith is Compile with Options.
func CompileWith(env *rules.Env, block *yaml.Node, o Options) (*Transform, error) {
	c := compiler{env: env, enriched: o.Enriched}
	t := &Transform{maxSize: o.MaxSize}
	c.block(t, block)
	if err := c.err(); err != nil {
		return nil, err
	}
	t.enriched = c.reads()
	return t, nil
}

// CompileJSON compiles a block that is given as JSON.
func CompileJSON(env *rules.Env, block []byte, o Options) (*Transform, error) {
	tree, err := event.ParseTree(block)
	if err != nil {
		return nil, fmt.Errorf("transform: %w", err)
	}
	return CompileWith(env, yamlOf(tree.Root()), o)
}

// Enriched names the answers that the transform reads, in order.
func (t *Transform) Enriched() []string { return t.enriched }

// Lacks names the answers that the transform reads and that are not there.
func (t *Transform) Lacks(answers *event.Tree) []string {
	var names []string
	for _, name := range t.enriched {
		if answers != nil {
			if _, ok := answers.Root().Get(name); ok {
				continue
			}
		}
		names = append(names, name)
	}
	return names
}

// Apply makes the transformed event without a Context, as where a rule is tried
// out.
func (t *Transform) Apply(ev *event.Event) (*event.Event, error) {
	return t.ApplyIn(Context{Trial: true}, ev)
}

// ApplyIn makes the transformed event. The original is unchanged. The error is
// an *ApplyError.
func (t *Transform) ApplyIn(c Context, ev *event.Event) (*event.Event, error) {
	out, err := t.apply(c, ev)
	if err != nil && t.redact != nil {
		err = redacted(err, t.redact)
	}
	return out, err
}

// Redact names a func that takes out of a text what must not be shown of the
// transform, such as the secrets that a configuration put into it. It is set
// before the Transform is used.
func (t *Transform) Redact(f func(text string) string) { t.redact = f }

func (t *Transform) apply(c Context, ev *event.Event) (*event.Event, error) {
	if t.later != nil {
		made, err := t.later.compiled()
		if err != nil {
			return nil, &ApplyError{Err: err}
		}
		t = made
	}
	limit := t.maxSize
	if limit <= 0 {
		limit = max(DefaultMaxSize, 4*(ev.Size()+len(c.enriched().Raw())))
	}
	if lacks := t.Lacks(c.Enriched); len(lacks) > 0 {
		return nil, notGiven(lacks[0])
	}
	r := run{ev: ev, context: c.of(ev), limit: limit}
	b := event.FromEvent(ev)
	contentType := ""
	for i := range t.attributes {
		a := &t.attributes[i]
		v, set, err := a.value(&r)
		if err == nil {
			err = a.apply(b, v, set)
		}
		if err != nil {
			return nil, a.fail(err)
		}
		if a.name == "datacontenttype" && set {
			contentType = v.Text()
		}
	}
	if t.data != nil {
		if err := t.setData(b, &r, contentType); err != nil {
			return nil, err
		}
	}
	out, err := b.Build()
	if err != nil {
		return nil, builderError(err)
	}
	if out.Size() > limit {
		return nil, &ApplyError{Err: fmt.Errorf("the event is %d bytes; at most %d: %w", out.Size(), limit, rules.ErrTooLarge)}
	}
	return out, nil
}

// setData sets the data; contentType is the one that the block sets, if any.
func (t *Transform) setData(b *event.Builder, r *run, contentType string) error {
	single, ok := t.data.(*text)
	if !ok {
		raw, err := t.data.appendJSON(nil, r)
		if err != nil {
			return err
		}
		if contentType == "" || jsonType(contentType) {
			setJSON(b, contentType, raw)
			return nil
		}
		text, isText := textOf(raw)
		if !isText {
			return &ApplyError{Key: t.form, Err: fmt.Errorf("under datacontenttype %q data must be one string", contentType)}
		}
		b.SetData(contentType, []byte(text))
		return nil
	}
	v, err := single.eval(r)
	if err != nil {
		return err
	}
	data, isBytes := v.bytes()
	switch {
	case isBytes && contentType == "":
		contentType = "application/octet-stream"
		if own := r.ev.DataContentType(); r.ev.Format() == event.Binary && own != "" {
			contentType = own
		}
	case contentType == "" || jsonType(contentType):
		raw, err := v.appendJSON(nil, r.limit)
		if err != nil {
			return single.fail(err)
		}
		setJSON(b, contentType, raw)
		return nil
	case !isBytes:
		s, err := v.appendText(nil, r.limit)
		if err != nil {
			return single.fail(err)
		}
		data = s
	}
	b.SetData(contentType, data)
	return nil
}

func setJSON(b *event.Builder, contentType string, raw []byte) {
	if contentType == "" {
		b.Unset("datacontenttype")
	}
	b.SetJSON(raw)
}

// builderError says which attribute the transformed event is invalid by.
func builderError(err error) error {
	var d *event.DecodeError
	if errors.As(err, &d) {
		return &ApplyError{Key: d.Attribute, Err: errors.New(d.Reason)}
	}
	return &ApplyError{Err: err}
}

// run is one application of a transform.
type run struct {
	ev      *event.Event
	context Context
	limit   int
}

// eval evaluates an expression on the event.
func (r *run) eval(x *rules.Expr) (rules.Value, error) {
	return x.EvalIn(rules.Scope{Event: r.ev, Enriched: r.context.enriched(), Trial: r.context.Trial})
}
