package transform

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// bridgePath is a path of EventBridge: $, then names after dots, indexes in
// brackets, and wildcards, which make a list of what they find. Names may also
// stand in brackets and quotes.
type bridgePath struct {
	text  string
	steps []pathStep
}

type pathStep struct {
	name  string
	index int  // of an array, with neither name nor all
	named bool // it is a name
	all   bool // a wildcard
}

const maxPath = 256 // in bytes

// parsePath reads a path. An error comes with its offset.
func parsePath(s string) (p bridgePath, offset int, err error) {
	p.text = s
	switch {
	case len(s) > maxPath:
		return p, 0, fmt.Errorf("the path is %d bytes long; at most %d", len(s), maxPath)
	case s == "" || s[0] != '$':
		return p, 0, errors.New("a path begins with $, such as $.detail.id")
	}
	for i := 1; i < len(s); {
		start := i
		switch s[i] {
		case '.':
			i++
			end := i
			for end < len(s) && s[end] != '.' && s[end] != '[' {
				end++
			}
			name := s[i:end]
			if bad := strings.IndexFunc(name, unusualInPath); bad >= 0 {
				return p, i + bad, fmt.Errorf("%q cannot stand in a path; write names with it as ['...']", name[bad:bad+1])
			}
			switch name {
			case "":
				return p, start, errors.New("a name or * should stand after the dot")
			case "*":
				p.steps = append(p.steps, pathStep{all: true})
			default:
				p.steps = append(p.steps, pathStep{named: true, name: name})
			}
			i = end
		case '[':
			end := strings.IndexByte(s[i:], ']')
			if end < 0 {
				return p, start, errors.New("the bracket is not closed")
			}
			inside := s[i+1 : i+end]
			step, err := bracketStep(inside)
			if err != nil {
				return p, start, err
			}
			p.steps = append(p.steps, step)
			i += end + 1
		default:
			return p, start, errors.New("a dot or a bracket should stand here")
		}
	}
	return p, 0, nil
}

func bracketStep(s string) (pathStep, error) {
	if s == "*" {
		return pathStep{all: true}, nil
	}
	if n := len(s); n > 2 && (s[0] == '\'' || s[0] == '"') && s[n-1] == s[0] {
		return pathStep{named: true, name: s[1 : n-1]}, nil
	}
	i, err := strconv.Atoi(s)
	if err != nil || i < 0 || i > 1<<30 {
		return pathStep{}, fmt.Errorf("%q is not supported in a path; there are names, indexes and *", "["+s+"]")
	}
	return pathStep{index: i}, nil
}

// unusualInPath reports what EventBridge does not take in a name.
func unusualInPath(r rune) bool {
	return r < 0x80 && !strings.ContainsRune("_-/*@:", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}

// resolve is what the path leads to, the zero Node if that is nothing.
func (p bridgePath) resolve(r *run) event.Node {
	var found []event.Node
	steps := p.steps
	if len(steps) > 0 && steps[0].named {
		found = []event.Node{r.bridgeMember(steps[0].name)}
		steps = steps[1:]
	} else {
		found = []event.Node{r.bridgeEvent(true)}
	}
	many := false
	for _, s := range steps {
		many = many || s.all
		var next []event.Node
		for _, n := range found {
			next = s.append(next, n)
		}
		found = next
	}
	if !many {
		if len(found) == 0 {
			return event.Node{}
		}
		return found[0]
	}
	dst := []byte{'['}
	for i, n := range found {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, n.Raw()...)
	}
	return jsonNode(append(dst, ']'))
}

// append appends what a step leads to from n.
func (s pathStep) append(dst []event.Node, n event.Node) []event.Node {
	switch {
	case s.all && n.Kind() == event.Array:
		for v := range n.Elements() {
			dst = append(dst, v)
		}
	case s.all && n.Kind() == event.Object:
		for _, v := range n.Entries() {
			dst = append(dst, v)
		}
	case s.all:
	case s.named:
		if v, ok := n.Get(s.name); ok {
			dst = append(dst, v)
		}
	default:
		if v, ok := n.Index(s.index); ok {
			dst = append(dst, v)
		}
	}
	return dst
}
