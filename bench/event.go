package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// The event of all benchmarks: an order, about 1 KB of data and 1.3 KB as JSON.
// Its id has always idDigits digits, so that it can be replaced in place.
const (
	idDigits  = 20
	noID      = "00000000000000000000"
	keyDigits = 9
	firstKey  = "k000000000" // key 0, which other keys replace in place
	eventHead = `{"specversion":"1.0","id":"` + noID + `","source":"https://shop.example.com/orders",` +
		`"type":"com.example.order.placed","subject":"eu/de/12345","time":"2026-11-05T17:31:00.123456Z",` +
		`"partitionkey":"` + firstKey + `","datacontenttype":"application/json","data":`
	eventItems = 11
	idOffset   = len(`{"specversion":"1.0","id":"`)
)

// keyOffset is where the key's digits are.
var keyOffset = strings.Index(eventHead, firstKey) + 1

// structured is the event as JSON, with noID as its id.
func structured() []byte {
	var b bytes.Buffer
	b.WriteString(eventHead)
	b.WriteString(`{"id":"ord_01HZX3V8K2","total":150.25,"currency":"EUR",` +
		`"customer":{"id":7,"name":"Ada Lovelace","vip":true,"tags":["eu","b2b"]},"items":[`)
	for i := range eventItems {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"sku":"SKU-%04d","quantity":%d,"price":%d.5,"note":"packed with care, by hand"}`, i, i+1, 10*i)
	}
	b.WriteString(`],"comment":null}}`)
	return b.Bytes()
}

// batch is n such events as one JSON batch, with the places of their ids.
func batch(n int) (body []byte, ids []int) {
	one := structured()
	body = append(body, '[')
	for i := range n {
		if i > 0 {
			body = append(body, ',')
		}
		ids = append(ids, len(body)+idOffset)
		body = append(body, one...)
	}
	return append(body, ']'), ids
}

// template makes stored events that differ in their ids.
type template struct {
	encoded []byte
	id      int // where the id is
}

func newTemplate() (*template, error) {
	ev, err := event.FromStructured(structured(), event.Limits{})
	if err != nil {
		return nil, err
	}
	t := &template{encoded: ev.AppendBinary(nil)}
	if t.id = strings.Index(string(t.encoded), noID); t.id < 0 {
		return nil, errors.New("the stored form of an event does not hold its id")
	}
	return t, nil
}

// make is the event with an id of its own.
func (t *template) make(id int64) (*event.Event, error) {
	buf := bytes.Clone(t.encoded)
	putID(buf[t.id:], id)
	return event.Decode(buf)
}

// putID writes an id over the one that dst begins with.
func putID(dst []byte, id int64) { putDigits(dst[:idDigits], id) }

// putKey writes a key over the one that dst begins with.
func putKey(dst []byte, key int) { putDigits(dst[:keyDigits], int64(key)) }

// putDigits fills dst with n in decimal.
func putDigits(dst []byte, n int64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
}

// parseID reads what putID wrote; ok is false if it is something else.
func parseID(text []byte) (id int64, ok bool) {
	if len(text) < idDigits {
		return 0, false
	}
	for _, c := range text[:idDigits] {
		if c < '0' || c > '9' {
			return 0, false
		}
		id = id*10 + int64(c-'0')
	}
	return id, true
}

// idSource gives ids that are never given twice. They are times, in Unix
// nanoseconds, so that an id can say when its event was sent.
type idSource struct{ last atomic.Int64 }

// next is one more id.
func (s *idSource) next() int64 { return s.last.Add(1) }

// at is an id that says t, or a little later if that one was given before.
func (s *idSource) at(t time.Time) int64 {
	for {
		last := s.last.Load()
		id := max(t.UnixNano(), last+1)
		if s.last.CompareAndSwap(last, id) {
			return id
		}
	}
}

// cycle gives the keys below n, one after another.
func cycle(n int) func() int {
	var next atomic.Int64
	return func() int { return int(next.Add(1) % int64(n)) }
}
