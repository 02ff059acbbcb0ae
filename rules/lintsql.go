package rules

import "strings"

// lintSQL looks at a CloudEvents SQL expression.
func (l *linter) lintSQL() {
	parsed, problems := parseSQL(l.source)
	if len(problems) > 0 {
		return
	}
	l.readsSQL(l.source, claim{})
	parsed.fold()
	s := sqlLowering{env: l.env, source: l.source}
	l.check(l.claimSQL(&s, &parsed))
}

// claimSQL is an expression as a claim; it is taken apart as lowering does.
func (l *linter) claimSQL(s *sqlLowering, e *sqlExpr) *claim {
	place := problemAt(l.source, int(e.start), "", "")
	at := claim{line: place.Line, column: place.Column, text: l.source[e.start:e.end]}
	switch e.op {
	case sqlAnd:
		at.kind = andThenNode
	case sqlOr:
		at.kind = orElseNode
	case sqlNot:
		at.kind = notNode
	default:
		n := s.condition(e)
		return l.claimOf(&n, at)
	}
	for i := range e.args {
		at.kids = append(at.kids, l.claimSQL(s, &e.args[i]))
	}
	return &at
}

// readsSQL looks at what each part of an expression reads and compares: it warns
// of slips in names and of parts that always fail, and notes the attributes that
// are wanted. The expression stands at a pointer within filters, or else is the
// source itself.
func (l *linter) readsSQL(source string, within claim) {
	parsed, problems := parseSQL(source)
	if len(problems) > 0 {
		return
	}
	at := func(e *sqlExpr) *claim {
		c := within
		c.text = source[e.start:e.end]
		if c.pointer == "" {
			place := problemAt(source, int(e.start), "", "")
			c.line, c.column = place.Line, place.Column
		}
		return &c
	}
	asked := map[string]bool{}
	parsed.walk(func(e *sqlExpr) {
		if e.op == sqlExists {
			asked[e.name] = true
		}
	})
	parsed.walk(func(e *sqlExpr) {
		if near := nearAttribute(e.name); near != "" && near != "data" {
			l.slip(at(e), e.name, near)
		}
		if e.op == sqlAttribute && strings.EqualFold(e.name, "null") {
			l.warn(at(e), "NOT EXISTS subject asks for one that is not set", "NULL is the name of an attribute here")
		}
		if e.op == sqlAttribute && !asked[e.name] {
			c := at(e)
			c.kind, c.test = testNode, &node{kind: testNode, place: l.env.places.of(reachText, e.name, nil)}
			l.wanted = append(l.wanted, c)
		}
		if why, hint := e.fails(source); why != "" {
			c := at(e)
			l.warn(c, hint, "%s always fails: %s", l.show(c), why)
		}
	})
}

// fails says why the expression fails on every event, "" if it may not, or if
// something in it does.
func (e *sqlExpr) fails(source string) (why, hint string) {
	switch e.op {
	case sqlLess, sqlAtMost, sqlGreater, sqlAtLeast, sqlAdd, sqlSubtract, sqlMultiply, sqlDivide, sqlModulo, sqlNegate:
	default:
		return "", ""
	}
	var run sqlRun
	for i := range e.args {
		a := &e.args[i]
		text := source[a.start:a.end]
		_, err := run.cast(a.value, sqlInt32)
		switch {
		case a.op == sqlAttribute && a.name == "time", a.op == sqlAttribute && a.name == "specversion":
		case a.op == sqlLiteral && err != nil:
		case i == 1 && a.op == sqlLiteral && a.value.num == 0 && a.value.typ == sqlInt32 && (e.op == sqlDivide || e.op == sqlModulo):
			return "it divides by 0", ""
		default:
			continue
		}
		hint = "texts can be compared with = and LIKE; when has an order of texts and times"
		for j := range e.args {
			if e.args[j].name == "time" && len(e.args) == 2 && e.args[1-j].op == sqlLiteral {
				hint = `in when, write event.time > timestamp("` + strings.Trim(e.args[1-j].value.text, `"`) + `")`
			}
		}
		return "it is for whole numbers, and " + text + " is none", hint
	}
	return "", ""
}
