package transform

import (
	"encoding/json"
	"errors"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/itchyny/gojq"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/rules"
)

// runJQ runs a program as a transform does, with a clock of its own.
func runJQ(t testing.TB, source string, ev *event.Event, runtime time.Duration) (string, error) {
	t.Helper()
	code, err := compileJQ(source)
	if err != nil {
		return "", err
	}
	b := newJQRun(&run{ev: ev, limit: DefaultMaxSize})
	b.deadline = time.Now().Add(runtime)
	out, err := jq{code: code}.result(nil, b, input(t, ev), DefaultMaxSize)
	return string(out), err
}

// No program takes long or much memory, whatever it does.
func TestNoProgramTakesLong(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const (
		size = 250 << 10
		slow = "too long" // calls that take long themselves, which only the clock ends
	)
	longText := `{"s":"` + strings.Repeat("a", size) + `","n":400000000}`
	numbers := `{"a":[` + strings.Repeat("1,", size/2) + `1]}`
	tests := []struct{ name, source, data, want string }{
		{"a long range", `[range(1e9)]`, "1", "steps"},
		{"a range without an end", `last(range(infinite))`, "1", "steps"},
		{"repeating", `last(repeat(1))`, "1", "steps"},
		{"collecting what repeats", `[repeat(1)]`, "1", "steps"},
		{"recursion", `def f: 1 + f; f`, "1", "steps"},
		{"recursion that grows two ways", `def f: f | f; f`, "1", "steps"},
		{"recursion over nothing", `[recurse(.)]`, "1", "steps"},
		{"until never", `until(false; .)`, "1", "steps"},
		{"text that doubles", `reduce range(100) as $i ("x"; . + .)`, "1", "too large"},
		{"text that doubles by interpolation", `reduce range(100) as $i ("x"; "\(.)\(.)")`, "1", "too large"},
		{"text that doubles in place", `{a: "x"} | reduce range(100) as $i (.; .a += .a)`, "1", "too large"},
		{"text that doubles by a product", `reduce range(100) as $i ("x"; . * 2)`, "1", "too large"},
		{"text that doubles by a product in place", `{a: "x"} | reduce range(100) as $i (.; .a *= 2)`, "1", "too large"},
		{"text that doubles by a sum", `reduce range(100) as $i ("x"; [., .] | add)`, "1", "too large"},
		{"text that doubles by joining", `reduce range(100) as $i ("x"; [., .] | join(""))`, "1", "too large"},
		{"text that doubles by escaping", `reduce range(100) as $i ("\\"; tojson)`, "1", "too large"},
		{"text that doubles by a function", `def d: . as $x | $x + $x; reduce range(100) as $i ("x"; d)`, "1", "too large"},
		{"a huge product", `"x" * 1e9`, "1", "too large"},
		{"a huge product of what the event says", `"x" * .data.n`, longText, "too large"},
		{"a huge product the other way", `1e9 * "x"`, "1", "too large"},
		{"an array that doubles", `reduce range(100) as $i ([1]; . + .)`, "1", "too large"},
		{"an array in an array twice", `reduce range(100) as $i (1; [., .])`, "1", "too large"},
		{"an object in an object twice", `reduce range(100) as $i (1; {a: ., b: .})`, "1", "too large"},
		{"an array in itself by assignment", `reduce range(100) as $i ([0, 0]; .[0] = . | .[1] = .[0])`, "1", "too large"},
		{"an array in itself by an update", `reduce range(100) as $i ([0, 0]; . as $x | .[] |= $x)`, "1", "too large"},
		{"an array in itself by mapping", `reduce range(100) as $i ([0, 0]; . as $x | map($x))`, "1", "too large"},
		{"a deep array", `reduce range(1000000) as $i (1; [.])`, "1", "levels deep"},
		{"a number that squares", `reduce range(100) as $i (10; . * .)`, "1", "too large"},
		{"a whole number that squares", `reduce range(100) as $i (12345678901234567890; . * .)`, "1", "too large"},
		{"a far index", `[] | .[400000000] = 1`, "1", "index 400000000 is too large"},
		{"a far index of what the event says", `.data.n as $n | [] | .[$n] |= 1`, longText, "index 400000000 is too large"},
		{"a far index by a path", `null | setpath([400000000]; 1)`, "1", "index 400000000 is too large"},
		{"a far index by a path that is picked", `[1] | pick(getpath([400000000]))`, "1", "index 400000000 is too large"},
		{"a far index that is updated by a sum", `[] | .[.] += 1`, "1", "cannot"},
		{"a long separator", `.data.s as $s | [range(100000)] | join($s)`, longText, "too large"},
		{"a wide transposition", `[[range(100000)], (range(100000) | [])] | transpose`, "1", "too large"},
		{"long text many times", `.data.s as $s | [range(100000) | $s]`, longText, "too large"},
		{"a sum of long text many times", `.data.s as $s | add(range(100000) | $s)`, longText, "too large"},
		{"text added to many members", `[range(100000) | ""] | .[] += ("x" * 1000000)`, "1", "too much"},
		{"an array that grows by copies", `reduce range(1000000) as $i ([]; . + [$i])`, "1", "too much"},
		{"sorted again and again", `.data.a as $a | last(range(1000000) | $a | sort)`, numbers, slow},
		{"groups again and again", `.data.a as $a | last(range(1000000) | $a | group_by(.))`, numbers, "too"},
		{"regular expressions on long text", `.data.s | test("(a*)*b")`, longText, "the text is"},
		{"long text split without a regular expression", `.data.s | split("b") | length`, longText, ""},
		{"matches of nothing in long text", `[.data.s | match(""; "g")] | length`, longText, "the text is"},
		{"matches of nothing", `[.data.s[:10000] | match(""; "g")] | length`, longText, ""},
		{"replacing in long text", `.data.s[:3000] | gsub(""; "xxxxxxxxxxxxxxxxxxxxxxx") | length`, longText, ""},
		{"combinations", `[[range(100)], [range(100)], [range(100)], [range(100)]] | [combinations] | length`, "1", "too"},
		{"caught again and again", `def f: try (reduce range(100) as $i ("x"; . + .)) catch f; f`, "1", "too"},
		{"long text compared", `.data.s as $s | last(range(1000000) | $s == $s)`, longText, "too"},
		{"characters of long text", `.data.s as $s | last(range(1000000) | $s | explode | length)`, longText, "too"},
		{"slices of long text", `.data.s as $s | last(range(1000000) | $s[100000:])`, longText, slow},
		{"indices of long text", `.data.s as $s | last(range(1000000) | $s | indices("a"))`, longText, slow},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			ev := mustEvent(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":`+tc.data+`}`)
			var before, after goruntime.MemStats
			goruntime.ReadMemStats(&before)
			start := time.Now()
			runtime := time.Minute // a slow machine changes nothing
			if tc.want == slow {
				runtime = 300 * time.Millisecond
			}
			_, err := runJQ(t, tc.source, ev, runtime)
			took := time.Since(start)
			goruntime.ReadMemStats(&after)
			t.Logf("%v, %d MiB in all: %v", took.Round(time.Millisecond), (after.TotalAlloc-before.TotalAlloc)>>20, err)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v; want %q", err, tc.want)
			}
		})
	}
}

// A program that is bounded does what it does without bounds.
func TestBoundsChangeNothingElse(t *testing.T) {
	ev := mustEvent(t, instance)
	for _, source := range []string{
		`.`, `.data`, `.data.tags[0]`, `.data["state"]`, `.data.tags[1:]`, `.data.tags | .[:1], .[-1:]`, `[.data.tags[]]`, `.data.disks[].id`,
		`.data | keys`, `.data | to_entries | map(.key) | sort`, `[.data | .. | numbers]`, `{a: 1} + {b: 2}`, `[1, 2] + [3]`, `"a" + "b"`, `1 + 2 * 3 - 4 / 2 % 3`,
		`null + 1`, `{a: {b: 1}} * {a: {c: 2}}`, `"a,b" / ","`, `"ab" * 0`, `[[1, 2], [3, 4]] | map(add)`, `.data.state as $s | "\($s) \($s | length)"`,
		`@base64 "x\(.data.state)y"`, `.data.tags | @csv`, `.data.tags | @json`, `[1, [2]] | getpath([1, 0])`, `path(.data.tags[0])`, `[paths] | length`,
		`.data.tags |= map(. + "x") | .data.tags`, `.data.tags[0] |= empty | .data.tags`, `.data.tags += ["c"] | .data.tags`, `.data.x += 1 | .data.x`, `.data.x //= 5 | .data.x`,
		`.a.b.c = 1 | .a`, `.data.disks[].n = 1 | .data.disks`, `.data.disks[] *= {z: 1} | .data.disks`, `(.data.tags, .data.disks) |= length | [.data.tags, .data.disks]`,
		`(.data.tags | first) |= "z" | .data.tags`, `(.data.tags | last) = "z" | .data.tags`, `limit(1; .data.tags[]) |= "z" | .data.tags`,
		`(.data.disks[] | select(.id == "d1") | .id) = "z" | .data.disks`, `(.. | select(. == "a")) = "z" | .data.tags`, `del(.data.tags[0, 1]) | .data.tags`,
		`(if .data.tags then .data.tags else .x end)[0] = 1 | .data.tags`, `(.x // .data.tags)[0] = 1 | .data.tags`, `def f: .data.tags; f[0] = 1 | .data.tags`, `def f(g): g; f(.data.tags)[0] = 1 | .data.tags`,
		`limit(1 + 1; .data.tags[]) |= "z" | .data.tags`, `(.data.tags[] | select((. + "x") == "ax")) = 1 | .data.tags`, `.data[("ta" + "gs")][0] = 1 | .data.tags`,
		`path(.data | first(.tags[], .disks[]))`, `.data.tags[(1 + 0)] |= [.] | .data.tags`, `(.data.tags | .[length - 1]) = 5 | .data.tags`, `.data[(.data | keys | .[0])] |= [.] | .data`,
		`path(.data.tags | map(.))`, `[.data.tags, 1][0] |= 5`, `error(null)`, `try error(null) catch .`, `.data.tags as [$x, $y] | .data.tags += [$x + $y] | .data.tags`, `(.data.disks | map(.id))[0] = 1`,
		`(.data | getpath(["tags", 0])) = 1 | .data.tags`, `reduce .data.tags[] as $t (""; . + $t)`, `[foreach range(5) as $i (0; . + $i; [$i, .])]`, `[limit(3; range(10))]`,
		`[range(0; 10; 3)]`, `label $out | 1, break $out, 2`, `try error("x") catch .`, `[.data.tags[] as $t | $t | ascii_upcase]`, `.data | with_entries(select(.value == null))`,
		`.data.tags | map(select(. != "a"))`, `[splits("a"; null)?]`, `"a1b2" | [scan("[0-9]")]`, `"test" | [match("t"; "g").offset]`, `"aXbX" | gsub("X"; "-")`, `"abc" | sub("(?<x>b)"; "[\(.x)]")`,
		`[.[]?] | length`, `[3, 1, 2] | sort, min, max, unique, reverse`, `[{a: 2}, {a: 1}] | sort_by(.a), group_by(.a), min_by(.a)`, `[[1, 2], [3]] | flatten, transpose`,
		`"x" as [$a] ?// $a | $a`, `. as {id: $i, data: {tags: [$t]}} | [$i, $t]`, `input_line_number?`, `[1, 2] | join(",")`, `[null, true, 1.5, "a"] | join("-")`, `[] | join(",")`,
		`[1, 2, 3] | any(. > 2), all(. > 0), IN(2), index(2)`, `{} | .a += 1, .b *= 2`, `[1, 2] | .[0] *= 10, .[1] += 10`, `"2015-11-11T21:29:54Z" | fromdate | todate`, `1e1000, -1e1000, nan | tojson`,
		`[.data.n, .data.n + 0, -.data.n]`, `{"a b": 1} | ."a b"`, `$__loc__`, `[{name: "a", value: 1}] | from_entries`, `.data | walk(if type == "string" then ascii_upcase else . end) | .tags`,
		`[1, 2, 3] | combinations(2)?`, `tojson | fromjson == .`, `[limit(5; repeat(1))] | add / length | floor`, `ltrimstr("x")`, `"x" | ascii_downcase, explode, (explode | implode), utf8bytelength`,
		`def fac: if . <= 1 then 1 else . * (. - 1 | fac) end; 25 | fac`, `def f($a; g): $a + g; f(1; 2)`, `pick(.data.tags[0])`, `[.data.tags[], 1] | tostream`, `splits`, `{(.id, "x"): 1}`, `{"\(.id)": .type}`,
		`getpath(["data", "tags"]) as [$a, $b] | {$a, $b}`, `. as [$x] | $x`, `[recurse(if . < 3 then . + 1 else empty end; true)?]`, `3 | [recurse(if . > 0 then . - 1 else empty end)]`, `add(.data.disks[].id)`, `have_literal_numbers?`,
	} {
		plain, plainErr := gojq.Parse(source)
		var plainCode *gojq.Code
		if plainErr == nil {
			plainCode, plainErr = gojq.Compile(plain)
		}
		code, err := compileJQ(source)
		if plainErr != nil {
			if err == nil {
				t.Errorf("%s compiles; without bounds: %v", source, plainErr)
			}
			continue
		}
		var word *wordError
		if errors.As(err, &word) {
			continue // not available
		}
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		b := newJQRun(&run{ev: ev, limit: DefaultMaxSize})
		if diff := cmp.Diff(results(t, plainCode.Run(input(t, ev))), results(t, code.RunWithContext(b, input(t, ev), b))); diff != "" {
			t.Errorf("%s: %s", source, diff)
		}
	}
}

func input(t testing.TB, ev *event.Event) any {
	t.Helper()
	v, err := jqInput(ev)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func results(t testing.TB, it gojq.Iter) (all []string) {
	t.Helper()
	for {
		v, ok := it.Next()
		if !ok {
			return all
		}
		if err, failed := v.(error); failed {
			return append(all, "error: "+err.Error())
		}
		text, err := appendJQ(nil, v, 1<<20, 0)
		if err != nil {
			t.Fatal(err)
		}
		if string(text) != string(mustMarshal(t, v)) {
			t.Errorf("%s; gojq writes %s", text, mustMarshal(t, v))
		}
		all = append(all, string(text))
	}
}

func mustMarshal(t testing.TB, v any) []byte {
	t.Helper()
	text, err := gojq.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestAProgramRunsManyTimesAtOnce(t *testing.T) {
	code, err := compileJQ(`.data.n as $n | [range(100)] | map(. + $n) | add`)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan string, 8)
	for range cap(done) {
		go func() {
			ev, err := event.FromStructured([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"n":1}}`), event.Limits{})
			var out []byte
			if err == nil {
				out, err = jq{code: code}.appendJSON(nil, &run{ev: ev, limit: DefaultMaxSize})
			}
			if err != nil {
				out = []byte(err.Error())
			}
			done <- string(out)
		}()
	}
	for range cap(done) {
		if got := <-done; got != "5050" {
			t.Errorf("got %s", got)
		}
	}
}

func FuzzJQ(f *testing.F) {
	for _, s := range []string{`.data | {a: .b, "c": [.d[]]}`, `reduce .[] as $x (0; . + $x)`, `def f: .; f |= .`, `"\(1)" * 2`, `.a.[1:2]?`, `. as [$a] ?// $a | @json "x\(.)"`, `try error catch .`, `(`} {
		f.Add(s)
	}
	ev := mustEvent(f, instance)
	f.Fuzz(func(t *testing.T, source string) {
		out, err := runJQ(t, source, ev, time.Second)
		if err == nil && !json.Valid([]byte(out)) {
			t.Errorf("%q makes %q", source, out)
		}
	})
}

// FuzzTemplate: a template that is taken makes JSON of every event, but for keys
// that come twice.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{`{"a": <v>, "b": "x<v>"}`, `"a <v>"`, "\"a\"\n\"<v>\"", `<v>`, `plain <v>`, `["\\", <v>]`, `"\<v>"`, `{"a": "<aws.events.event.json>"}`} {
		f.Add(s, `"text \" \\ <v> \u0000"`)
	}
	f.Add(`"<v>"`, `{"a":["\"",1]}`)
	f.Fuzz(func(t *testing.T, source, data string) {
		if strings.TrimSpace(source) == "" || event.CheckJSON([]byte(data)) != nil {
			return
		}
		path, _, err := parsePath("$.detail")
		if err != nil {
			t.Fatal(err)
		}
		tmpl, offset, err := parseTemplate(source, map[string]*variable{"v": {name: "v", path: path}})
		if err != nil {
			if offset < 0 || offset > len(source) {
				t.Errorf("%q: offset %d", source, offset)
			}
			return
		}
		ev := mustEvent(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":`+data+`}`)
		out, err := tmpl.appendJSON(nil, &run{ev: ev, context: here, limit: DefaultMaxSize})
		if err != nil {
			if !strings.Contains(err.Error(), "twice") && !strings.Contains(err.Error(), "deep") && !errors.Is(err, rules.ErrTooLarge) {
				t.Errorf("%q: %v", source, err)
			}
			return
		}
		if err := event.CheckJSON(out); err != nil {
			t.Errorf("%q makes %q: %v", source, out, err)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{`$`, `$.detail.a-b[0]`, `$['a']["b"].*`, `$.detail[*].x`, `$.`, `$[`, `x`} {
		f.Add(s)
	}
	ev := mustEvent(f, instance)
	f.Fuzz(func(t *testing.T, s string) {
		p, offset, err := parsePath(s)
		if offset < 0 || offset > len(s) {
			t.Errorf("%q: offset %d", s, offset)
		}
		if err == nil {
			p.resolve(&run{ev: ev, context: here, limit: DefaultMaxSize})
		}
	})
}
