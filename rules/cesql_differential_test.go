package rules

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// Names and literals from a small pool, so that expressions and events meet.
var (
	sqlNames    = []string{"type", "subject", "time", "ext", "EXT", "num", "flag", "gone", "id"}
	sqlLiterals = []string{"'a'", "'ab'", "'A'", "''", "'5'", "'05'", "'+5'", "'-1'", "'true'", "\"FALSE\"", "'2147483648'", "'é'", "'a%b'", `'a\'b'`,
		"5", "0", "-1", "1", "2147483647", "-2147483648", "TRUE", "false", "'2026-11-22T10:00:00Z'"}
	sqlPatterns = []string{"'a'", "'a%'", "'%b'", "'%a%'", "'_'", "'%'", "''", "'a_'", "'%_b%'", `'a\%b'`, `'%\_%'`, "'5%'", "'tr%'", "'%é_%'", "'a%b%'", "'%%'"}
	sqlValues   = []string{`"a"`, `"ab"`, `"A"`, `"5"`, `"05"`, `"-1"`, `"true"`, `"False"`, `"é"`, `"éa"`, `"a%b"`, `"a_b"`, `"a'b"`, `"abab"`, `"x"`, "5", "0", "1", "-1", "2147483647", "true", "false"}
)

func genSQLValue(t *rapid.T, depth int) string {
	kind := rapid.IntRange(0, 11).Draw(t, "value")
	if depth == 0 && kind > 8 {
		kind %= 9
	}
	switch {
	case kind < 5:
		return rapid.SampledFrom(sqlNames).Draw(t, "name")
	case kind < 9:
		return rapid.SampledFrom(sqlLiterals).Draw(t, "literal")
	case kind == 9:
		op := rapid.SampledFrom([]string{"+", "-", "*", "/", "%"}).Draw(t, "op")
		return "(" + genSQLValue(t, depth-1) + " " + op + " " + genSQLValue(t, depth-1) + ")"
	case kind == 10:
		f := rapid.SampledFrom([]string{"LENGTH(%s)", "UPPER(%s)", "lower(%s)", "TRIM(%s)", "INT(%s)", "BOOL(%s)", "STRING(%s)", "IS_INT(%s)",
			"IS_BOOL(%s)", "ABS(%s)", "LEFT(%s, 1)", "RIGHT(%s, 1)", "SUBSTRING(%s, 1)", "SUBSTRING(%s, -1, 1)", "CONCAT(%s, 'a')", "CONCAT_WS('-', %s, 'b')", "-%s", "NOT %s"}).Draw(t, "function")
		return fmt.Sprintf(f, genSQLValue(t, depth-1))
	}
	return "(" + genSQL(t, depth-1) + ")"
}

// genSQL makes an expression that results in a Boolean, or may.
func genSQL(t *rapid.T, depth int) string {
	kind := rapid.IntRange(0, 13).Draw(t, "kind")
	if depth == 0 && kind > 8 {
		kind %= 9
	}
	name := rapid.SampledFrom(sqlNames).Draw(t, "attribute")
	switch kind {
	case 0, 1:
		return name + rapid.SampledFrom([]string{" = ", " != ", " <> "}).Draw(t, "op") + rapid.SampledFrom(sqlLiterals).Draw(t, "literal")
	case 2:
		return rapid.SampledFrom(sqlLiterals).Draw(t, "literal") + " = " + name
	case 3:
		list := rapid.SliceOfN(rapid.SampledFrom(sqlLiterals), 1, 4).Draw(t, "list")
		return name + rapid.SampledFrom([]string{" IN ", " NOT IN "}).Draw(t, "op") + "(" + strings.Join(list, ", ") + ")"
	case 4, 5:
		return name + rapid.SampledFrom([]string{" LIKE ", " NOT LIKE "}).Draw(t, "op") + rapid.SampledFrom(sqlPatterns).Draw(t, "pattern")
	case 6:
		return "EXISTS " + name
	case 7:
		op := rapid.SampledFrom([]string{"=", "!=", "<", "<=", ">", ">="}).Draw(t, "op")
		return genSQLValue(t, depth) + " " + op + " " + genSQLValue(t, depth)
	case 8:
		return name
	case 9:
		return "NOT (" + genSQL(t, depth-1) + ")"
	case 10:
		return "(" + genSQL(t, depth-1) + " XOR " + genSQL(t, depth-1) + ")"
	case 11:
		return genSQLValue(t, depth-1) + " IN (" + genSQLValue(t, depth-1) + ", " + genSQLValue(t, depth-1) + ")"
	}
	op := rapid.SampledFrom([]string{" AND ", " OR "}).Draw(t, "op")
	parts := make([]string, rapid.IntRange(2, 3).Draw(t, "parts"))
	for i := range parts {
		parts[i] = genSQL(t, depth-1)
	}
	return "(" + strings.Join(parts, op) + ")"
}

func genSQLEvent(t *rapid.T) string {
	b := `{"specversion":"1.0","source":"/s","id":` + rapid.SampledFrom(sqlValues[:15]).Draw(t, "id") + `,"type":` + rapid.SampledFrom(sqlValues[:15]).Draw(t, "type")
	if rapid.Bool().Draw(t, "subject") {
		b += `,"subject":` + rapid.SampledFrom(sqlValues[:15]).Draw(t, "text")
	}
	if rapid.Bool().Draw(t, "time") {
		b += `,"time":"2026-11-22T10:00:00Z"`
	}
	for _, name := range []string{"ext", "num", "flag"} {
		if rapid.SampledFrom([]bool{true, true, true, false}).Draw(t, "has") {
			b += `,` + strconv.Quote(name) + `:` + rapid.SampledFrom(sqlValues).Draw(t, "extension")
		}
	}
	return b + "}"
}

// TestSQLSameAsEvaluated compares the conditions that expressions are compiled
// to, alone and found by the index of a Set, with the evaluator on the
// expressions as they were written. Rapid prints the seed of a failure.
func TestSQLSameAsEvaluated(t *testing.T) {
	env := mustEnv(t)
	counts := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		var entries []Entry
		var parsed []sqlExpr
		for range rapid.IntRange(1, 24).Draw(t, "filters") {
			source := genSQL(t, 2)
			e, problems := parseSQL(source)
			m, err := env.Compile(Filter{SQL: source})
			if problems != nil || (err != nil) != (e.typ() != sqlBoolean && e.typ() != sqlAny) {
				t.Fatalf("%s: %v, %v", source, problems, err)
			}
			if err != nil {
				counts["refused"]++
				continue
			}
			counts[m.filter.class.String()]++
			entries, parsed = append(entries, Entry{ID: ID(len(entries)), Rule: source, Matcher: m}), append(parsed, e)
		}
		set := NewSet(entries)
		for range 8 {
			text := genSQLEvent(t)
			ev := mustRapidText(t, text)
			found := map[ID]bool{}
			for _, id := range set.Match(ev, nil) {
				found[id] = true
			}
			for i, entry := range entries {
				r := sqlRun{ev: ev}
				v, err := r.eval(&parsed[i])
				want := "no"
				switch {
				case err != nil || v.typ != sqlBoolean:
					want = "failure"
				case v.num != 0:
					want = "yes"
				}
				got, result := "no", entry.Matcher.Evaluate(ev)
				switch {
				case result.Error != "":
					got = "failure"
				case result.Matched:
					got = "yes"
				}
				counts[want]++
				if got != want || found[entry.ID] != (want == "yes") {
					t.Fatalf("%s\non %s\nis %s (%s), in a set %v; the evaluator says %s (%v)", entry.Rule, text, got, result.Error, found[entry.ID], want, err)
				}
			}
		}
	})
	t.Log(counts)
}

func mustRapidText(t *rapid.T, text string) eventPointer {
	ev, err := event.FromStructured([]byte(text), event.Limits{})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return ev
}
