package configs

import (
	"net/url"
	"reflect"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/component"
)

// reference is a text that is a reference and nothing else.
var reference = regexp.MustCompile(`^\$\{(env|file):[^}]*\}$`)

// redactor says how the texts of an object are shown: secrets as
// component.Redacted, unless they are nothing but a reference, and addresses
// without the passwords in them. nil shows all of them as they were written.
func (d *document) redactor(o *object, n *yaml.Node) func(*yaml.Node) string {
	secret := map[*yaml.Node]bool{}
	var config component.Config
	kind := ""
	switch v := o.value.(type) {
	case Source:
		config, kind = v.Config, v.Kind
	case Target:
		config, kind = v.Config, v.Kind
	case Bus: // the keys of its archive
		d.findSecrets(n, reflect.TypeFor[Bus](), secret)
	case *Rule: // the headers of its enrichments
		d.findSecrets(n, reflect.TypeFor[ruleSettings](), secret)
	}
	if config != nil {
		_, settings := child(n, kind)
		d.findSecrets(settings, reflect.TypeOf(config), secret)
	}
	if config == nil && len(secret) == 0 {
		return nil
	}
	return func(n *yaml.Node) string {
		text := d.asWritten(n)
		switch {
		case !secret[n] && config == nil:
			return text
		case !secret[n]:
			return redactURL(text)
		case d.written[n] != "" && reference.MatchString(text):
			return text
		case text == "":
			return ""
		}
		return component.Redacted
	}
}

// findSecrets walks settings beside their type and notes the secret ones.
func (d *document) findSecrets(n *yaml.Node, t reflect.Type, found map[*yaml.Node]bool) {
	if n == nil {
		return
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == reflect.TypeFor[component.Secret]() || t == reflect.TypeFor[component.Secrets]() {
		markAll(n, found)
		return
	}
	switch {
	case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode:
		for _, f := range d.loader.fieldsOf(t) {
			_, value := child(n, f.key)
			d.findSecrets(value, f.typ, found)
		}
	case t.Kind() == reflect.Map && n.Kind == yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			d.findSecrets(n.Content[i], t.Elem(), found)
		}
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		for _, c := range n.Content {
			d.findSecrets(c, t.Elem(), found)
		}
	}
}

func markAll(n *yaml.Node, found map[*yaml.Node]bool) {
	found[n] = true
	for _, c := range n.Content {
		markAll(c, found)
	}
}

// redactURL takes the user and password, or token, out of an address such as
// nats://user:password@host, or out of several with commas between.
func redactURL(text string) string {
	if !strings.Contains(text, "://") || !strings.Contains(text, "@") {
		return text
	}
	list := strings.Split(text, ",")
	for i, one := range list {
		scheme, rest, ok := strings.Cut(one, "://")
		if u, err := url.Parse(one); !ok || err == nil && u.User == nil {
			continue
		}
		end := len(rest)
		if e := strings.IndexAny(rest, "/?#"); e >= 0 {
			end = e
		}
		if at := strings.LastIndexByte(rest[:end], '@'); at >= 0 {
			list[i] = scheme + "://" + component.Redacted + rest[at:]
		}
	}
	return strings.Join(list, ",")
}
