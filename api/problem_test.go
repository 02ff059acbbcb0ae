package api_test

import (
	"fmt"
	"testing"
)

func TestProblemsPointAtTheFieldAtFault(t *testing.T) {
	s := newServer(t)
	const (
		replay = "/v1/buses/orders/replay"
		dead   = "/v1/subscriptions/big/t/deadletters"
		seek   = "/v1/subscriptions/big/t/seek"
	)
	s.call("POST", "/v1/buses/orders/events", eventJSON("1", ""), "Content-Type", structured)
	for _, c := range []struct {
		path, body, pointer, detail string
	}{
		{"/v1/transactions", `{"bus": "orders", "events": []}`, "/events", "it has no events"},
		{"/v1/transactions", `{"bus": "orders", "events": [` + eventJSON("2", "") + `], "checkURL": "http://127.0.0.1/"}`, "/checkURL", "nothing here can ask at a checkURL"},
		{"/v1/transactions", `{"bus": "nope", "events": [` + eventJSON("2", "") + `]}`, "/events/0", `there is no bus "nope"`},
		{replay, `{"rules": ["big", "nope"]}`, "/rules/1", `bus "orders" has no rule "nope"`},
		{replay, `{"name": "No Name"}`, "/name", `"No Name" cannot be a name; use up to 63 of a-z, 0-9, _, . and -, beginning with a letter or a digit`},
		{replay, `{"from": 9}`, "/from", `bus "orders" holds no event in that range; it holds 1 to 1`},
		{replay, `{"when": "event."}`, "/when", ""},
		{dead + "/redrive", `{"when": "event."}`, "/when", ""},
		{dead + "/purge", `{"ids": ["nonsense"]}`, "/ids/0", "not a delivery id"},
		{seek, `{"to": 9}`, "/to", `bus "orders" has no sequence 9 yet; its last is 1, and "end" is after that`},
		{seek, `{"to": "2999-01-01T00:00:00Z"}`, "/to", "2999-01-01T00:00:00Z is yet to come"},
	} {
		t.Run(fmt.Sprintf("%s %.60s", c.path, c.body), func(t *testing.T) {
			res, body := s.call("POST", c.path, c.body, "Content-Type", "application/json")
			status := 400
			if c.pointer == "/events/0" {
				status = 404
			}
			p := s.problemOf(res, body, status)
			if len(p.Errors) != 1 || p.Errors[0].Pointer != c.pointer || c.detail != "" && p.Errors[0].Detail != c.detail {
				t.Errorf("it points at %+v", p.Errors)
			}
		})
	}
}

func TestTransactionsAreListedByAStateThatThereIs(t *testing.T) {
	s := newServer(t)
	for _, state := range []string{"open", "parked", "committed", "rolledback"} {
		if res, body := s.call("GET", "/v1/transactions?state="+state, ""); res.StatusCode != 200 {
			t.Errorf("%s is refused: %s", state, body)
		}
	}
	res, body := s.call("GET", "/v1/transactions?state=done", "")
	if p := s.problemOf(res, body, 400); p.Detail != `state="done" is none of open, parked, committed, rolledback` {
		t.Errorf("a state that there is not: %s", body)
	}
}
