package event_test

import (
	"fmt"
	"net/http"

	"github.com/switchyard-dev/switchyard/bus/event"
)

func ExampleFromHTTP() {
	header := http.Header{}
	header.Set("Content-Type", "application/cloudevents-batch+json")
	body := `[{"specversion":"1.0","id":"1","source":"/shop","type":"order.placed","data":{"total":150}},
		{"specversion":"1.0","id":"2","source":"/shop","type":"order.placed","time":"yesterday"}]`
	_, _, err := event.FromHTTP(header, []byte(body), event.Limits{})
	fmt.Println(err)
	// Output: batch member 1: attribute "time": "yesterday" is not an RFC 3339 time (at byte 171)
}

func ExampleBuilder() {
	b := event.NewBuilder()
	for name, value := range map[string]string{"id": "1", "source": "/shop", "type": "order.placed"} {
		if err := b.Set(name, event.StringValue(value)); err != nil {
			fmt.Println(err)
		}
	}
	b.SetJSON([]byte(`{"total":150}`))
	e, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	total, _ := e.Tree().Root().Get("total")
	fmt.Println(total.Float())
	fmt.Printf("%s\n", event.AppendStructured(nil, e))
	// Output:
	// 150
	// {"specversion":"1.0","id":"1","source":"/shop","type":"order.placed","datacontenttype":"application/json","data":{"total":150}}
}
