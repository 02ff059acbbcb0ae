package webhook

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
)

// openSlack reads the JSON of the Events API, the JSON within the form of an
// interaction, and the form of a slash command, which becomes a JSON object.
func openSlack(r *request) error {
	if !isForm(r.header.Get("Content-Type")) {
		return openJSON(r)
	}
	fields, err := r.openForm()
	if err != nil {
		return err
	}
	if fields.Has("payload") {
		return r.setJSON([]byte(fields.Get("payload")), "application/json")
	}
	object := make(map[string]any, len(fields))
	for name, values := range fields {
		if len(values) == 1 {
			object[name] = values[0]
		} else {
			object[name] = values
		}
	}
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	return r.setJSON(text, "application/json")
}

func deriveSlack(r *request) (attributes, error) {
	a := attributes{source: "https://slack.com"}
	if team := firstOf(r.text("team_id"), r.text("team", "id")); team != "" {
		a.source = "https://app.slack.com/client/" + url.PathEscape(team)
	}
	switch kind := r.text("type"); {
	case kind == "event_callback":
		if kind = r.text("event", "type"); kind == "" {
			return a, errors.New("the body has no event.type")
		}
		a.typ = "com.slack." + kind
		a.subject = firstOf(r.text("event", "channel"), r.text("event", "item", "channel"), r.text("event", "channel", "id"))
		a.id = r.text("event_id")
		a.time = r.unix("event_time")
	case kind != "":
		a.typ = "com.slack." + kind
		a.subject = r.text("channel", "id")
		a.id = firstOf(r.text("event_id"), r.text("trigger_id"))
	case r.text("command") != "":
		a.typ = "com.slack.slash_command"
		a.subject = r.text("command")
		a.id = r.text("trigger_id")
	default:
		return a, errors.New("the body is neither an event, an interaction nor a slash command of Slack")
	}
	return a, nil
}

// answerSlack answers the question that Slack asks when an address is set, and
// its check of the certificate. Both are signed like events.
func answerSlack(r *request) (reply, bool) {
	if !r.form && r.text("type") == "url_verification" {
		body, err := json.Marshal(struct {
			Challenge string `json:"challenge"`
		}{r.text("challenge")})
		return reply{http.StatusOK, "application/json", body}, err == nil
	}
	return reply{status: http.StatusOK}, r.form && r.text("ssl_check") == "1"
}

// acceptedSlack answers forms with 200 and no body: Slack shows a person any
// other status as a failure, and a body as a message.
func acceptedSlack(r *request) (reply, bool) { return reply{status: http.StatusOK}, r.form }
