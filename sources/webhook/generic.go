package webhook

import "time"

// receivedType is the type of an event that says nothing about itself.
const receivedType = "webhook.received"

// deriveStandard uses the payload structure that Standard Webhooks recommends:
// type and timestamp beside the data.
func deriveStandard(r *request) (attributes, error) {
	a := attributes{
		typ:    firstOf(r.text("type"), receivedType),
		source: "/v1/hooks/" + r.name,
		id:     r.header.Get("Webhook-Id"),
	}
	if at := r.text("timestamp"); at != "" {
		if _, err := time.Parse(time.RFC3339, at); err == nil {
			a.time = at
		}
	}
	return a, nil
}

func deriveHMAC(r *request) (attributes, error) {
	a := attributes{typ: receivedType, source: "/v1/hooks/" + r.name}
	if r.idHeader != "" {
		a.id = r.header.Get(r.idHeader)
	}
	return a, nil
}
