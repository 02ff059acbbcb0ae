package component

import (
	"strconv"

	"gopkg.in/yaml.v3"
)

// Secrets is one secret or a list of them, of which the first is the one in
// use and the others are on their way in or out. None is ever shown.
type Secrets []Secret

// NewSecrets makes Secrets of texts.
func NewSecrets(texts ...string) Secrets {
	out := make(Secrets, len(texts))
	for i, text := range texts {
		out[i] = NewSecret(text)
	}
	return out
}

// Path is the path of secret i from the settings that hold them at key: KEY
// for a single one, KEY and its index in a list.
func (s Secrets) Path(key string, i int) []string {
	if len(s) == 1 {
		return []string{key}
	}
	return []string{key, strconv.Itoa(i)}
}

// UnmarshalYAML reads a text, or a list of texts.
func (s *Secrets) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.SequenceNode {
		var one Secret
		if err := one.UnmarshalYAML(n); err != nil {
			return err
		}
		*s = Secrets{one}
		return nil
	}
	list := make(Secrets, len(n.Content))
	for i, c := range n.Content {
		if err := list[i].UnmarshalYAML(c); err != nil {
			return err
		}
	}
	*s = list
	return nil
}

// File is the path of a file. In a configuration file it is relative to that
// file; objects of the API cannot have one.
type File string
