package webhook

import (
	"errors"

	"github.com/switchyard-dev/switchyard/bus/component"
)

type expression struct {
	attribute, text string
	program         func(*values) (string, error)
}

func (x *expression) eval(v *values) (string, error) { return x.program(v) }

type values struct{ request *request }

func newValues(r *request) *values { return &values{r} }

func checkExpression(p *component.Problems, text string, path ...string) {
}

func compileExpressions(e Event) ([]expression, error) {
	for _, f := range e.fields() {
		if f.text != "" {
			return nil, errors.New("not yet")
		}
	}
	return nil, nil
}
