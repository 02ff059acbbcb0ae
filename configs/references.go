package configs

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/component"
)

// maxSecretFile bounds what ${file:PATH} reads.
const maxSecretFile = 1 << 20

// resolve replaces ${env:NAME} and ${file:PATH} in a text by what they stand
// for, and $${ by a literal ${. The expressions ${{ … }} of transforms are left
// as they are, and so is their escape $${{ inside of a transform.
func (d *document) resolve(n *yaml.Node, path keyPath) {
	text := n.Value
	var out strings.Builder
	var secrets []string
	for {
		i := strings.Index(text, "${")
		if i < 0 {
			break
		}
		rest := text[i:]
		switch {
		case i > 0 && text[i-1] == '$':
			if strings.HasPrefix(rest, "${{") && inTransform(path) {
				out.WriteString(text[:i+3])
				text = text[i+3:]
				continue
			}
			out.WriteString(text[:i-1] + "${")
			text = text[i+2:]
			continue
		case strings.HasPrefix(rest, "${{"):
			out.WriteString(text[:i+3])
			text = text[i+3:]
			continue
		}
		end := strings.IndexByte(rest, '}')
		if end < 0 {
			d.reportf(n, path, `%s has no closing brace; a literal "${" is written "$${"`, quote(rest))
			return
		}
		value, err := d.lookUp(rest[:end+1])
		if err != nil {
			d.report(n, path, err.Error())
			return
		}
		out.WriteString(text[:i])
		out.WriteString(value)
		if value != "" {
			secrets = append(secrets, value)
		}
		text = rest[end+1:]
	}
	out.WriteString(text)
	if out.String() == n.Value {
		return
	}
	if d.written == nil {
		d.written = map[*yaml.Node]string{}
		d.secrets = map[*yaml.Node][]string{}
	}
	d.written[n] = n.Value
	if len(secrets) > 0 {
		d.secrets[n] = append(secrets, out.String())
	}
	n.Value = out.String()
	n.Tag = "!!str"
}

// lookUp is what one reference stands for.
func (d *document) lookUp(reference string) (string, error) {
	scheme, name, found := strings.Cut(reference[2:len(reference)-1], ":")
	if !found || scheme != "env" && scheme != "file" {
		return "", fmt.Errorf(`%s is not a reference; write ${env:NAME} or ${file:PATH}, ${{ … }} for an expression in a transform, or "$${" for a literal "${"`, quote(reference))
	}
	if d.api() {
		return "", fmt.Errorf("%s: references to the environment and to files work in configuration files only; send the value itself", quote(reference))
	}
	if name == "" {
		return "", fmt.Errorf("%s names nothing; write ${env:NAME} or ${file:PATH}", quote(reference))
	}
	if scheme == "env" {
		value, ok := d.loader.lookupEnv(name)
		if !ok {
			return "", fmt.Errorf("the environment variable %s is not set; set it before starting, or take the reference out", name)
		}
		return value, nil
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(d.folder(), name)
	}
	data, err := d.loader.readFile(name)
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err
	}
	switch {
	case err != nil:
		return "", fmt.Errorf("%s cannot be read: %w", reference, err)
	case len(data) > maxSecretFile:
		return "", fmt.Errorf("%s has %d bytes; at most %d are read", reference, len(data), maxSecretFile)
	case !utf8.Valid(data):
		return "", fmt.Errorf("%s is not text in UTF-8", reference)
	}
	// Editors and secret stores end a file with a line break that is not meant.
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), nil
}

// inTransform reports whether path leads into the transform or the enrichments
// of a rule.
func inTransform(path keyPath) bool {
	return len(path) > 2 && path[0].key == "rules" && (path[2].key == "transform" || path[2].key == "enrich")
}

// taint is what must not be shown of n and of all below it.
func (d *document) taint(n *yaml.Node) []string {
	if len(d.secrets) == 0 || n == nil {
		return nil
	}
	out := d.secrets[n]
	for _, c := range n.Content {
		out = append(out[:len(out):len(out)], d.taint(c)...)
	}
	return out
}

// mask takes what references were replaced with out of a message about n: the
// values themselves, and everything quoted, which may be a part of one.
func (d *document) mask(n *yaml.Node, message string) string {
	secrets := d.taint(n)
	if len(secrets) == 0 {
		return message
	}
	message = scrub(message, secrets)
	var out strings.Builder
	for len(message) > 0 {
		i := strings.IndexAny(message, "\"`")
		if i < 0 {
			break
		}
		end := closing(message[i:])
		if end < 0 {
			break
		}
		out.WriteString(message[:i] + `"…"`)
		message = message[i+end:]
	}
	out.WriteString(message)
	return maskWords(out.String(), secrets)
}

// closing is where the quoted text at the start of s ends, -1 if it does not.
func closing(s string) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && s[0] == '"':
			i++
		case s[i] == s[0]:
			return i + 1
		}
	}
	return -1
}

// maskWords replaces the words of a message that occur in a secret.
func maskWords(message string, secrets []string) string {
	words := strings.FieldsFunc(message, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	for _, w := range words {
		for _, s := range secrets {
			if len(w) >= 4 && strings.Contains(s, w) {
				message = strings.ReplaceAll(message, w, "…")
			}
		}
	}
	return message
}

// scrub replaces secret values by a mark, also where they stand escaped.
func scrub(message string, secrets []string) string {
	if message == "" {
		return ""
	}
	for _, s := range secrets {
		if strings.TrimSpace(s) == "" {
			continue
		}
		inJSON := string(appendText(nil, s))
		inGo := strconv.Quote(s)
		for _, form := range [...]string{s, inJSON[1 : len(inJSON)-1], inGo[1 : len(inGo)-1], url.PathEscape(s), url.QueryEscape(s)} {
			message = strings.ReplaceAll(message, form, component.Redacted)
		}
	}
	return message
}

// minHidden is the length from which what a reference brought is taken out of
// texts that come of deliveries; a shorter one, such as a port, would make a
// mess of them.
const minHidden = 4

// hider takes secrets out of texts; nil when there are none.
func hider(secrets []string) func(text string) string {
	secrets = slices.DeleteFunc(slices.Clone(secrets), func(s string) bool { return len(s) < minHidden })
	if len(secrets) == 0 {
		return nil
	}
	// The longest first: one may be a part of another.
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	return func(text string) string { return scrub(text, secrets) }
}

// Hide is a func that takes out of a text what references brought into the
// rule; nil when there are none.
func (r *Rule) Hide() func(text string) string { return hider(r.secrets) }

// Hide is a func that takes out of a text what references brought into the
// target; nil when there are none.
func (t Target) Hide() func(text string) string { return hider(t.secrets) }
