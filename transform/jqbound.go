package transform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"time"

	"github.com/itchyny/gojq"
)

// A jq program is bounded by what it does, not by the clock, so that it has the
// same outcome on every attempt and on a busy machine:
//
//   - steps: gojq asks its context before each; the context counts, and ends it.
//   - memory: the program is rewritten when it is compiled, so that each place
//     that makes a value (arrays, objects, texts, sums, calls of functions) hands
//     it to a function that weighs it. One value may weigh only so much, and so
//     may all that a run makes. A value that contains another twice weighs twice.
//   - single calls that could make much of little (products, join, transpose,
//     indexes of arrays, regular expressions on long text) are checked before.
//
// A clock stands behind these, for calls that are slow by themselves.
const (
	maxSteps     = 2_000_000
	stepsPerByte = 20
	maxRuntime   = 3 * time.Second

	memoryPerLimit = 8  // how much a value may weigh, of the limit of the output
	totalPerValue  = 64 // how much all values of a run may weigh, of that
	maxNested      = 500
	maxIndex       = 100_000 // of an array that is extended
	maxBits        = 16 << 10
	maxRegexText   = 16 << 10
)

var (
	errSteps = errors.New("the program takes too many steps on this event")
	errTime  = errors.New("the program takes too long on this event")
	errValue = errors.New("the program makes a value that is too large")
	errTotal = errors.New("the program makes too much on this event")
	errDepth = fmt.Errorf("the program makes a value that is nested more than %d levels deep", maxNested)
)

// jqRun counts what one run of a program does. It is the context of the run, of
// which gojq asks Done before each step. It is used by one goroutine.
type jqRun struct {
	context.Context
	steps, spent     int
	value, total     int // limits of the weights
	deadline         time.Time
	over             error
	running, stopped chan struct{}
}

func newJQRun(r *run) *jqRun {
	stopped := make(chan struct{})
	close(stopped)
	value := memoryPerLimit * r.limit
	return &jqRun{
		Context: context.Background(),
		steps:   maxSteps + stepsPerByte*r.ev.Size(), value: value, total: totalPerValue * value,
		deadline: time.Now().Add(maxRuntime), running: make(chan struct{}), stopped: stopped,
	}
}

// Done is closed when the steps are used up.
func (b *jqRun) Done() <-chan struct{} {
	b.steps--
	switch {
	case b.over != nil:
	case b.steps < 0:
		b.over = errSteps
	case b.steps%32 == 0 && time.Now().After(b.deadline):
		b.over = errTime
	default:
		return b.running
	}
	return b.stopped
}

// Err is the reason.
func (b *jqRun) Err() error { return b.over }

// weigh charges for a value that the program made.
func (b *jqRun) weigh(v any) error {
	w, err := weight(v, b.value, 0)
	if err != nil {
		return err
	}
	if b.spent += w; b.spent > b.total {
		return errTotal
	}
	return nil
}

// weight is about the memory that a value takes, if that is at most limit.
func weight(v any, limit, depth int) (int, error) {
	if depth > maxNested {
		return 0, errDepth
	}
	w := 16
	switch v := v.(type) {
	case string:
		w += len(v)
	case json.Number:
		w += len(v)
	case *big.Int:
		if v.BitLen() > maxBits {
			return 0, errValue
		}
		w += v.BitLen() / 8
	case []any:
		w += 16 * len(v)
		for _, e := range v {
			if w > limit {
				return 0, errValue
			}
			n, err := weight(e, limit-w, depth+1)
			if err != nil {
				return 0, err
			}
			w += n
		}
	case map[string]any:
		w += 48 * len(v)
		for k, e := range v {
			if w > limit {
				return 0, errValue
			}
			n, err := weight(e, limit-w, depth+1)
			if err != nil {
				return 0, err
			}
			w += n + len(k)
		}
	}
	if w > limit {
		return 0, errValue
	}
	return w, nil
}

// The functions that programs are rewritten with. No program can call them by
// itself, for it cannot write such names.
const (
	callWeigh     = "weigh value"
	callText      = "check text"
	callIndex     = "check index"
	callTimes     = "checked times"
	callJoin      = "checked join"
	callTranspose = "checked transpose"

	runVariable = "$__run" // holds the *jqRun
)

// wordError is about a word of the program.
type wordError struct{ word, problem string }

func (e *wordError) Error() string { return e.word + " " + e.problem }

// in is where the word stands first in a program.
func (e *wordError) in(source string) int {
	at := regexp.MustCompile(`(^|[^\w$.])` + regexp.QuoteMeta(e.word) + `\b`).FindStringIndex(source)
	if at == nil {
		return 0
	}
	return at[1] - len(e.word)
}

// refused are functions that no transform has.
func refused(name string) string {
	switch name {
	case "env", "$ENV":
		return "is not available: a transform does not see the environment"
	case "input", "inputs", "input_filename", "input_line_number":
		return "is not available: the only input is the event"
	case "now", "localtime", "strflocaltime":
		return "is not available: a transform must make the same on every attempt; .time is the event's time"
	case "fromstream", "debug", "stderr", "get_search_list", "modulemeta", "builtins":
		return "is not available in a transform"
	case runVariable:
		return "is not defined"
	}
	return ""
}

// pathFunction reports whether a function may stand where jq wants a path, such
// as on the left of |=, so that its result cannot be weighed; it makes nothing
// by itself.
func pathFunction(name string) bool {
	switch name {
	case "recurse", "select", "first", "last", "nth", "limit", "skip", "until", "while", "repeat", "getpath", "empty", "error",
		"arrays", "objects", "iterables", "booleans", "numbers", "normals", "finites", "strings", "nulls", "values", "scalars",
		"range", "not", "length", "type", "has", "isempty", "any", "all", "startswith", "endswith", "contains", "inside", "halt":
		return true
	}
	return false
}

// boundJQ rewrites a program.
func boundJQ(q *gojq.Query) error {
	if q.Meta != nil || len(q.Imports) > 0 {
		return errors.New("import and include are not available in a transform")
	}
	b := bounder{own: map[string]bool{}}
	visit(reflect.ValueOf(q), func(v any) {
		if f, ok := v.(*gojq.FuncDef); ok {
			b.own[f.Name] = true
			for _, a := range f.Args {
				b.own[a] = true
			}
		}
	})
	visit(reflect.ValueOf(q), b.rewrite)
	return b.err
}

// visit goes through all nodes of a syntax tree, from the leaves up.
func visit(v reflect.Value, f func(node any)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			visit(v.Elem(), f)
			f(v.Interface())
		}
	case reflect.Slice:
		for i := range v.Len() {
			visit(v.Index(i), f)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			visit(v.Field(i), f)
		}
	}
}

type bounder struct {
	own map[string]bool // the functions that the program defines, and their parameters
	err error
}

func (b *bounder) rewrite(node any) {
	switch n := node.(type) {
	case *gojq.Query:
		b.query(n)
	case *gojq.Term:
		b.term(n)
	case *gojq.Index:
		if n.Start != nil {
			n.Start = pipe(n.Start, checked(callIndex))
		}
	}
}

// query bounds operators.
func (b *bounder) query(q *gojq.Query) {
	switch q.Op {
	case gojq.OpUpdateAdd, gojq.OpUpdateMul:
		// L op= R is R as $x | L |= . op $x.
		x := callOf("$__x")
		sum := &gojq.Query{Left: identity(), Op: gojq.OpAdd, Right: x}
		if q.Op == gojq.OpUpdateMul {
			sum.Op = gojq.OpMul
		}
		b.query(sum)
		*q = gojq.Query{
			FuncDefs: q.FuncDefs, Left: q.Right, Op: gojq.OpPipe, Patterns: []*gojq.Pattern{{Name: "$__x"}},
			Right: &gojq.Query{Left: q.Left, Op: gojq.OpModify, Right: sum},
		}
	case gojq.OpMul:
		defs := q.FuncDefs
		*q = *checked(callTimes, q.Left, q.Right)
		q.FuncDefs = defs
	case gojq.OpAdd, gojq.OpSub, gojq.OpDiv, gojq.OpAssign, gojq.OpModify,
		gojq.OpUpdateSub, gojq.OpUpdateDiv, gojq.OpUpdateMod, gojq.OpUpdateAlt:
	default:
		return
	}
	old := *q
	*q = *pipe(&old, checked(callWeigh))
}

// term bounds what makes a value.
func (b *bounder) term(t *gojq.Term) {
	bare := *t
	bare.SuffixList = nil
	made := &gojq.Query{Term: &bare}
	switch t.Type {
	case gojq.TermTypeArray:
		if t.Array.Query == nil {
			return
		}
	case gojq.TermTypeObject:
		if len(t.Object.KeyVals) == 0 {
			return
		}
	case gojq.TermTypeFormat:
	case gojq.TermTypeString:
		if t.Str.Queries == nil {
			return
		}
	case gojq.TermTypeFunc:
		if made = b.call(t.Func, made); made == nil {
			return
		}
	default:
		return
	}
	*t = gojq.Term{Type: gojq.TermTypeQuery, Query: pipe(made, checked(callWeigh)), SuffixList: t.SuffixList}
}

// call bounds the call of a function; nil leaves it as it is.
func (b *bounder) call(f *gojq.Func, made *gojq.Query) *gojq.Query {
	if b.own[f.Name] {
		return nil
	}
	if problem := refused(f.Name); problem != "" {
		if b.err == nil {
			b.err = &wordError{f.Name, problem}
		}
		return nil
	}
	switch {
	case f.Name[0] == '$':
		return nil
	case f.Name == "getpath" && len(f.Args) == 1:
		f.Args[0] = pipe(f.Args[0], checked(callIndex))
		return nil
	case pathFunction(f.Name):
		return nil
	case f.Name == "setpath" && len(f.Args) == 2:
		f.Args[0] = pipe(f.Args[0], checked(callIndex))
	case f.Name == "join" && len(f.Args) == 1:
		return checked(callJoin, f.Args[0])
	case f.Name == "transpose" && len(f.Args) == 0:
		return checked(callTranspose)
	case f.Name == "add" && len(f.Args) == 1:
		all := &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeArray, Array: &gojq.Array{Query: f.Args[0]}}}
		return pipe(pipe(all, checked(callWeigh)), callOf("add"))
	case f.Name == "split" && len(f.Args) == 1: // without a regular expression
	case slices.Contains([]string{"match", "test", "capture", "scan", "split", "splits", "sub", "gsub", "tonumber"}, f.Name):
		return pipe(checked(callText), made)
	}
	return made
}

func identity() *gojq.Query { return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeIdentity}} }

func pipe(left, right *gojq.Query) *gojq.Query {
	return &gojq.Query{Left: left, Op: gojq.OpPipe, Right: right}
}

func callOf(name string, args ...*gojq.Query) *gojq.Query {
	return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: name, Args: args}}}
}

// checked calls one of our functions.
func checked(name string, args ...*gojq.Query) *gojq.Query {
	return callOf(name, append([]*gojq.Query{callOf(runVariable)}, args...)...)
}
