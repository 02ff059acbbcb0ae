package event

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
)

func TestTreeReadsWhatJSONSays(t *testing.T) {
	text := `{"s":"a","e":"\u00e9\"","n":[1,-0,1.5,1e2,9007199254740993,1e400000],"o":{"k\u0069":{"x":[]},"z":null},"t":true,"f":false}`
	text = strings.Replace(text, ",1e400000", "", 1)
	tree, err := ParseTree([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	root := tree.Root()
	get := func(path ...string) Node {
		n := root
		for _, key := range path {
			n, _ = n.Get(key)
		}
		return n
	}
	index := func(n Node, i int) Node { n, _ = n.Index(i); return n }
	if got := get("s").Text(); got != "a" {
		t.Errorf("s is %q", got)
	}
	if got := get("e").Text(); got != `é"` || get("e").Len() != 3 {
		t.Errorf("e is %q", got)
	}
	if got := get("o", "ki", "x"); got.Kind() != Array || got.Len() != 0 || string(got.Raw()) != "[]" {
		t.Errorf("o.ki.x is %s", got.Raw())
	}
	if get("o", "z").Kind() != Null || get("t").Kind() != True || get("f").Kind() != False || get("o").Kind() != Object {
		t.Error("kinds are wrong")
	}
	if n := get("n"); n.Len() != 5 || index(n, 2).Float() != 1.5 || index(n, 3).Float() != 100 || math.Copysign(1, index(n, 1).Float()) != -1 {
		t.Error("numbers are wrong")
	}
	for i, want := range []struct {
		i  int64
		ok bool
	}{{1, true}, {0, true}, {0, false}, {0, false}, {9007199254740993, true}} {
		if got, ok := index(get("n"), i).Int(); got != want.i || ok != want.ok {
			t.Errorf("n[%d] is the integer %d, %v", i, got, ok)
		}
	}
	if root.Len() != 6 || get("o").Len() != 2 {
		t.Error("lengths are wrong")
	}
	for _, missing := range []Node{{}, get("nothing"), get("s", "x"), index(get("n"), 5), index(get("n"), -1), index(root, 0)} {
		if missing.Kind() != Missing || missing.Raw() != nil || missing.Text() != "" || missing.Float() != 0 || missing.Len() != 0 {
			t.Error("a missing value is there")
		}
		for range missing.Elements() {
			t.Error("a missing value has elements")
		}
		for range missing.Entries() {
			t.Error("a missing value has members")
		}
	}
	if (*Tree)(nil).Root().Kind() != Missing {
		t.Error("a nil tree has a root")
	}
}

func TestIndexSkipsContainers(t *testing.T) {
	tree, err := ParseTree([]byte(`[[1,[2]],{"a":[3]},4,{},[]]`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range tree.Root().Len() {
		n, ok := tree.Root().Index(i)
		if !ok {
			t.Fatal(i)
		}
		got = append(got, string(n.Raw()))
	}
	if want := []string{"[1,[2]]", `{"a":[3]}`, "4", "{}", "[]"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}

func TestTreeIsParsedOnceAndOnlyForJSON(t *testing.T) {
	e := orderEvent(t)
	if first, again := e.Tree(), e.Tree(); first == nil || first != again {
		t.Error("the tree is not kept")
	}
	b := FromEvent(e)
	b.SetData("text/plain", []byte("{}"))
	text, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if text.Tree() != nil {
		t.Error("text has a tree")
	}
	damaged := &Event{format: JSON, data: []byte(`{"a":`)}
	if damaged.Tree() != nil {
		t.Error("damaged data has a tree")
	}
}

func TestGoroutinesShareOneTree(t *testing.T) {
	e := orderEvent(t)
	trees := make([]*Tree, 8)
	var wait sync.WaitGroup
	for i := range trees {
		wait.Go(func() { trees[i] = e.Tree() })
	}
	wait.Wait()
	for _, tree := range trees {
		if tree == nil || tree != trees[0] {
			t.Fatal("trees differ")
		}
	}
}

func TestParseAllocatesTheTreeAndItsTokensOnly(t *testing.T) {
	data := orderData()
	if n := testing.AllocsPerRun(100, func() { _, _ = indexTree(data) }); n > 2 {
		t.Errorf("%v allocations", n)
	}
	text := []byte(`"` + strings.Repeat(",", 10_000) + `"`)
	tree, err := ParseTree(text)
	if err != nil || cap(tree.tokens) > 8 {
		t.Errorf("commas in a string waste %d tokens, %v", cap(tree.tokens), err)
	}
}

// value is the tree as encoding/json would decode it.
func value(n Node) any {
	switch n.Kind() {
	case False, True:
		return n.Kind() == True
	case Number:
		return n.Float()
	case String:
		return n.Text()
	case Array:
		out := []any{}
		for e := range n.Elements() {
			out = append(out, value(e))
		}
		return out
	case Object:
		out := map[string]any{}
		for k, v := range n.Entries() {
			out[k] = value(v)
		}
		return out
	}
	return nil
}

func sameAsStandardJSON(t *testing.T, text []byte, tree *Tree) {
	t.Helper()
	var want any
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatalf("encoding/json refuses %q: %v", text, err)
	}
	if got := value(tree.Root()); !reflect.DeepEqual(got, want) {
		t.Fatalf("%q is %v, want %v", text, got, want)
	}
}
