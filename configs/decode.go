package configs

import (
	"encoding"
	"encoding/json"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/component"
)

// extraKey is asked about a key that a struct has no field for; it reports
// whether it took care of it.
type extraKey func(key, value *yaml.Node) bool

// decode fills v from n strictly. What is wrong is reported with its place and
// leaves v's default; decoding goes on, so that all errors come at once.
func (d *document) decode(n *yaml.Node, v reflect.Value, path keyPath) {
	if isNull(n) {
		return // as if the key were absent: the default stays
	}
	if handled := d.decodeSpecial(n, v, path); handled {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		d.decode(n, v.Elem(), path)
	case reflect.Struct:
		d.decodeStruct(n, v, path, nil, nil)
	case reflect.Map:
		d.decodeMap(n, v, path)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.wrongType(n, path, "a list")
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, c := range n.Content {
			d.decode(c, v.Index(i), path.at(i))
		}
	case reflect.Interface:
		if v.NumMethod() == 0 {
			v.Set(reflect.ValueOf(d.plain(n)))
		}
	default:
		d.decodeScalar(n, v, path)
	}
}

// decodeSpecial handles the types that say themselves how they are read.
func (d *document) decodeSpecial(n *yaml.Node, v reflect.Value, path keyPath) bool {
	if !v.CanAddr() {
		return false
	}
	switch target := v.Addr().Interface().(type) {
	case *yaml.Node:
		*target = *n
	case *json.RawMessage:
		*target = d.appendJSON(nil, n, nil)
	case *transformNode:
		target.node = n
	case *patternNode:
		if n.Kind != yaml.MappingNode {
			d.wrongType(n, path, "a pattern (attribute: [values])")
			return true
		}
		target.node = n
	case *filtersNode:
		if n.Kind != yaml.SequenceNode {
			d.wrongType(n, path, "a list of filters, such as [{exact: {type: com.example.order.placed}}]")
			return true
		}
		target.node = n
	case *fixtureEvent:
		target.node = n
	case *fixtureExpect:
		target.node = n
	case *component.Secret:
		d.decodeSecret(n, target, path)
	case *component.Secrets:
		d.decodeSecrets(n, target, path)
	case *time.Duration:
		var c component.Duration
		d.unmarshal(n, &c, path)
		*target = c.Std()
	case yaml.Unmarshaler:
		d.unmarshal(n, target, path)
	case encoding.TextUnmarshaler:
		if n.Kind != yaml.ScalarNode {
			d.wrongType(n, path, "a text")
		} else if err := target.UnmarshalText([]byte(n.Value)); err != nil {
			d.report(n, path, err.Error())
		}
	default:
		return false
	}
	return true
}

func (d *document) decodeSecret(n *yaml.Node, s *component.Secret, path keyPath) {
	switch {
	case n.Kind != yaml.ScalarNode:
		d.wrongType(n, path, "a text")
	case strings.Contains(n.Value, component.Redacted):
		d.reportf(n, path, "%s is how secrets are shown; give the secret itself", quote(component.Redacted))
	case n.ShortTag() != "!!str":
		d.report(n, path, "expected a text; put it in quotes")
	default:
		*s = component.NewSecret(n.Value)
	}
}

// decodeSecrets reads one secret or a list of them.
func (d *document) decodeSecrets(n *yaml.Node, s *component.Secrets, path keyPath) {
	if n.Kind != yaml.SequenceNode {
		*s = make(component.Secrets, 1)
		d.decodeSecret(n, &(*s)[0], path)
		return
	}
	if len(n.Content) == 0 {
		d.report(n, path, "it is empty; give a secret, or take it out")
	}
	*s = make(component.Secrets, len(n.Content))
	for i, c := range n.Content {
		d.decodeSecret(c, &(*s)[i], path.at(i))
	}
}

// unmarshal calls a type's own decoder and puts its error into words.
func (d *document) unmarshal(n *yaml.Node, u yaml.Unmarshaler, path keyPath) {
	err := u.UnmarshalYAML(n)
	var types *yaml.TypeError
	switch {
	case err == nil:
	case errors.As(err, &types):
		for _, e := range types.Errors {
			d.report(n, path, typeError(e))
		}
	default:
		d.report(n, path, strings.TrimPrefix(err.Error(), "yaml: "))
	}
}

// decodeStruct fills a struct by its fields' keys. known are keys that extra
// takes, for the error texts.
func (d *document) decodeStruct(n *yaml.Node, v reflect.Value, path keyPath, known []string, extra extraKey) {
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, path, "settings (key: value)")
		return
	}
	fields := d.loader.fieldsOf(v.Type())
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := slices.IndexFunc(fields, func(f field) bool { return f.key == key.Value })
		if at < 0 {
			if extra == nil || !extra(key, value) {
				d.unknownKey(key, path, slices.Concat(known, keysOf(fields)))
			}
			continue
		}
		f := fields[at]
		p := path.down(f.key)
		before := len(d.diags)
		d.decode(value, v.FieldByIndex(f.index), p)
		if len(d.diags) > before || isNull(value) {
			continue
		}
		if f.enum != nil {
			d.checkEnum(value, p, f)
		}
		if strings.HasSuffix(f.key, "File") && f.typ.Kind() == reflect.String || f.typ == reflect.TypeFor[component.File]() {
			d.localFile(value, v.FieldByIndex(f.index), p)
		}
	}
}

func (d *document) checkEnum(n *yaml.Node, path keyPath, f field) {
	if !slices.Contains(f.enum, n.Value) {
		d.reportf(n, path, "%s is not known%s", quote(n.Value), DidYouMean(n.Value, f.enum, "choices"))
	}
}

// localFile handles the settings that name a file, whose keys end in File or
// which have the type component.File: the path is relative to the configuration file, and of no meaning in the API.
func (d *document) localFile(n *yaml.Node, v reflect.Value, path keyPath) {
	switch name := v.String(); {
	case name == "":
	case d.api():
		d.report(n, path, "paths of files work in configuration files only")
	case !filepath.IsAbs(name):
		v.SetString(filepath.Join(d.folder(), name))
	}
}

func (d *document) unknownKey(key *yaml.Node, path keyPath, known []string) {
	p := path.down(key.Value)
	d.reportf(key, p, "unknown key %s%s", quote(key.Value), DidYouMean(key.Value, known, "known keys"))
}

func (d *document) decodeMap(n *yaml.Node, v reflect.Value, path keyPath) {
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, path, "settings (key: value)")
		return
	}
	if v.Type().Key().Kind() != reflect.String {
		d.report(n, path, "settings of this kind cannot be read")
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.Content)/2))
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		value := reflect.New(v.Type().Elem()).Elem()
		d.decode(n.Content[i+1], value, path.down(key))
		v.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), value)
	}
}
