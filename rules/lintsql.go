package rules

// lintSQL looks at a CloudEvents SQL expression.
func (l *linter) lintSQL() {
	parsed, problems := parseSQL(l.source)
	if len(problems) > 0 {
		return
	}
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
		e.walk(func(e *sqlExpr) {
			if near := nearAttribute(e.name); near != "" && near != "data" {
				place := problemAt(l.source, int(e.start), "", "")
				l.slip(&claim{line: place.Line, column: place.Column}, e.name, near)
			}
		})
		n := s.condition(e)
		return l.claimOf(&n, at)
	}
	for i := range e.args {
		at.kids = append(at.kids, l.claimSQL(s, &e.args[i]))
	}
	return &at
}
