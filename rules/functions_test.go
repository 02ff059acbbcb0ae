package rules

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// result evaluates an expression to JSON, or to "error: " and its text.
func result(t testing.TB, env *Env, source string, ev *event.Event) string {
	t.Helper()
	x, err := env.CompileExpr(source)
	if err != nil {
		return "refused: " + err.Error()
	}
	v, err := x.Eval(ev)
	if err == nil {
		var out []byte
		if out, err = v.AppendJSON(nil, 8<<20); err == nil {
			return string(out)
		}
	}
	return "error: " + err.Error()
}

func TestFunctions(t *testing.T) {
	tests := []struct{ name, source, want string }{
		// What may be missing.
		{"default has the value", `default(event.data.total, 0)`, `150`},
		{"default copies all digits", `default(event.data.big, 0)`, `12345678901234567890`},
		{"default of a missing key", `default(event.data.nope, "x")`, `"x"`},
		{"default of a path that breaks off early", `default(event.data.a.b.c.d, "x")`, `"x"`},
		{"default below a null", `default(event.data.nil.b, "x")`, `"x"`},
		{"default below a number", `default(event.data.total.b.c, "x")`, `"x"`},
		{"default of a null is null", `default(event.data.nil, "x")`, `null`},
		{"default of an index", `default(event.data.items[1].sku, "x")`, `"s2"`},
		{"default of an index behind the end", `default(event.data.items[9].sku, "x")`, `"x"`},
		{"default of a key in brackets", `default(event.data["nope"]["b"], "x")`, `"x"`},
		{"default of an attribute", `default(event.subject, "x")`, `"eu/de"`},
		{"default of a missing attribute", `default(event.dataschema, "x")`, `"x"`},
		{"default of a missing extension", `default(event.nope, 1)`, `1`},
		{"default of a name that CEL cannot parse", `default(event["in"], "y")`, `"x"`},
		{"default with another path", `default(event.data.nope, event.data.frac)`, `1.10`},
		{"default within default", `default(event.data.x, default(event.data.y.z, "deep"))`, `"deep"`},
		{"default does not evaluate in vain", `default(event.data.total, event.data.nope)`, `150`},
		{"default of what a call results in", `default(json.parse("{\"a\": {\"b\": 1.50}}").a.b, 0)`, `1.5`},
		{"default in a comprehension", `event.data.items.map(i, default(i.note, i.sku))`, `["s1","s2"]`},
		{"default wants a path", `default(int(event.data.total), 0)`, `refused: 1:9: default takes a path that may be missing, such as event.data.a.b, and what to take then`},
		{"default wants a path, not a variable", `default(event, 0)`, `refused: 1:9: default takes a path that may be missing, such as event.data.a.b, and what to take then`},
		{"coalesce takes the first", `coalesce(event.data.big, event.data.total, 0)`, `12345678901234567890`},
		{"coalesce skips null and missing", `coalesce(event.data.nil, event.data.nope.x, event.data.frac, 0)`, `1.10`},
		{"coalesce falls back", `coalesce(event.data.nil, event.nope, "x")`, `"x"`},
		{"coalesce of an attribute", `coalesce(event.dataschema, event.subject, 5)`, `"eu/de"`},
		{"coalesce wants paths", `coalesce(int(event.data.total), 0)`, `refused: 1:10: coalesce takes paths with written keys, such as event.data.a["b"][0]; only the last argument may be another expression`},
		{"coalesce wants two", `coalesce(event.data)`, `refused: 1:1: coalesce takes paths that may be missing or null, and at last what to take then`},

		// Times.
		{"a time in UTC", `time.format(event.time, "%Y-%m-%d %H:%M:%S")`, `"2026-11-22 10:00:00"`},
		{"a time in a zone", `time.format(event.time, "%H:%M %z", "Asia/Kolkata")`, `"15:30 +0530"`},
		{"a time at an offset", `time.format(event.time, "%H:%M", "-03:30")`, `"06:30"`},
		{"a time in summer", `time.format(timestamp("2026-07-01T00:00:00Z"), "%FT%T%:z", "Europe/Berlin")`, `"2026-07-01T02:00:00+02:00"`},
		{"no such zone", `time.format(event.time, "%H", "Mars/Base")`, `error: time.format: there is no time zone "Mars/Base"; use a name such as Europe/Berlin, or an offset such as +02:00`},
		{"the zone of the machine", `time.format(event.time, "%H", "Local")`, `error: time.format: "Local" is no time zone; use a name such as Europe/Berlin, or an offset such as +02:00`},
		{"an offset that is none", `time.format(event.time, "%H", "+99:99")`, `error: time.format: "+99:99" is no offset; write it as +02:00`},
		{"a zone outside of the database", `time.format(event.time, "%H", "../../etc/passwd")`, `error: time.format: there is no time zone "../../etc/passwd"; use a name such as Europe/Berlin, or an offset such as +02:00`},
		{"a width in a layout", `time.format(event.time, "%900d")`, `error: time.format: the layout has a width, which is not supported`},
		{"a percent sign in a layout", `time.format(event.time, "100%%5 %-d")`, `"100%5 22"`},
		{"a time of text", `time.parse("2026-11-22", "%Y-%m-%d")`, `"2026-11-22T00:00:00Z"`},
		{"a time of text in a zone", `time.parse("2026-11-22 10:00", "%Y-%m-%d %H:%M", "Europe/Berlin")`, `"2026-11-22T09:00:00Z"`},
		{"the offset of the text wins", `time.parse("2026-11-22 10:00 -0500", "%Y-%m-%d %H:%M %z", "Europe/Berlin")`, `"2026-11-22T15:00:00Z"`},
		{"text that is no time", `time.parse("yesterday", "%Y")`, `error: time.parse: "yesterday" is not as "%Y" says`},
		{"names of zones", `time.parse("10:00 EST", "%H:%M %Z")`, `error: time.parse: names of time zones (%Z) are ambiguous; use %z for an offset, or give the zone as the third argument`},
		{"Unix seconds and back", `time.unix(time.fromUnix(1764000000)) == 1764000000`, `true`},
		{"Unix milliseconds and back", `time.unixMillis(time.fromUnixMillis(1764000000123)) == 1764000000123`, `true`},
		{"a fraction of a second", `time.fromUnix(1764000000.25)`, `"2025-11-24T16:00:00.25Z"`},
		{"milliseconds of JSON", `time.fromUnixMillis(1764000000123.0)`, `"2025-11-24T16:00:00.123Z"`},
		{"before 1970", `[time.fromUnix(-1.5), time.fromUnixMillis(-1)]`, `["1969-12-31T23:59:58.5Z","1969-12-31T23:59:59.999Z"]`},
		{"far away", `time.fromUnix(1e300)`, `error: time.fromUnix: 1e+300 is out of range`},
		{"the year 10000", `time.fromUnix(253402300800)`, `error: time.fromUnix: the year 10000 is out of range`},
		{"not a number of seconds", `time.fromUnix(0.0 / 0.0)`, `error: time.fromUnix: NaN is out of range`},
		{"the start of units", `["second", "minute", "hour", "day", "week", "month", "quarter", "year"].map(u, time.format(time.startOf(timestamp("2026-11-22T10:20:30.5Z"), u), "%F %T"))`,
			`["2026-11-22 10:20:30","2026-11-22 10:20:00","2026-11-22 10:00:00","2026-11-22 00:00:00","2026-11-16 00:00:00","2026-11-01 00:00:00","2026-10-01 00:00:00","2026-01-01 00:00:00"]`},
		{"the start of an hour in a zone off by half an hour", `time.startOf(timestamp("2026-11-22T10:20:30Z"), "hour", "Asia/Kolkata")`, `"2026-11-22T09:30:00Z"`},
		{"the start of a day in a zone", `time.startOf(timestamp("2026-07-01T23:00:00Z"), "day", "Europe/Berlin")`, `"2026-07-01T22:00:00Z"`},
		{"no such unit", `time.startOf(event.time, "fortnight")`, `error: time.startOf: "fortnight" is no unit; use second, minute, hour, day, week, month, quarter or year`},

		// Hashes.
		{"bytes and text hash alike", `hash.sha256("é") == hash.sha256(bytes("é")) && hash.md5(b"") == "d41d8cd98f00b204e9800998ecf8427e"`, `true`},
		{"a HMAC of RFC 4231", `hash.hmacSha256("Jefe", "what do ya want for nothing?")`, `"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"`},
		{"a HMAC with bytes", `hash.hmacSha256(b"Jefe", event.data.name) == hash.hmacSha256("Jefe", b"Ana")`, `true`},
		{"FNV-1a", `[hash.fnv32(""), hash.fnv32("foobar")]`, `[2166136261,3214735720]`},
		{"a number does not hash", `hash.sha256(event.data.total)`, `error: no such overload: hash.sha256(double)`},
		{"a UUID in a namespace that is one", `uuid.v5("6BA7B810-9dad-11d1-80b4-00c04fd430c8", "www.example.com") == uuid.v5("dns", "www.example.com")`, `true`},
		{"a UUID in no namespace", `uuid.v5("x", "y")`, `error: uuid.v5: the namespace "x" is neither dns, url, oid, x500 nor a UUID`},

		// JSON.
		{"parsed and encoded again", `json.encode(json.parse("{\"a\": [1.0, 12345678901234567890]}"))`, `"{\"a\": [1.0, 12345678901234567890]}"`},
		{"a parsed scalar", `json.parse("5") + 1.0`, `6`},
		{"text that is not JSON", `json.parse("{a}")`, `error: json.parse: an object's key should stand here (at byte 1)`},
		{"a patch of no object", `json.mergePatch(event.data.nested, [1])`, `[1]`},
		{"a patch of a scalar makes an object", `json.mergePatch(5, {"a": {"b": null, "c": 1}})`, `{"a":{"c":1}}`},
		{"a patch goes deep; numbers on their own are doubles", `json.mergePatch(event.data.nested, {"a": {"b": null, "c": event.data.big}, "d": 2})`, `{"a":{"c":12345678901234567000},"d":2}`},
		{"a patch of what is no JSON", `json.mergePatch({}, {"a": optional.none()})`, `error: json.mergePatch: the patch: the optional value is absent; give it a default with orValue`},

		// Encodings.
		{"base64url without padding", `base64.encodeUrl(b"\xff\xfe")`, `"__4"`},
		{"base64url with padding", `base64.decodeUrl("__4=") == b"\xff\xfe"`, `true`},
		{"base64url that is none", `base64.decodeUrl("+/")`, `error: base64.decodeUrl: illegal base64 data at input byte 0`},
		{"hexadecimal that is none", `hex.decode("0g")`, `error: hex.decode: encoding/hex: invalid byte: U+0067 'g'`},
		{"what stays in a URL", `url.encode("AZaz09-_.~+%")`, `"AZaz09-_.~%2B%25"`},
		{"a plus is a plus", `url.decode("a+b%2B")`, `"a+b+"`},
		{"encoded bytes that are no text", `url.decode("%ff")`, `error: url.decode: what is encoded is not UTF-8`},

		// Text.
		{"names to camel case", `["user_id", "UserID", "user id", "HTTPServer", "a", "", "été_fini"].map(s, text.camelCase(s))`, `["userId","userId","userId","httpServer","a","","étéFini"]`},
		{"names to snake case", `["userId", "HTTPServer2", "order2Line", "A-B c"].map(s, text.snakeCase(s))`, `["user_id","http_server2","order2_line","a_b_c"]`},
		{"titles", `text.titleCase("don't stop-believing, élan 2nd")`, `"Don't Stop-Believing, Élan 2nd"`},
		{"truncated by characters", `["ééé", "éééé"].map(s, text.truncate(s, 3))`, `["ééé","éé…"]`},
		{"truncated to nothing", `[text.truncate("abc", 1), text.truncate("abc", 0), text.truncate("abc", -5)]`, `["…","",""]`},
		{"filled up", `[text.padStart("é", 3, "·"), text.padStart("long", 2, "0")]`, `["··é","long"]`},
		{"filled up too far", `text.padStart("", 1000000, "0")`, `error: text.padStart: a length of 1000000; at most 1024`},
		{"filled up with more than a character", `text.padStart("", 5, "ab")`, `error: text.padStart: "ab" is not one character to fill up with`},

		// Lists.
		{"sums", `[lists.sum([]), lists.sum([1, 2]), lists.sum([1, 2.5]), lists.sum(event.data.items.map(i, i.qty))]`, `[0,3,3.5,7]`},
		{"a sum of what is no number", `lists.sum([1, "2"])`, `error: lists.sum: element 1 is no number`},
		{"a sum that overflows", `lists.sum([9223372036854775807, 1])`, `error: integer overflow`},
	}
	env := mustEnv(t)
	ev := mustEvent(t, order)
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if got := result(t, env, tc.source, ev); got != tc.want {
				t.Errorf("%s\ngot  %s\nwant %s", tc.source, got, tc.want)
			}
		})
	}
}

func TestDefaultWorksWithoutData(t *testing.T) {
	env := mustEnv(t)
	for _, ev := range []*event.Event{
		mustEvent(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`),
		mustEvent(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":null}`),
		mustEvent(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/plain","data":"x"}`),
	} {
		if got := result(t, env, `default(event.data.a.b, "d")`, ev); got != `"d"` {
			t.Errorf("default over %q is %s", ev.Data(), got)
		}
		if got := result(t, env, `coalesce(event.data.a.b, event.data.c, "d")`, ev); got != `"d"` {
			t.Errorf("coalesce over %q is %s", ev.Data(), got)
		}
	}
}

// Filters and webhook expressions have the same functions.
func TestFunctionsInFiltersAndRequests(t *testing.T) {
	m, err := mustEnv(t).Compile(Filter{When: `default(event.data.score.value, 0) == 0 && hash.fnv32(event.id) % 2 == 0`})
	if err != nil {
		t.Fatal(err)
	}
	if r := m.Evaluate(mustEvent(t, order)); !r.Matched {
		t.Errorf("%+v", r)
	}
	env, err := NewRequestEnv()
	if err != nil {
		t.Fatal(err)
	}
	body, err := event.ParseTree([]byte(`{"ts":1764000000}`))
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{
		`default(request.headers["x-kind"], "none")`:                 `none`,
		`default(request.body.event.kind, "none")`:                   `none`,
		`coalesce(request.query.kind, request.headers["x"], "none")`: `y`,
		`time.fromUnix(request.body.ts)`:                             `2025-11-24T16:00:00Z`,
	} {
		x, err := env.Compile(source)
		if err != nil {
			t.Error(err)
			continue
		}
		if got, err := x.Eval(Request{Headers: map[string]string{"x": "y"}, Query: map[string]string{}, Body: body}); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", source, got, err, want)
		}
	}
}

// The examples of RFC 7396, appendix A.
func TestMergePatchOfTheRFC(t *testing.T) {
	env := mustEnv(t)
	for _, tc := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `null`, `null`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		ev := mustEvent(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"target":`+tc[0]+`,"patch":`+tc[1]+`}}`)
		if got := result(t, env, `json.mergePatch(event.data.target, event.data.patch)`, ev); got != tc[2] {
			t.Errorf("%s with %s is %s; want %s", tc[0], tc[1], got, tc[2])
		}
	}
}

// FuzzMergePatch compares with the pseudocode of RFC 7396.
func FuzzMergePatch(f *testing.F) {
	f.Add(`{"a":{"b":1},"c":[1]}`, `{"a":{"b":null,"d":{"e":null}},"c":2}`)
	f.Add(`[1]`, `{"a":null}`)
	f.Add(`{"":"\u00e9"}`, `{"é":1,"":null}`)
	f.Fuzz(func(t *testing.T, target, patch string) {
		a, err := event.ParseTree([]byte(target))
		if err != nil {
			return
		}
		b, err := event.ParseTree([]byte(patch))
		if err != nil {
			return
		}
		got := appendMerged(nil, a.Root(), b.Root())
		if err := event.CheckJSON(got); err != nil {
			t.Fatalf("%s: %v", got, err)
		}
		var x, y, have any
		for v, text := range map[*any]string{&x: target, &y: patch, &have: string(got)} {
			if err := json.Unmarshal([]byte(text), v); err != nil {
				return // encoding/json is stricter about numbers
			}
		}
		if want := mergePatchModel(x, y); !reflect.DeepEqual(want, have) {
			t.Errorf("%s with %s is %s", target, patch, got)
		}
	})
}

func mergePatchModel(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, _ := target.(map[string]any)
	out := map[string]any{}
	maps.Copy(out, t)
	for k, v := range p {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = mergePatchModel(out[k], v)
		}
	}
	return out
}

func FuzzTimes(f *testing.F) {
	f.Add("22/11/2026 10:00", "%d/%m/%Y %H:%M", "Europe/Berlin")
	f.Add("1764000000", "%s", "+02:00")
	f.Add("%", "%", "UTC")
	f.Add("a", "%-_^#0:", "")
	env := mustEnv(f)
	f.Fuzz(func(t *testing.T, s, layout, zone string) {
		text, err := json.Marshal(map[string]string{"s": s, "l": layout, "z": zone})
		if err != nil {
			t.Fatal(err)
		}
		ev := mustEvent(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t","time":"2026-11-22T10:00:00Z","data":`+string(text)+`}`)
		for _, source := range []string{
			`time.parse(event.data.s, event.data.l, event.data.z)`,
			`time.format(event.time, event.data.l, event.data.z)`,
			`time.startOf(event.time, "week", event.data.z)`,
		} {
			if got := result(t, env, source, ev); len(got) > 64*maxLayout {
				t.Errorf("%s makes %d bytes", source, len(got))
			}
		}
	})
}

func TestWordsKeepAllLettersAndDigits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		joined := strings.Join(words(s), "")
		for _, r := range joined {
			if !strings.ContainsRune(s, r) {
				t.Fatalf("%q has %q, which %q has not", joined, r, s)
			}
		}
		if snake := strings.ToLower(strings.Join(words(s), "_")); strings.ToLower(strings.Join(words(snake), "_")) != snake {
			t.Fatalf("%q is not kept", snake)
		}
		n := rapid.IntRange(0, 8).Draw(t, "n")
		if got := truncate(s, int64(n)); utf8.RuneCountInString(got) > n {
			t.Fatalf("%q has more than %d characters", got, n)
		}
	})
}
