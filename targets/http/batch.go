package http

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"io"
	"mime"
	nethttp "net/http"
	"strconv"
	"strings"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/targets"
)

const (
	batchedType = "application/cloudevents-batch+json; charset=utf-8"
	// memberID is the extension of each event of a batch that has its delivery's
	// id; it replaces one that the event itself has.
	memberID = "deliveryid"
)

// DeliverBatch implements targets.Batcher: all events in one request, whose
// answer may name those that it did not take.
func (t *target) DeliverBatch(ctx context.Context, ds []*targets.Delivery) []error {
	request := &targets.Delivery{ID: batchID(ds), Subscription: ds[0].Subscription}
	members, err := t.deliverBatch(ctx, request, ds)
	errs := make([]error, len(ds))
	for i, d := range ds {
		d.Answer, errs[i] = request.Answer, err
		if m, ok := members[d.ID]; ok && err == nil {
			d.Answer.Status, d.Answer.Body = m.Status, shorten(m.Error, targets.MaxAnswer)
			errs[i] = t.memberOutcome(m)
		}
	}
	return errs
}

func (t *target) deliverBatch(ctx context.Context, request *targets.Delivery, ds []*targets.Delivery) (map[string]member, error) {
	if t.handshake != nil {
		if err := t.admit(ctx, request); err != nil {
			return nil, err
		}
	}
	limited, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	body, header := t.encodeBatch(request.ID, ds, time.Now())
	res, err := t.send(ctx, limited, request, nethttp.MethodPost, header, body)
	if err != nil {
		return nil, err
	}
	request.Answer.Status = res.StatusCode
	if !succeeded(res.StatusCode) {
		request.Answer.Body = t.readAnswer(res)
		return nil, t.outcome(res, request.Answer.Body, time.Now())
	}
	return t.members(ctx, limited, request, res)
}

// encodeBatch makes the body and the headers of a request in batched mode.
func (t *target) encodeBatch(id string, ds []*targets.Delivery, now time.Time) ([]byte, nethttp.Header) {
	size := 2
	for _, d := range ds {
		size += d.Event.Size() + len(d.Event.Data())/2 + 256
	}
	body := append(make([]byte, 0, size), '[')
	redriven := true
	for i, d := range ds {
		if i > 0 {
			body = append(body, ',')
		}
		body = event.AppendStructured(body, d.Event, event.Extension{Name: memberID, Value: event.StringValue(d.ID)})
		redriven = redriven && d.Redriven
	}
	body = append(body, ']')
	header := make(nethttp.Header, len(t.static)+6)
	for name, values := range t.static {
		header[name] = values
	}
	header["Content-Type"] = []string{batchedType}
	t.mark(header, id, redriven, body, now)
	if len(ds) == 1 {
		passTrace(header, ds[0].Event)
	}
	return body, header
}

// batchID is the webhook-id of a request: that of its one delivery, or one made
// of all their ids, so that a repeat of the same batch has the same.
func batchID(ds []*targets.Delivery) string {
	if len(ds) == 1 {
		return ds[0].ID
	}
	sum := sha256.New()
	for _, d := range ds {
		sum.Write([]byte(d.ID))
		sum.Write([]byte{0})
	}
	const version = "bat_"
	return version + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum.Sum(nil)[:16]))
}

// member is what an answer says about one event of a batch.
type member struct {
	ID     string `json:"id"` // the delivery's
	Status int    `json:"status"`
	Error  string `json:"error"`
	// RetryAfter is in seconds.
	RetryAfter int `json:"retryAfter"`
}

// members reads from a 2xx answer which events were not taken, by delivery id.
// An answer that says nothing about them took all.
func (t *target) members(ctx, limited context.Context, request *targets.Delivery, res *nethttp.Response) (map[string]member, error) {
	kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" || res.Header.Get("Content-Encoding") != "" {
		finish(res.Body)
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxReply+1))
	if err != nil {
		res.Body.Close()
		return nil, t.failure(ctx, limited, request, err)
	}
	finish(res.Body)
	var answer struct {
		Results []member `json:"results"`
	}
	if len(body) > maxReply || json.Unmarshal(body, &answer) != nil {
		return nil, nil // it is JSON of the receiver's own
	}
	out := map[string]member{}
	for _, m := range answer.Results {
		if m.Status != 0 && !succeeded(m.Status) {
			out[m.ID] = m
		}
	}
	return out, nil
}

// memberOutcome is what a status means for one event: the same as if it had
// been sent alone.
func (t *target) memberOutcome(m member) error {
	res := &nethttp.Response{StatusCode: m.Status, Header: nethttp.Header{}}
	if m.RetryAfter > 0 {
		res.Header.Set("Retry-After", strconv.Itoa(m.RetryAfter))
	}
	return t.outcome(res, m.Error, time.Now())
}
