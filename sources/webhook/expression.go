package webhook

import (
	"errors"
	"fmt"
	"strings"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/rules"
)

// expression chooses one attribute in place of the preset.
type expression struct {
	attribute, text string
	program         *rules.RequestExpr
}

// compileExpressions compiles those that are set.
func compileExpressions(e Event) ([]expression, error) {
	var all []expression
	var env *rules.RequestEnv
	for _, f := range e.fields() {
		if f.text == "" {
			continue
		}
		if env == nil {
			var err error
			if env, err = rules.NewRequestEnv(); err != nil {
				return nil, err
			}
		}
		program, err := env.Compile(f.text)
		if err != nil {
			return nil, fmt.Errorf("event.%s: %w", f.attribute, err)
		}
		all = append(all, expression{f.attribute, f.text, program})
	}
	return all, nil
}

// validate reports what is wrong with each expression, and where in it.
func (e *Event) validate(p *component.Problems) {
	env, err := rules.NewRequestEnv()
	if err != nil {
		p.Add(err.Error(), "event")
		return
	}
	for _, f := range e.fields() {
		if f.text == "" {
			continue
		}
		_, err := env.Compile(f.text)
		for _, one := range parts(err) {
			problem := component.Problem{Path: []string{"event", f.attribute}, Message: one.Error()}
			var place *rules.CompileError
			if errors.As(one, &place) {
				problem.Message, problem.Line, problem.Column = place.Message, place.Line, place.Column
				if place.Hint != "" {
					problem.Message += "; " + place.Hint
				}
			}
			p.All = append(p.All, problem)
		}
	}
}

// parts are the errors that were joined in err.
func parts(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// seen is the request as expressions see it.
func (r *request) seen() rules.Request {
	headers := make(map[string]string, len(r.header))
	for name, values := range r.header {
		headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	query := make(map[string]string, len(r.query))
	for name, values := range r.query {
		query[name] = values[0]
	}
	return rules.Request{Headers: headers, Query: query, Body: r.tree, Raw: r.raw}
}
