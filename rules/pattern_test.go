package rules

import (
	"testing"

	"github.com/switchyard-dev/switchyard/bus/event"
)

func TestPatterns(t *testing.T) {
	const y, n = true, false
	tests := []struct {
		name, pattern, data string
		want                bool
	}{
		{"a text equals", `{"state": ["running"]}`, `{"state": "running"}`, y},
		{"a text equals one of several", `{"state": ["pending", "running"]}`, `{"state": "running"}`, y},
		{"another text does not", `{"state": ["running"]}`, `{"state": "stopped"}`, n},
		{"upper case is not lower case", `{"state": ["running"]}`, `{"state": "Running"}`, n},
		{"a number equals however it is written", `{"n": [300]}`, `{"n": 3.0e2}`, y},
		{"a number is no text", `{"n": [300]}`, `{"n": "300"}`, n},
		{"true equals", `{"on": [true]}`, `{"on": true}`, y},
		{"true is not false", `{"on": [true]}`, `{"on": false}`, n},
		{"true is no text", `{"on": [true]}`, `{"on": "true"}`, n},
		{"null equals", `{"x": [null]}`, `{"x": null}`, y},
		{"null is not a missing field", `{"x": [null]}`, `{}`, n},
		{"the empty text equals", `{"x": [""]}`, `{"x": ""}`, y},
		{"the empty text is not null", `{"x": [""]}`, `{"x": null}`, n},
		{"alternatives of different kinds", `{"x": ["a", 1, null, {"prefix": "b"}]}`, `{"x": "bc"}`, y},
		{"exactly is an equal text", `{"x": [{"exactly": "a"}]}`, `{"x": "a"}`, y},

		{"all fields hold", `{"a": [1], "b": [2]}`, `{"a": 1, "b": 2}`, y},
		{"not only some", `{"a": [1], "b": [2]}`, `{"a": 1, "b": 3}`, n},
		{"a field within a field", `{"a": {"b": [1]}}`, `{"a": {"b": 1}}`, y},

		{"prefix", `{"x": [{"prefix": "ab"}]}`, `{"x": "abc"}`, y},
		{"not the prefix", `{"x": [{"prefix": "ab"}]}`, `{"x": "cab"}`, n},
		{"an empty prefix is any text", `{"x": [{"prefix": ""}]}`, `{"x": ""}`, y},
		{"and no number", `{"x": [{"prefix": ""}]}`, `{"x": 1}`, n},
		{"prefix of any case", `{"x": [{"prefix": {"equals-ignore-case": "AB"}}]}`, `{"x": "aBc"}`, y},
		{"suffix", `{"x": [{"suffix": ".png"}]}`, `{"x": "a.png"}`, y},
		{"not the suffix", `{"x": [{"suffix": ".png"}]}`, `{"x": "a.png2"}`, n},
		{"suffix of any case", `{"x": [{"suffix": {"equals-ignore-case": ".PNG"}}]}`, `{"x": "a.pNg"}`, y},
		{"equals-ignore-case", `{"x": [{"equals-ignore-case": "ALPHA"}]}`, `{"x": "alpha"}`, y},
		{"equals-ignore-case of more than ASCII", `{"x": [{"equals-ignore-case": "ÄÖ"}]}`, `{"x": "äö"}`, y},
		{"equals-ignore-case of another text", `{"x": [{"equals-ignore-case": "ALPHA"}]}`, `{"x": "alphas"}`, n},

		{"wildcard", `{"x": [{"wildcard": "dir/*/file-*.txt"}]}`, `{"x": "dir/a/b/file-1.txt"}`, y},
		{"not the wildcard", `{"x": [{"wildcard": "dir/*/file-*.txt"}]}`, `{"x": "dir/file-1.txt"}`, n},
		{"a star alone is any text", `{"x": [{"wildcard": "*"}]}`, `{"x": ""}`, y},
		{"a star may stand for nothing", `{"x": [{"wildcard": "a*b"}]}`, `{"x": "ab"}`, y},
		{"the ends do not overlap", `{"x": [{"wildcard": "ab*ba"}]}`, `{"x": "aba"}`, n},
		{"an escaped star", `{"x": [{"wildcard": "a\\*b"}]}`, `{"x": "a*b"}`, y},
		{"an escaped star is no other text", `{"x": [{"wildcard": "a\\*b"}]}`, `{"x": "axb"}`, n},
		{"an escaped backslash", `{"x": [{"wildcard": "a\\\\*"}]}`, `{"x": "a\\b"}`, y},
		{"wildcard of any case", `{"x": [{"wildcard": {"equals-ignore-case": "A*C*e"}}]}`, `{"x": "abcdE"}`, y},
		{"not the wildcard of any case", `{"x": [{"wildcard": {"equals-ignore-case": "A*C*e"}}]}`, `{"x": "abdE"}`, n},

		{"numeric =", `{"n": [{"numeric": ["=", 5]}]}`, `{"n": 5.0}`, y},
		{"numeric <", `{"n": [{"numeric": ["<", 5]}]}`, `{"n": 5}`, n},
		{"numeric <=", `{"n": [{"numeric": ["<=", 5]}]}`, `{"n": 5}`, y},
		{"numeric >", `{"n": [{"numeric": [">", -5]}]}`, `{"n": -4.5}`, y},
		{"numeric >=", `{"n": [{"numeric": [">=", 5]}]}`, `{"n": 4.999}`, n},
		{"numeric between", `{"n": [{"numeric": [">", 0, "<=", 5]}]}`, `{"n": 5}`, y},
		{"numeric not between", `{"n": [{"numeric": [">", 0, "<=", 5]}]}`, `{"n": 0}`, n},
		{"numeric between is said of one value", `{"n": [{"numeric": [">", 3, "<", 5]}]}`, `{"n": [1, 9]}`, n},
		{"numeric is not for text", `{"n": [{"numeric": ["=", 5]}]}`, `{"n": "5"}`, n},

		{"cidr", `{"ip": [{"cidr": "10.0.0.0/24"}]}`, `{"ip": "10.0.0.255"}`, y},
		{"not in the network", `{"ip": [{"cidr": "10.0.0.0/24"}]}`, `{"ip": "10.0.1.0"}`, n},
		{"cidr with bits beyond the mask", `{"ip": [{"cidr": "10.0.0.77/24"}]}`, `{"ip": "10.0.0.1"}`, y},
		{"cidr of IPv6", `{"ip": [{"cidr": "2001:db8::/32"}]}`, `{"ip": "2001:db8:0:1::5"}`, y},
		{"not in the network of IPv6", `{"ip": [{"cidr": "2001:db8::/32"}]}`, `{"ip": "2001:db9::1"}`, n},
		{"cidr of what is no address", `{"ip": [{"cidr": "0.0.0.0/0"}]}`, `{"ip": "localhost"}`, n},

		{"exists", `{"x": [{"exists": true}]}`, `{"x": null}`, y},
		{"does not exist", `{"x": [{"exists": true}]}`, `{"y": 1}`, n},
		{"exists false", `{"x": [{"exists": false}]}`, `{"y": 1}`, y},
		{"exists false of what does", `{"x": [{"exists": false}]}`, `{"x": 1}`, n},
		{"exists is for values, not objects", `{"x": [{"exists": true}]}`, `{"x": {"y": 1}}`, n},
		{"exists false of an object", `{"x": [{"exists": false}]}`, `{"x": {"y": 1}}`, y},
		{"an empty array does not exist", `{"x": [{"exists": false}]}`, `{"x": []}`, y},
		{"an empty array within an array neither", `{"x": [{"exists": true}]}`, `{"x": [[]]}`, n},
		{"absent or a value, absent", `{"x": [{"exists": false}, "a"]}`, `{}`, y},
		{"absent or a value, the value", `{"x": [{"exists": false}, "a"]}`, `{"x": "a"}`, y},
		{"absent or a value, another", `{"x": [{"exists": false}, "a"]}`, `{"x": "b"}`, n},
		{"exists false without data of that kind", `{"x": [{"exists": false}]}`, `"text"`, y},

		{"anything-but", `{"x": [{"anything-but": "a"}]}`, `{"x": "b"}`, y},
		{"anything-but what it is", `{"x": [{"anything-but": "a"}]}`, `{"x": "a"}`, n},
		{"anything-but null", `{"x": [{"anything-but": "a"}]}`, `{"x": null}`, y},
		{"anything-but a missing field", `{"x": [{"anything-but": "a"}]}`, `{}`, n},
		{"anything-but a number", `{"x": [{"anything-but": 100}]}`, `{"x": 100.0}`, n},
		{"anything-but a list", `{"x": [{"anything-but": ["a", "b"]}]}`, `{"x": "b"}`, n},
		{"anything-but a list of numbers", `{"x": [{"anything-but": [1, 2]}]}`, `{"x": 3}`, y},
		{"anything-but is for one of several values", `{"x": [{"anything-but": "a"}]}`, `{"x": ["a", "b"]}`, y},
		{"anything-but prefix", `{"x": [{"anything-but": {"prefix": "a"}}]}`, `{"x": "ab"}`, n},
		{"anything-but prefixes", `{"x": [{"anything-but": {"prefix": ["a", "b"]}}]}`, `{"x": "ca"}`, y},
		{"anything-but suffix", `{"x": [{"anything-but": {"suffix": "a"}}]}`, `{"x": "ab"}`, y},
		{"anything-but suffixes", `{"x": [{"anything-but": {"suffix": ["a", "b"]}}]}`, `{"x": "ab"}`, n},
		{"anything-but equals-ignore-case", `{"x": [{"anything-but": {"equals-ignore-case": "A"}}]}`, `{"x": "a"}`, n},
		{"anything-but wildcard", `{"x": [{"anything-but": {"wildcard": "*/lib/*"}}]}`, `{"x": "a/lib/b"}`, n},
		{"anything-but wildcards", `{"x": [{"anything-but": {"wildcard": ["*/lib/*", "b*"]}}]}`, `{"x": "a/bin/b"}`, y},
		{"anything-but a prefix of a number", `{"x": [{"anything-but": {"prefix": "1"}}]}`, `{"x": 12}`, y},
		{"anything-but contains", `{"x": [{"anything-but": {"contains": "b"}}]}`, `{"x": "abc"}`, n},
		{"anything-but regexp", `{"x": [{"anything-but": {"regexp": "^a"}}]}`, `{"x": "ba"}`, y},

		{"contains", `{"x": [{"contains": "bc"}]}`, `{"x": "abcd"}`, y},
		{"does not contain", `{"x": [{"contains": "bc"}]}`, `{"x": "abd"}`, n},
		{"regexp", `{"x": [{"regexp": "^[a-c]+$"}]}`, `{"x": "abc"}`, y},
		{"not the regexp", `{"x": [{"regexp": "^[a-c]+$"}]}`, `{"x": "abcd"}`, n},

		{"$or, the first", `{"$or": [{"a": [1]}, {"b": [2]}]}`, `{"a": 1}`, y},
		{"$or, the second", `{"$or": [{"a": [1]}, {"b": [2]}]}`, `{"a": 2, "b": 2}`, y},
		{"$or, none", `{"$or": [{"a": [1]}, {"b": [2]}]}`, `{"a": 2, "b": 1}`, n},
		{"$or and a field", `{"c": [3], "$or": [{"a": [1]}, {"b": [2]}]}`, `{"a": 1, "c": 4}`, n},
		{"$or within $or", `{"$or": [{"a": [1]}, {"b": [2], "$or": [{"c": [3]}, {"d": [4]}]}]}`, `{"b": 2, "d": 4}`, y},
		{"$or within a field", `{"x": {"$or": [{"a": [1]}, {"b": [2]}]}}`, `{"x": {"b": 2}}`, y},
		{"two $or", `{"x": {"$or": [{"a": [1]}, {"b": [2]}]}, "$or": [{"c": [3]}, {"d": [4]}]}`, `{"x": {"b": 2}, "c": 3}`, y},
		{"two $or of which one fails", `{"x": {"$or": [{"a": [1]}, {"b": [2]}]}, "$or": [{"c": [3]}, {"d": [4]}]}`, `{"x": {"b": 2}, "c": 4}`, n},
		{"$or with no objects is a field", `{"$or": ["a", "b"]}`, `{"$or": "b"}`, y},
		{"$or with operators is a field", `{"$or": [{"prefix": "a"}, {"suffix": "b"}]}`, `{"$or": "xb"}`, y},
		{"the fields of an $or come from one element", `{"$or": [{"a": {"x": [1], "y": [2]}}, {"b": [1]}]}`, `{"a": [{"x": 1}, {"y": 2}]}`, n},
		{"an $or and a field come from one element", `{"a": {"x": [1], "$or": [{"y": [2]}, {"z": [3]}]}}`, `{"a": [{"x": 1, "y": 1}, {"x": 2, "z": 3}, {"x": 1, "z": 3}]}`, y},

		{"an element of an array", `{"x": ["b"]}`, `{"x": ["a", "b"]}`, y},
		{"an element of an array in an array", `{"x": ["b"]}`, `{"x": [["a"], ["b"]]}`, y},
		{"two fields of one element", `{"a": {"x": [1], "y": [2]}}`, `{"a": [{"x": 1, "y": 3}, {"x": 1, "y": 2}]}`, y},
		{"two fields of different elements", `{"a": {"x": [1], "y": [2]}}`, `{"a": [{"x": 1, "y": 3}, {"x": 3, "y": 2}]}`, n},
		{"the element of an outer array", `{"a": {"x": [1], "b": {"y": [2]}}}`, `{"a": [{"x": 1, "b": [{"y": 3}]}, {"x": 2, "b": [{"y": 2}]}]}`, n},
		{"elements of two arrays", `{"a": {"x": [1]}, "b": {"y": [2]}}`, `{"a": [{"x": 0}, {"x": 1}], "b": [{"y": 2}, {"y": 0}]}`, y},
		{"two fields of one element, arrays in arrays", `{"a": {"x": [1], "y": [2]}}`, `{"a": [[{"x": 1}, {"y": 2}], [{"x": 1, "y": 2}]]}`, y},
		{"two fields of different elements, arrays in arrays", `{"a": {"x": [1], "y": [2]}}`, `{"a": [[{"x": 1}, {"y": 2}]]}`, n},
		{"a field that the element lacks", `{"a": {"x": [1], "y": [{"exists": false}]}}`, `{"a": [{"x": 1}, {"x": 2, "y": 1}]}`, y},
		{"a field that only another element lacks", `{"a": {"x": [1], "y": [{"exists": false}]}}`, `{"a": [{"x": 1, "y": 1}, {"x": 2}]}`, n},
		{"the order of fields does not matter", `{"a": {"y": [1], "x": [{"exists": false}]}}`, `{"a": [{"y": 1}, {"y": 2, "x": 1}]}`, y},
		{"a field that no element has", `{"a": {"y": [{"exists": false}]}}`, `{"a": [{"x": 1}, {"y": 1}]}`, n},
		{"a field that may be absent from the element", `{"a": {"x": [1], "y": [{"exists": false}, 2]}}`, `{"a": [{"x": 1, "y": 3}, {"x": 1}]}`, y},

		{"a value that an element has too, which lacks the field", `{"a": [1], "a.b": [{"exists": false}]}`, `{"a": [1, [1], {"b": 1}]}`, y},
		{"a value that only elements with the field have", `{"a": [1], "a.b": [{"exists": false}]}`, `{"a": [1, [2], {"b": 1}]}`, n},
		{"fields that no element has", `{"a": {"x": [{"exists": false}], "y": [{"exists": false}]}}`, `{"a": [{"x": 1}, {"z": 1}]}`, n},
		{"fields of which no element has any", `{"a": {"x": [{"exists": false}], "y": [{"exists": false}]}}`, `{"a": [{"z": 1}, {"z": 1}]}`, y},

		{"dots in the pattern", `{"a.b": [1]}`, `{"a": {"b": 1}}`, y},
		{"dots in the event", `{"a": {"b": [1]}}`, `{"a.b": 1}`, y},
		{"dots in both, elsewhere", `{"a.b": {"c": [1]}}`, `{"a": {"b.c": 1}}`, y},
		{"one path written twice in the event", `{"a": {"b": [1], "c": [2]}}`, `{"a": {"b": 0, "c": 2}, "a.b": 1}`, y},
		{"what a path has an array need not", `{"a": {"b": [1], "c": [2]}}`, `{"a": [{"b": 1}, {"b": 2}], "a.c": 2}`, y},
		{"an array that has what is asked beside one that has a part", `{"a": {"b": [1], "c": [2]}}`, `{"a": [{"b": 1}, {"b": 1, "c": 2}], "a.x": 2}`, y},
		{"an array has a part and a path the rest", `{"a.b": {"p": [1], "q": [2]}}`, `{"a.b": [{"x": 1}, {"p": 1}], "a": {"b": {"q": 2}}}`, y},
		{"a dot at the end is an empty key", `{"a.": [1]}`, `{"a": {"": 1}}`, y},
		{"a value and fields at one path", `{"a": [1], "a.b": [2]}`, `{"a": [1, {"b": 2}]}`, y},
		{"a key with escapes", `{"\u0061": [1]}`, `{"a": 1}`, y},

		{"data that is an array does not match", `{"x": [1]}`, `[{"x": 1}]`, n},
		{"nor because nothing is in it", `{"x": [{"exists": false}]}`, `[1]`, n},
		{"data that is a number", `[{"numeric": [">", 1]}]`, `5`, y},
		{"what is said last holds", `{"x": ["a"], "x": ["b"]}`, `{"x": "b"}`, y},
		{"and nothing else does", `{"x": ["a"], "x": ["b"]}`, `{"x": "a"}`, n},
	}
	env := mustEnv(t)
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			m, err := env.Compile(onData(c.pattern))
			if err != nil {
				t.Fatal(err)
			}
			ev := withData(c.data)
			if ev == nil {
				t.Fatal("not an event")
			}
			if r := m.Evaluate(ev); r.Error != "" || r.Matched != c.want {
				t.Errorf("%+v, want %v", r, c.want)
			}
			p := dataPattern(m)
			if p != nil && c.want && !p.shadowHolds(ev) {
				t.Errorf("matches, but not in the shadow")
			}
		})
	}
}

func TestPatternsOfAttributes(t *testing.T) {
	const y, n = true, false
	tests := []struct {
		name, pattern string
		want          bool
	}{
		{"detail-type is the type", `{"detail-type": ["com.example.order.placed"]}`, y},
		{"another type", `{"detail-type": ["com.example.order.paid"]}`, n},
		{"type is the type too", `{"type": [{"prefix": "com.example."}]}`, y},
		{"both are asked", `{"type": [{"prefix": "com.example."}], "detail-type": ["x"]}`, n},
		{"the source", `{"source": ["/shop"]}`, y},
		{"an attribute and the data", `{"source": ["/shop"], "detail": {"total": [{"numeric": [">", 100]}]}}`, y},
		{"an attribute and other data", `{"source": ["/shop"], "detail": {"total": [{"numeric": [">", 200]}]}}`, n},
		{"the time is text", `{"time": [{"prefix": "2026-11-22"}]}`, y},
		{"a path in detail", `{"detail.nested.a.b": [1]}`, y},
		{"an int extension equals a number", `{"attempt": [3]}`, y},
		{"an int extension equals a number with a fraction of 0", `{"attempt": [3.0]}`, y},
		{"an int extension equals its text", `{"attempt": ["3"]}`, y},
		{"an int extension is compared as a number", `{"attempt": [{"numeric": [">", 2, "<", 10]}]}`, y},
		{"an int extension beyond limits", `{"attempt": [{"numeric": [">", 3]}]}`, n},
		{"a bool extension equals true", `{"hot": [true]}`, y},
		{"a bool extension is not false", `{"hot": [false]}`, n},
		{"a text that is no number", `{"partitionkey": [{"numeric": [">", 0]}]}`, n},
		{"anything-but", `{"partitionkey": [{"anything-but": ["x", "y"]}]}`, y},
		{"anything-but a number", `{"attempt": [{"anything-but": 3}]}`, n},
		{"anything-but an attribute that is not set", `{"nope": [{"anything-but": "x"}]}`, n},
		{"exists", `{"subject": [{"exists": true}]}`, y},
		{"exists false", `{"nope": [{"exists": false}]}`, y},
		{"absent or a value", `{"partitionkey": [{"exists": false}, "x"]}`, n},
		{"$or of attributes", `{"$or": [{"source": ["/x"]}, {"subject": [{"suffix": "/de"}]}]}`, y},
		{"$or of an attribute and the data", `{"$or": [{"source": ["/x"]}, {"detail": {"id": [7]}}]}`, y},
		{"$or of an attribute and the data, none", `{"$or": [{"source": ["/x"]}, {"detail": {"id": [8]}}]}`, n},
		{"$or of attributes each with data", `{"$or": [{"source": ["/x"], "detail": {"id": [7]}}, {"source": ["/shop"], "detail": {"id": [8]}}]}`, n},
		{"$or of both, each with its own", `{"$or": [{"source": ["/shop"]}, {"source": ["/x"]}], "detail": {"$or": [{"id": [7]}, {"id": [8]}]}}`, y},
	}
	env := mustEnv(t)
	// Over HTTP in binary mode extensions lose their types.
	typed := mustEvent(t, order)
	untyped := mustEvent(t, replaceAll(order, `"attempt":3,"hot":true`, `"attempt":"3","hot":"true"`))
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			m, err := env.Compile(Filter{Pattern: c.pattern})
			if err != nil {
				t.Fatal(err)
			}
			for _, ev := range []*event.Event{typed, untyped} {
				if r := m.Evaluate(ev); r.Error != "" || r.Matched != c.want {
					t.Errorf("%+v, want %v", r, c.want)
				}
			}
		})
	}
}

func TestPatternsAreIndexed(t *testing.T) {
	env := mustEnv(t)
	for _, c := range []struct {
		pattern string
		want    Class
	}{
		{`{"detail-type": ["a"], "detail": {"b": [{"exists": false}]}}`, Indexed},
		{`{"detail": {"a": {"b": [1], "c": [{"anything-but": 2}]}}}`, Indexed},
		{`{"detail": {"a": [{"anything-but": ["x", "y"]}]}}`, Indexed},
		{`{"detail": {"$or": [{"a": [1]}, {"b": [{"wildcard": "a*"}]}]}}`, Indexed},
		{`{"$or": [{"source": ["a"]}, {"detail": {"b": [2]}}]}`, Indexed},
		{`{"attempt": [{"numeric": [">", 1]}]}`, Mixed},
		{`{"detail": {"a": [{"exists": false}]}}`, Scan},
		{`{"$or": [{"source": ["a"]}, {"detail": {"b": [{"exists": false}]}}]}`, Scan},
	} {
		m, err := env.Compile(Filter{Pattern: c.pattern})
		if err != nil {
			t.Fatal(err)
		}
		if m.filter.class != c.want {
			t.Errorf("%s: %v, want %v", c.pattern, m.filter.class, c.want)
		}
	}
}
