package configs

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/targets"
)

// RetryMatch is a failure as retry.on and retry.not name it: a status code
// (404), a range of them (500-504, 5xx), or a class of failures without an
// answer (timeout).
type RetryMatch struct {
	From, To int // both included; 0: Class is meant
	Class    targets.Class
}

// ParseRetryMatch reads the text of a RetryMatch.
func ParseRetryMatch(text string) (RetryMatch, error) {
	if class := targets.Class(text); slices.Contains(targets.Classes(), class) {
		return RetryMatch{Class: class}, nil
	}
	first, last, isRange := strings.Cut(text, "-")
	if digit, ok := strings.CutSuffix(text, "xx"); ok {
		first, last, isRange = digit+"00", digit+"99", true
	}
	from, err := strconv.Atoi(strings.TrimSpace(first))
	to := from
	if isRange && err == nil {
		to, err = strconv.Atoi(strings.TrimSpace(last))
	}
	if err != nil || from < 300 || to > 599 || to < from {
		return RetryMatch{}, fmt.Errorf("%s is not known; use a status from 300 to 599 (404), a range (500-504, 5xx), "+
			"or timeout, dns, connect, tls, reset, other", quote(text))
	}
	return RetryMatch{From: from, To: to}, nil
}

// String is the text of the match.
func (m RetryMatch) String() string {
	switch {
	case m.From == 0:
		return string(m.Class)
	case m.From == m.To:
		return strconv.Itoa(m.From)
	}
	return fmt.Sprintf("%d-%d", m.From, m.To)
}

// UnmarshalYAML reads the match from a text or a number.
func (m *RetryMatch) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return errors.New("expected a status such as 404, 500-504 or 5xx, or a class such as timeout")
	}
	parsed, err := ParseRetryMatch(n.Value)
	if err == nil {
		*m = parsed
	}
	return err
}

// MarshalYAML writes the match as text.
func (m RetryMatch) MarshalYAML() (any, error) { return m.String(), nil }

// MarshalJSON writes the match as text.
func (m RetryMatch) MarshalJSON() ([]byte, error) { return json.Marshal(m.String()) }
