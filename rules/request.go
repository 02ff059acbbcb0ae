package rules

import (
	"fmt"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/switchyard-dev/switchyard/bus/event"
)

// RequestEnv is what the expressions of a webhook source are compiled in. The
// variable request has the fields headers and query, maps of strings, and body,
// the parsed JSON value or else the text of the body. The names of headers are
// in lower case.
type RequestEnv struct {
	cel *cel.Env
}

// Request is a webhook's request as its expressions see it.
type Request struct {
	// Headers are by name in lower case.
	Headers map[string]string
	// Query is the query of the URL.
	Query map[string]string
	// Body is the body when it is JSON, else nil.
	Body *event.Tree
	// Raw is the body as it came; without Body, it is what request.body is.
	Raw []byte
}

// RequestExpr is an expression over request that results in text.
type RequestExpr struct {
	source  string
	program *program
}

const (
	requestTypeName = "Request"
	requestVariable = "request"
)

// NewRequestEnv makes the environment over the variable request.
func NewRequestEnv() (*RequestEnv, error) {
	env, err := newCEL(cel.Types(requestType{}), cel.Variable(requestVariable, cel.ObjectType(requestTypeName)))
	if err != nil {
		return nil, err
	}
	return &RequestEnv{cel: env}, nil
}

// Compile compiles an expression that results in a string or a timestamp; one
// whose type is only known later may also result in a number or a bool. What is
// wrong with it is a *CompileError, or several of them, joined in order.
func (env *RequestEnv) Compile(source string) (*RequestExpr, error) {
	checked, err := checkIn(env.cel, source, "the expression", requestVariable)
	if err != nil {
		return nil, err
	}
	switch t := checked.OutputType(); t.Kind() {
	case types.StringKind, types.TimestampKind, types.DynKind, types.IntKind, types.UintKind, types.DoubleKind, types.BoolKind:
	default:
		return nil, compileError(source, 1, 1, fmt.Sprintf("the expression results in %s, not in text or a time", cel.FormatCELType(t)), "")
	}
	p, err := newProgram(env.cel, source, checked.NativeRep())
	if err != nil {
		return nil, err
	}
	return &RequestExpr{source: source, program: p}, nil
}

// Source is the expression as it was written.
func (x *RequestExpr) Source() string { return x.source }

// Eval evaluates the expression for one request. A timestamp becomes RFC 3339
// text, a number that is whole has no exponent.
func (x *RequestExpr) Eval(r Request) (string, error) {
	v := &requestView{request: r}
	size := len(r.Raw)
	if r.Body != nil {
		size = len(r.Body.Root().Raw())
	}
	out, err := x.program.run(v, size)
	if err != nil {
		return "", err
	}
	switch val := out.(type) {
	case types.Timestamp:
		return val.UTC().Format(time.RFC3339Nano), nil
	case types.String, types.Double, types.Int, types.Uint, types.Bool:
		return ScalarText(out), nil
	}
	return "", fmt.Errorf("the expression results in %s, not in text or a time", out.Type().TypeName())
}

var _ ref.Val = (*requestView)(nil)
