package configs

import (
	"encoding"
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/component"
)

// referencePattern is what a text with ${env:NAME} or ${file:PATH} matches; it
// may stand for any scalar.
const referencePattern = `\$\{(env|file):`

// Schema is the JSON Schema (draft 2020-12) of a configuration file, made from
// the same structs and tags that the loader decodes into.
func (k Kinds) Schema() ([]byte, error) {
	defs := map[string]any{}
	sourceKinds, targetKinds := map[string]any{}, map[string]any{}
	for _, s := range k.Sources {
		sourceKinds[s.Kind] = kindSchema(defs, "source-"+s.Kind, s.Summary, s.New())
	}
	for _, t := range k.Targets {
		targetKinds[t.Kind] = kindSchema(defs, "target-"+t.Kind, t.Summary, t.New())
	}
	defs["bus"] = typeSchema(reflect.TypeFor[Bus](), reflect.ValueOf(defaultBus()))
	defs["source"] = withKinds(typeSchema(reflect.TypeFor[Source](), reflect.Value{}), sourceKinds)
	defs["rule"] = typeSchema(reflect.TypeFor[ruleSettings](), reflect.Value{})
	defs["rule"].(map[string]any)["type"] = "object" // a rule needs a bus and targets
	defs["target"] = withKinds(typeSchema(reflect.TypeFor[Target](), reflect.ValueOf(defaultTarget())), targetKinds)

	file := typeSchema(reflect.TypeFor[fileSettings](), reflect.ValueOf(fileSettings{Version: Version, Server: defaultServer()}))
	properties := file["properties"].(map[string]any)
	properties["version"] = map[string]any{"const": Version, "description": docOf[fileSettings]("version")}
	for section, def := range map[string]string{Buses: "bus", Sources: "source", Rules: "rule", Targets: "target"} {
		properties[section] = map[string]any{
			"description":          docOf[fileSettings](section),
			"type":                 []string{"object", "null"},
			"additionalProperties": map[string]any{"$ref": "#/$defs/" + def},
			"propertyNames": map[string]any{
				"pattern": "^[a-z0-9][a-z0-9_.-]{0,62}$",
				"not":     map[string]any{"pattern": `^system\.`},
			},
		}
	}
	file["type"] = "object"
	file["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	file["title"] = "Switchyard configuration"
	file["$defs"] = defs
	return json.MarshalIndent(file, "", "  ")
}

func kindSchema(defs map[string]any, name, summary string, config component.Config) any {
	v := reflect.ValueOf(config).Elem()
	s := typeSchema(v.Type(), v)
	s["description"] = summary
	defs[name] = s
	return map[string]any{"$ref": "#/$defs/" + name}
}

// withKinds adds the kinds to an object, exactly one of which must be there.
func withKinds(schema map[string]any, kinds map[string]any) map[string]any {
	properties := schema["properties"].(map[string]any)
	var one []any
	for kind, s := range kinds {
		properties[kind] = s
	}
	for _, kind := range sortedKeys(kinds) {
		one = append(one, map[string]any{"required": []string{kind}})
	}
	schema["type"] = "object"
	schema["oneOf"] = one
	return schema
}

// docOf is the doc tag of a field of T.
func docOf[T any](key string) string {
	for _, f := range fieldsOf(reflect.TypeFor[T]()) {
		if f.key == key {
			return f.doc
		}
	}
	return ""
}

// typeSchema is the schema of a type; defaults is a value with its defaults,
// which may be invalid where there is none.
func typeSchema(t reflect.Type, defaults reflect.Value) map[string]any {
	if s := specialSchema(t); s != nil {
		return withDefault(s, defaults)
	}
	switch t.Kind() {
	case reflect.Pointer:
		if defaults.IsValid() {
			defaults = defaults.Elem()
		}
		return typeSchema(t.Elem(), defaults)
	case reflect.Struct:
		return structSchema(t, defaults)
	case reflect.Map:
		return map[string]any{"type": []string{"object", "null"}, "additionalProperties": typeSchema(t.Elem(), reflect.Value{})}
	case reflect.Slice:
		return map[string]any{"type": []string{"array", "null"}, "items": typeSchema(t.Elem(), reflect.Value{})}
	case reflect.String:
		return withDefault(map[string]any{"type": "string"}, defaults)
	case reflect.Bool:
		return withDefault(orReference("boolean"), defaults)
	case reflect.Float32, reflect.Float64:
		return withDefault(orReference("number"), defaults)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return withDefault(orReference("integer"), defaults)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		s := orReference("integer")
		s["minimum"] = 0
		return withDefault(s, defaults)
	}
	return map[string]any{}
}

// orReference is a scalar type whose value may also come from a reference.
func orReference(typ string) map[string]any {
	return map[string]any{"type": []string{typ, "string"}, "pattern": referencePattern}
}

func structSchema(t reflect.Type, defaults reflect.Value) map[string]any {
	properties := map[string]any{}
	var required []string
	for _, f := range fieldsOf(t) {
		var v reflect.Value
		if defaults.IsValid() {
			v = defaults.FieldByIndex(f.index)
		}
		s := typeSchema(f.typ, v)
		if f.enum != nil {
			delete(s, "type")
			s["anyOf"] = []any{map[string]any{"enum": enumValues(f.enum)}, map[string]any{"type": "string", "pattern": referencePattern}}
		}
		if f.doc != "" {
			s["description"] = f.doc
		}
		properties[f.key] = s
		if t.FieldByIndex(f.index).Tag.Get("required") == "true" {
			required = append(required, f.key)
		}
	}
	s := map[string]any{"type": []string{"object", "null"}, "properties": properties, "additionalProperties": false}
	if required != nil {
		s["required"] = required
	}
	return s
}

// enumValues are the allowed values; where the text null is one, so is null.
func enumValues(enum []string) []any {
	var out []any
	for _, v := range enum {
		out = append(out, v)
	}
	if slices.Contains(enum, fallbackNull) {
		out = append(out, nil)
	}
	return out
}

// specialSchema is the schema of a type that says itself how it is read, nil
// for any other.
func specialSchema(t reflect.Type) map[string]any {
	switch t {
	case reflect.TypeFor[netip.Prefix]():
		return map[string]any{"type": "string"}
	case reflect.TypeFor[component.Secret]():
		return map[string]any{"type": "string", "writeOnly": true} // it is never shown again
	case reflect.TypeFor[component.Secrets]():
		text := map[string]any{"type": "string", "writeOnly": true}
		return map[string]any{"anyOf": []any{text, map[string]any{"type": "array", "items": text, "minItems": 1}}}
	case reflect.TypeFor[component.Duration](), reflect.TypeFor[time.Duration]():
		// The number 0 needs no unit.
		return map[string]any{
			"type": []string{"string", "integer"}, "minimum": 0, "maximum": 0,
			"pattern": `^([0-9]+d)?([0-9.]+(ns|us|µs|ms|s|m|h))*$|^0$|` + referencePattern,
		}
	case reflect.TypeFor[component.Size]():
		return map[string]any{
			"type": []string{"string", "integer"}, "minimum": 0,
			"pattern": `^[0-9]+ *([KMG]i)?B?$|` + referencePattern,
		}
	case reflect.TypeFor[Rate]():
		return map[string]any{"type": "string", "pattern": `^ *[1-9][0-9]* */ *[smh] *( burst *[1-9][0-9]* *)?$|` + referencePattern}
	case reflect.TypeFor[RetryMatch]():
		return map[string]any{
			"type": []string{"string", "integer"}, "minimum": 300, "maximum": 599,
			"pattern": `^([345][0-9]{2}( *- *[345][0-9]{2})?|[345]xx|timeout|dns|connect|tls|reset|other)$|` + referencePattern,
		}
	case reflect.TypeFor[transformNode]():
		return transformSchema()
	case reflect.TypeFor[fixtureEvent]():
		return map[string]any{"type": "object"}
	case reflect.TypeFor[patternNode]():
		return map[string]any{"type": []string{"object", "null"}}
	case reflect.TypeFor[filtersNode]():
		return map[string]any{"type": []string{"array", "null"}, "items": map[string]any{"type": "object"}}
	case reflect.TypeFor[fixtureExpect]():
		return map[string]any{"anyOf": []any{map[string]any{"enum": []string{expectMatch, expectNoMatch}}, map[string]any{"type": "object"}}}
	}
	p := reflect.PointerTo(t)
	switch {
	case t == reflect.TypeFor[yaml.Node](), t == reflect.TypeFor[json.RawMessage](), p.Implements(reflect.TypeFor[yaml.Unmarshaler]()):
		return map[string]any{}
	case p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return map[string]any{"type": "string"}
	}
	return nil
}

// transformSchema is the schema of a transform, which package transform reads:
// attributes, and at most one way to make data.
func transformSchema() map[string]any {
	object := func(properties map[string]any, more any, required ...string) map[string]any {
		s := map[string]any{"type": "object", "properties": properties, "additionalProperties": more}
		if required != nil {
			s["required"] = required
		}
		return s
	}
	text := map[string]any{"type": "string"}
	forms := map[string]any{
		"data":      map[string]any{"description": "The new data, with expressions in its texts."},
		"jq":        map[string]any{"type": "string", "description": "A jq program over the event in the JSON format of CloudEvents; its one result becomes the data."},
		"inputPath": map[string]any{"type": "string", "description": "The part of the event that becomes the data, as EventBridge has it, such as $.detail."},
		"input":     map[string]any{"description": "A constant that becomes the data: a value, or JSON text."},
	}
	transformer := object(map[string]any{
		"inputPathsMap": map[string]any{"type": []string{"object", "null"}, "additionalProperties": text, "description": "Names for the placeholders of the template, each with a path such as $.detail.id."},
		"inputTemplate": map[string]any{"type": "string", "description": "JSON or text with placeholders, <name>."},
	}, false, "inputTemplate")
	transformer["description"] = "Data that is made of a template, as EventBridge has it."
	forms["inputTransformer"] = transformer

	s := object(forms, map[string]any{"type": []string{"string", "number", "boolean", "null"}})
	s["propertyNames"] = map[string]any{"pattern": "^([a-z0-9]+|inputPath|inputTransformer)$"}
	var some []any
	for _, form := range sortedKeys(forms) {
		some = append(some, map[string]any{"required": []string{form}})
	}
	one := append(slices.Clone(some), map[string]any{"not": map[string]any{"anyOf": some}})
	s["oneOf"] = one
	s["minProperties"] = 1
	return s
}

// withDefault adds the default, unless it is the zero value.
func withDefault(s map[string]any, v reflect.Value) map[string]any {
	if v.IsValid() && !v.IsZero() {
		s["default"] = v.Interface()
		if d, ok := v.Interface().(time.Duration); ok {
			s["default"] = component.Duration(d)
		}
	}
	return s
}
