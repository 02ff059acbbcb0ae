package rules

// Class says how the events that a filter matches are found among the filters
// of a bus.
type Class uint8

const (
	// Indexed: by an index, and then by comparisons alone.
	Indexed Class = iota
	// Mixed: by an index, and then by a part that is evaluated as CEL.
	Mixed
	// Scan: the filter is evaluated on every event of its bus.
	Scan
)

// String is indexed, mixed or scan.
func (c Class) String() string {
	switch c {
	case Indexed:
		return "indexed"
	case Mixed:
		return "mixed"
	}
	return "scan"
}

// Class says how the Matcher's filter is found, and why it is not by an index
// alone when it is not.
func (m *Matcher) Class() (Class, string) {
	c := m.IndexClass()
	switch {
	case m.filter == nil:
		return c, "there is no filter, so every event of the bus matches"
	case c == Mixed:
		return c, "after the index, a part of it is evaluated as an expression: " + m.partText()
	case c == Scan:
		return c, "it is evaluated on every event of the bus, for nothing in it has to hold that an index could find; " +
			"join it to a comparison, such as " + m.filter.suggestion()
	}
	return c, ""
}

// IndexClass is the class without the reason, which takes time to find.
func (m *Matcher) IndexClass() Class {
	if m.filter == nil {
		return Scan
	}
	return m.filter.class
}

// partText is the first part of the filter that is evaluated as an expression.
func (m *Matcher) partText() string {
	text := m.filter.tree().residuals(nil)[0].text()
	if redact := m.redaction(); redact != nil {
		text = redact(text)
	}
	return shorten(text)
}

// suggestion is a comparison that an index finds.
func (f *filter) suggestion() string {
	switch f.dialect {
	case inPattern:
		return `"detail-type": ["…"]`
	case inFilters:
		return `{"exact": {"type": "…"}}`
	case inSQL:
		return "type = '…' AND …"
	}
	return `event.type == "…" && …`
}

func classOf(root *node) Class {
	c := root.cover(counting{})
	switch {
	case !c.known:
		return Scan
	case len(root.residuals(nil)) > 0:
		return Mixed
	}
	return Indexed
}
