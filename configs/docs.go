package configs

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
)

// Docs is the reference of the configuration in Markdown, made from the same
// structs and tags that the loader decodes into.
func (k Kinds) Docs() []byte {
	var b strings.Builder
	b.WriteString(docsHead)
	section := func(title, text string, t reflect.Type, defaults reflect.Value) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", title, text)
		writeTable(&b, t, defaults)
	}
	section("server", docOf[fileSettings]("server"), reflect.TypeFor[Server](), reflect.ValueOf(defaultServer()))
	section("network", docOf[fileSettings]("network"), reflect.TypeFor[Network](), reflect.Value{})
	section(Buses, docOf[fileSettings](Buses)+" A bus without settings is written `NAME: {}`.", reflect.TypeFor[Bus](), reflect.ValueOf(defaultBus()))
	section(Rules, docOf[fileSettings](Rules), reflect.TypeFor[ruleSettings](), reflect.Value{})
	b.WriteString(docsTransform)
	section(Sources, docOf[fileSettings](Sources)+" Besides these, a source has one of the kinds below.", reflect.TypeFor[Source](), reflect.Value{})
	for _, s := range k.Sources {
		writeKind(&b, "source", s.Spec, s.New())
	}
	section(Targets, docOf[fileSettings](Targets)+" Besides these, a target has one of the kinds below.", reflect.TypeFor[Target](), reflect.ValueOf(defaultTarget()))
	for _, t := range k.Targets {
		writeKind(&b, "target", t.Spec, t.New())
	}
	return []byte(b.String())
}

const docsHead = `# Configuration

<!-- Made from the source code: go test ./configs -run TestDocs -update -->

A configuration is one YAML file, or a folder of them that count as one. Each
file begins with ` + "`version: 1`" + `. Check one with ` + "`switchyard validate FILE|DIR`" + `, and its
rules' examples with ` + "`switchyard rules test`" + `.

- Names of buses, sources, rules and targets have up to 63 of a-z, 0-9, _, . and
  -, and begin with a letter or a digit. Those that begin with ` + "`system.`" + ` are
  reserved.
- A key that is not known is an error. A key without a value counts as absent.
- Lengths of time are written 90s, 5m, 1h30m, 7d. Sizes are a number of bytes, or
  of KiB, MiB or GiB: 256KiB.
- ` + "`${env:NAME}`" + ` in a value is replaced by an environment variable, ` + "`${file:PATH}`" + `
  by the content of a file (without the line break at its end; relative to the
  configuration file). Where a number or true or false is wanted, the text is
  read as one. An unset variable is an error. ` + "`$${`" + ` stands for a literal ` + "`${`" + `. What
  references stand for is never shown or stored. They work in files only, not
  in objects that come through the API.
- Anchors, aliases and merge keys (` + "`<<`" + `) of YAML work within a file.
- What is in the files must fit together without the API: a rule in a file
  names buses and targets in the files. Objects of the API may name both.
`

const docsTransform = `
A ` + "`transform`" + ` holds CloudEvents attributes by name, and ` + "`data`" + `. A text that is one
whole expression, ` + "`\"${{ event.data.id }}\"`" + `, keeps the type of its value.

A fixture's ` + "`expect`" + ` compares the attributes that it names and the whole of ` + "`data`" + ` as
JSON values; numbers are compared by value.
`

func writeKind(b *strings.Builder, what string, spec component.Spec, config component.Config) {
	fmt.Fprintf(b, "\n### %s %s\n\n%s\n\n", spec.Kind, what, spec.Summary)
	v := reflect.ValueOf(config).Elem()
	writeTable(b, v.Type(), v)
	if spec.Doc != "" {
		fmt.Fprintf(b, "\n%s\n", strings.TrimSpace(spec.Doc))
	}
}

// writeTable writes a row for each setting of a struct, those of structs in it
// under the keys joined by dots.
func writeTable(b *strings.Builder, t reflect.Type, defaults reflect.Value) {
	rows := tableRows(nil, "", t, defaults)
	if len(rows) == 0 {
		b.WriteString("It has no settings.\n")
		return
	}
	b.WriteString("| key | type | default | what it does |\n| --- | --- | --- | --- |\n")
	for _, r := range rows {
		for i, cell := range r {
			r[i] = strings.ReplaceAll(cell, "|", `\|`)
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(r[:], " | "))
	}
}

func tableRows(rows [][4]string, prefix string, t reflect.Type, defaults reflect.Value) [][4]string {
	for _, f := range fieldsOf(t) {
		var v reflect.Value
		if defaults.IsValid() {
			v = defaults.FieldByIndex(f.index)
		}
		typ := f.typ
		for typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
			v = reflect.Value{}
		}
		key := prefix + f.key
		std := ""
		switch {
		case t.FieldByIndex(f.index).Tag.Get("required") == "true":
			std = "required"
		case v.IsValid() && !v.IsZero() && (typ.Kind() != reflect.Struct || specialSchema(typ) != nil):
			std = defaultText(v)
		}
		words := typeWords(typ)
		if f.enum != nil {
			words = strings.Join(f.enum, ", ")
		}
		rows = append(rows, [4]string{"`" + key + "`", words, std, f.doc})
		switch {
		case specialSchema(typ) != nil:
		case typ.Kind() == reflect.Struct:
			rows = tableRows(rows, key+".", typ, v)
		case typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.Struct && specialSchema(typ.Elem()) == nil:
			rows = tableRows(rows, key+"[].", typ.Elem(), reflect.Value{})
		case typ.Kind() == reflect.Map && typ.Elem().Kind() == reflect.Struct && specialSchema(typ.Elem()) == nil:
			rows = tableRows(rows, key+".NAME.", typ.Elem(), reflect.Value{})
		}
	}
	return rows
}

func defaultText(v reflect.Value) string {
	value := v.Interface()
	if d, ok := value.(time.Duration); ok {
		value = component.Duration(d)
	}
	text, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return "`" + strings.Trim(string(text), `"`) + "`"
}

// typeWords is a type as the documentation names it.
func typeWords(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[component.Secret]():
		return "secret text"
	case reflect.TypeFor[component.Duration](), reflect.TypeFor[time.Duration]():
		return "length of time"
	case reflect.TypeFor[component.Size]():
		return "size"
	case reflect.TypeFor[Rate]():
		return "rate"
	case reflect.TypeFor[netip.Prefix]():
		return "network"
	case reflect.TypeFor[transformNode](), reflect.TypeFor[fixtureEvent](), reflect.TypeFor[patternNode]():
		return "settings"
	case reflect.TypeFor[filtersNode]():
		return "list of settings"
	case reflect.TypeFor[fixtureExpect]():
		return "text or settings"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Struct:
		return "settings"
	case reflect.Slice:
		return "list of " + plural(typeWords(t.Elem()))
	case reflect.Map:
		return "settings by name: " + typeWords(t.Elem())
	case reflect.Interface:
		return "any"
	case reflect.Float32, reflect.Float64:
		return "number"
	}
	return "whole number"
}

func plural(words string) string {
	if words == "length of time" {
		return "lengths of time"
	}
	if words == "settings" || words == "any" || words == "secret text" {
		return words
	}
	return words + "s"
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
