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
- The bus ` + "`system.events`" + ` is always there: rules may read what Switchyard publishes to
  it about its targets ([operating.md](operating.md#system-events)).
- Lengths of time are written 90s, 5m, 1h30m, 7d. Sizes are a number of bytes, or
  of KiB, MiB or GiB: 256KiB.
- ` + "`${env:NAME}`" + ` in a value is replaced by an environment variable, ` + "`${file:PATH}`" + `
  by the content of a file (without the line break at its end; relative to the
  configuration file). Where a number or true or false is wanted, the text is
  read as one. An unset variable is an error; ` + "`validate`" + ` and ` + "`rules test`" + ` can take
  it from a file (` + "`--env-file FILE`" + `). ` + "`$${`" + ` stands for a literal ` + "`${`" + `. What
  references stand for is never shown or stored. They work in files only, not
  in objects that come through the API.
- Anchors, aliases and merge keys (` + "`<<`" + `) of YAML work within a file.
- What is in the files must fit together without the API: a rule in a file
  names buses and targets in the files. Objects of the API may name both.
`

const docsTransform = `
A ` + "`transform`" + ` holds CloudEvents attributes by name, and ` + "`data`" + `. A text that is one
whole expression, ` + "`\"${{ event.data.id }}\"`" + `, keeps the type of its value.
[Functions](functions.md) lists what expressions can call. In place of ` + "`data`" + `, one of
these makes the new data; attributes may still be set beside it:

| key | the new data is |
| --- | --- |
| ` + "`jq`" + ` | the one result of a jq program |
| ` + "`inputPath`" + ` | the part of the event at a path, such as ` + "`$.detail.order`" + ` |
| ` + "`input`" + ` | a constant: a value, or JSON text |
| ` + "`inputTransformer`" + ` | a template, ` + "`inputTemplate`" + `, with placeholders, ` + "`<name>`" + `, whose paths stand in ` + "`inputPathsMap`" + ` |

So no extension can be set that is called ` + "`jq`" + ` or ` + "`input`" + `; one that was published is
kept. Whatever makes it, the result is checked to be a valid CloudEvent of at most
1 MiB, or four times the size of the original (and of what was asked for) if that is more. A transform that
fails makes the delivery a dead letter, which says why.

Expressions, and jq in ` + "`$enriched`" + `, also see what ` + "`enrich`" + ` asked for: [Enrichment](enrich.md)
has all about it.

**jq** sees the event as one JSON object: ` + "`.type`" + `, ` + "`.data`" + ` and so on (` + "`.data_base64`" + ` for
bytes). No result or several are errors; ` + "`[…]`" + ` makes one of many. Numbers that are
passed on keep their digits, whole numbers are calculated exactly, others as
doubles; keys come in order of their names. There is no environment, no files, no
further inputs, no clock and no ` + "`fromstream`" + `.

A program may take 2 million steps (and 20 for each byte of the event). Steps, not
time, are counted, so that it ends in the same way on every attempt; one that is
slow by itself is ended after 3 seconds. A value that it makes may take about 8
times the memory of the largest result, all of them in sum 64 times that; regular
expressions take texts of at most 16 KiB, and arrays are extended to at most
100,000 elements.

**EventBridge's forms** see the event in EventBridge's form: ` + "`detail`" + ` is the data
(base64 of bytes), ` + "`detail-type`" + ` the type, ` + "`version`" + ` is "0", ` + "`resources`" + ` lists what an
extension of that name has, separated by commas, and all other attributes, such
as ` + "`account`" + ` and ` + "`region`" + `, have their names. Paths have names, indexes and
wildcards: ` + "`$.detail.items[0].id`" + `, ` + "`$.detail.items[*].id`" + `. An ` + "`inputPath`" + ` that leads to
nothing fails. A template is JSON, or lines of quoted text, or plain text; the last
two make one string. ` + "`<name>`" + ` outside of a string is the whole value, ` + "`\"\"`" + ` if the path
leads to nothing; within a string it is the text, or nothing, objects and lists
without their quotes. A template that could not result in JSON is refused when it
is loaded, and text is escaped in strings (EventBridge does not deliver the event
then). Predefined are:

| placeholder | value |
| --- | --- |
| ` + "`<aws.events.rule-name>`" + ` | the rule's name |
| ` + "`<aws.events.rule-arn>`" + ` | ` + "`arn:switchyard:events:REGION:ACCOUNT:rule/BUS/RULE`" + `, with the event's region and account |
| ` + "`<aws.events.event.ingestion-time>`" + ` | when the event was recorded; where a rule is tried out, the event's time |
| ` + "`<aws.events.event>`" + ` | the event without detail, and with ` + "`detailType`" + ` for detail-type, as in EventBridge |
| ` + "`<aws.events.event.json>`" + ` | the whole event |

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
	case reflect.TypeFor[component.Secrets]():
		return "secret text, or a list"
	case reflect.TypeFor[component.File]():
		return "path of a file"
	case reflect.TypeFor[component.Duration](), reflect.TypeFor[time.Duration]():
		return "length of time"
	case reflect.TypeFor[component.Size]():
		return "size"
	case reflect.TypeFor[Rate]():
		return "rate"
	case reflect.TypeFor[RetryMatch]():
		return "status or class"
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
	if words == "status or class" {
		return "statuses or classes"
	}
	if words == "settings" || words == "any" || words == "secret text" {
		return words
	}
	return words + "s"
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
