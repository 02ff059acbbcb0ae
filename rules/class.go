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
	if m.filter == nil {
		return Scan, "there is no filter, so every event of the bus matches"
	}
	switch c := m.filter.class; c {
	case Mixed:
		return c, "after the index, a part of it is evaluated as an expression: " + shorten(m.filter.root.residuals(nil)[0].text())
	case Scan:
		return c, "it is evaluated on every event of the bus, for nothing in it has to hold that an index could find; " +
			"begin it with a comparison, such as event.type == \"…\" && …"
	}
	return Indexed, ""
}

func classOf(root *node) Class {
	c := root.cover(yes, counting{})
	switch {
	case !c.known:
		return Scan
	case len(root.residuals(nil)) > 0:
		return Mixed
	}
	return Indexed
}
