package configs

import (
	"os"
	"path/filepath"
	"testing"

	"gopkg.in/yaml.v3"
)

// copied is what text is expanded to by copying its nodes, as aliases need it.
func copied(t testing.TB, d *document, text []byte) *yaml.Node {
	t.Helper()
	root, err := parseYAML(text)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	e := expander{doc: d, copies: true}
	return e.node(root, 0)
}

func TestATreeIsExpandedInPlaceAsACopyIs(t *testing.T) {
	texts := map[string][]byte{
		"twice":  []byte("a: 1\nb: {a: 1, a: 2}\na: 3\nc:\n  - x\n  - y: ${env:PORT}\n    y: $${a}\n"),
		"merged": []byte("a:\n  <<: {x: 1, y: [2]}\n  y: 3\n  <<: [{z: 4}, {x: 5}]\n"),
		"keys":   []byte("? [a]\n: 1\nb: ''\n1: 2\n"),
	}
	files, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if texts[f], err = os.ReadFile(f); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			loader := testLoader(t)
			inPlace, copying := &document{loader: loader, file: "a.yaml"}, &document{loader: loader, file: "a.yaml"}
			if !inPlace.parse(text, false) {
				t.Fatal(inPlace.diags)
			}
			want := copied(t, copying, text)
			if !sameTree(inPlace.root, want, true) {
				t.Error("the trees differ")
			}
			if got, want := inPlace.diags.String(), copying.diags.String(); got != want {
				t.Errorf("got %s\nwant %s", got, want)
			}
			if got, want := string(inPlace.json(inPlace.root, inPlace.asWritten)), string(copying.json(want, copying.asWritten)); got != want {
				t.Errorf("as written: got %s\nwant %s", got, want)
			}
		})
	}
}
