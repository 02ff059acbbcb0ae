// Package log is the target that prints events, for people (format text) or
// for programs (format json). It is where a first rule is tried out.
//
// An event is printed with one write. Targets that share an output take no
// lock together, so the output must be safe for concurrent use, as a file is.
package log

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets"
)

// The formats of Config.Format.
const (
	// Text is a line about the event and its data, indented, below.
	Text = "text"
	// JSON is the whole event as one line of the CloudEvents JSON format.
	JSON = "json"
)

// Config is the settings of a log target.
type Config struct {
	Format string `yaml:"format" enum:"text,json" doc:"How an event is printed: text (for people, long data is cut) or json (one structured CloudEvent a line)."`
}

// NewConfig makes settings with the defaults filled in.
func NewConfig() *Config { return &Config{Format: Text} }

// Spec describes the kind.
func Spec() targets.Spec {
	return targets.Spec{
		Spec: component.Spec{
			Kind:    "log",
			Summary: "Prints each event on standard output.",
			Doc: "In the `text` format, a line has the time at which the bus took the event, the subscription, the type, " +
				"the id and the subject; the data stands indented below it, cut after 4 KiB, and control characters are " +
				"shown as escapes. In the `json` format, each line is one event in the CloudEvents JSON format, complete.\n\n" +
				"When the output cannot be written to, the delivery is tried again.",
		},
		New: func() targets.Config { return NewConfig() },
	}
}

// Validate implements component.Config.
func (c *Config) Validate(p *component.Problems) {
	if c.Format != Text && c.Format != JSON {
		p.Addf([]string{"format"}, "%q is not a format; use text or json", c.Format)
	}
}

type target struct {
	json bool
	out  io.Writer
	free chan struct{} // holds a token while nobody writes
}

// Build implements targets.Config.
func (c *Config) Build(env targets.Env) (targets.Target, error) {
	if c.Format != Text && c.Format != JSON {
		return nil, fmt.Errorf("format: %q is not a format", c.Format)
	}
	if env.Out == nil {
		return nil, errors.New("there is no output to print to")
	}
	t := &target{json: c.Format == JSON, out: env.Out, free: make(chan struct{}, 1)}
	t.free <- struct{}{}
	return t, nil
}

// Start implements targets.Target.
func (t *target) Start(context.Context) error { return nil }

// Close implements targets.Target.
func (t *target) Close() error { return nil }

// Deliver implements targets.Target. An output that blocks holds up one
// goroutine until it is free again; deliveries give up when their ctx is done.
func (t *target) Deliver(ctx context.Context, d *targets.Delivery) error {
	var text []byte
	if t.json {
		text = appendLine(nil, d.Event)
	} else {
		text = appendText(nil, d)
	}
	select {
	case <-t.free:
	case <-ctx.Done():
		return fmt.Errorf("the output is blocked: %w", ctx.Err())
	}
	written := make(chan error, 1)
	go func() {
		_, err := t.out.Write(text)
		t.free <- struct{}{}
		written <- err
	}()
	select {
	case err := <-written:
		if err != nil {
			return fmt.Errorf("printing: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the output is blocked: %w", ctx.Err())
	}
}

// appendLine appends the event on one line. Line breaks can stand only between
// the tokens of its data, where a space means the same.
func appendLine(dst []byte, e *event.Event) []byte {
	dst = event.AppendStructured(dst, e)
	for i, c := range dst {
		if c == '\n' || c == '\r' {
			dst[i] = ' '
		}
	}
	return append(dst, '\n')
}
