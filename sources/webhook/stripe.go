package webhook

import (
	"errors"
	"net/url"
)

func deriveStripe(r *request) (attributes, error) {
	name := r.text("type")
	if name == "" {
		return attributes{}, errors.New("the body has no type")
	}
	source := "https://api.stripe.com"
	if account := r.text("account"); account != "" { // an event of a connected account
		source += "/v1/accounts/" + url.PathEscape(account)
	}
	return attributes{
		typ:     "com.stripe." + name,
		source:  source,
		subject: r.text("data", "object", "id"),
		id:      r.text("id"),
		time:    r.unix("created"),
	}, nil
}
