package transform

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/itchyny/gojq"
	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// enrichedVariable has the answers of a rule's enrichments.
const enrichedVariable = "$enriched"

// maxProgram is how long a jq program may be, in bytes.
const maxProgram = 16 << 10

// jq is data that a jq program makes. The program gets the event in the JSON
// format of CloudEvents and must result in exactly one value.
//
// Numbers that it passes on keep their digits; whole numbers that it computes
// are exact, others are doubles. It has neither the environment nor files nor
// further inputs nor a clock. How it is bounded stands in jqbound.go.
type jq struct {
	code     *gojq.Code
	declared bool // it has the variable $enriched
	enriched bool // and reads it
}

// jq compiles a program.
func (c *compiler) jq(n *yaml.Node) template {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		c.report(n, formJQ, "a jq program is text; quote it, or write it as a block with |")
		return literal("null")
	}
	if len(n.Value) > maxProgram {
		c.report(n, formJQ, "the program is %d bytes long; at most %d", len(n.Value), maxProgram)
		return literal("null")
	}
	if strings.TrimSpace(n.Value) == "" {
		c.report(n, formJQ, "the program is empty; . is the whole event")
		return literal("null")
	}
	var variables []string
	if len(c.enriched) > 0 {
		variables = []string{enrichedVariable}
	}
	code, err := compileJQ(n.Value, variables...)
	if err != nil {
		c.jqProblem(n, err)
		return literal("null")
	}
	c.lintJQ(n)
	enriched := len(c.enriched) > 0 && strings.Contains(n.Value, enrichedVariable)
	if enriched {
		c.reading(c.enriched) // which of them is not known
	}
	return jq{code: code, declared: len(c.enriched) > 0, enriched: enriched}
}

// jqProblem reports what is wrong with a program where it stands, if that is
// known.
func (c *compiler) jqProblem(n *yaml.Node, err error) {
	var parse *gojq.ParseError
	var word *wordError
	message, offset := err.Error(), 0
	switch {
	case errors.As(err, &parse):
		// The end of the token that cannot be there.
		offset = min(max(parse.Offset-len(parse.Token), 0), len(n.Value))
		message = "syntax error: " + message
	case errors.As(err, &word):
		offset = word.in(n.Value)
	default:
		// gojq names the function or variable in quotes or at the end.
		if _, name, ok := strings.Cut(message, "not defined: "); ok {
			name, _, _ = strings.Cut(name, "/")
			offset = (&wordError{word: name}).in(n.Value)
		}
	}
	c.reportIn(n, offset, formJQ, message)
}

func compileJQ(source string, variables ...string) (*gojq.Code, error) {
	q, err := gojq.Parse(source)
	if err != nil {
		return nil, err
	}
	if err := boundJQ(q); err != nil {
		return nil, err
	}
	return gojq.Compile(q, jqOptions(variables...)...)
}

func (j jq) appendJSON(dst []byte, r *run) ([]byte, error) {
	fail := func(err error) ([]byte, error) { return dst, &ApplyError{Key: formJQ, Err: err} }
	input, err := jqInput(r.ev)
	if err != nil {
		return fail(err)
	}
	variables, err := j.variables(r)
	if err != nil {
		return fail(err)
	}
	out, err := j.result(dst, newJQRun(r), input, r.limit, variables...)
	if err != nil {
		return fail(err)
	}
	return out, nil
}

// variables is the value of $enriched, if the program has it.
func (j jq) variables(r *run) ([]any, error) {
	switch {
	case !j.declared:
		return nil, nil
	case !j.enriched:
		return []any{nil}, nil
	}
	v, err := jqValue(r.context.enriched().Raw())
	if err != nil {
		return nil, err
	}
	return []any{v}, nil
}

// result appends the one result of a run.
func (j jq) result(dst []byte, b *jqRun, input any, limit int, variables ...any) ([]byte, error) {
	results := j.code.RunWithContext(b, input, append([]any{b}, variables...)...)
	v, ok := results.Next()
	if !ok {
		return dst, errors.New("the program results in nothing; it must result in one value, which // can stand in for")
	}
	if err, failed := v.(error); failed {
		return dst, jqError(err)
	}
	if second, more := results.Next(); more {
		if err, failed := second.(error); failed {
			return dst, jqError(err)
		}
		return dst, errors.New("the program results in more than one value; put them in an array: [ ... ]")
	}
	return appendJQ(dst, v, limit, 0)
}

// jqInput is the event as jq sees it.
func jqInput(ev *event.Event) (any, error) { return jqValue(event.AppendStructured(nil, ev)) }

// jqValue is JSON text as jq sees it.
func jqValue(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("the event cannot be read: %w", err)
	}
	return v, nil
}

// jqError puts an error of gojq in our words.
func jqError(err error) error {
	var halt *gojq.HaltError
	if errors.As(err, &halt) {
		if halt.Value() == nil {
			return errors.New("the program halted; it must result in one value")
		}
		return fmt.Errorf("the program halted: %s", gojq.Preview(halt.Value()))
	}
	return err
}
