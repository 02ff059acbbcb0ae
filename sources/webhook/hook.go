package webhook

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/sources"
)

// Hook is a webhook source.
type Hook struct {
	env      sources.Env
	preset   preset
	scheme   *scheme
	limit    int64
	idHeader string
	chosen   []expression
	now      func() time.Time
}

var _ sources.Hook = (*Hook)(nil)

// Close implements sources.Source.
func (h *Hook) Close() error { return nil }

// ServeHTTP takes one webhook.
func (h *Hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p := h.serve(w, r); p != nil {
		if p.reason != "" {
			h.env.Rejected(p.reason)
			h.env.Logger.Info("webhook refused", "source", h.env.Name, "reason", p.reason, "status", p.Status, "detail", p.logged())
		}
		p.write(w)
	}
}

// serve answers a request that is accepted, and returns what is wrong with any
// other.
func (h *Hook) serve(w http.ResponseWriter, r *http.Request) *problem {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return refuse(http.StatusMethodNotAllowed, "", "webhooks are sent with POST")
	}
	if c := r.Header.Get("Content-Encoding"); c != "" && !strings.EqualFold(c, "identity") {
		return refuse(http.StatusUnsupportedMediaType, invalidInput, "the body is compressed; send it without Content-Encoding")
	}
	claimed, ok := h.scheme.parse(r.Header)
	if !ok { // not worth reading the body for
		return unauthorized(badSignature)
	}
	body, p := h.read(w, r)
	if p != nil {
		return p
	}
	if reason := h.scheme.verify(claimed, body, h.now()); reason != "" {
		return unauthorized(reason)
	}
	req := &request{name: h.env.Name, idHeader: h.idHeader, header: r.Header, query: r.URL.Query(), raw: body}
	if err := h.preset.open(req); err != nil {
		return refuse(http.StatusBadRequest, invalidInput, "the body is not what it should be: "+err.Error())
	}
	if h.preset.answer != nil {
		if a, ok := h.preset.answer(req); ok {
			a.write(w)
			return nil
		}
	}
	e, p := h.event(req)
	if p != nil {
		return p
	}
	results, err := h.env.Sink.Publish(r.Context(), e)
	if err != nil {
		return h.unpublished(w, err)
	}
	if h.preset.accepted != nil {
		if a, ok := h.preset.accepted(req); ok {
			a.write(w)
			return nil
		}
	}
	writeResults(w, e, results)
	return nil
}

// read reads the body within the limit.
func (h *Hook) read(w http.ResponseWriter, r *http.Request) ([]byte, *problem) {
	var buf bytes.Buffer
	if n := r.ContentLength; n > h.limit {
		return nil, h.tooLarge()
	} else if n > 0 {
		buf.Grow(int(min(n, 1<<20)) + bytes.MinRead)
	}
	if _, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, h.limit)); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, h.tooLarge()
		}
		return nil, refuse(http.StatusBadRequest, invalidInput, "the body could not be read to its end")
	}
	return buf.Bytes(), nil
}

func (h *Hook) tooLarge() *problem {
	return refuse(http.StatusRequestEntityTooLarge, tooLarge, fmt.Sprintf("the body is larger than the %d bytes that this source takes", h.limit))
}

// event makes the event: the preset's attributes, and over them those that the
// settings choose.
func (h *Hook) event(r *request) (*event.Event, *problem) {
	a, err := h.preset.derive(r)
	if err != nil && !h.chooses("type") {
		return nil, refuse(http.StatusUnprocessableEntity, invalidInput, "the request cannot be made an event: "+err.Error())
	}
	b := event.NewBuilder()
	for _, name := range [...]string{"subject", "time"} {
		if v := a.field(name); *v != "" && b.Set(name, event.StringValue(*v)) != nil {
			*v = "" // the preset's choice does not fit; the event does without
		}
	}
	var seen rules.Request
	if len(h.chosen) > 0 {
		seen = r.seen()
	}
	for _, x := range h.chosen {
		text, err := x.program.Eval(seen)
		if err == nil && text != "" {
			err = b.Set(x.attribute, event.StringValue(text))
		} else if err == nil && (x.attribute == "type" || x.attribute == "source") {
			err = errors.New("the result is empty")
		}
		if err != nil {
			return nil, refuse(http.StatusUnprocessableEntity, invalidInput, fmt.Sprintf("event.%s: the expression %s failed: %v", x.attribute, x.text, err))
		}
		*a.field(x.attribute) = text
	}
	if a.id == "" {
		sum := sha256.Sum256(r.raw)
		a.id = "sha256-" + hex.EncodeToString(sum[:])
	}
	for _, name := range [...]string{"id", "source", "type", "subject", "time"} {
		b.Unset(name)
		if v := *a.field(name); v != "" {
			_ = b.Set(name, event.StringValue(v)) // Build reports it
		}
	}
	if r.tree != nil && !isJSON(r.contentType) {
		b.SetJSON(r.data)
	} else {
		b.SetData(r.contentType, r.data)
	}
	e, err := b.Build()
	if err != nil {
		return nil, refuse(http.StatusUnprocessableEntity, invalidInput, "the request cannot be made an event: "+err.Error())
	}
	return e, nil
}

func (h *Hook) chooses(attribute string) bool {
	for _, x := range h.chosen {
		if x.attribute == attribute {
			return true
		}
	}
	return false
}

// unpublished answers for an event that the Sink did not take.
func (h *Hook) unpublished(w http.ResponseWriter, err error) *problem {
	var never *sources.InvalidError
	if errors.As(err, &never) {
		return refuse(http.StatusUnprocessableEntity, invalidInput, "the event cannot be accepted: "+err.Error())
	}
	h.env.Logger.Warn("webhook not stored", "source", h.env.Name, "error", err)
	w.Header().Set("Retry-After", "5")
	return refuse(http.StatusServiceUnavailable, "", "the event could not be stored; try again later")
}
