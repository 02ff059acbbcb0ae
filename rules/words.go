package rules

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
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
	operand := w.literal(n.literal())
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
	return w.quoted(n.text())
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
		return fmt.Sprintf("exact(%s, %s)", attr, w.literal(n.literal()))
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
			return attr + " " + unequal + " " + literal(n.text())
		}
		return attr + " " + unequal + " " + scalarText(n.literal())
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
		if n.text() == "" {
			return attr + " is " + strings.ToLower(not) + "text"
		}
		return like(n.text() + "%")
	case hasSuffix:
		return like("%" + n.text())
	case contains:
		return like("%" + n.text() + "%")
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
