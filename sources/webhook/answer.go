package webhook

import (
	"encoding/json"
	"net/http"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/sources"
)

// problem is an RFC 9457 problem document.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`

	reason string // what is counted; "" when nothing is
}

// problemTypes are named as those of the API are.
var problemTypes = map[int]string{
	http.StatusBadRequest:            "invalid-body",
	http.StatusUnauthorized:          "unauthorized",
	http.StatusMethodNotAllowed:      "method-not-allowed",
	http.StatusRequestEntityTooLarge: "too-large",
	http.StatusUnsupportedMediaType:  "unsupported-media-type",
	http.StatusUnprocessableEntity:   "invalid-event",
	http.StatusServiceUnavailable:    "unavailable",
}

func refuse(status int, reason, detail string) *problem {
	return &problem{Type: "/problems/" + problemTypes[status], Title: http.StatusText(status), Status: status, Detail: detail, reason: reason}
}

// unauthorized answers a signature that is missing, wrong or too old in one and
// the same way; the reason is counted and logged.
func unauthorized(reason string) *problem {
	return refuse(http.StatusUnauthorized, reason, "the request has no valid signature that was made with this source's secret within the accepted time")
}

// logged is the detail as the log may have it: without anything of a request
// that nobody vouched for.
func (p *problem) logged() string {
	if p.Status == http.StatusUnauthorized {
		return "the request is not signed as this source expects"
	}
	return p.Detail
}

func (p *problem) write(w http.ResponseWriter) {
	body, err := json.Marshal(p)
	if err != nil { // cannot be: it is three texts and a number
		body = nil
	}
	reply{p.Status, "application/problem+json", body}.write(w)
}

func (a reply) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	if a.contentType != "" {
		h.Set("Content-Type", a.contentType)
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // a sender that is gone tries again
}

type result struct {
	ID        string  `json:"id"`
	Source    string  `json:"source"`
	Sequence  *uint64 `json:"sequence"`
	Duplicate bool    `json:"duplicate"`
}

// writeResults answers as the publishing API does.
func writeResults(w http.ResponseWriter, e *event.Event, results []sources.Result) {
	r := result{ID: e.ID(), Source: e.Source()}
	if len(results) > 0 {
		r.Duplicate = results[0].Duplicate
		if s := results[0].Sequence; s != 0 { // a scheduled event has none yet
			r.Sequence = &s
		}
	}
	body, err := json.Marshal(struct {
		Results []result `json:"results"`
	}{[]result{r}})
	if err != nil {
		body = nil
	}
	reply{http.StatusAccepted, "application/json", append(body, '\n')}.write(w)
}
