package event

import (
	"encoding/json"
	"fmt"
)

// New makes an event of a Go value, which becomes its data as encoding/json
// writes it. source and id identify the event; a Builder sets more attributes.
// The error names the attribute that is not as CloudEvents asks, or says why
// data cannot be JSON.
func New(source, id, typ string, data any) (*Event, error) {
	raw, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("data of the event: %w", err)
	}
	b := NewBuilder()
	for _, a := range [...]struct{ name, value string }{{"source", source}, {"id", id}, {"type", typ}} {
		if err := b.Set(a.name, StringValue(a.value)); err != nil {
			return nil, err
		}
	}
	b.SetJSON(raw)
	return b.Build()
}
