package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
)

// translate makes CompileErrors of what CEL reports.
func translate(env *cel.Env, source, what, variable string, issues *cel.Issues) error {
	a := &advisor{env: env, source: source, variable: variable}
	var list []*CompileError
	bound := "" // the variable of a macro that there is not
	for _, e := range issues.Errors() {
		if bound != "" && strings.HasPrefix(e.Message, "undeclared reference to '"+bound+"'") {
			continue
		}
		message, hint, last := a.plain(e, what)
		if m := boundBy.FindStringSubmatch(a.after(e)); m != nil && (hint == "did you mean exists?" || hint == "did you mean all?") {
			bound = m[1]
		}
		if last { // the rest follows from it
			return compileError(source, e.Location.Line(), e.Location.Column()+1, message, hint)
		}
		c := compileError(source, e.Location.Line(), e.Location.Column()+1, message, hint)
		if !slices.ContainsFunc(list, func(o *CompileError) bool {
			return o.Line == c.Line && o.Column == c.Column && o.Message == c.Message
		}) {
			list = append(list, c)
		}
	}
	slices.SortStableFunc(list, func(a, b *CompileError) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return join(list)
}

// boundBy finds the variable of a call such as any(i, …).
var boundBy = regexp.MustCompile(`^\w+\(\s*(\w+)\s*,`)

func (a *advisor) after(e *cel.Error) string {
	_, rest := a.rest(e.Location.Line(), e.Location.Column()+1)
	return rest
}

// plain rewrites an error of CEL in the words of this project.
func (a *advisor) plain(e *cel.Error, what string) (message, hint string, last bool) {
	before, rest := a.rest(e.Location.Line(), e.Location.Column()+1)
	message = e.Message
	if m, ok := strings.CutPrefix(message, "Syntax error: "); ok {
		if i := strings.Index(m, " expecting {"); i > 0 {
			m = m[:i]
		}
		if name := between(m, "at input '.", "'"); identifier(name) {
			return "syntax error: " + name + " cannot stand here", fmt.Sprintf("CEL has a meaning of its own for %s; write [%q]", name, name), true
		}
		if message, hint, last = a.syntax(m, before, rest); message == "" {
			var better string
			if message, better = unexpected(m, before); hint == "" {
				hint = better
			}
		}
		return message, hint, last
	}
	message, hint = a.meaning(message, what, before, rest)
	return message, hint, false
}

// meaning rewrites what is wrong with an expression that can be read.
func (a *advisor) meaning(message, what, before, rest string) (string, string) {
	if name, ok := quoted(message, "undeclared reference to '"); ok {
		if better, hint := a.undeclared(name, before, rest); better != "" {
			return better, hint
		}
		if suggestion := between(message, "(did you mean ", "?"); suggestion != "" && !strings.Contains(message, "enable with") {
			return fmt.Sprintf("undeclared reference to '%s'", name), "did you mean " + suggestion + "?"
		}
		hint := fmt.Sprintf("%s sees %q only", what, a.variable)
		switch {
		case name == enrichedVariable:
			hint += "; transforms see enriched when their rule has enrich"
		case a.variable == enrichedVariable:
			hint = fmt.Sprintf("%s sees %q and %q only", what, "event", enrichedVariable)
		case comparedWith.MatchString(before):
			hint += fmt.Sprintf("; a text stands in quotes: %q", name)
		}
		return fmt.Sprintf("undeclared reference to '%s'", name), hint
	}
	if name, ok := quoted(message, "undefined field '"); ok {
		hint := "names of attributes are lower-case letters and digits"
		if a.variable == requestVariable {
			hint = "there are headers, query and body"
		} else if lower := strings.ToLower(name); lower != name && attributeName(lower) {
			hint = fmt.Sprintf("did you mean event.%s? %s", lower, hint)
		}
		return fmt.Sprintf("undefined field '%s'", name), hint
	}
	if name, ok := quoted(message, "found no matching overload for '"); ok {
		args := strings.TrimSuffix(between(message, "applied to '", "\x00"), "'")
		if display, isOperator := operators.FindReverse(name); isOperator && display != "" {
			name = display
		} else if name == operators.Conditional {
			name = "? :"
		}
		if name == "-" && dashed.MatchString(before+name) {
			return fmt.Sprintf("- cannot be applied to %s", args), bracketed(before+name, rest[1:])
		}
		return fmt.Sprintf("%s cannot be applied to %s", name, args), a.overload(name, args, rest)
	}
	switch {
	case message == "invalid timestamp argument":
		return message, `a time looks like "2026-01-02T15:04:05Z"`
	case message == "invalid duration argument":
		return message, `a duration looks like "1h30m"`
	case message == "comprehension exceeds nesting limit":
		return message, fmt.Sprintf("at most %d within each other", maxComprehensions)
	case strings.HasPrefix(message, "expression recursion limit exceeded"), message == "max recursion depth exceeded":
		return fmt.Sprintf("parentheses, fields and operators stand more than %d deep in each other", maxNesting),
			"take parentheses away, look in a list (in […]) in place of a long chain, or make several rules of it"
	case strings.HasSuffix(message, "does not support field selection") && a.variable == "event":
		return message, "attributes have no fields; the data is event.data"
	case message == "invalid argument to has() macro":
		return "has takes a path that ends with a field", `write has(event.data.x), or "x-y" in event.data for a key that is no name`
	}
	return message, ""
}

func quoted(message, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(message, prefix)
	if !ok {
		return "", false
	}
	i := strings.IndexByte(rest, '\'')
	if i < 0 {
		return "", false
	}
	return rest[:i], true
}

// between is the text after start and before end, or to the end of s.
func between(s, start, end string) string {
	_, rest, ok := strings.Cut(s, start)
	if !ok {
		return ""
	}
	if i := strings.Index(rest, end); i >= 0 {
		return rest[:i]
	}
	return rest
}
