package configs

import (
	"reflect"
	"strings"
)

// field is one setting of a struct, as its tags say:
//
//	URL string `yaml:"url" doc:"Where events are sent." enum:"a,b"`
type field struct {
	key   string
	doc   string
	enum  []string // the allowed texts, nil for any
	index []int
	typ   reflect.Type
}

// fieldsOf lists the settings of a struct type in their order, those of
// inlined structs included.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		if strings.Contains(options, "inline") && f.Type.Kind() == reflect.Struct {
			for _, in := range fieldsOf(f.Type) {
				in.index = append([]int{i}, in.index...)
				out = append(out, in)
			}
			continue
		}
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		out = append(out, field{key: name, doc: f.Tag.Get("doc"), enum: enumOf(f), index: []int{i}, typ: f.Type})
	}
	return out
}

// fieldsOf is fieldsOf, found out once for each type.
func (l *Loader) fieldsOf(t reflect.Type) []field {
	if known, ok := l.fields.Load(t); ok {
		return known.([]field)
	}
	known, _ := l.fields.LoadOrStore(t, fieldsOf(t))
	return known.([]field)
}

func enumOf(f reflect.StructField) []string {
	if tag, ok := f.Tag.Lookup("enum"); ok {
		return strings.Split(tag, ",")
	}
	return nil
}

func keysOf(fields []field) []string {
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.key
	}
	return keys
}
