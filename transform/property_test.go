package transform

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// TestPathsCopyTheirTokens holds that any JSON value under data comes out byte
// for byte, whole and within objects, and that the result is a valid event.
func TestPathsCopyTheirTokens(t *testing.T) {
	env := mustEnv(t)
	tr, err := compileYAML(env, "kind: copied\ndata:\n  v: \"${{ event.data.v }}\"\n  list: [\"${{ event.data.v }}\"]\n  text: \"<${{ event.data.v }}>\"")
	if err != nil {
		t.Fatal(err)
	}
	scalars := []string{"0", "-0", "1.10", "1e2", "1E+2", "12345678901234567890", "0.1e-7", `"a"`, `"\u00e9\n"`, `"\ud83d\ude00"`, "true", "false", "null", "{}", "[ ]", `""`}
	var value *rapid.Generator[string]
	value = rapid.Custom(func(t *rapid.T) string {
		switch rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "kind") {
		case 1:
			return "[ " + strings.Join(rapid.SliceOfN(rapid.Deferred(func() *rapid.Generator[string] { return value }), 0, 3).Draw(t, "list"), " ,") + "]"
		case 2:
			return `{"k" : ` + rapid.Deferred(func() *rapid.Generator[string] { return value }).Draw(t, "member") + "\n}"
		}
		return rapid.SampledFrom(scalars).Draw(t, "scalar")
	})
	rapid.Check(t, func(t *rapid.T) {
		v := value.Draw(t, "value")
		ev, err := event.FromStructured([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"v":`+v+`}}`), event.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		out, err := tr.Apply(ev)
		if err != nil {
			t.Fatal(err)
		}
		if want := `{"v":` + v + `,"list":[` + v + `],"text":`; !bytes.HasPrefix(out.Data(), []byte(want)) {
			t.Fatalf("got %s, want %s", out.Data(), want)
		}
		valid(t, out)
	})
}

// TestYAMLKeepsItsTypes holds that data without expressions is what the JSON
// that was written as YAML says.
func TestYAMLKeepsItsTypes(t *testing.T) {
	env := mustEnv(t)
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOf(rapid.RuneFrom([]rune(`a$ {}":\'#-é`))).Draw(t, "s")
		n := rapid.Float64().Draw(t, "n")
		i := rapid.Int64().Draw(t, "i")
		want := map[string]any{"s": s, "n": n, "l": []any{rapid.Bool().Draw(t, "b"), nil, s}}
		block, err := yaml.Marshal(map[string]any{"data": map[string]any{
			"s": strings.ReplaceAll(s, "${{", "$${{"), "n": n, "l": []any{want["l"].([]any)[0], nil, strings.ReplaceAll(s, "${{", "$${{")}, "i": i,
		}})
		if err != nil {
			t.Fatal(err)
		}
		tr, err := compileYAML(env, string(block))
		if err != nil {
			t.Fatalf("%s: %v", block, err)
		}
		out, err := tr.Apply(mustRapid(t))
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		d := json.NewDecoder(bytes.NewReader(out.Data()))
		d.UseNumber()
		if err := d.Decode(&got); err != nil {
			t.Fatal(err)
		}
		if f, err := got["n"].(json.Number).Float64(); err != nil || f != n {
			t.Fatalf("number %v became %v", n, got["n"])
		}
		if got["i"].(json.Number).String() != strconv.FormatInt(i, 10) {
			t.Fatalf("%d became %v", i, got["i"])
		}
		if got["s"] != s || fmt.Sprint(got["l"]) != fmt.Sprint(want["l"]) {
			t.Fatalf("%s became %s", block, out.Data())
		}
		valid(t, out)
	})
}

func mustRapid(t *rapid.T) *event.Event {
	ev, err := event.FromStructured([]byte(order), event.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// valid fails when an event cannot be encoded and read back.
func valid(t interface{ Fatalf(string, ...any) }, ev *event.Event) {
	raw := event.AppendStructured(nil, ev)
	back, err := event.FromStructured(raw, event.Limits{MaxEventSize: 64 << 20})
	if err != nil {
		t.Fatalf("the result is no event: %v\n%s", err, raw)
	}
	if !bytes.Equal(back.Data(), ev.Data()) && ev.Format() == event.JSON {
		t.Fatalf("data %s came back as %s", ev.Data(), back.Data())
	}
}

func FuzzApply(f *testing.F) {
	for _, block := range []string{
		"type: a\ndata: {a: \"${{ event.data.a }}\", b: \"x ${{ event.data }}\"}",
		`{"data": ["${{ event.data.?a.orValue(1) }}", "$${{"], "subject": null}`,
		"datacontenttype: text/plain\ndata: \"${{ event.data.a }}\"",
		"data: \"${{ b'\\\\xff' }}\"",
		"time: 2026-01-01T00:00:00Z\nx: 5\ny: true",
		"id: \"${{ event.data.a }}\"\ndata: &a [*a]",
		"data: {<<: {a: 1}, ? [a] : b}",
	} {
		f.Add(block, `{"a":1.10,"b":[{}]}`)
	}
	env := mustEnv(f)
	f.Fuzz(func(t *testing.T, block, data string) {
		tr, err := compileYAML(env, block)
		if err != nil {
			return
		}
		ev, err := event.FromStructured([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":`+data+`}`), event.Limits{})
		if err != nil {
			return
		}
		out, err := tr.Apply(ev)
		if err != nil {
			if _, ok := err.(*ApplyError); !ok {
				t.Errorf("%T: %v", err, err)
			}
			return
		}
		valid(t, out)
	})
}

func TestOutputIsBounded(t *testing.T) {
	env := mustEnv(t)
	ev := mustEvent(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"s":"`+strings.Repeat("x", 200<<10)+`"}}`)
	for name, block := range map[string]string{
		"text":    `data: "` + strings.Repeat("${{ event.data.s }}", 10) + `"`,
		"list":    `data: [` + strings.Repeat(`"${{ event.data.s }}", `, 10) + `]`,
		"object":  `data: {a: "${{ event.data }}", b: "${{ event.data }}", c: "${{ event.data }}", d: "${{ event.data }}", e: "${{ event.data }}", f: "${{ event.data }}"}`,
		"map":     `data: "${{ [event.data, event.data, event.data, event.data, event.data, event.data] }}"`,
		"subject": `subject: "` + strings.Repeat("${{ event.data.s }}", 10) + `"`,
	} {
		t.Run(name, func(t *testing.T) {
			tr, err := compileYAML(env, block)
			if err != nil {
				t.Fatal(err)
			}
			if out, err := tr.Apply(ev); err == nil {
				t.Errorf("made %d bytes", out.Size())
			} else if !strings.Contains(err.Error(), "too large") {
				t.Error(err)
			}
		})
	}
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(`subject: a`), &n); err != nil {
		t.Fatal(err)
	}
	tr, err := CompileWith(env, &n, Options{MaxSize: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Apply(ev); err == nil || !strings.Contains(err.Error(), "at most 1000") {
		t.Errorf("got %v", err)
	}
}

func TestCompileJSON(t *testing.T) {
	tr, err := CompileJSON(mustEnv(t), []byte(`{"type":"x","n":5,"subject":null,"data":{"z":"\ud83d\ude00","a":1.10,"e":"${{ event.data.id }}","l":[true,null,12345678901234567890]}}`), Options{})
	if err != nil {
		t.Fatal(err)
	}
	out, err := tr.Apply(mustEvent(t, order))
	if err != nil {
		t.Fatal(err)
	}
	check(t, out, `type=x n=5:1 -subject data={"z":"😀","a":1.10,"e":7,"l":[true,null,12345678901234567890]}`)
	_, err = CompileJSON(mustEnv(t), []byte(`{"data":{"a":["${{ foo }}"]}}`), Options{})
	if err == nil || err.Error() != `data.a[0]: in ${{ foo }}: 1:1: undeclared reference to 'foo'; the expression sees "event" only` {
		t.Errorf("got %v", err)
	}
}

func BenchmarkApply(b *testing.B) {
	tr, err := compileYAML(mustEnv(b), "type: com.example.crm.order\ndata:\n  order: \"${{ event.data.id }}\"\n  note: \"order ${{ event.data.id }} from ${{ event.source }}\"")
	if err != nil {
		b.Fatal(err)
	}
	ev := mustEvent(b, order)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tr.Apply(ev); err != nil {
			b.Fatal(err)
		}
	}
}
