package log

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/targets/targettest"
)

// output is a writer that behaves as the suite wants.
type output struct {
	mu        sync.Mutex
	behaviour targettest.Behaviour
	released  chan struct{}
	writes    [][]byte
}

func (o *output) set(b targettest.Behaviour) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.behaviour == targettest.Hang {
		close(o.released)
	}
	if b == targettest.Hang {
		o.released = make(chan struct{})
	}
	o.behaviour = b
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch o.behaviour {
	case targettest.RefuseForNow, targettest.Down:
		return 0, errors.New("no space left on device")
	case targettest.Hang:
		released := o.released
		o.mu.Unlock()
		<-released
		o.mu.Lock()
		return 0, errors.New("broken pipe")
	}
	o.writes = append(o.writes, bytes.Clone(p))
	return len(p), nil
}

func TestConformance(t *testing.T) {
	targettest.Run(t, targettest.Harness{
		Lacks: map[targettest.Behaviour]string{targettest.RefuseForGood: "a failing write may work again at any time"},
		New: func(t *testing.T) *targettest.Receiver {
			o := &output{}
			t.Cleanup(func() { o.set(targettest.Accept) })
			return &targettest.Receiver{
				Config: &Config{Format: JSON},
				Env:    targets.Env{Out: o},
				Set:    o.set,
				Arrived: func(int) (arrived []targettest.Arrival) {
					o.mu.Lock()
					defer o.mu.Unlock()
					for _, line := range o.writes {
						if bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
							t.Errorf("not one line: %.200q", line)
						}
						e, err := event.FromStructured(line, event.Limits{MaxEventSize: 1 << 20})
						if err != nil {
							t.Errorf("%v: %.200q", err, line)
							continue
						}
						arrived = append(arrived, targettest.Arrival{Event: e})
					}
					return arrived
				},
			}
		},
	})
}

var update = flag.Bool("update", false, "write the golden file")

func TestTextIsAsInTheGoldenFile(t *testing.T) {
	o := &output{}
	target, err := NewConfig().Build(targets.Env{Out: o})
	if err != nil {
		t.Fatal(err)
	}
	deep := strings.Repeat("[", 60) + "1" + strings.Repeat("]", 60)
	for i, structured := range []string{
		`{"id":"1","type":"com.example.order.placed","source":"/shop","subject":"eu/de/1","specversion":"1.0","data":{"total": 150,"items":[{"sku":"a\"b"},2,"x"],"none":[ ],"empty":{}}}`,
		`{"id":"a-much-longer-id-than-there-is-room-for-in-the-column","type":"t","source":"/shop","specversion":"1.0"}`,
		`{"id":"2","type":"com.example.note","source":"/shop","subject":"Grüße €","specversion":"1.0","datacontenttype":"text/plain","data":"first\r\nsecond\t\u001b[31mred\u009b\u202e"}`,
		`{"id":"3","type":"com.example.image","source":"/shop","specversion":"1.0","datacontenttype":"image/png","data_base64":"iVBORw0KGgo="}`,
		`{"id":"4","type":"com.example.blob","source":"/shop","specversion":"1.0","data_base64":"AAEC/w=="}`,
		`{"id":"5","type":"com.example.long","source":"/shop","specversion":"1.0","data":{"text":"` + strings.Repeat("€", 3000) + `"}}`,
		`{"id":"6","type":"com.example.long","source":"/shop","specversion":"1.0","datacontenttype":"text/plain","data":"` + strings.Repeat("€", 3000) + `"}`,
		`{"id":"7","type":"com.example.deep","source":"/shop","specversion":"1.0","data":[` + deep + `,` + deep + `]}`,
		`{"id":"8","type":"com.example.null","source":"/shop","specversion":"1.0","datacontenttype":"application/json","data":null}`,
	} {
		e, err := event.FromStructured([]byte(structured), event.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		d := &targets.Delivery{ID: "d", Subscription: "large-eu-orders/printed", Attempt: 1, Event: e,
			Recorded: time.Date(2026, 11, 22, 10, 11, i, 123456789, time.FixedZone("", 3600))}
		if i == 1 {
			d.Attempt, d.Redriven = 3, true
		}
		if err := target.Deliver(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if len(o.writes) != i+1 {
			t.Fatalf("%d writes after %d events", len(o.writes), i+1)
		}
		if n := len(o.writes[i]); n > 2*maxData {
			t.Errorf("event %d took %d bytes", i, n)
		}
	}
	got := bytes.Join(o.writes, nil)
	golden := filepath.Join("testdata", "text.golden")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestValidate(t *testing.T) {
	for format, good := range map[string]bool{"text": true, "json": true, "": false, "JSON": false} {
		var p component.Problems
		c := &Config{Format: format}
		c.Validate(&p)
		if good != (len(p.All) == 0) {
			t.Errorf("%q: problems %+v", format, p.All)
		}
		if _, err := c.Build(targets.Env{Out: &output{}}); good != (err == nil) {
			t.Errorf("%q: Build: %v", format, err)
		}
	}
	if _, err := NewConfig().Build(targets.Env{}); err == nil {
		t.Error("a target without an output was built")
	}
}

func TestBlockedOutputIsWaitedForOneAtATime(t *testing.T) {
	o := &output{}
	o.set(targettest.Hang)
	target, err := NewConfig().Build(targets.Env{Out: o})
	if err != nil {
		t.Fatal(err)
	}
	e, err := event.FromStructured([]byte(`{"id":"1","type":"t","source":"/s","specversion":"1.0"}`), event.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	d := func() *targets.Delivery { return &targets.Delivery{ID: "d", Attempt: 1, Event: e} }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		if err := target.Deliver(ctx, d()); !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v", err)
		}
	}
	o.set(targettest.Accept)
	if err := target.Deliver(t.Context(), d()); err != nil {
		t.Error(err)
	}
}

// Whatever the JSON, printing it stays within its bounds and, if nothing was
// cut, means the same.
func FuzzAppendPretty(f *testing.F) {
	for _, s := range []string{`{}`, `[]`, `[[],{"a":{}}]`, `{"a":[1,2,"\"\\,{"],"b":null}`, ` [ ] `, `"x"`, `-1e5`, `["ü€😀"]`} {
		f.Add([]byte(s), 4096)
		f.Add([]byte(s), 7)
	}
	f.Fuzz(func(t *testing.T, data []byte, limit int) {
		if !json.Valid(data) {
			return
		}
		limit = max(0, min(limit, 1<<16))
		out, complete := appendPretty(nil, data, limit)
		if len(out) > limit+3 {
			t.Errorf("%d bytes for a limit of %d", len(out), limit)
		}
		if !complete {
			return
		}
		var want, got bytes.Buffer
		if json.Compact(&want, data) != nil || json.Compact(&got, out) != nil || !bytes.Equal(want.Bytes(), got.Bytes()) {
			t.Errorf("%q became %q", data, out)
		}
	})
}
