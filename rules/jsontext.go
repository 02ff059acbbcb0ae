package rules

import (
	"encoding/json"
	"strconv"
	"strings"
)

// jsonText reads through JSON text that is known to be valid, and knows where
// things stand in it.
type jsonText struct {
	text string
	at   int
}

// start goes to where the next value begins.
func (j *jsonText) start() int {
	for j.at < len(j.text) && strings.IndexByte(" \t\r\n,:", j.text[j.at]) >= 0 {
		j.at++
	}
	return j.at
}

// peek is the first byte of the next value, or the end of a container.
func (j *jsonText) peek() byte { return j.text[j.start()] }

// emptyContainer reports whether the next value, an array or an object, is empty.
func (j *jsonText) emptyContainer() bool {
	rest := strings.TrimLeft(j.text[j.start()+1:], " \t\r\n")
	return rest[0] == ']' || rest[0] == '}'
}

// array calls f for each element, which f takes.
func (j *jsonText) array(f func(i int)) {
	j.start()
	j.at++
	for i := 0; j.peek() != ']'; i++ {
		f(i)
	}
	j.at++
}

// object calls f for each member, whose value f takes.
func (j *jsonText) object(f func(key string, keyAt int)) {
	j.start()
	j.at++
	for j.peek() != '}' {
		at := j.at
		f(j.string(), at)
	}
	j.at++
}

// raw takes a value as it is written.
func (j *jsonText) raw() string {
	from := j.start()
	depth := 0
	for {
		switch j.text[j.at] {
		case '"':
			j.at = j.stringEnd(j.at)
		case '[', '{':
			depth++
			j.at++
		case ']', '}':
			depth--
			j.at++
		case ' ', '\t', '\r', '\n', ',', ':':
			j.at++
			continue
		default:
			for j.at < len(j.text) && strings.IndexByte(" \t\r\n,:]}", j.text[j.at]) < 0 {
				j.at++
			}
		}
		if depth == 0 {
			return j.text[from:j.at]
		}
	}
}

func (j *jsonText) skip() { j.raw() }

func (j *jsonText) stringEnd(at int) int {
	for at++; j.text[at] != '"'; at++ {
		if j.text[at] == '\\' {
			at++
		}
	}
	return at + 1
}

// string takes a string.
func (j *jsonText) string() string {
	from := j.start()
	j.at = j.stringEnd(from)
	return unquoteJSON(j.text[from:j.at])
}

func unquoteJSON(raw string) string {
	if strings.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	var s string
	if json.Unmarshal([]byte(raw), &s) != nil {
		return "" // for text that is not valid
	}
	return s
}

// within is where the byte at offset of the decoded string that begins at start
// stands in the text.
func (j *jsonText) within(start, offset int) int {
	at := start + 1
	for offset > 0 && j.text[at] != '"' {
		n := 1
		if j.text[at] == '\\' {
			n = 2
			if j.text[at+1] == 'u' {
				n = 6
				if u, err := strconv.ParseUint(j.text[at+2:at+6], 16, 16); err == nil && u >= 0xd800 && u < 0xdc00 {
					n = 12
				}
			}
			offset -= len(unquoteJSON(`"` + j.text[at:at+n] + `"`))
		} else {
			offset--
		}
		at += n
	}
	return at
}

// pointerToken is a key as a part of a JSON pointer.
func pointerToken(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}
