package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/switchyard-dev/switchyard/configs"
)

// route is one call of the API. The OpenAPI description is made from it.
type route struct {
	method, path string // gin's form of the path
	id           string // operationId
	tag          string
	summary      string
	query        []parameter
	header       []parameter
	request      body
	answers      []answer
	handle       gin.HandlerFunc
}

// strict is r's handler behind a check that refuses query parameters which the
// call does not have: one that is misspelt must not be passed over. Hooks are
// called by others' software and take any.
func (r route) strict() gin.HandlerFunc {
	if r.id == "hook" || r.method == http.MethodOptions {
		return r.handle
	}
	return func(c *gin.Context) {
		if c.Request.URL.RawQuery != "" {
			for name := range c.Request.URL.Query() {
				if !slices.ContainsFunc(r.query, func(p parameter) bool { return p.takes(name) }) {
					fail(c, problem(http.StatusBadRequest, "invalid-parameter", "there is no query parameter %q here; %s", name, r.parameters()))
					return
				}
			}
		}
		r.handle(c)
	}
}

// parameters names the query parameters that r has.
func (r route) parameters() string {
	if len(r.query) == 0 {
		return "this call has none"
	}
	names := make([]string, len(r.query))
	for i, p := range r.query {
		names[i] = p.name
	}
	return "this call has " + strings.Join(names, ", ")
}

// parameter is a query parameter or header.
type parameter struct{ name, doc string }

// takes reports whether a name in a query is p; one that ends in NAME stands for
// any name in its place.
func (p parameter) takes(name string) bool {
	prefix, any := strings.CutSuffix(p.name, "NAME")
	return name == p.name || any && strings.HasPrefix(name, prefix)
}

// body is what a request carries: a Go value whose type is described, or
// content types of another specification.
type body struct {
	value    any
	types    []string
	required bool
}

// answer is one successful answer.
type answer struct {
	status int
	doc    string
	value  any    // its type is described; nil for none
	typ    string // content type if not application/json
}

func answers(status int, doc string, value any) []answer { return []answer{{status, doc, value, ""}} }

// eventTypes are the content types of a publication.
func eventTypes() []string {
	return []string{"application/cloudevents+json", "application/cloudevents-batch+json", "*/*"}
}

// routes lists every call.
func (s *Server) routes() []route {
	paging := []parameter{{"limit", "Items at most: 100 by default, 1000 at most."}, {"after", "The next of the page before."}}
	when := parameter{"when", "A CEL filter over event."}
	consumer := []parameter{{"consumer", "A consumer of the target, which is a broadcast."}}
	delay := []parameter{{"delay", "Record and route the events this much later, e.g. 30s; at most 366 days."}}
	list := []route{
		{http.MethodPost, "/v1/buses/:bus/events", "publish", "events", "Publish CloudEvents to a bus: binary, structured or batched; a batch is all or nothing",
			delay, nil, body{types: eventTypes(), required: true}, answers(202, "Durable.", PublishResults{}), s.publish},
		{http.MethodOptions, "/v1/buses/:bus/events", "handshake", "events", "Answer the CloudEvents webhook handshake",
			nil, []parameter{{"WebHook-Request-Origin", "Who asks to send."}, {"WebHook-Request-Rate", "Deliveries a minute."}}, body{},
			[]answer{{200, "Allowed.", nil, ""}}, s.handshake},
		{http.MethodPost, "/v1/events", "publishAcross", "events", "Publish one batch across buses, all or nothing; each event names its bus in the extension bus",
			delay, nil, body{types: eventTypes(), required: true}, answers(202, "Durable.", PublishResults{}), s.publishAcross},
		{http.MethodGet, "/v1/buses/:bus/events", "readEvents", "events", "Read stored events back, oldest first; the next page is in the Link header",
			[]parameter{{"from", "First sequence or RFC 3339 time, inclusive."}, {"to", "Last sequence or time, inclusive."}, when, paging[0]}, nil, body{},
			[]answer{{200, "A CloudEvents JSON batch.", []map[string]any{}, "application/cloudevents-batch+json"}}, s.readEventsPage},
		{http.MethodGet, "/v1/events/search", "searchEvents", "events", "Search stored events of several buses, by attributes, CEL and deliveries; the newest first",
			searchParameters(when, paging), nil, body{}, []answer{
				{200, "A page.", SearchResults{}, ""},
				{200, "The same", oneOf{SearchProgress{}, SearchResults{}, Problem{}}, "text/event-stream"},
			}, s.searchEvents},
		{http.MethodGet, "/v1/buses/:bus/events/:sequence", "readEvent", "events", "Read one stored event", nil, nil, body{},
			[]answer{{200, "The event.", map[string]any{}, "application/cloudevents+json"}}, s.readEvent},
		{http.MethodGet, "/v1/buses/:bus/events/:sequence/trace", "trace", "events", "What happened to an event",
			[]parameter{{"explain", "A rule of the bus, or * for all: say why it matches the event or does not."},
				{"rules", "true shows the rules that matched, as they were."},
				{"transforms", "true shows the event, and what the transform of each rule that matched makes of it, unless the rule has changed since."}}, nil, body{},
			answers(200, "Its timeline.", TraceResponse{}), s.trace},
		{http.MethodGet, "/v1/buses/:bus/table", "readTable", "events", "Read the newest event of each subject of a compacted bus, in order of subject; the next page is in the Link header",
			append([]parameter{{"prefix", "Only subjects that begin so."}, {"subject", "Only this subject: the answer is its event, or 404."}}, paging[0], parameter{"after", "The subject to go on after."}), nil, body{}, []answer{
				{200, "A CloudEvents JSON batch.", []map[string]any{}, "application/cloudevents-batch+json"},
				{200, "The event of one subject.", map[string]any{}, "application/cloudevents+json"},
			}, s.readTable},
		{http.MethodGet, "/v1/buses/:bus/tail", "tail", "events", "Live events as server-sent events",
			[]parameter{when}, []parameter{{"Last-Event-ID", "The sequence to go on after."}}, body{},
			[]answer{{200, "A stream: id is the sequence, data the structured event.", "", "text/event-stream"}}, s.tail},
		{http.MethodGet, "/v1/buses/:bus/scheduled", "listScheduled", "events", "List the events that wait for their time",
			append([]parameter{{"source", "Only this source."}, {"id", "Only this id."}}, paging...), nil, body{}, answers(200, "A page.", List[ScheduledEvent]{}), s.listScheduled},
		{http.MethodDelete, "/v1/buses/:bus/scheduled", "cancelScheduled", "events", "Cancel the scheduled events with a source and id",
			[]parameter{{"source", "The event's source."}, {"id", "The event's id."}}, nil, body{}, []answer{{204, "Cancelled.", nil, ""}}, s.cancelScheduled},
		{http.MethodGet, "/v1/buses/:bus/archive", "listArchive", "events", "List what the archive of a bus has, in order, and how it is doing", paging, nil, body{}, answers(200, "A page.", ArchiveList{}), s.listArchive},
		{http.MethodPost, "/v1/buses/:bus/replay", "startReplay", "replays", "Queue stored events again for the rules that match them now",
			nil, nil, body{value: ReplayRequest{}, required: true}, answers(202, "It has begun.", ReplayStarted{}), s.startReplay},
		{http.MethodGet, "/v1/replays", "listReplays", "replays", "List replays, and seeks that queue events again, in order of their start", paging, nil, body{}, answers(200, "A page.", List[Replay]{}), s.listReplays},
		{http.MethodGet, "/v1/replays/:replay", "getReplay", "replays", "How far a replay is", nil, nil, body{}, answers(200, "Its state.", Replay{}), s.getReplay},
		{http.MethodDelete, "/v1/replays/:replay", "cancelReplay", "replays", "Cancel a replay: nothing more is queued, and what it queued and is not settled is dropped",
			nil, nil, body{}, answers(200, "Its state.", Replay{}), s.cancelReplay},
		{http.MethodPost, "/v1/transactions", "beginTransaction", "transactions", "Keep events unseen until they are committed, all at once",
			nil, nil, body{value: TransactionRequest{}, required: true}, answers(201, "Durable.", TransactionStarted{}), s.beginTransaction},
		{http.MethodGet, "/v1/transactions", "listTransactions", "transactions", "List transactions in order of their begin: the open ones, and the last that are finished",
			append([]parameter{{"state", "Only open, parked, committed or rolledback ones."}}, paging...), nil, body{}, answers(200, "A page.", List[Transaction]{}), s.listTransactions},
		{http.MethodGet, "/v1/transactions/:transaction", "getTransaction", "transactions", "One transaction with its events", nil, nil, body{}, answers(200, "Its state.", Transaction{}), s.getTransaction},
		{http.MethodPost, "/v1/transactions/:transaction/commit", "commitTransaction", "transactions", "Record the events of a transaction; repeated, it answers the same",
			nil, nil, body{value: struct{}{}}, answers(200, "Durable.", PublishResults{}), s.commitTransaction},
		{http.MethodPost, "/v1/transactions/:transaction/rollback", "rollbackTransaction", "transactions", "Drop the events of a transaction; repeated, it does nothing",
			nil, nil, body{value: struct{}{}}, answers(200, "Its state.", Transaction{}), s.rollbackTransaction},
		{http.MethodPost, "/v1/rules/test", "testRule", "rules", "What a rule, a filter or all rules of a bus make of an event, or of stored events; sends nothing",
			paging, nil, body{value: RuleTest{}, required: true}, []answer{
				{200, "The outcome; a page of them for all rules of a bus; what was found among stored events.", oneOf{RuleTestResult{}, List[RuleOutcome]{}, RuleHistory{}}, ""},
				{200, "The same", oneOf{HistoryProgress{}, RuleHistory{}, Problem{}}, "text/event-stream"},
			}, s.testRule},
		{http.MethodGet, "/v1/rules/:rule/versions", "listRuleVersions", "rules", "What a rule was, the newest version first; also of a rule that was removed, for 90 days",
			paging, nil, body{}, answers(200, "A page.", List[RuleVersion]{}), s.ruleVersions},
		{http.MethodGet, "/v1/subscriptions", "listSubscriptions", "subscriptions", "List subscriptions", paging, nil, body{}, answers(200, "A page.", List[Subscription]{}), s.listSubscriptions},
		{http.MethodGet, "/v1/subscriptions/:rule/:target", "getSubscription", "subscriptions", "One subscription", consumer, nil, body{}, answers(200, "Its state.", Subscription{}), s.getSubscription},
		{http.MethodPost, "/v1/subscriptions/:rule/:target/pause", "pause", "subscriptions", "Stop deliveries; what matches is queued", consumer, nil, body{value: PauseRequest{}}, answers(200, "Its state.", Subscription{}), s.pause},
		{http.MethodPost, "/v1/subscriptions/:rule/:target/resume", "resume", "subscriptions", "Lift a pause", consumer, nil, body{}, answers(200, "Its state.", Subscription{}), s.resume},
		{http.MethodPost, "/v1/subscriptions/:rule/:target/seek", "seek", "subscriptions", "Move a subscription to a sequence, a time, the start or the end",
			consumer, nil, body{value: SeekRequest{}, required: true}, answers(200, "What it did.", SeekAnswer{}), s.seek},
		{http.MethodPost, "/v1/subscriptions/:rule/:target/purge", "purgeSubscription", "subscriptions", "Drop everything that a subscription owes, not its dead letters", consumer, nil, body{}, answers(202, "How many were dropped.", Count{}), s.purgeSubscription},
		{http.MethodGet, "/v1/subscriptions/:rule/:target/deadletters", "listDeadLetters", "subscriptions", "List dead letters with their attempts", append(consumer, paging...), nil, body{}, answers(200, "A page.", List[DeadLetter]{}), s.listDead},
		{http.MethodGet, "/v1/subscriptions/:rule/:target/attempts", "listAttempts", "subscriptions", "List recent attempts: those of the newest event first",
			slices.Concat(consumer, []parameter{{"status", "Only these: ok, failed, a status code, a range such as 5xx, or a class of failures."}}, paging), nil, body{},
			answers(200, "A page. It may be short, even empty, although next is not.", List[RecentAttempt]{}), s.listAttempts},
		{http.MethodPost, "/v1/subscriptions/:rule/:target/deadletters/redrive", "redrive", "subscriptions", "Put dead letters back into the queue; {} is all of them", consumer, nil, body{value: DeadSelection{}}, answers(202, "How many.", Count{}), s.redrive},
		{http.MethodPost, "/v1/subscriptions/:rule/:target/deadletters/purge", "purgeDeadLetters", "subscriptions", "Drop dead letters", consumer, nil, body{value: DeadSelection{}, required: true}, answers(202, "How many.", Count{}), s.purgeDead},
		{http.MethodPost, "/v1/subscriptions/:rule/:target/receive", "receive", "subscriptions", "Lease deliveries of a pull target; waits until there are some",
			nil, nil, body{value: ReceiveRequest{}}, answers(200, "Deliveries, none if the wait was in vain.", ReceiveAnswer{}), s.receive},
		{http.MethodPost, "/v1/subscriptions/:rule/:target/ack", "ack", "subscriptions", "Acknowledge leased deliveries: they are done",
			nil, nil, body{value: LeaseRequest{}, required: true}, answers(200, "Which leases were still valid.", LeaseAnswer{}), s.ack},
		{http.MethodPost, "/v1/subscriptions/:rule/:target/nack", "nack", "subscriptions", "Give leased deliveries back as failed attempts",
			nil, nil, body{value: NackRequest{}, required: true}, answers(200, "Which leases were still valid.", LeaseAnswer{}), s.nack},
		{http.MethodPost, "/v1/subscriptions/:rule/:target/extend", "extend", "subscriptions", "Let leases last, from now on, as long as new ones",
			nil, nil, body{value: LeaseRequest{}, required: true}, answers(200, "Which leases were still valid.", LeaseAnswer{}), s.extend},
		{http.MethodDelete, "/v1/subscriptions/:rule/:target", "removeConsumer", "subscriptions", "Remove a consumer of a broadcast, with all that it is owed",
			[]parameter{{"consumer", "Its name."}}, nil, body{}, []answer{{204, "Removed.", nil, ""}}, s.removeConsumer},
		{http.MethodPost, "/v1/hooks/:source", "hook", "sources", "A webhook source's address", nil, nil, body{types: []string{"*/*"}, required: true}, answers(202, "Durable.", PublishResults{}), s.hook},
		{http.MethodPost, "/v1/snapshots", "takeSnapshot", "operation", "Fix what the store holds, for a backup; it has all that the API never shows, secrets of objects made here included",
			nil, nil, body{value: struct{}{}}, answers(201, "Its files. It ends when it is deleted or not read from.", Snapshot{}), s.takeSnapshot},
		{http.MethodGet, "/v1/snapshots/:snapshot/file", "readSnapshot", "operation", "Read one file of a snapshot",
			[]parameter{{"name", "Its name, as the snapshot lists it."}}, nil, body{}, []answer{{200, "Its bytes.", "", "application/octet-stream"}}, s.readSnapshot},
		{http.MethodDelete, "/v1/snapshots/:snapshot", "endSnapshot", "operation", "Let go of a snapshot", nil, nil, body{}, []answer{{204, "It has ended.", nil, ""}}, s.endSnapshot},
		{http.MethodGet, "/healthz", "healthz", "operation", "The process is alive", nil, nil, body{}, answers(200, "Alive.", Health{}), s.healthz},
		{http.MethodGet, "/readyz", "readyz", "operation", "Events are accepted", nil, nil, body{}, answers(200, "Ready.", Health{}), s.readyz},
		{http.MethodGet, "/metrics", "metrics", "operation", "Prometheus metrics", nil, nil, body{}, []answer{{200, "Text.", "", "text/plain"}}, s.metrics()},
		{http.MethodGet, "/openapi.json", "openapi", "operation", "This description", nil, nil, body{}, answers(200, "OpenAPI 3.1.", map[string]any{}), s.serveOpenAPI},
	}
	list = append(list, route{http.MethodPost, "/v1/apply", "apply", "operation", "Create and replace objects of every kind, all or none; those of a file are read-only",
		[]parameter{{"dryRun", "true only says what would be done."}}, nil, body{value: ApplyRequest{}, required: true}, answers(200, "What became of each.", ApplyAnswer{}), s.apply})
	match := []parameter{{"If-Match", "The ETag that must be the present one."}, {"If-None-Match", "* creates only."}}
	for _, many := range []string{configs.Buses, configs.Sources, configs.Rules, configs.Targets} {
		one := Singular(many)
		path := "/v1/" + many + "/:" + one
		object := map[string]any{}
		gone := []answer{{204, "Removed.", nil, ""}}
		if many == configs.Rules {
			gone = append(gone, answer{200, "Removed; what its subscriptions owe is kept until the name returns or it is purged.", Deletion{}, ""})
		}
		list = append(list,
			route{http.MethodGet, "/v1/" + many, "list" + title(many), many, "List " + many, paging, nil, body{}, answers(200, "A page.", List[map[string]any]{}), s.listObjects(many)},
			route{http.MethodGet, path, "get" + title(one), many, "One " + one + " as JSON of its YAML", nil, nil, body{}, answers(200, "The "+one+".", object), s.getObject(many)},
			route{http.MethodPut, path, "put" + title(one), many, "Create or replace a " + one + "; those of a file are read-only", nil, match, body{value: object, required: true},
				[]answer{{200, "Replaced.", object, ""}, {201, "Created.", object, ""}}, s.putObject(many)},
			route{http.MethodDelete, path, "delete" + title(one), many, "Remove a " + one, nil, match[:1], body{}, gone, s.deleteObject(many)},
		)
	}
	return list
}

func title(s string) string { return string(s[0]-'a'+'A') + s[1:] }
