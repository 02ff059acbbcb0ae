package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"

	"github.com/agnivade/levenshtein"
)

// advisor says what to do about the errors of one expression.
type advisor struct {
	env      *cel.Env
	source   string
	variable string // event or request
}

// macroNames are what CEL expands before it looks for functions, and ours.
var macroNames = [...]string{"has", "all", "exists", "exists_one", "map", "filter", "default", "coalesce"}

// calledElsewhere has functions by their names in other languages.
func calledElsewhere(name string) string {
	switch strings.ToLower(name) {
	case "len", "length", "count":
		return "size"
	case "lower", "tolower", "tolowercase", "lcase":
		return "lowerAscii"
	case "upper", "toupper", "touppercase", "ucase":
		return "upperAscii"
	case "any", "some":
		return "exists"
	case "every":
		return "all"
	case "includes", "include", "has_value":
		return "contains"
	case "match", "regex", "test":
		return "matches"
	}
	return ""
}

// function is the hint for the name of a function that there is not.
func (a *advisor) function(name string) string {
	if known := calledElsewhere(name); known != "" {
		return "did you mean " + known + "?"
	}
	names := slices.Clone(macroNames[:])
	for n := range a.env.Functions() {
		if identifier(strings.ReplaceAll(n, ".", "_")) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	best, least := "", 1+len(name)/5
	for _, n := range names {
		if d := levenshtein.ComputeDistance(strings.ToLower(n), strings.ToLower(name)); d < least || d == least && best == "" {
			best, least = n, d
		}
	}
	if best == "" {
		return "the functions are in docs/functions.md"
	}
	return "did you mean " + best + "?"
}

// rest is the source from a place on, and what stands before it in its line.
func (a *advisor) rest(line, column int) (before, rest string) {
	n := 0
	for l := range strings.Lines(a.source) {
		if n++; n == line {
			column = name(strings.TrimRight(l, "\r\n"), max(column, 1))
			at := runeOffset(l, column-1)
			return l[:at], l[at:]
		}
	}
	return "", ""
}

// undeclared says what to do about a name that there is not.
func (a *advisor) undeclared(unknown, before, rest string) (message, hint string) {
	after := strings.TrimLeft(strings.TrimPrefix(rest, unknown), " \t")
	switch {
	case unknown == "default":
		return "default has the wrong arguments", "it takes two, a path and what to take when it is missing: default(event.data.x, 0)"
	case strings.HasPrefix(after, "(") && strings.HasSuffix(before, ".") && slices.Contains(macroNames[:], unknown):
		return unknown + " has the wrong arguments", fmt.Sprintf("it takes a variable and what to do with it, such as %s(x, x.qty > 5)", unknown)
	case strings.HasPrefix(after, "("):
		return fmt.Sprintf("there is no function '%s'", unknown), a.function(unknown)
	case dashed.MatchString(before):
		return fmt.Sprintf("undeclared reference to '%s'", unknown), bracketed(before, unknown)
	case a.variable == "event" && slices.Contains((eventType{}).FieldNames(), unknown) && !strings.HasSuffix(before, "."):
		return fmt.Sprintf("undeclared reference to '%s'", unknown), "write event." + unknown
	}
	return "", ""
}

var (
	// dashed is what stands before the rest of a name with a dash in it.
	dashed = regexp.MustCompile(`([a-zA-Z_][\w.]*)\.(\w[\w-]*)-$`)
	// dayOnly is a time without its hours.
	dayOnly = regexp.MustCompile(`^\d{4}-\d\d-\d\d$`)
	// globalCall is a call of a function of text with the text as an argument.
	globalCall  = regexp.MustCompile(`^(\w+)\(\s*([\w.]+)\s*,\s*([^()]*)\)`)
	quotedAfter = regexp.MustCompile(`^[=!<>]+\s*["']([^"']*)["']`)
)

// bracketed is the hint for a name with a dash, which CEL takes for a minus. before
// is what dashed matches.
func bracketed(before, rest string) string {
	m := dashed.FindStringSubmatch(before)
	name := m[2] + "-" + wordAt(rest, 1)
	if m[1] == "event" {
		if name == "detail-type" {
			return "what EventBridge calls detail-type is event.type"
		}
		return "a minus stands there; attributes have no dashes in their names"
	}
	return fmt.Sprintf("a minus stands there; a name with a dash goes in brackets: %s[%q]", m[1], name)
}

// overload says what to do about an operator or a function that is not for its
// arguments, whose types are given as CEL writes them.
func (a *advisor) overload(function, types, rest string) string {
	between := strings.Split(strings.Trim(types, "()"), ", ")
	has := func(t string) bool { return slices.Contains(between, t) }
	number := has("int") || has("double") || has("uint")
	switch function {
	case "startsWith", "endsWith", "contains", "matches":
		if m := globalCall.FindStringSubmatch(rest); m != nil {
			return fmt.Sprintf("write %s.%s(%s)", m[2], m[1], strings.TrimSpace(m[3]))
		}
		if strings.HasPrefix(types, "string.(") {
			return "it takes a text, in quotes"
		}
		return ""
	case "? :":
		if len(between) == 3 && between[0] != "bool" && between[0] != "dyn" {
			return "what stands before the ? is true or false"
		}
		return "both sides of the : are of one type; dyn(…) around one of them lets them differ"
	case "in":
		if len(between) == 2 && between[1] == "string" {
			return `in looks for an element of a list: ["…"]; for a part of a text, write .contains(…)`
		}
		return ""
	case "!":
		return "! is for what is true or false"
	case "==", "!=", "<", "<=", ">", ">=":
	default:
		return ""
	}
	switch {
	case strings.Contains(types, "type(type)") && a.variable == "event":
		return "write event.type; type by itself is a function"
	case has("timestamp") && has("string"):
		if m := quotedAfter.FindStringSubmatch(rest); m != nil {
			if dayOnly.MatchString(m[1]) {
				m[1] += "T00:00:00Z"
			}
			return fmt.Sprintf("write timestamp(%q)", m[1])
		}
		return `write timestamp("2026-01-02T15:04:05Z")`
	case has("string") && number:
		return "write the number in quotes, or convert the text with int(…)"
	case has("string") && has("bool"):
		return "write true or false in quotes"
	case has("string") && has("null"):
		return "an attribute is never null; has(event.subject) asks whether it is set"
	}
	return ""
}

// syntax says what is wrong in the words of somebody who writes a filter, and
// what to do; last is whether what follows from it is not worth saying.
func (a *advisor) syntax(m, before, rest string) (message, hint string, last bool) {
	token, unknown := strings.CutPrefix(m, "token recognition error at: '")
	token = strings.TrimSuffix(token, "'")
	word := wordAt(rest, 1)
	lastWord := lastField(before)
	switch {
	case unknown && strings.ContainsAny(token[:min(1, len(token))], `"'`) && strings.Contains(token, `\`):
		escape := token[strings.Index(token, `\`):]
		return fmt.Sprintf("syntax error: %s is no escape sequence of a text", escape),
			fmt.Sprintf(`double the backslash, \%s, or write the text as r"…"`, escape), true
	case unknown && strings.ContainsAny(token[:min(1, len(token))], `"'`):
		return "syntax error: a text has no closing quote", "", true
	case unknown && strings.HasPrefix(token, "$"):
		return "syntax error: $ is no operator", "${{ … }} is for transforms; a filter is the expression alone", true
	case unknown && strings.HasPrefix(token, "="):
		return "syntax error: = is no operator", "== compares", true
	case unknown && strings.HasPrefix(token, "&"):
		return "syntax error: & is no operator", "write &&", true
	case unknown && strings.HasPrefix(token, "|"):
		return "syntax error: | is no operator", "write ||", true
	case unknown && strings.ContainsAny(token, "“”„‘’"):
		return "", `write plain quotes: "…"`, true
	case strings.Contains(m, "'<EOF>'") && !strings.HasSuffix(m, "expecting '<EOF>'"):
		if strings.HasPrefix(m, "missing '") {
			return "syntax error: the expression ends before a " + between(m, "missing '", "'"), "", false
		}
		if lastWord != "" {
			return "syntax error: the expression ends too early", "something has to follow " + shortened(lastWord, valueMost), false
		}
		return "syntax error: the expression ends too early", "", false
	case strings.EqualFold(word, "and"):
		return "", "write && in place of " + word, true
	case strings.EqualFold(word, "or"):
		return "", "write || in place of " + word, true
	case strings.EqualFold(lastWord, "not"):
		return "", "write ! in place of " + lastWord, true
	case strings.EqualFold(word, "is"):
		return "", "has(…) asks whether there is a value, and == null whether it is null", true
	case strings.EqualFold(word, "like"):
		return "", "use startsWith, endsWith, contains or matches", true
	case word == ">" && strings.HasSuffix(before, "<"):
		return "", "write != in place of <>", true
	}
	return "", "", false
}

// What the parser says when something stands where it cannot.
var (
	wrongToken   = regexp.MustCompile(`(?s)^(?:mismatched input|extraneous input|token recognition error at:) '(.*?)'(?: expecting (.*))?$`)
	missingToken = regexp.MustCompile(`(?s)^missing '(.*?)' at '(.*)'$`)
	// comparedWith is what ends with a comparison.
	comparedWith = regexp.MustCompile(`[=!]=\s*$`)
	// operatorEnd is what ends with an operator or an open bracket.
	operatorEnd = regexp.MustCompile(`(?:[=<>!+*/%?:,(\[{-]|&&|\|\||(?:^|[^.\w])in)\s*$`)
)

// unexpected says what cannot stand where it does, when there is nothing more to
// say about it.
func unexpected(m, before string) (message, hint string) {
	if found := missingToken.FindStringSubmatch(m); found != nil {
		return fmt.Sprintf("syntax error: a %s is missing before %s", found[1], shortened(found[2], valueMost)), ""
	}
	if strings.HasPrefix(m, "no viable alternative at input '.") {
		return "syntax error: a name has to follow the dot", `one that is no word goes in brackets: ["…"]`
	}
	found := wrongToken.FindStringSubmatch(m)
	if found == nil {
		return "syntax error: " + m, ""
	}
	token := strings.TrimSpace(found[1])
	message = fmt.Sprintf("syntax error: %s cannot stand here", shortened(token, valueMost))
	switch digits, dotted := strings.CutPrefix(token, "."); {
	case dotted && digits != "" && strings.Trim(digits, "0123456789") == "":
		return message, fmt.Sprintf("an element of a list is written [%s], and a name that begins with a digit in quotes: [\"%[1]s…\"]", digits)
	case operatorEnd.MatchString(before):
		return message, "something has to follow " + shortened(lastField(before), valueMost)
	case strings.TrimSpace(before) == "":
		return message, "an expression begins with a value"
	case !strings.Contains(found[2], "<EOF>"):
		return message, ""
	case token == ")" || token == "]" || token == "}":
		return message, "none is open"
	}
	return message, "the expression could end before it; && and || join conditions"
}

// lastField is the last of what white space parts.
func lastField(s string) string {
	if f := strings.Fields(s); len(f) > 0 {
		return f[len(f)-1]
	}
	return ""
}
