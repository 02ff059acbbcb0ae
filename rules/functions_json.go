package rules

import (
	"errors"
	"fmt"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types/ref"

	"github.com/switchyard-dev/switchyard/bus/event"
)

func jsonFunctions() []cel.EnvOption {
	dyn := cel.DynType
	return []cel.EnvOption{
		cel.Function("json.parse", cel.Overload("json_parse_string", []*cel.Type{cel.StringType}, dyn,
			cel.UnaryBinding(func(v ref.Val) ref.Val { return jsonResult("json.parse", []byte(text(v))) }))),
		cel.Function("json.mergePatch", cel.Overload("json_mergePatch_value_value", []*cel.Type{dyn, dyn}, dyn,
			cel.BinaryBinding(jsonMergePatch))),
	}
}

// jsonResult is JSON text as a value. It is checked as the data of events is,
// and its numbers keep their digits as theirs do.
func jsonResult(name string, text []byte) ref.Val {
	if len(text) > maxOutput {
		return callError(name, fmt.Errorf("the text is %d bytes long; at most %d", len(text), maxOutput))
	}
	tree, err := event.ParseTree(text)
	if err != nil {
		return callError(name, err)
	}
	return new(arena).value(tree.Root())
}

// jsonMergePatch is the function json.mergePatch (RFC 7396).
func jsonMergePatch(target, patch ref.Val) ref.Val {
	const name = "json.mergePatch"
	t, err := tree(target)
	if err != nil {
		return callError(name, fmt.Errorf("the target: %w", err))
	}
	p, err := tree(patch)
	if err != nil {
		return callError(name, fmt.Errorf("the patch: %w", err))
	}
	if len(t.Raw()) > maxOutput-len(p.Raw()) {
		return callError(name, ErrTooLarge)
	}
	return jsonResult(name, appendMerged(nil, t, p))
}

// tree is a value as JSON.
func tree(v ref.Val) (event.Node, error) {
	switch v := v.(type) {
	case *object:
		return v.node, nil
	case *array:
		return v.node, nil
	}
	text, err := appendJSON(nil, v, maxEncoded, 0)
	if err != nil {
		return event.Node{}, err
	}
	t, err := event.ParseTree(text)
	if err != nil {
		var syntax *event.SyntaxError
		if errors.As(err, &syntax) {
			err = errors.New(syntax.Reason) // its place would be one in text that nobody wrote
		}
		return event.Node{}, err
	}
	return t.Root(), nil
}

// appendMerged appends target as patch changes it; target may be missing. The
// members of target keep their order, new ones follow in that of the patch.
func appendMerged(dst []byte, target, patch event.Node) []byte {
	if patch.Kind() != event.Object {
		return append(dst, patch.Raw()...)
	}
	changes := make(map[string]event.Node, patch.Len())
	for key, v := range patch.Entries() {
		changes[key] = v
	}
	dst = append(dst, '{')
	first := true
	member := func(key string) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(AppendString(dst, key), ':')
	}
	for key, v := range target.Entries() {
		change, changed := changes[key]
		delete(changes, key)
		switch {
		case !changed:
			member(key)
			dst = append(dst, v.Raw()...)
		case change.Kind() != event.Null:
			member(key)
			dst = appendMerged(dst, v, change)
		}
	}
	for key, v := range patch.Entries() {
		if _, left := changes[key]; left && v.Kind() != event.Null {
			member(key)
			dst = appendMerged(dst, event.Node{}, v)
		}
	}
	return append(dst, '}')
}
