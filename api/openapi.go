package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// describe makes the OpenAPI 3.1 description of routes. It is made from the
// same table that the routes are registered from, and from the Go types that
// the handlers read and write.
func describe(routes []route, version string) ([]byte, error) {
	d := describer{schemas: map[string]any{}}
	paths := map[string]map[string]any{}
	for _, r := range routes {
		path, params := openPath(r.path)
		op := map[string]any{
			"operationId": r.id, "summary": r.summary, "tags": []string{r.tag},
			"responses": d.responses(r),
		}
		for _, q := range r.query {
			params = append(params, param(q, "query", false))
		}
		for _, h := range r.header {
			params = append(params, param(h, "header", false))
		}
		if len(params) > 0 {
			op["parameters"] = params
		}
		if b := d.requestBody(r.request); b != nil {
			op["requestBody"] = b
		}
		if paths[path] == nil {
			paths[path] = map[string]any{}
		}
		method := strings.ToLower(r.method)
		if _, twice := paths[path][method]; twice {
			return nil, fmt.Errorf("api: %s %s is listed twice", r.method, path)
		}
		paths[path][method] = op
	}
	return json.MarshalIndent(map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{
			"title": "Switchyard", "version": version,
			"description": "A self-hosted event bus for CloudEvents. Every error is a problem details document (RFC 9457).",
			"license":     map[string]any{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"paths":      paths,
		"components": map[string]any{"schemas": d.schemas},
	}, "", "  ")
}

// openPath turns gin's :name into {name}.
func openPath(path string) (string, []any) {
	var params []any
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if name, ok := strings.CutPrefix(p, ":"); ok {
			parts[i] = "{" + name + "}"
			params = append(params, param(parameter{name, ""}, "path", true))
		}
	}
	return strings.Join(parts, "/"), params
}

func param(p parameter, in string, required bool) map[string]any {
	out := map[string]any{"name": p.name, "in": in, "required": required, "schema": map[string]any{"type": "string"}}
	if p.doc != "" {
		out["description"] = p.doc
	}
	return out
}

// describer collects the schemas of the types it meets.
type describer struct{ schemas map[string]any }

func (d *describer) responses(r route) map[string]any {
	out := map[string]any{"default": map[string]any{
		"description": "What went wrong, as problem details.",
		"content":     map[string]any{"application/problem+json": map[string]any{"schema": d.schema(reflect.TypeFor[Problem]())}},
	}}
	for _, a := range r.answers {
		res := map[string]any{"description": a.doc}
		if a.value != nil {
			typ := a.typ
			if typ == "" {
				typ = "application/json"
			}
			content := map[string]any{typ: map[string]any{"schema": d.answer(a.value)}}
			if other, ok := out[strconv.Itoa(a.status)].(map[string]any); ok { // the same in another content type
				res = other
				maps.Copy(content, other["content"].(map[string]any))
			}
			res["content"] = content
		}
		out[strconv.Itoa(a.status)] = res
	}
	return out
}

// oneOf is an answer of one of several types.
type oneOf []any

// answer describes a value of an answer.
func (d *describer) answer(value any) map[string]any {
	types, ok := value.(oneOf)
	if !ok {
		return d.schema(reflect.TypeOf(value))
	}
	var schemas []any
	for _, v := range types {
		schemas = append(schemas, d.schema(reflect.TypeOf(v)))
	}
	return map[string]any{"oneOf": schemas}
}

func (d *describer) requestBody(b body) map[string]any {
	content := map[string]any{}
	if b.value != nil {
		content["application/json"] = map[string]any{"schema": d.schema(reflect.TypeOf(b.value))}
	}
	for _, t := range b.types {
		content[t] = map[string]any{}
	}
	if len(content) == 0 {
		return nil
	}
	return map[string]any{"required": b.required, "content": content}
}

// schema describes a Go type; structs go into the components.
func (d *describer) schema(t reflect.Type) map[string]any {
	switch t {
	case reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case reflect.TypeFor[json.RawMessage]():
		return map[string]any{}
	}
	switch t.Kind() {
	case reflect.Pointer:
		s := d.schema(t.Elem())
		if typ, ok := s["type"].(string); ok {
			s["type"] = []string{typ, "null"}
		}
		return s
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Int, reflect.Int64, reflect.Uint64, reflect.Uint32:
		return map[string]any{"type": "integer"}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": d.schema(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object"}
	case reflect.Struct:
		return d.object(t)
	}
	return map[string]any{}
}

// object puts a struct into the components and refers to it; one without a name
// stands where it is used.
func (d *describer) object(t reflect.Type) map[string]any {
	name := schemaName(t)
	if name == "" {
		return d.properties(t, map[string]any{})
	}
	ref := map[string]any{"$ref": "#/components/schemas/" + name}
	if _, known := d.schemas[name]; known {
		return ref
	}
	properties := map[string]any{}
	d.schemas[name] = properties // a type that holds itself ends here
	d.schemas[name] = d.properties(t, properties)
	return ref
}

// properties fills in those of a struct, and is its schema.
func (d *describer) properties(t reflect.Type, properties map[string]any) map[string]any {
	var required []string
	for f := range t.Fields() {
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "" || tag == "-" {
			continue
		}
		s := d.schema(f.Type)
		if doc := f.Tag.Get("doc"); doc != "" {
			s["description"] = doc
		}
		properties[tag] = s
		if options != "omitempty" {
			required = append(required, tag)
		}
	}
	object := map[string]any{"type": "object", "properties": properties}
	if len(required) > 0 {
		object["required"] = required
	}
	return object
}

// schemaName is a type's name without the package and brackets of generics.
func schemaName(t reflect.Type) string {
	name := t.Name()
	base, arg, generic := strings.Cut(name, "[")
	if !generic {
		return name
	}
	arg = strings.TrimSuffix(arg, "]")
	if i := strings.LastIndexByte(arg, '.'); i >= 0 {
		return arg[i+1:] + base
	}
	return "Object" + base
}
