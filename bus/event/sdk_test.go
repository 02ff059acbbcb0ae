package event

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	ce "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/cloudevents/sdk-go/v2/types"
	"pgregory.net/rapid"
)

func TestSDKEventsAreTakenOver(t *testing.T) {
	in := ce.New()
	in.SetID("1")
	in.SetSource("/a")
	in.SetType("t")
	in.SetTime(time.Date(2026, 11, 5, 17, 31, 0, 5, time.UTC))
	in.SetExtension("n", 5)
	in.SetExtension("b", true)
	in.SetExtension("u", types.ParseURIRef("/u"))
	in.SetExtension("raw", []byte("hi"))
	if err := in.SetData("application/json", map[string]int{"a": 1}); err != nil {
		t.Fatal(err)
	}
	e, err := FromSDK(in)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"specversion":"1.0","id":"1","source":"/a","type":"t","time":"2026-11-05T17:31:00.000000005Z","datacontenttype":"application/json",` +
		`"b":true,"n":5,"raw":"aGk=","u":"/u","data":{"a":1}}`
	if got := string(AppendStructured(nil, e)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSDKEventsAreChecked(t *testing.T) {
	in := ce.New()
	in.SetID("1")
	in.SetSource("/a")
	in.SetType("t")
	in.SetSubject("a\r\nb")
	in.SetDataContentType("application/json")
	in.DataEncoded = []byte(`{}, "source":"/admin"`)
	_, err := FromSDK(in)
	if err == nil || !strings.Contains(err.Error(), "control character") || !strings.Contains(err.Error(), "more text") {
		t.Errorf("error %v", err)
	}
	old := ce.New("0.3")
	old.SetID("1")
	old.SetSource("/a")
	old.SetType("t")
	if _, err := FromSDK(old); err == nil || !strings.Contains(err.Error(), "0.3") {
		t.Errorf("error %v", err)
	}
	if _, err := FromSDK(ce.Event{}); err == nil {
		t.Error("the zero event is accepted")
	}
}

func TestEventsSurviveTheSDK(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anyEvent().Draw(t, "event")
		sdk, err := e.SDK()
		if err != nil {
			t.Fatal(err)
		}
		back, err := FromSDK(sdk)
		if err != nil {
			t.Fatal(err)
		}
		b := FromEvent(e) // the SDK keeps no empty data
		if len(e.Data()) == 0 {
			b.Unset("data")
		}
		want, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back.enc, want.enc) {
			t.Fatalf("%s became %s", AppendStructured(nil, want), AppendStructured(nil, back))
		}
	})
}

// The SDK must read what is written here as the same event, and the other way
// round, where it follows the specification: it does not percent-encode, so the
// binary mode is compared on plain text.
func TestTheSDKReadsWhatIsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anyEvent().Draw(t, "event")
		want, err := e.SDK()
		if err != nil {
			t.Fatal(err)
		}
		var got ce.Event
		if err := json.Unmarshal(AppendStructured(nil, e), &got); err != nil {
			t.Fatal(err)
		}
		compare(t, "structured", got, want)
		written, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		back, err := FromStructured(written, Limits{})
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		again, err := back.SDK()
		if err != nil {
			t.Fatal(err)
		}
		if e.Format() != JSON { // the SDK may write JSON with other white space
			if !want.Time().IsZero() { // and it writes times in UTC
				want.SetTime(want.Time().UTC())
			}
			compare(t, "written by the SDK", again, want)
		}
	})
}

func TestTheSDKReadsWhatIsWrittenInBinaryMode(t *testing.T) {
	e := orderEvent(t)
	h := http.Header{}
	SetHeaders(h, e)
	got, err := binding.ToEvent(t.Context(), cehttp.NewMessage(h, io.NopCloser(bytes.NewReader(e.Data()))))
	if err != nil {
		t.Fatal(err)
	}
	back, err := FromSDK(*got)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back.enc, e.enc) {
		t.Errorf("%s became %s", AppendStructured(nil, e), AppendStructured(nil, back))
	}
	req, err := http.NewRequest(http.MethodPost, "http://example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	sdk, err := e.SDK()
	if err != nil {
		t.Fatal(err)
	}
	if err := cehttp.WriteRequest(t.Context(), (*binding.EventMessage)(&sdk), req); err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Fatal(err)
	}
	written, mode, err := FromHTTP(req.Header, body, Limits{})
	if err != nil || mode != ModeBinary {
		t.Fatal(mode, err)
	}
	if !bytes.Equal(written[0].enc, e.enc) {
		t.Errorf("%s became %s", AppendStructured(nil, e), AppendStructured(nil, written[0]))
	}
}

func compare(t *rapid.T, how string, got, want ce.Event) {
	g, err := FromSDK(got)
	if err != nil {
		t.Fatal(err)
	}
	w, err := FromSDK(want)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(g.enc, w.enc) {
		t.Fatalf("%s: got %s, want %s", how, AppendStructured(nil, g), AppendStructured(nil, w))
	}
}
