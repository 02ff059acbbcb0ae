package rules

import "testing"

func TestEqualExpressionsAreCompiledOnce(t *testing.T) {
	env, err := NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	compile := func(source string, enriched ...string) *Expr {
		t.Helper()
		x, err := env.CompileEnrichedExpr(source, enriched)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	first := compile("event.data.id")
	if compile("event.data.id") != first {
		t.Error("an expression was compiled twice")
	}
	a := compile("string(enriched.a) + event.id", "a")
	if a != compile("string(enriched.a) + event.id", "a") {
		t.Error("an expression over answers was compiled twice")
	}
	whole := compile("enriched", "a", "b")
	if got := compile("enriched", "a").Enriched(); len(got) != 1 || len(whole.Enriched()) != 2 {
		t.Errorf("with other answers it reads %v, %v", got, whole.Enriched())
	}
	if _, err := env.CompileEnrichedExpr("string(enriched.a) + event.id", []string{"b"}); err == nil {
		t.Error("a name that is not there was read")
	}
}
