package event

import (
	"net/http"
	"testing"
)

func TestSmoke(t *testing.T) {
	js := `[{"specversion":"1.0","id":"1","source":"/a","type":"t","time":"2024-02-29T23:59:60Z","n":5,"b":true,"z":null,"data":{"a":[1,{"b":"x\u00e9"},[]],"c":{}}}, {"specversion":"1.0","id":"1","source":"/a","type":"t","datacontenttype":"text/plain","data":"h\ni"}]`
	evs, err := FromBatch([]byte(js), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range evs {
		t.Log(string(AppendStructured(nil, e)))
		d, err := Decode(e.AppendBinary(nil))
		if err != nil {
			t.Fatal(err)
		}
		t.Log(string(AppendStructured(nil, d)))
		h := http.Header{}
		SetHeaders(h, d)
		got, mode, err := FromHTTP(h, d.Data(), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		t.Log(mode, string(AppendStructured(nil, got[0])))
	}
	a, _ := evs[0].Tree().Root().Get("a")
	for n := range a.Elements() {
		t.Log(n.Kind(), string(n.Raw()), n.Len())
	}
	_, err = FromBatch([]byte(`[{"specversion":"1.0","id":"1","source":"/a","type":"t","time":"yesterday"}]`), Limits{})
	t.Log(err, err.(*DecodeError).Pointer())
}
