package configs

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// typeError puts "line 3: cannot unmarshal !!seq into string" into words.
func typeError(text string) string {
	_, rest, ok := strings.Cut(text, "cannot unmarshal ")
	from, to, ok2 := strings.Cut(rest, " into ")
	if !ok || !ok2 {
		return text
	}
	tag, value, _ := strings.Cut(from, " ")
	words := "expected " + kindWords(to) + ", not " + tagWords(tag)
	if value != "" {
		words += " " + strings.ReplaceAll(value, "`", `"`)
	}
	return words
}

func kindWords(goType string) string {
	switch {
	case strings.HasPrefix(goType, "int"), strings.HasPrefix(goType, "uint"):
		return "a whole number"
	case strings.HasPrefix(goType, "float"):
		return "a number"
	case goType == "bool":
		return "true or false"
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	case goType == "string":
		return "a text"
	}
	return "settings (key: value)"
}

func tagWords(tag string) string {
	switch tag {
	case "!!str":
		return "the text"
	case "!!int", "!!float":
		return "the number"
	case "!!bool":
		return "the truth value"
	case "!!seq":
		return "a list"
	case "!!map":
		return "settings (key: value)"
	case "!!null":
		return "nothing"
	case "!!timestamp":
		return "the date"
	}
	return "a value of type " + tag
}

// wrongType reports that n is not what is wanted.
func (d *document) wrongType(n *yaml.Node, path keyPath, want string) {
	got := tagWords(n.ShortTag())
	if n.Kind == yaml.ScalarNode && !isNull(n) {
		got += " " + quote(n.Value)
		if n.ShortTag() != "!!str" {
			got = strings.TrimSuffix(got, quote(n.Value)) + n.Value
		}
	}
	d.reportf(n, path, "expected %s, not %s", want, got)
}
