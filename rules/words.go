package rules

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/switchyard-dev/switchyard/bus/event"
)

const (
	textMost   = 200 // characters of a condition
	valueMost  = 60  // characters of a value
	valuesMost = 3   // values of a place of a pattern, and elements of a list
)

// shortened is text of at most so many characters.
func shortened(s string, most int) string {
	if len(s) <= most {
		return s
	}
	n := 0
	for i := range s {
		if n++; n > most {
			return s[:i] + "…"
		}
	}
	return s
}

// writer writes conditions in the words of a filter's dialect.
type writer struct {
	dialect dialect
	source  string
	redact  func(string) string // nil: all may be shown
}

// path is a place as the dialect writes it.
func (w *writer) path(p *place) string {
	switch w.dialect {
	case inPattern:
		name := p.attr
		switch {
		case name == "data":
			name = "detail"
		case name == "type" && strings.Contains(w.source, `"detail-type"`):
			name = "detail-type"
		}
		return strings.Join(append([]string{name}, p.keys...), ".")
	case inFilters, inSQL:
		return p.attr
	}
	return p.String()
}

// text is a condition in the dialect's words.
func (w *writer) text(n *node, negated bool) string {
	switch n.kind {
	case constNode:
		return strconv.FormatBool((n.value == yes) != negated)
	case residualNode:
		if a, ok := n.more.(*numericAttribute); ok {
			return w.negation(w.path(a.place)+" numeric "+w.shown(a.source), negated)
		}
		return w.negation(w.shown(strings.Join(strings.Fields(n.more.(residual).text()), " ")), negated)
	case patternNode:
		return w.negation("the pattern of the data", negated)
	}
	if w.dialect == inPattern {
		return w.path(n.about()) + " " + w.asked(n, negated)
	}
	if n.kind != testNode {
		return w.negation("the condition", negated)
	}
	p := w.path(n.place)
	switch w.dialect {
	case inFilters:
		return w.negation(w.filterText(n, p), negated)
	case inSQL:
		return w.sqlText(n, p, negated)
	}
	return w.negation(p+" "+w.asked(n, false), negated)
}

// negation is a condition turned into its opposite.
func (w *writer) negation(text string, negated bool) string {
	switch {
	case !negated:
		return text
	case w.dialect == inSQL:
		return "NOT (" + text + ")"
	case w.dialect == inFilters, w.dialect == inPattern:
		return "not(" + text + ")"
	}
	return "!(" + text + ")"
}

// asked is what a pattern asks of a value, after its path.
func (w *writer) asked(n *node, negated bool) string {
	switch n.kind {
	case notNode:
		return w.asked(&n.kids()[0], !negated)
	case andNode, andThenNode, orNode, orElseNode:
		join := " and "
		if (n.kind == orNode || n.kind == orElseNode) != negated {
			join = " or "
		}
		var parts []string
		for i := range n.kids() {
			kid := &n.kids()[i]
			if n.kind == andNode && !negated && kid.kind == testNode && kid.test == exists && len(n.kids()) > 1 {
				continue // the others ask for a value, too
			}
			parts = append(parts, w.asked(kid, negated))
		}
		return strings.Join(parts, join)
	}
	if n.test == exists {
		return "exists " + strconv.FormatBool(!negated)
	}
	not := ""
	if negated {
		not = "not "
	}
	operand := w.literal(scalar{n.operand, n.num, n.text})
	switch n.test {
	case isTrue:
		return "is " + strconv.FormatBool(!negated)
	case equals:
		return "is " + not + operand
	case isIn:
		return "is " + not + "one of " + w.list(n.more.(operands))
	case less:
		return not + "< " + operand
	case atMost:
		return not + "<= " + operand
	case greater:
		return not + "> " + operand
	case atLeast:
		return not + ">= " + operand
	case hasMember:
		return not + "has " + operand
	}
	return not + textTestName(n.test) + " " + w.textOperand(n)
}

// textTestName is what a pattern calls a test of text.
func textTestName(k testKind) string {
	switch k {
	case hasPrefix:
		return "prefix"
	case hasSuffix:
		return "suffix"
	case contains:
		return "contains"
	case equalsFold:
		return "equals-ignore-case"
	case prefixFold:
		return "prefix equals-ignore-case"
	case suffixFold:
		return "suffix equals-ignore-case"
	case isLike:
		return "wildcard"
	case inNetwork:
		return "cidr"
	}
	return "matches"
}

// textOperand is what a test of text compares with.
func (w *writer) textOperand(n *node) string {
	switch more := n.more.(type) {
	case *glob:
		return w.quoted(more.text("*", "?"))
	case netip.Prefix:
		return w.quoted(more.String())
	case *expression:
		return w.quoted(more.re.String())
	}
	return w.quoted(n.text)
}

// text writes the glob with signs for any text and any character.
func (g *glob) text(any, one string) string {
	parts := make([]string, len(g.parts))
	for i := range g.parts {
		parts[i] = strings.Join(g.parts[i].pieces, one)
	}
	return strings.Join(parts, any)
}

// filterText is a test as a call of the filter dialect's name.
func (w *writer) filterText(n *node, attr string) string {
	name := textTestName(n.test)
	switch n.test {
	case equals:
		return fmt.Sprintf("exact(%s, %s)", attr, w.literal(scalar{n.operand, n.num, n.text}))
	case isIn:
		return fmt.Sprintf("exact(%s, %s)", attr, w.list(n.more.(operands)))
	case exists:
		return fmt.Sprintf("exists(%s)", attr)
	case isTrue:
		return attr
	}
	return fmt.Sprintf("%s(%s, %s)", name, attr, w.textOperand(n))
}

// sqlText is a test in SQL.
func (w *writer) sqlText(n *node, attr string, negated bool) string {
	literal := func(s string) string {
		return "'" + strings.ReplaceAll(shortened(w.shown(s), valueMost), "'", `\'`) + "'"
	}
	not, unequal := "", "="
	if negated {
		not, unequal = "NOT ", "!="
	}
	like := func(pattern string) string { return attr + " " + not + "LIKE " + literal(pattern) }
	switch n.test {
	case equals:
		if n.operand == textValue {
			return attr + " " + unequal + " " + literal(n.text)
		}
		return attr + " " + unequal + " " + scalarText(scalar{n.operand, n.num, n.text})
	case isIn:
		var parts []string
		for i, o := range n.more.(operands) {
			if i == valuesMost+2 {
				parts = append(parts, "…")
				break
			}
			if o.kind == textValue {
				parts = append(parts, literal(o.text))
			} else {
				parts = append(parts, scalarText(o))
			}
		}
		return attr + " " + not + "IN (" + strings.Join(parts, ", ") + ")"
	case exists:
		return not + "EXISTS " + attr
	case isTrue:
		return not + attr
	case hasPrefix:
		if n.text == "" {
			return attr + " is " + strings.ToLower(not) + "text"
		}
		return like(n.text + "%")
	case hasSuffix:
		return like("%" + n.text)
	case contains:
		return like("%" + n.text + "%")
	case isLike:
		return like(n.more.(*glob).text("%", "_"))
	case less, atMost, greater, atLeast:
		return not + attr + " " + strings.TrimPrefix(w.asked(n, false), not)
	}
	return fmt.Sprintf("%s%s %s %s", not, attr, textTestName(n.test), w.textOperand(n))
}

// list is the first of literals.
func (w *writer) list(list operands) string {
	var parts []string
	for i, o := range list {
		if i == valuesMost+2 {
			parts = append(parts, fmt.Sprintf("and %d more", len(list)-i))
			break
		}
		parts = append(parts, w.literal(o))
	}
	return strings.Join(parts, ", ")
}

// quoted is a text of the filter, in short and without what is not to be shown.
func (w *writer) quoted(s string) string { return strconv.Quote(shortened(w.shown(s), valueMost)) }

// shown is text without what is not to be shown.
func (w *writer) shown(s string) string {
	if w.redact == nil {
		return s
	}
	return w.redact(s)
}

// literal is a literal of the filter.
func (w *writer) literal(s scalar) string {
	if s.kind == textValue {
		return w.quoted(s.text)
	}
	return scalarText(s)
}

func scalarText(s scalar) string {
	switch s.kind {
	case nullValue:
		return "null"
	case boolValue:
		return strconv.FormatBool(s.num != 0)
	case numberValue:
		return numberText(s.num)
	}
	return strconv.Quote(shortened(s.text, valueMost))
}

func numberText(f float64) string {
	if f > -1e15 && f < 1e15 {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

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
		text, missing := r.shown(x)
		if missing != "" {
			parts = append(parts, missing+" is missing")
			lacks = true
		} else {
			parts = append(parts, r.last()+" is "+text)
		}
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

// String writes the path as in CEL.
func (r read) String() string {
	switch {
	case r.bare:
		return r.attr
	case r.path == nil:
		return (&place{attr: r.attr}).String()
	}
	return r.path.text(len(r.path.steps))
}

// text is the first steps of the path, as in CEL.
func (p *path) text(steps int) string {
	b := []byte("event.data")
	for _, s := range p.steps[:steps] {
		switch {
		case s.index >= 0:
			b = append(strconv.AppendInt(append(b, '['), int64(s.index), 10), ']')
		case identifier(s.key):
			b = append(append(b, '.'), s.key...)
		default:
			b = append(strconv.AppendQuote(append(b, '['), s.key), ']')
		}
	}
	return string(b)
}

// last is the name of what the path leads to.
func (r read) last() string {
	if r.path == nil {
		return r.attr
	}
	steps := r.path.steps
	for i := len(steps) - 1; i >= 0; i-- {
		if steps[i].index < 0 {
			return steps[i].key + (&path{steps: steps[i+1:]}).text(len(steps) - i - 1)[len("event.data"):]
		}
	}
	return r.path.text(len(steps))[len("event."):]
}

// shown is the value that the path leads to, or what is missing on the way.
func (r read) shown(x *Explainer) (text, missing string) {
	ev := x.view.ev
	if r.path == nil {
		p := &place{attr: r.attr}
		v := attributeValue(ev, p)
		if v.kind == missingValue {
			return "", r.String()
		}
		return x.attributeShown(r.attr, &v), ""
	}
	v := x.view.dataValue()
	for i, s := range r.path.steps {
		var n event.Node
		ok := false
		switch {
		case v.kind == mapValue && s.index < 0:
			n, ok = v.node.Get(s.key)
		case v.kind == listValue && s.index >= 0:
			n, ok = v.node.Index(s.index)
		}
		if !ok {
			if v.kind == missingValue {
				return "", r.path.text(0)
			}
			return "", r.path.text(i + 1)
		}
		v = nodeValue(n)
	}
	if v.kind == missingValue {
		return "", r.String()
	}
	return x.attributeShown("data", &v), ""
}
