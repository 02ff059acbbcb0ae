package http

import (
	"bytes"
	"encoding/json"
	"fmt"
	nethttp "net/http"

	"github.com/switchyard-dev/switchyard/targets"
)

// Variant is how a kind of target that is built on this one differs from it.
// The zero value is this one.
type Variant struct {
	// Failed says why an answer of 2xx is a failure all the same, "" if it is
	// none. Such an attempt is tried again.
	Failed func(nethttp.Header) string
	// Retried are statuses, beside those that always are, that another attempt
	// may mend.
	Retried []int
	// JSONReplies is whether a 200 answer of JSON that is an event in the JSON
	// format counts as a reply although its content type does not say so.
	JSONReplies bool
	// AskForReply is whether Prefer: reply is sent when a reply would be
	// published.
	AskForReply bool
}

// BuildVariant makes a target that differs from what Build makes.
func (c *Config) BuildVariant(env targets.Env, v Variant) (targets.Target, error) {
	t, err := c.build(env)
	if err != nil {
		return nil, err
	}
	t.variant = v
	return t, nil
}

// failed is the failure that an answer of 2xx stands for, nil if it is none;
// it reads the answer then.
func (t *target) failed(d *targets.Delivery, res *nethttp.Response) error {
	if t.variant.Failed == nil {
		return nil
	}
	why := t.variant.Failed(res.Header)
	if why == "" {
		return nil
	}
	t.recordAnswer(d, res.Header)
	d.Answer.Body = t.readAnswer(res)
	return fmt.Errorf("%s: %s", excerpt(t.scrub(why)), excerpt(d.Answer.Body))
}

// isEvent reports whether a text is a JSON object that claims to be an event.
func isEvent(body []byte) bool {
	if body = bytes.TrimSpace(body); len(body) == 0 || body[0] != '{' {
		return false
	}
	var event struct {
		SpecVersion *string `json:"specversion"`
	}
	return json.Unmarshal(body, &event) == nil && event.SpecVersion != nil
}
