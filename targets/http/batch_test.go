package http

import (
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets"
)

func batchedTarget(t *testing.T, url string) *target {
	c := NewConfig()
	c.URL, c.Mode = url, Batched
	c.Secret = component.NewSecrets("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
	return newTarget(t, c, targets.Env{})
}

func deliveries(t *testing.T, n int) []*targets.Delivery {
	ds := make([]*targets.Delivery, n)
	for i := range ds {
		ds[i] = deliveryOf(parse(t, fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"/shop","type":"t","deliveryid":"own","traceparent":"00-a-b-01","data":{"n":%d}}`, i, i)))
		ds[i].ID = fmt.Sprint("dlv_", i)
	}
	return ds
}

func TestABatchIsOneSignedRequestWithTheIdsOfItsDeliveries(t *testing.T) {
	url, requests := recorder(t)
	target := batchedTarget(t, url)
	ds := deliveries(t, 3)
	for i, err := range target.DeliverBatch(t.Context(), ds) {
		if err != nil || ds[i].Answer.Status != 202 || ds[i].Answer.Address == "" {
			t.Errorf("delivery %d: %v, %+v", i, err, ds[i].Answer)
		}
	}
	req := <-requests
	if req.ContentLength != int64(len(req.body)) || req.Header.Get("Content-Type") != batchedType {
		t.Errorf("headers: %v", req.Header)
	}
	hook, err := standardwebhooks.NewWebhook("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
	if err != nil {
		t.Fatal(err)
	}
	if err := hook.Verify(req.body, req.Header); err != nil {
		t.Errorf("the signature: %v", err)
	}
	events, mode, err := event.FromHTTP(req.Header, req.body, event.Limits{})
	if err != nil || mode != event.ModeBatched || len(events) != 3 {
		t.Fatalf("the body is read as %d events, %v, %v", len(events), mode, err)
	}
	for i, e := range events {
		if e.ID() != fmt.Sprint(i) || e.ExtensionText("deliveryid") != ds[i].ID || string(e.Data()) != fmt.Sprintf(`{"n":%d}`, i) {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	id := req.Header.Get("Webhook-Id")
	if strings.Contains(id, ".") || !strings.HasPrefix(id, "bat_") {
		t.Errorf("webhook-id is %q", id)
	}
	target.DeliverBatch(t.Context(), ds)
	if again := (<-requests).Header.Get("Webhook-Id"); again != id {
		t.Errorf("the same batch again has webhook-id %q, not %q", again, id)
	}
	target.DeliverBatch(t.Context(), ds[:2])
	if other := (<-requests).Header.Get("Webhook-Id"); other == id {
		t.Error("another batch has the same webhook-id")
	}
	if err := target.Deliver(t.Context(), ds[0]); err != nil {
		t.Fatal(err)
	}
	if one := (<-requests).Header; one.Get("Webhook-Id") != "dlv_0" || one.Get("Traceparent") != "00-a-b-01" {
		t.Errorf("one alone has %v", one)
	}
}

func TestAnAnswerMayNameTheMembersOfABatchThatFailed(t *testing.T) {
	const named = `{"results": [{"id": "dlv_0", "status": 200}, {"id": "dlv_1", "status": 422, "error": "no such order"},
		{"id": "dlv_2", "status": 503, "error": "later", "retryAfter": 30}, {"id": "dlv_9", "status": 500}]}`
	for name, c := range map[string]struct {
		status  int
		headers map[string]string
		body    string
		want    string // of three deliveries
	}{
		"all taken":                   {204, nil, "", "ok ok ok"},
		"some named":                  {200, nil, named, "ok final later"},
		"some named with 207":         {207, nil, named, "ok final later"},
		"JSON of its own":             {200, nil, `{"results": "fine"}`, "ok ok ok"},
		"not JSON":                    {200, nil, `{"results": [`, "ok ok ok"},
		"a list of its own":           {200, nil, `[]`, "ok ok ok"},
		"another content type":        {200, map[string]string{"Content-Type": "text/plain"}, named, "ok ok ok"},
		"results without a status":    {200, nil, `{"results": [{"id": "dlv_1"}]}`, "ok ok ok"},
		"nothing taken for now":       {500, nil, named, "again again again"},
		"nothing taken":               {400, nil, "bad", "final final final"},
		"a pause for all":             {429, map[string]string{"Retry-After": "7"}, "", "later later later"},
		"too long an answer to judge": {200, nil, named[:len(named)-1] + strings.Repeat(" ", maxReply) + "}", "ok ok ok"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, req *nethttp.Request) {
				_, _ = io.Copy(io.Discard, req.Body)
				w.Header().Set("Content-Type", "application/json; charset=utf-8")
				for name, value := range c.headers {
					w.Header().Set(name, value)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			defer s.Close()
			var got []string
			ds := deliveries(t, 3)
			for _, err := range batchedTarget(t, s.URL).DeliverBatch(t.Context(), ds) {
				var after *targets.RetryAfter
				switch {
				case err == nil:
					got = append(got, "ok")
				case targets.IsPermanent(err):
					got = append(got, "final")
				case errors.As(err, &after):
					got = append(got, "later")
				default:
					got = append(got, "again")
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("outcomes: %v, want %s", got, c.want)
			}
			if c.want == "ok final later" && (ds[0].Answer.Status != c.status || ds[1].Answer.Status != 422 || ds[1].Answer.Body != "no such order") {
				t.Errorf("answers: %+v, %+v", ds[0].Answer, ds[1].Answer)
			}
		})
	}
}

func TestABatchThatNobodyAnswersFailsAsAWhole(t *testing.T) {
	c := NewConfig()
	c.URL, c.Mode, c.Timeout = "http://127.0.0.1:1/", Batched, time.Second
	for _, err := range newTarget(t, c, targets.Env{}).DeliverBatch(t.Context(), deliveries(t, 2)) {
		if err == nil || targets.IsPermanent(err) || targets.ClassOf(err) != targets.Connect {
			t.Errorf("outcome: %v", err)
		}
	}
}
