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
