package transform

import (
	"fmt"
	"slices"
)

// reading notes that something reads answers of enrichments.
func (c *compiler) reading(names []string) {
	if c.used == nil {
		c.used = map[string]bool{}
	}
	for _, name := range names {
		c.used[name] = true
	}
}

// reads is the answers that are read, in order.
func (c *compiler) reads() []string {
	var names []string
	for name := range c.used {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// notGiven is the error for an answer that is not there. A delivery has them
// all, so this is for whoever tries a rule out.
func notGiven(name string) error {
	return &ApplyError{Err: fmt.Errorf("enriched.%s is not known: nothing is called where a rule is tried out; "+
		"give what the call would answer, as enriched: {%s: ...}", name, name)}
}
