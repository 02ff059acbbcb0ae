package transform

import (
	"errors"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// attribute is one attribute that the block sets.
type attribute struct {
	name   string
	fixed  event.Value // without an expression
	set    bool        // false: it is removed
	text   *text       // with one, else nil
	native bool        // an attribute of the specification
}

// value is what the attribute gets for an event; set is false when it is
// removed.
func (a *attribute) value(r *run) (v event.Value, set bool, err error) {
	if a.text == nil {
		return a.fixed, a.set, nil
	}
	result, err := a.text.eval(r)
	if err != nil {
		return event.Value{}, false, err
	}
	if v, set, err = result.attribute(); err != nil {
		return event.Value{}, false, a.text.fail(err)
	}
	return normal(a.native, v), set, nil
}

// normal makes text of numbers and bools for the attributes of the
// specification.
func normal(native bool, v event.Value) event.Value {
	if native && (v.Kind() == event.KindInteger || v.Kind() == event.KindBoolean) {
		return event.StringValue(v.Text())
	}
	return v
}

func (a *attribute) apply(b *event.Builder, v event.Value, set bool) error {
	if !set {
		if required(a.name) {
			return errors.New("is required and cannot be null")
		}
		b.Unset(a.name)
		return nil
	}
	if a.native && a.name != "time" && v.Kind() == event.KindTimestamp {
		v = event.StringValue(v.Text())
	}
	return b.Set(a.name, v)
}

// fail makes an error that names the attribute.
func (a *attribute) fail(err error) error {
	var apply *ApplyError
	if errors.As(err, &apply) {
		return err
	}
	var d *event.DecodeError
	if errors.As(err, &d) {
		err = errors.New(d.Reason)
	}
	if a.text != nil {
		return a.text.fail(err)
	}
	return &ApplyError{Key: a.name, Err: err}
}

func required(name string) bool { return name == "id" || name == "source" || name == "type" }
