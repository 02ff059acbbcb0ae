package transform

import "testing"

func BenchmarkForms(b *testing.B) {
	env := mustEnv(b)
	ev := mustEvent(b, instance)
	for name, block := range map[string]string{
		"expressions": `data: {a: "${{ event.data.state }}", b: "${{ default(event.data.nope, 1) }}", c: "x ${{ event.data.n }}"}`,
		"jq":          `jq: '{a: .data.state, b: (.data.nope // 1), c: "x \(.data.n)"}'`,
		"template":    `inputTransformer: {inputPathsMap: {s: $.detail.state, n: $.detail.n}, inputTemplate: '{"a": <s>, "b": 1, "c": "x <n>"}'}`,
		"path":        `inputPath: $.detail.payload`,
	} {
		tr, err := compileYAML(env, block)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tr.Apply(ev); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
