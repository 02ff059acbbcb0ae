package rules

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
)

// translate makes CompileErrors of what CEL reports.
func translate(source, what, variable string, issues *cel.Issues) error {
	var list []*CompileError
	for _, e := range issues.Errors() {
		message, hint := plain(e.Message, what, variable)
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

// plain rewrites a message of CEL in the words of this project.
func plain(message, what, variable string) (string, string) {
	if m, ok := strings.CutPrefix(message, "Syntax error: "); ok {
		if i := strings.Index(m, " expecting {"); i > 0 {
			m = m[:i]
		}
		hint := ""
		if name := between(m, "at input '.", "'"); name != "" {
			hint = fmt.Sprintf("CEL has a meaning of its own for %s; write [%q]", name, name)
		} else if strings.HasPrefix(m, "token recognition error at: '=") {
			hint = "== compares"
		}
		return "syntax error: " + m, hint
	}
	if name, ok := quoted(message, "undeclared reference to '"); ok {
		if suggestion := between(message, "(did you mean ", "?"); suggestion != "" && !strings.Contains(message, "enable with") {
			return fmt.Sprintf("undeclared reference to '%s'", name), "did you mean " + suggestion + "?"
		}
		hint := fmt.Sprintf("%s sees %q only", what, variable)
		switch {
		case name == enrichedVariable:
			hint += "; transforms see enriched when their rule has enrich"
		case variable == enrichedVariable:
			hint = fmt.Sprintf("%s sees %q and %q only", what, "event", enrichedVariable)
		}
		return fmt.Sprintf("undeclared reference to '%s'", name), hint
	}
	if name, ok := quoted(message, "undefined field '"); ok {
		hint := "names of attributes are lower-case letters and digits"
		if variable == requestVariable {
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
		}
		return fmt.Sprintf("%s cannot be applied to %s", name, args), ""
	}
	switch message {
	case "invalid timestamp argument":
		return message, `a time looks like "2026-01-02T15:04:05Z"`
	case "invalid duration argument":
		return message, `a duration looks like "1h30m"`
	case "comprehension exceeds nesting limit":
		return message, fmt.Sprintf("at most %d within each other", maxComprehensions)
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
