package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/configs"
)

// badJSON is the problem of a body that could not be decoded into a value of the
// type t, which may be nil.
func badJSON(body []byte, err error, t reflect.Type) *Problem {
	var syntax *event.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch key, unknown := strings.CutPrefix(err.Error(), `json: unknown field "`); {
	case errors.As(event.CheckJSON(body), &syntax):
		line, column := placeIn(body, syntax.Offset)
		p := problem(http.StatusBadRequest, "invalid-json", "the request body is not JSON: %s (line %d, column %d)", syntax.Reason, line, column)
		p.Errors = []ProblemField{{Line: line, Column: column, Detail: syntax.Reason}}
		return p
	case errors.As(err, &wrong):
		detail := "expected " + typeWords(wrong.Type) + ", not " + valueWords(wrong.Value)
		if wrong.Field == "" {
			return problem(http.StatusBadRequest, "invalid-json", "the request body: %s", detail)
		}
		pointer := "/" + strings.ReplaceAll(wrong.Field, ".", "/")
		return problem(http.StatusBadRequest, "invalid-json", "the request body: %s: %s", pointer, detail).with(pointer, detail)
	case unknown:
		key = strings.TrimSuffix(key, `"`)
		pointer, hint := unknownKey(body, t, "")
		if pointer == "" {
			pointer = "/" + key
		}
		return problem(http.StatusBadRequest, "invalid-json", "the request body: unknown key %q%s", key, hint).with(pointer, "there is no such key"+hint)
	}
	return problem(http.StatusBadRequest, "invalid-json", "the request body: %v", err)
}

// placeIn is the line and the column of a byte of a text, from 1.
func placeIn(text []byte, offset int) (line, column int) {
	before := text[:min(offset, len(text))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return 1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(before[start:])
}

// unknownKey finds the first key that a struct type does not have, with what is
// near.
func unknownKey(raw json.RawMessage, t reflect.Type, pointer string) (at, hint string) {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var members map[string]json.RawMessage
	if t == nil || t.Kind() != reflect.Struct || json.Unmarshal(raw, &members) != nil {
		return "", ""
	}
	types := map[string]reflect.Type{}
	var known []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		known = append(known, name)
		types[strings.ToLower(name)] = t.Field(i).Type
	}
	for name, value := range members {
		below := pointer + "/" + pointerToken(name)
		inner, ok := types[strings.ToLower(name)]
		if !ok {
			return below, configs.DidYouMean(name, known, "keys")
		}
		if at, hint = unknownKey(value, inner, below); at != "" {
			return at, hint
		}
	}
	return "", ""
}

// typeWords says what JSON value a type is read from.
func typeWords(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct, reflect.Map, reflect.Pointer:
		return "an object"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	}
	return "a whole number"
}

// valueWords says what kind of value encoding/json has met.
func valueWords(value string) string {
	kind, rest, _ := strings.Cut(value, " ")
	switch kind {
	case "string":
		return "a text"
	case "array":
		return "a list"
	case "object":
		return "an object"
	case "bool":
		return "true or false"
	case "number":
		return strings.TrimSpace("a number " + rest)
	}
	return value
}

// pointerToken is a name as JSON pointers have it (RFC 6901, section 3).
func pointerToken(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}
