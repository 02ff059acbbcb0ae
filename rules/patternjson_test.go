package rules

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// byDecoder reads JSON with encoding/json, for its kinds, texts and places.
type byDecoder struct {
	source string
	d      *json.Decoder
}

func (r *byDecoder) next() int {
	at := int(r.d.InputOffset())
	for at < len(r.source) && strings.IndexByte(" \t\r\n,:", r.source[at]) >= 0 {
		at++
	}
	return at
}

func (r *byDecoder) value() (v jsonValue) {
	v.start = r.next()
	token, _ := r.d.Token()
	switch t := token.(type) {
	case nil:
		v.kind = nullValue
	case bool:
		v.kind, v.truth = boolValue, t
	case json.Number:
		v.kind, v.num = numberValue, t.String()
	case string:
		v.kind, v.text = textValue, t
	case json.Delim:
		v.kind = listValue
		if t == '{' {
			v.kind = mapValue
		}
		for r.d.More() {
			if t == '[' {
				v.list = append(v.list, r.value())
				continue
			}
			m := jsonMember{start: r.next()}
			name, _ := r.d.Token()
			m.name, m.end = name.(string), int(r.d.InputOffset())
			m.value = r.value()
			v.members = append(v.members, m)
		}
		_, _ = r.d.Token()
	}
	v.end = int(r.d.InputOffset())
	return v
}

// FuzzFilterJSON holds how the JSON of filters is read against encoding/json.
func FuzzFilterJSON(f *testing.F) {
	for _, text := range []string{
		`{"detail-type": ["a"], "detail": {"n": [{"numeric": [">", -1.5e+3]}, null, true, false]}}`,
		` [ ] `, `{ }`, `"a\"\\\u00e9\ud83d\ude00\ud800"`, `-0`, `1E5`, `{"a":1,"a":[{"b":{}}]}`, "[\t1 ,\r\n2]", `[1,]`, `{"a"}`, `nul`, `"`, `[[[[`, `"é"`,
		strings.Repeat("[", maxNesting) + strings.Repeat("]", maxNesting), strings.Repeat("[", maxNesting+1) + strings.Repeat("]", maxNesting+1),
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, source string) {
		s := &jsonSource{source: source}
		ok := s.read("the text")
		if ok != (len(s.problems) == 0) {
			t.Fatalf("%v, but %v", ok, s.problems)
		}
		if !json.Valid([]byte(source)) {
			if ok {
				t.Fatal("it was read, and is not JSON")
			}
			return
		}
		if !ok {
			if len(source) <= MaxSource && !strings.Contains(s.problems[0].Message, "deep") && !strings.Contains(s.problems[0].Message, "UTF-8") {
				t.Fatal(s.problems[0])
			}
			return
		}
		d := json.NewDecoder(strings.NewReader(source))
		d.UseNumber()
		if want := (&byDecoder{source, d}).value(); !reflect.DeepEqual(s.root, want) {
			t.Fatalf("%+v\nwant %+v", s.root, want)
		}
	})
}
