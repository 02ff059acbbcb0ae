package rules

func (env *Env) compileSQL(source string) (node, error) {
	return node{}, compileError(source, 1, 1, "SQL is not available", "")
}
