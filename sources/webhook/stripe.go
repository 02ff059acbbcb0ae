package webhook

import (
	"errors"
	"net/url"
)

func deriveStripe(r *request) (attributes, error) {
	source := "https://api.stripe.com"
	if account := r.text("account"); account != "" { // an event of a connected account
		source += "/v1/accounts/" + url.PathEscape(account)
	}
	a := attributes{
		source:  source,
		subject: r.text("data", "object", "id"),
		id:      r.text("id"),
		time:    r.unix("created"),
	}
	name := r.text("type")
	if name == "" {
		return a, errors.New("the body has no type")
	}
	a.typ = "com.stripe." + name
	return a, nil
}
