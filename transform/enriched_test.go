package transform

import (
	"errors"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/event"
)

func enrichedTransform(t *testing.T, block string) (*Transform, error) {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(block), &n); err != nil {
		t.Fatal(err)
	}
	return CompileWith(mustEnv(t), &n, Options{Enriched: []string{"customer", "geo"}})
}

func answers(t *testing.T, text string) *event.Tree {
	t.Helper()
	tree, err := event.ParseTree([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestTransformsReadEnriched(t *testing.T) {
	for _, c := range []struct{ name, block, reads, want string }{
		{"expressions", `{subject: "${{ enriched.customer.name }}", data: {order: "${{ event.data.id }}", customer: "${{ enriched.customer }}", place: "in ${{ enriched.geo }}"}}`,
			"customer geo", `{"order":7,"customer":{"id":12345678901234567890, "name":"Ada"},"place":"in null"}`},
		{"jq", `jq: '{id: .data.id, customer: $enriched.customer.id, all: ($enriched | keys)}'`,
			"customer geo", `{"all":["customer","geo"],"customer":12345678901234567890,"id":7}`},
		{"jq that reads none", `jq: .data.id`, "", `7`},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr, err := enrichedTransform(t, c.block)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(tr.Enriched(), " "); got != c.reads {
				t.Errorf("it reads %q", got)
			}
			ev := mustEvent(t, order)
			out, err := tr.ApplyIn(Context{Enriched: answers(t, `{"customer":{"id":12345678901234567890, "name":"Ada"},"geo":null}`)}, ev)
			if err != nil {
				t.Fatal(err)
			}
			if string(out.Data()) != c.want {
				t.Errorf("the data is %s, not %s", out.Data(), c.want)
			}
		})
	}
}

func TestAnAnswerThatIsNotGivenIsAnErrorThatSaysWhatToDo(t *testing.T) {
	for _, block := range []string{`data: "${{ enriched.customer.?name.orValue('') }}"`, `jq: $enriched.customer`} {
		tr, err := enrichedTransform(t, block)
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range []Context{{}, {Trial: true, Enriched: answers(t, `{"geo":1}`)}} {
			if _, err := tr.ApplyIn(in, mustEvent(t, order)); err == nil ||
				err.Error() != "transform: enriched.customer is not known: nothing is called where a rule is tried out; give what the call would answer, as enriched: {customer: ...}" {
				t.Errorf("%s: %v", block, err)
			}
		}
	}
}

func TestUndeclaredAnswersAreErrorsAtTheirPlace(t *testing.T) {
	_, err := enrichedTransform(t, "type: x\ndata:\n  name: \"a ${{ enriched.custmer.name }}\"\n")
	var e *Error
	if !errors.As(err, &e) || e.Line != 3 || e.Column != 25 || !strings.Contains(e.Message, `enriched has no "custmer"; did you mean customer?`) {
		t.Errorf("%v", err)
	}
	if _, err := compileYAML(mustEnv(t), `jq: $enriched.customer`); err == nil || !strings.Contains(err.Error(), "variable not defined: $enriched") {
		t.Errorf("without enrich: %v", err)
	}
}

func TestTextOfAnEvent(t *testing.T) {
	ev := mustEvent(t, order)
	for _, c := range []struct{ text, want, fails string }{
		{"plain", "plain", ""},
		{"${{ event.data.id }}", "7", ""},
		{"a/${{ event.data.name }}/${{ event.data.big }}?x=${{ event.data.yes }}", `a/<Ana "A">/<12345678901234567890>?x=<true>`, ""},
		{"${{ event.data.nil }}", "", "it is null, an object or an array"},
		{"${{ event.data.obj }}", "", "it is null, an object or an array"},
		{"${{ [1] }}", "", "it is null, an object or an array"},
		{"${{ event.data.nothing }}", "", `key: "event.data.nothing": no such key: nothing`},
	} {
		x, err := CompileText(mustEnv(t), &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: c.text}, "key")
		if err != nil {
			t.Fatal(err)
		}
		mark := func(dst []byte, _ int, v string) ([]byte, error) {
			return append(append(append(dst, '<'), v...), '>'), nil
		}
		if len(x.Parts()) == 1 {
			mark = nil
		}
		got, err := x.Append(nil, Context{}, ev, mark)
		switch {
		case c.fails == "" && (err != nil || string(got) != c.want):
			t.Errorf("%s is %q, %v", c.text, got, err)
		case c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)):
			t.Errorf("%s: %v", c.text, err)
		}
	}
	if _, err := CompileText(mustEnv(t), &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "${{ evnt.id }}"}, "key"); err == nil {
		t.Error("an expression that does not compile does")
	}
}
