package rules

// clause is a part of a filter as its author sees it: a condition, or several
// that are joined. Negations stand at the conditions.
type clause struct {
	kind  nodeKind // and, or, andThen, orElse, if, pattern; else a condition
	text  string   // of a condition
	test  node
	write *writer
	reads []read // what a residual looks at
	kids  []clause

	// What became of it for the event that is looked at.
	out     outcome
	needed  bool
	looked  bool
	decides bool
	failure error
}

// all appends the conditions in the order of the filter. A pattern is one, after
// its own, where these hold and it does not.
func (c *clause) all(dst []*clause) []*clause {
	if len(c.kids) == 0 {
		return append(dst, c)
	}
	for i := range c.kids {
		dst = c.kids[i].all(dst)
	}
	if c.apart() {
		dst = append(dst, c)
	}
	return dst
}

// apart reports whether a pattern does not match although each of its conditions
// holds for a value.
func (c *clause) apart() bool { return c.kind == patternNode && c.kids[0].out == yes && c.out == no }

// decisiveOutcome is what one kid says that decides for all, and inTurn whether
// a kid that fails does, too.
func (c *clause) decisiveOutcome() (decides outcome, inTurn bool) {
	switch c.kind {
	case andNode:
		return no, false
	case andThenNode:
		return no, true
	case orNode:
		return yes, false
	}
	return yes, true
}

// look evaluates the clause and what it consists of; needed says whether its
// outcome matters.
func (c *clause) look(x *Explainer, needed bool) outcome {
	c.needed, c.decides = needed, false
	switch {
	case len(c.kids) == 0:
		c.lookAt(x)
	case c.kind == ifNode:
		first := c.kids[0].look(x, needed)
		then := c.kids[1].look(x, needed && first == yes)
		other := c.kids[2].look(x, needed && first == no)
		switch c.out = first; first {
		case yes:
			c.out = then
		case no:
			c.out = other
		}
	case c.kind == patternNode:
		c.looked = true
		c.kids[0].look(x, needed)
		c.out = c.test.eval(&x.view)
	default:
		decides, inTurn := c.decisiveOutcome()
		stop := false
		c.out = decides.not()
		for i := range c.kids {
			o := c.kids[i].look(x, needed && !stop)
			switch {
			case stop:
			case o == decides || o == failure && inTurn:
				c.out, stop = o, true
			case o == failure:
				c.out = failure
			}
		}
	}
	return c.out
}

// lookAt evaluates a condition, unless it is costly and nobody asks.
func (c *clause) lookAt(x *Explainer) {
	v := &x.view
	c.looked = c.needed || x.whole || c.test.expense() == 0
	c.failure = nil
	if !c.looked {
		c.out = no
		return
	}
	if p := c.test.about(); p != nil && p.reach == reachAll {
		c.out = c.anyValue(v, p)
		return
	}
	if c.out = c.test.eval(v); c.out == failure {
		c.failure = c.test.failed(v)
	}
}

// anyValue is whether the condition holds for one of the values at a place of a
// pattern.
func (c *clause) anyValue(v *view, p *place) outcome {
	values := v.every(p)
	if len(values) == 0 {
		return c.test.on(&value{})
	}
	for i := range values {
		if c.test.on(&values[i]) == yes {
			return yes
		}
	}
	return no
}

// misses is how many conditions keep the clause from saying yes.
func (c *clause) misses() int {
	if c.out == yes {
		return 0
	}
	n := 0
	switch {
	case len(c.kids) == 0:
		return 1
	case c.kind == ifNode:
		switch c.kids[0].out {
		case yes:
			return c.kids[1].misses()
		case no:
			return c.kids[2].misses()
		}
		return 1
	case c.kind == orNode || c.kind == orElseNode:
		n = c.kids[0].misses()
		for i := range c.kids {
			n = min(n, c.kids[i].misses())
		}
	default:
		for i := range c.kids {
			n += c.kids[i].misses()
		}
	}
	return max(n, 1)
}

// decisive appends the conditions that made the clause say what it says: the
// first that did it alone, or all.
func (c *clause) decisive(dst []*clause) []*clause {
	switch {
	case len(c.kids) == 0:
		return append(dst, c)
	case c.kind == ifNode:
		switch c.kids[0].out {
		case yes:
			return c.kids[1].decisive(dst)
		case no:
			return c.kids[2].decisive(dst)
		}
		return c.kids[0].decisive(dst)
	case c.apart():
		return append(dst, c)
	case c.kind == patternNode:
		return c.kids[0].decisive(dst)
	}
	decides, inTurn := c.decisiveOutcome()
	if c.out != decides.not() {
		for i := range c.kids {
			if o := c.kids[i].out; o == c.out || inTurn && o != decides.not() {
				return c.kids[i].decisive(dst)
			}
		}
	}
	for i := range c.kids {
		dst = c.kids[i].decisive(dst)
	}
	return dst
}

// condition is the clause as it is shown.
func (c *clause) condition(x *Explainer) Condition {
	out := Condition{Text: c.text, Value: c.value(x), Note: c.note(x), Decides: c.decides, NotNeeded: !c.needed}
	switch {
	case !c.looked:
		out.Outcome = OutcomeNotEvaluated
	case c.out == yes:
		out.Outcome = OutcomeTrue
	case c.out == no:
		out.Outcome = OutcomeFalse
	default:
		out.Outcome = OutcomeFailed
	}
	return out
}

func (c *clause) sentence(x *Explainer) string { return c.text + ": " + c.note(x) }
