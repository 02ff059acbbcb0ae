package webhook

import (
	"errors"
	"strings"

	"github.com/switchyard-dev/switchyard/bus/event"
)

func deriveShopify(r *request) (attributes, error) {
	topic := r.header.Get("X-Shopify-Topic")
	a := attributes{
		source: "https://shopify.com",
		time:   r.header.Get("X-Shopify-Triggered-At"),
	}
	if shop := r.header.Get("X-Shopify-Shop-Domain"); shop != "" {
		a.source = "https://" + shop
	}
	a.subject = r.text("admin_graphql_api_id")
	if id := r.at("id"); a.subject == "" && (id.Kind() == event.Number || id.Kind() == event.String) {
		a.subject = strings.Trim(string(id.Raw()), `"`)
	}
	// One change in a shop has one event id in the webhooks of all its topics.
	if id := r.header.Get("X-Shopify-Event-Id"); id != "" {
		a.id = id + ":" + topic
	} else {
		a.id = r.header.Get("X-Shopify-Webhook-Id")
	}
	if topic == "" {
		return a, errors.New("the header X-Shopify-Topic is missing")
	}
	a.typ = "com.shopify." + strings.ReplaceAll(topic, "/", ".")
	return a, nil
}
