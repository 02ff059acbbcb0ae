package rules

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const sqlOrder = `{"specversion":"1.0","id":"1","source":"/shop","type":"com.example.order.placed","subject":"eu/de",
 "time":"2026-11-22T10:00:00Z","in":"x","partitionkey":"k","attempt":3,"hot":true,"hop":"5","ttl":"10","city":"Ålesund","empty":""}`

func TestSQL(t *testing.T) {
	const fails = "fails"
	tests := []struct{ name, sql, want string }{
		{"an attribute equals text", `type = 'com.example.order.placed'`, "yes"},
		{"names of attributes may be written in capitals", `Type = 'com.example.order.placed'`, "yes"},
		{"text is compared with its case", `type = 'COM.EXAMPLE.ORDER.PLACED'`, "no"},
		{"an attribute that is not set fails", `gone = 'a'`, fails},
		{"an attribute that is not set fails also under NOT", `NOT (gone = 'a')`, fails},
		{"an attribute that is not set fails also for another value", `gone != 'a'`, fails},
		{"EXISTS asks first", `EXISTS gone AND gone = 'a'`, "no"},
		{"OR does not ask the right side when the left is true", `EXISTS subject OR gone = 'a'`, "yes"},
		{"OR does not save a left side that fails", `gone = 'a' OR TRUE`, fails},
		{"AND fails where the left side does, though the right is false", `gone = 'a' AND FALSE`, fails},
		{"AND and OR are applied from left to right", `TRUE OR TRUE AND FALSE`, "no"},
		{"AND before OR is applied first", `FALSE AND FALSE OR TRUE`, "yes"},
		{"XOR stands with AND and OR", `TRUE XOR TRUE OR TRUE`, "yes"},
		{"NOT binds closer than a comparison", `NOT hot = FALSE`, "yes"},
		{"NOT binds closer than LIKE", `NOT hot LIKE 'fal%'`, "yes"},
		{"a string becomes an Integer beside one", `hop = 5`, "yes"},
		{"digits compare as numbers", `hop < ttl`, "yes"},
		{"text that is no number fails beside one", `subject = 5`, fails},
		{"an Integer becomes text beside text", `attempt = '3'`, "yes"},
		{"a Boolean becomes text beside text", `hot = 'true'`, "yes"},
		{"text on the left becomes the type of the attribute", `'03' = attempt`, "yes"},
		{"text on the left that is no number fails beside an Integer", `'x' = attempt`, fails},
		{"a Boolean extension is a filter", `hot`, "yes"},
		{"a text extension is no filter, whatever it says", `hop`, fails},
		{"a Boolean extension stands in AND", `hot AND attempt = 3`, "yes"},
		{"IN makes the list the type of the left side", `attempt IN ('1', '3')`, "yes"},
		{"IN fails on what does not cast", `attempt IN ('x', '3')`, fails},
		{"IN does not look beyond what is equal", `attempt IN ('3', 'x')`, "yes"},
		{"IN takes attributes", `partitionkey IN (subject, 'k')`, "yes"},
		{"NOT IN is the opposite", `subject NOT IN ('eu/fr', 'eu/it')`, "yes"},
		{"LIKE has a prefix", `subject LIKE 'eu/%'`, "yes"},
		{"LIKE has a suffix", `type LIKE '%.placed'`, "yes"},
		{"LIKE has a part", `type LIKE '%order%'`, "yes"},
		{"LIKE has one character, of any width", `city LIKE '_lesund'`, "yes"},
		{"LIKE takes numbers as text", `attempt LIKE '_'`, "yes"},
		{"LIKE of nothing is the empty text", `empty LIKE ''`, "yes"},
		{"lengths count characters", `LENGTH(city) = 7`, "yes"},
		{"parts count characters", `LEFT(city, 2) = 'Ål' AND RIGHT(city, 2) = 'nd' AND SUBSTRING(city, 2, 3) = 'les'`, "yes"},
		{"functions nest, in any case", `upper(concat(left(subject, 2), '-', string(attempt))) = 'EU-3'`, "yes"},
		{"a negative length fails", `SUBSTRING(city, 1, -1) = ''`, fails},
		{"numbers of 32 bits do not wrap around", `2147483647 + attempt > 0`, fails},
		{"the least number has no opposite", `-(attempt - 2147483647 - 4) = 0`, fails},
		{"the least number is a literal", `-2147483648 < attempt`, "yes"},
		{"minus needs no spaces", `attempt-1 = 2`, "yes"},
		{"division by zero fails", `attempt / (attempt - 3) = 1`, fails},
		{"the remainder has the sign of what is divided", `(attempt - 10) % 4 = -3`, "yes"},
		{"division is towards zero", `(attempt - 10) / 4 = -1`, "yes"},
		{"a time is text, as it was written", `time = '2026-11-22T10:00:00Z' AND time LIKE '2026-%'`, "yes"},
		{"two quotes are one in a string", `'it''s' = 'it\'s'`, "yes"},
		{"a line may end anywhere", "type =\r\n\t'com.example.order.placed'", "yes"},
		{"what is always true is a filter", `1 = 1`, "yes"},
		{"what always fails is a filter", `1 / 0 = 1`, fails},
	}
	env, ev := mustEnv(t), mustEvent(t, sqlOrder)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := env.Compile(Filter{SQL: tt.sql})
			if err != nil {
				t.Fatal(err)
			}
			got, r := "no", m.Evaluate(ev)
			switch {
			case r.Error != "":
				got = fails
			case r.Matched:
				got = "yes"
			}
			if got != tt.want {
				t.Errorf("%s: %s (%s)", tt.sql, got, r.Error)
			}
		})
	}
}

func TestSQLErrorsSayWhereAndWhatToDo(t *testing.T) {
	tests := []struct{ name, sql, want string }{
		{"an unknown function has the nearest name", "LENGT(subject) = 1", "1:1: there is no function LENGT; did you mean LENGTH?"},
		{"a shortened name has the whole one", "SUBSTR(subject, 1) = 'a'", "1:1: there is no function SUBSTR; did you mean SUBSTRING?"},
		{"a function far from all names lists them", "FIND(subject) = 1", "1:1: there is no function FIND; the functions are ABS, BOOL, CONCAT, CONCAT_WS, INT, IS_BOOL, IS_INT, LEFT, LENGTH, LOWER, RIGHT, STRING, SUBSTRING, TRIM, UPPER"},
		{"a wrong number of arguments says how it is called", "hop = 1 AND LEFT(subject) = 'a'", "1:13: there is no function LEFT of one argument; it is LEFT(text, length)"},
		{"a filter that is text cannot pass", "subject", "1:1: the filter results in a String, not in true or false; compare it with something"},
		{"a filter that is a number cannot pass", "1 + 1", "1:1: the filter results in an Integer, not in true or false; compare it with something"},
		{"two equal signs are one too many", "type == 'a'", "1:6: == is not an operator; = compares"},
		{"the operators of other languages have words", "hot && hot", "1:5: && is not an operator; write AND"},
		{"attributes stand alone", "event.type = 'a'", "1:6: unexpected .; attributes stand alone: type, not event.type; sql does not see the data"},
		{"the data is not there", "data = 'a'", "1:1: sql does not see the data; use when or pattern for it"},
		{"LIKE has a literal", "type LIKE subject", "1:11: unexpected subject; expected a string literal"},
		{"a string ends", "type = 'a", "1:8: the string does not end; close it with '"},
		{"a parenthesis ends", "(hot", "1:5: unexpected the end; expected )"},
		{"a list is not empty", "type IN ()", "1:10: unexpected ); expected an attribute, a literal, a function, NOT, EXISTS or ("},
		{"nothing follows an expression", "hot hot", "1:5: unexpected hot; expected an operator or the end"},
		{"numbers have 32 bits", "hop < 2147483648", "1:7: the number is not an Integer; an Integer is from -2147483648 to 2147483647"},
		{"columns count characters", "city = 'Åå' AND x_y = 1", "1:17: x_y is not an attribute; names of attributes are letters and digits"},
		{"lines are counted", "hot\nAND\n  LENGTH() = 1", "3:3: there is no function LENGTH of no arguments; it is LENGTH(text)"},
		{"all problems are said at once", "data = LENGTH() OR FOO(1)", "1:1: sql does not see the data; use when or pattern for it\n" +
			"1:8: there is no function LENGTH of no arguments; it is LENGTH(text)\n" +
			"1:20: there is no function FOO; the functions are ABS, BOOL, CONCAT, CONCAT_WS, INT, IS_BOOL, IS_INT, LEFT, LENGTH, LOWER, RIGHT, STRING, SUBSTRING, TRIM, UPPER"},
		{"blanks are no filter", "  ", "1:1: the filter is empty"},
		{"an expression is not too long", strings.Repeat(" ", MaxSource) + "hot", "1:1: the filter is 16387 bytes long; at most 16384"},
		{"an expression is not too deep", strings.Repeat("(", 200) + "hot" + strings.Repeat(")", 200), "1:101: parts of the expression stand more than 100 deep in each other"},
		{"nor by NOT", strings.Repeat("NOT ", 200) + "hot", "1:400: parts of the expression stand more than 100 deep in each other"},
		{"nor by IN", strings.Repeat("1 IN (", 200) + "1" + strings.Repeat(")", 200), "1:601: parts of the expression stand more than 100 deep in each other"},
		{"an expression has not too many parts", "1" + strings.Repeat("+1", 5000) + "=1", "1:1: the expression has more than 4096 parts"},
	}
	env := mustEnv(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := env.Compile(Filter{SQL: tt.sql})
			if err == nil {
				t.Fatal("compiles")
			}
			if err.Error() != tt.want {
				t.Errorf("got  %s\nwant %s", err, tt.want)
			}
		})
	}
}

func TestSQLSaysWhyItFailed(t *testing.T) {
	tests := []struct{ sql, want string }{
		{`gone = 'a'`, "no such key: gone"},
		{`hop < 6 AND gone < 5`, "no such key: gone"},
		{`subject = 5`, `"eu/de" is not an Integer`},
		{`subject OR hot`, `"eu/de" is not a Boolean`},
		{`1 / (attempt - 3) = 1`, "division by zero"},
		{`LEFT(subject, -1) = ''`, "the length is negative"},
	}
	env, ev := mustEnv(t), mustEvent(t, sqlOrder)
	for _, tt := range tests {
		m, err := env.Compile(Filter{SQL: tt.sql})
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Evaluate(ev).Error; got != tt.want {
			t.Errorf("%s: %q, not %q", tt.sql, got, tt.want)
		}
	}
}

// TestSQLOfOrdinaryShapeIsIndexed pins which filters need no scan.
func TestSQLOfOrdinaryShapeIsIndexed(t *testing.T) {
	tests := []struct {
		sql  string
		want Class
	}{
		{`type = 'a'`, Indexed},
		{`'a' = type`, Indexed},
		{`type IN ('a', 'b') AND subject LIKE 'eu/%'`, Indexed},
		{`partitionkey IN ('a', 'b')`, Indexed},
		{`tenant = 'a' OR tenant LIKE '%x%'`, Indexed},
		{`attempt IN (1, 2)`, Indexed},
		{`type = 'a' AND attempt > 3`, Mixed},
		{`hop < ttl`, Mixed}, // by the attribute
		{`sequence = 5`, Mixed},
		{`LENGTH(type) = 3`, Scan},
		{`NOT EXISTS subject`, Scan},
	}
	env := mustEnv(t)
	for _, tt := range tests {
		m, err := env.Compile(Filter{SQL: tt.sql})
		if err != nil {
			t.Fatal(err)
		}
		if got := m.filter.class; got != tt.want {
			t.Errorf("%s is %s, not %s", tt.sql, got, tt.want)
		}
	}
}

// TestSQLCannotTakeLong holds the worst that expressions can do to a bound.
func TestSQLCannotTakeLong(t *testing.T) {
	long := strings.Repeat("a", 60<<10)
	ev := mustEvent(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t","ext":"`+long+`"}`)
	nested := "ext"
	for range 90 {
		nested = "CONCAT_WS(" + nested + strings.Repeat(", ''", 30) + ")"
	}
	tests := map[string]string{
		"a separator within a separator": "LENGTH(" + nested + ") = 1",
		"many readings of one text":      "LENGTH(ext) = 1" + strings.Repeat(" OR LENGTH(ext) = 1", 800),
		"many likes of one text":         "ext LIKE '%b%'" + strings.Repeat(" OR ext LIKE '%b%'", 800),
		"a like that looks again":        "ext LIKE '%" + strings.Repeat("a", 10<<10) + "_b%'",
	}
	env := mustEnv(t)
	for name, sql := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := env.Compile(Filter{SQL: sql})
			if err != nil {
				t.Fatal(err)
			}
			if r := m.Evaluate(ev); r.Error != errSQLWork.Error() {
				t.Errorf("%+v", r)
			}
		})
	}
}

func FuzzSQL(f *testing.F) {
	for _, s := range []string{`type = 'a'`, `NOT EXISTS subject AND hop IN (1, '2', ttl)`, `LENGTH(CONCAT_WS('-', id, "b")) >= -2147483648 % 3`,
		`type LIKE '%a\_b\%_' XOR hot`, `SUBSTRING(city, -2, 1) <> 'é'`, `'it''s' = "\""`, `(((`, `1-1--1=+1`, `a.b`, "\xff", `LEFT(city, 2147483647) != RIGHT(city, -1)`} {
		f.Add(s)
	}
	env := mustEnv(f)
	ev := mustEvent(f, sqlOrder)
	f.Fuzz(func(t *testing.T, source string) {
		m, err := env.Compile(Filter{SQL: source})
		if err != nil {
			var c *CompileError
			if !errors.As(err, &c) || c.Line < 1 || c.Column < 1 || c.Message == "" {
				t.Errorf("%q: %#v", source, err)
			} else {
				_ = c.Caret()
			}
			return
		}
		if source == "" {
			return
		}
		e, problems := parseSQL(source)
		if problems != nil {
			t.Fatalf("%q: %v", source, problems)
		}
		r := sqlRun{ev: ev}
		v, evalErr := r.eval(&e)
		got := m.Evaluate(ev)
		if evalErr == errSQLWork || got.Error == errSQLWork.Error() {
			return // parts have budgets of their own
		}
		want := fmt.Sprint(evalErr == nil && v.typ == sqlBoolean && v.num != 0, evalErr != nil || v.typ != sqlBoolean)
		if s := fmt.Sprint(got.Matched, got.Error != ""); s != want {
			t.Errorf("%q: %s (%s), the evaluator says %s (%v)", source, s, got.Error, want, evalErr)
		}
	})
}

// BenchmarkSQL needs no memory on filters of ordinary shape.
func BenchmarkSQL(b *testing.B) {
	env, ev := mustEnv(b), mustEvent(b, sqlOrder)
	for _, bench := range []struct{ name, sql string }{
		{"tests", `type = 'com.example.order.placed' AND subject LIKE 'eu/%' AND partitionkey IN ('j', 'k')`},
		{"evaluated", `hop < ttl AND INT(hop) < 1000 AND LENGTH(city) > 3 AND hot`},
	} {
		b.Run(bench.name, func(b *testing.B) {
			m, err := env.Compile(Filter{SQL: bench.sql})
			if err != nil {
				b.Fatal(err)
			}
			v := &view{ev: ev}
			b.ReportAllocs()
			for b.Loop() {
				if m.filter.eval(v) != yes {
					b.Fatal("no match")
				}
			}
		})
	}
}
