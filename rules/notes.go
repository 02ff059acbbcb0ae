package rules

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// shown is a value in short.
func (x *value) shown() string {
	switch x.kind {
	case textValue:
		if s := shortened(x.text, valueMost); s != x.text {
			return fmt.Sprintf("%s (%d bytes)", strconv.Quote(s), len(x.text))
		}
		return strconv.Quote(x.text)
	case listValue:
		return listShown(x.node)
	case mapValue:
		if n := x.node.Len(); n != 1 {
			return fmt.Sprintf("an object with %d keys", n)
		}
		return "an object with 1 key"
	case numberValue:
		if x.node.Kind() == event.Number { // as it was published
			return shortened(string(x.node.Raw()), valueMost)
		}
	}
	return scalarText(scalar{kind: x.kind, num: x.num})
}

// listShown is the length of a list, and what is in it if that is simple.
func listShown(n event.Node) string {
	size := n.Len()
	if size == 0 {
		return "an empty list"
	}
	var parts []string
	for e := range n.Elements() {
		v := nodeValue(e)
		if v.kind == listValue || v.kind == mapValue {
			return fmt.Sprintf("a list of %d", size)
		}
		if len(parts) == valuesMost {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, v.shown())
	}
	return fmt.Sprintf("a list of %d (%s)", size, strings.Join(parts, ", "))
}

// typeName is the type of a value in words.
func (k valueKind) typeName() string {
	switch k {
	case nullValue:
		return "null"
	case boolValue:
		return "true or false"
	case numberValue:
		return "a number"
	case textValue:
		return "text"
	case listValue:
		return "a list"
	case mapValue:
		return "an object"
	}
	return "a time or bytes"
}

// shownAt is the value at a place, in short; of several, the first few.
func (x *Explainer) shownAt(p *place) (text string, v value) {
	if p.reach == reachAll {
		values := x.view.every(p)
		if len(values) > 0 {
			parts := make([]string, 0, valuesMost)
			for i := range values[:min(len(values), valuesMost)] {
				parts = append(parts, values[i].shown())
			}
			text = strings.Join(parts, ", ")
			if n := len(values) - valuesMost; n > 0 {
				text += fmt.Sprintf(" and %d more", n)
			}
			if len(values) > 1 {
				return text, value{kind: otherValue}
			}
			return text, values[0]
		}
		if v = *x.view.at(p); v.kind == mapValue {
			return v.shown(), v
		}
		return "", value{}
	}
	v = *x.view.at(p)
	return x.attributeShown(p.attr, &v), v
}

// attributeShown is a value in short; those that conditions have no type for
// are shown as the event has them.
func (x *Explainer) attributeShown(attr string, v *value) string {
	if v.kind == missingValue {
		return ""
	}
	if v.kind != otherValue {
		return v.shown()
	}
	if attr == "data" {
		return fmt.Sprintf("%d bytes that are not text", len(x.view.ev.Data()))
	}
	a, _ := x.view.ev.Attribute(attr)
	return a.Text()
}

// value is what a condition saw, in short.
func (c *clause) value(x *Explainer) string {
	if p := c.test.about(); p != nil {
		text, _ := x.shownAt(p)
		return text
	}
	var parts []string
	for _, r := range c.reads {
		if !r.asked(x) {
			continue
		}
		if text, _ := r.shown(x); text != "" {
			if len(c.reads) > 1 {
				text = r.String() + " = " + text
			}
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, "; ")
}

// note says what a condition saw, as a sentence.
func (c *clause) note(x *Explainer) string {
	if c.kind == patternNode {
		return "each condition holds for a value, but not all of them for one and the same element of a list"
	}
	if p := c.test.about(); p != nil {
		return c.testNote(x, p)
	}
	var parts []string
	lacks := false
	for _, r := range c.reads {
		if !r.asked(x) {
			continue
		}
		text, missing := r.sentence(x)
		if missing != "" {
			text = missing + " is missing"
			lacks = true
		}
		parts = append(parts, text)
	}
	switch {
	case !c.looked:
		return "it was not asked"
	case c.failure != nil:
		if reason := c.failureNote(lacks); reason != "" {
			parts = append(parts, reason)
		}
	case c.test.kind == constNode:
		return "it is always " + strconv.FormatBool(c.out == yes)
	case len(parts) == 0:
		return "it is " + strconv.FormatBool(c.out == yes)
	}
	return strings.Join(parts, "; ")
}

// failureNote says why an expression failed, "" when the note says it already;
// lacks is whether it names what is missing.
func (c *clause) failureNote(lacks bool) string {
	text := c.failure.Error()
	name, absent := strings.CutPrefix(text, "no such key: ")
	switch {
	case absent && lacks:
		return ""
	case absent:
		return shortened(name, valueMost) + " is missing"
	case strings.HasPrefix(text, "no such overload"):
		return "a value has a type that this cannot be asked of"
	}
	return "it fails: " + shortened(text, textMost)
}

// testNote says what a test saw.
func (c *clause) testNote(x *Explainer, p *place) string {
	text, v := x.shownAt(p)
	if text == "" {
		return c.write.missingNote(x, p)
	}
	verb := " is "
	s := p.last() + verb + text
	if p.reach == reachAll && v.kind == mapValue && c.test.asksPresence() {
		if c.out == yes {
			return s + "; exists asks for values, and an object is none"
		}
		return s + ", and exists asks for a value"
	}
	if p.reach == reachAll && v.kind == mapValue {
		return s + ", which a pattern does not compare"
	}
	if c.out == yes || v.kind == otherValue && p.reach == reachAll {
		return s
	}
	if want := c.test.wants(&v); want != "" {
		if v.kind == nullValue {
			return s + ", not " + want
		}
		what := ""
		switch v.kind { // of others, the value says what it is
		case textValue, numberValue, boolValue:
			what = "which is " + v.kind.typeName() + ", "
		}
		return s + ", " + what + "not " + want
	}
	if c.failure != nil {
		if n := c.test.inner(); n.kind == testNode && n.test == isMatch {
			return s + "; " + shortened(c.failure.Error(), textMost)
		}
	}
	return s
}

// asksPresence reports whether a condition asks for a value and no more.
func (n *node) asksPresence() bool {
	n = n.inner()
	return n.kind == testNode && n.test == exists
}

// inner is the condition without the negations before it.
func (n *node) inner() *node {
	for n.kind == notNode {
		n = &n.kids()[0]
	}
	return n
}

// wants is the type that a test is for, when the value has another.
func (n *node) wants(v *value) string {
	n = n.inner()
	if n.kind != testNode || v.kind == missingValue {
		return ""
	}
	switch n.test {
	case exists:
		return ""
	case isTrue:
		if v.kind != boolValue {
			return "true or false"
		}
	case equals, less, atMost, greater, atLeast:
		if v.kind != n.operand && n.operand != nullValue {
			return n.operand.typeName()
		}
	case isIn:
		list := n.more.(operands)
		for i := range list {
			if list[i].kind == v.kind {
				return ""
			}
		}
		if len(list) > 0 {
			return list[0].kind.typeName()
		}
	case hasMember:
		if v.kind != listValue && v.kind != mapValue {
			return "a list"
		}
	case inNetwork:
		if _, err := netip.ParseAddr(v.text); err != nil {
			return "an address"
		}
	default:
		if v.kind != textValue {
			return "text"
		}
	}
	return ""
}

// missingNote says what is missing on the way to a place.
func (w *writer) missingNote(x *Explainer, p *place) string {
	for p.parent != nil && x.view.at(p.parent).kind == missingValue {
		p = p.parent
	}
	if p.parent != nil {
		up := x.view.at(p.parent)
		if up.kind != mapValue {
			return fmt.Sprintf("%s is %s, so it has no %s", w.path(p.parent), x.attributeShown(p.parent.attr, up), p.last())
		}
	}
	return w.path(p) + " is missing"
}

// every is all values at a place of a pattern.
func (v *view) every(p *place) []value {
	var out []value
	add := func(x *value) {
		if x.kind != missingValue && x.kind != mapValue && x.kind != listValue {
			out = append(out, *x)
		}
	}
	add(v.at(p))
	if v.seen.slots == nil {
		return out
	}
	if i := v.seen.slots.of(p); i >= 0 {
		more := v.seen.more[i]
		for j := range more {
			add(&more[j])
		}
	}
	return out
}
