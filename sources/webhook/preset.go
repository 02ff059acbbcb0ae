package webhook

import (
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
)

// preset knows one sender: how it signs and what its requests mean.
type preset struct {
	limit  component.Size
	scheme func(*Config) (*scheme, error)
	// open reads the body into data and tree.
	open func(*request) error
	// derive chooses the attributes. An error is for what the sender left out.
	derive func(*request) (attributes, error)
	// answer, when not nil, answers some requests without making an event.
	answer func(*request) (reply, bool)
	// accepted, when not nil, is the answer to a request that was kept, in
	// place of 202 with the results.
	accepted func(*request) (reply, bool)
}

const defaultLimit = 1 << 20

// presets are all of them by name. It is a function so that nothing can change them.
func presets() map[string]preset {
	return map[string]preset{
		"github":            {limit: 25 << 20, scheme: githubScheme, open: openGitHub, derive: deriveGitHub},
		"stripe":            {limit: defaultLimit, scheme: stripeScheme, open: openJSON, derive: deriveStripe},
		"slack":             {limit: defaultLimit, scheme: slackScheme, open: openSlack, derive: deriveSlack, answer: answerSlack, accepted: acceptedSlack},
		"shopify":           {limit: 5 << 20, scheme: shopifyScheme, open: openByType, derive: deriveShopify},
		"standard-webhooks": {limit: defaultLimit, scheme: standardScheme, open: openByType, derive: deriveStandard},
		"hmac":              {limit: defaultLimit, scheme: hmacScheme, open: openByType, derive: deriveHMAC},
	}
}

// request is one request whose signature was good.
type request struct {
	name        string // of the source
	idHeader    string
	header      http.Header
	query       url.Values
	raw         []byte // the body as it came
	contentType string // of data
	data        []byte // the event's data
	tree        *event.Tree
	form        bool // the body was a form
}

// at is the value at a path of object keys; the zero Node when there is none.
func (r *request) at(path ...string) event.Node {
	n := r.tree.Root()
	for _, key := range path {
		n, _ = n.Get(key)
	}
	return n
}

// text is the string at a path, "" when there is none.
func (r *request) text(path ...string) string { return r.at(path...).Text() }

// unix is the number of Unix seconds at a path as an RFC 3339 time, "" when
// there is none that makes one.
func (r *request) unix(path ...string) string {
	seconds, ok := r.at(path...).Int()
	if !ok || seconds <= 0 || seconds > 1<<37 {
		return ""
	}
	return time.Unix(seconds, 0).UTC().Format(time.RFC3339)
}

// attributes are those of the event to be; an empty one is not set.
type attributes struct{ typ, source, subject, id, time string }

func (a *attributes) field(name string) *string {
	switch name {
	case "type":
		return &a.typ
	case "source":
		return &a.source
	case "subject":
		return &a.subject
	case "id":
		return &a.id
	case "time":
		return &a.time
	}
	return nil
}

// reply is an answer to the sender.
type reply struct {
	status      int
	contentType string
	body        []byte
}

// openJSON reads a body that can only be JSON.
func openJSON(r *request) error {
	if !isJSON(r.header.Get("Content-Type")) {
		return r.setJSON(r.raw, "application/json")
	}
	return r.setJSON(r.raw, r.header.Get("Content-Type"))
}

// openByType reads a body by its Content-Type; without one it is JSON if it can
// be, else bytes.
func openByType(r *request) error {
	contentType := r.header.Get("Content-Type")
	switch {
	case len(r.raw) == 0 && !isJSON(contentType):
		return nil
	case isJSON(contentType):
		return r.setJSON(r.raw, contentType)
	case contentType == "":
		if r.setJSON(r.raw, "application/json") == nil {
			return nil
		}
		contentType = "application/octet-stream"
	}
	r.data, r.contentType = r.raw, contentType
	return nil
}

func (r *request) setJSON(text []byte, contentType string) error {
	tree, err := event.ParseTree(text)
	if err != nil {
		return err
	}
	r.tree, r.data, r.contentType = tree, text, contentType
	return nil
}

// openForm reads the fields of a form.
func (r *request) openForm() (url.Values, error) {
	r.form = true
	fields, err := url.ParseQuery(string(r.raw))
	if err != nil {
		return nil, errors.New("the form cannot be read: " + err.Error())
	}
	return fields, nil
}

func isJSON(contentType string) bool {
	t := mediaType(contentType)
	return strings.HasSuffix(t, "/json") || strings.HasSuffix(t, "+json")
}

func isForm(contentType string) bool {
	return mediaType(contentType) == "application/x-www-form-urlencoded"
}

func mediaType(contentType string) string {
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		t, _, _ = strings.Cut(contentType, ";")
		t = strings.ToLower(strings.TrimSpace(t))
	}
	return t
}

// firstOf is the first text that is not empty.
func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
