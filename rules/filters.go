package rules

func (env *Env) compileFilters(source string) (node, error) {
	return node{}, compileError(source, 1, 1, "filters are not available", "")
}
