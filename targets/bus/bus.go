// Package bus is the target that publishes events to another bus of the same
// Switchyard. The publisher that it is given deduplicates on the delivery's id
// and limits how often an event is chained; the target adds nothing to that.
package bus

import (
	"context"
	"errors"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/targets"
)

const maxName = 63

// Config is the settings of a bus target.
type Config struct {
	Name string `yaml:"name" doc:"The bus of this Switchyard that events are published to."`
}

// NewConfig makes settings with the defaults filled in.
func NewConfig() *Config { return &Config{} }

// Spec describes the kind.
func Spec() targets.Spec {
	return targets.Spec{
		Spec: component.Spec{
			Kind:    "bus",
			Summary: "Publishes each event to another bus of this Switchyard.",
			Doc: "Chains buses: rules of the other bus see the event as this rule's transform left it. The event is " +
				"published once however often the delivery is attempted, and two rules may chain the same event to one " +
				"bus. An event that goes round in circles becomes a dead letter once it was chained too often, and so does " +
				"one that is too large for the other bus.",
		},
		New: func() targets.Config { return NewConfig() },
	}
}

// Validate implements component.Config.
func (c *Config) Validate(p *component.Problems) {
	switch {
	case c.Name == "":
		p.Add("is required; give the name of a bus", "name")
	case !validName(c.Name):
		p.Addf([]string{"name"}, "%q is not a name; use a lower-case letter or digit, then up to 62 lower-case letters, digits, '_', '.' or '-'", c.Name)
	}
}

// validName reports whether s matches [a-z0-9][a-z0-9_.-]{0,62}.
func validName(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case i > 0 && (c == '_' || c == '.' || c == '-'):
		default:
			return false
		}
	}
	return len(s) > 0 && len(s) <= maxName
}

type target struct {
	name      string
	publisher targets.Publisher
}

// Build implements targets.Config.
func (c *Config) Build(env targets.Env) (targets.Target, error) {
	if !validName(c.Name) {
		return nil, errors.New("name: is not the name of a bus")
	}
	if env.Publisher == nil {
		return nil, errors.New("there is no publisher to publish with")
	}
	return &target{name: c.Name, publisher: env.Publisher}, nil
}

// Start implements targets.Target.
func (t *target) Start(context.Context) error { return nil }

// Deliver implements targets.Target.
func (t *target) Deliver(ctx context.Context, d *targets.Delivery) error {
	return t.publisher.PublishDelivery(ctx, t.name, d)
}

// Close implements targets.Target.
func (t *target) Close() error { return nil }
