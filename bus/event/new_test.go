package event_test

import (
	"testing"

	"github.com/switchyard-dev/switchyard/bus/event"
)

func TestNewMakesAnEventOfAGoValue(t *testing.T) {
	type order struct {
		Total int `json:"total"`
	}
	e, err := event.New("/shop", "1", "order.placed", order{150})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"specversion":"1.0","id":"1","source":"/shop","type":"order.placed","datacontenttype":"application/json","data":{"total":150}}`
	if got := string(event.AppendStructured(nil, e)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for name, bad := range map[string]func() (*event.Event, error){
		"no id":                    func() (*event.Event, error) { return event.New("/shop", "", "order.placed", nil) },
		"no source":                func() (*event.Event, error) { return event.New("", "1", "order.placed", nil) },
		"data that cannot be JSON": func() (*event.Event, error) { return event.New("/shop", "1", "order.placed", func() {}) },
	} {
		if _, err := bad(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
