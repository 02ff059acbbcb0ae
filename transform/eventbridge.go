package transform

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/rules"
)

// The paths of EventBridge see an event in EventBridge's form: detail is the
// data and detail-type the type; id, source and time are the attributes of that
// name, time being when the event was recorded if it has none; version is "0";
// account and region are extensions, and resources one that lists them,
// separated by commas. All other attributes stand beside them by their names, as
// in patterns.

// bridgeMember is a member of the event in EventBridge's form, the zero Node
// when it has none.
func (r *run) bridgeMember(name string) event.Node {
	switch name {
	case "version":
		return stringNode("0")
	case "detail":
		return r.detail()
	case "detail-type", "detailType":
		return stringNode(r.ev.Type())
	case "time":
		if text := r.ev.TimeText(); text != "" {
			return stringNode(text)
		}
		return stringNode(r.ingestionTime())
	case "resources":
		return jsonNode(r.resources())
	}
	v, ok := r.ev.Attribute(name)
	if !ok {
		return event.Node{}
	}
	switch v.Kind() {
	case event.KindInteger, event.KindBoolean:
		return jsonNode([]byte(v.Text()))
	}
	return stringNode(v.Text())
}

// detail is the data as JSON; bytes are base64.
func (r *run) detail() event.Node {
	switch r.ev.Format() {
	case event.JSON:
		if tree := r.ev.Tree(); tree != nil {
			return tree.Root()
		}
	case event.Text:
		return stringNode(string(r.ev.Data()))
	case event.Binary:
		return stringNode(base64.StdEncoding.EncodeToString(r.ev.Data()))
	}
	return event.Node{}
}

func (r *run) resources() []byte {
	dst := []byte{'['}
	for part := range strings.SplitSeq(r.ev.ExtensionText("resources"), ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		dst = rules.AppendString(dst, part)
	}
	return append(dst, ']')
}

// bridgeEvent is the whole event in EventBridge's form, with detail or without.
func (r *run) bridgeEvent(detail bool) event.Node {
	typeName := "detail-type"
	if !detail {
		typeName = "detailType" // as EventBridge has it in this variable
	}
	names := []string{"version", "id", typeName, "source", "account", "time", "region", "resources"}
	for name := range r.ev.Attributes() {
		switch name {
		case "specversion", "datacontenttype", "id", "type", "source", "account", "time", "region", "resources", "detail", "version":
		default:
			names = append(names, name)
		}
	}
	if detail {
		names = append(names, "detail")
	}
	dst := []byte{'{'}
	for _, name := range names {
		v := r.bridgeMember(name)
		if v.Kind() == event.Missing {
			continue
		}
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		dst = append(rules.AppendString(dst, name), ':')
		dst = append(dst, v.Raw()...)
	}
	return jsonNode(append(dst, '}'))
}

// ingestionTime is when the event was recorded.
func (r *run) ingestionTime() string {
	return r.context.Recorded.UTC().Format("2006-01-02T15:04:05.000Z")
}

// ruleARN names the rule as EventBridge would, with the account and the region
// of the event, if it has them.
func (r *run) ruleARN() string {
	return fmt.Sprintf("arn:switchyard:events:%s:%s:rule/%s/%s",
		r.ev.ExtensionText("region"), r.ev.ExtensionText("account"), r.context.Bus, r.context.Rule)
}

// inputPath is data that stands at a path of the event.
type inputPath struct{ path bridgePath }

func (c *compiler) inputPath(n *yaml.Node) template {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		c.report(n, formInputPath, "a path is text, such as $.detail")
		return literal("null")
	}
	path, offset, err := parsePath(n.Value)
	if err != nil {
		c.reportIn(n, offset, formInputPath, err.Error())
		return literal("null")
	}
	c.lintBridgePath(n, formInputPath, path)
	return inputPath{path}
}

func (p inputPath) appendJSON(dst []byte, r *run) ([]byte, error) {
	v := p.path.resolve(r)
	if v.Kind() == event.Missing {
		return dst, &ApplyError{Key: formInputPath, Err: fmt.Errorf("%s is not in the event", p.path.text)}
	}
	if len(v.Raw()) > r.limit-len(dst) {
		return dst, &ApplyError{Key: formInputPath, Err: rules.ErrTooLarge}
	}
	return append(dst, v.Raw()...), nil
}

// Context is what a transform may say about a delivery beside the event.
type Context struct {
	// Bus and Rule are the names.
	Bus, Rule string
	// Recorded is when the event was recorded. When it is zero, as where a rule
	// is tried out, the event's own time stands for it, or else 1970 does.
	Recorded time.Time
	// Enriched is an object of the answers to a rule's enrichments by name; nil
	// when there are none.
	Enriched *event.Tree
	// Trial says that the event is tried out: an expression that takes too long
	// fails, and is not suspended for what is delivered.
	Trial bool
}

// enriched is the answers, the zero Node when there are none.
func (c Context) enriched() event.Node {
	if c.Enriched == nil {
		return event.Node{}
	}
	return c.Enriched.Root()
}

// of fills in what is not known.
func (c Context) of(ev *event.Event) Context {
	if c.Recorded.IsZero() {
		if t, ok := ev.Time(); ok {
			c.Recorded = t
		} else {
			c.Recorded = time.Unix(0, 0)
		}
	}
	return c
}
