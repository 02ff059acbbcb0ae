package bus

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/rules"
)

// labelMost bounds how many buses and how many targets have series of their
// own, histogramMost how many targets have a histogram; those above share the
// name "other". Rules and subscriptions are no labels, for a bus may have 100,000
// of them; only rules that enrich are.
const (
	labelMost     = 200
	histogramMost = 50
)

// metrics counts each stage. It is one prometheus.Collector; queue depths are
// read from the store when it is scraped.
type metrics struct {
	e *Engine

	received, receivedBytes, duplicates, scheduled *prometheus.CounterVec // by bus
	routedEvents, matchedTotal                     *prometheus.CounterVec // by bus
	deliveredTotal, retriedTotal, deadTotal        *prometheus.CounterVec // by target
	expiredTotal, openedTotal, repliesDropped      *prometheus.CounterVec // by target
	pullLeases                                     *prometheus.CounterVec // by target and event
	attemptSeconds                                 *prometheus.HistogramVec
	endToEnd                                       prometheus.Histogram
	publishFailed, routeErrors                     prometheus.Counter
	refused                                        *prometheus.CounterVec // by bus and limit
	replayScanned, replayQueued                    prometheus.Counter
	enrich                                         enrichMetrics

	depth, inFlight, deadLetters, oldest, filterErrors, rules *prometheus.Desc
	breakers, held, concurrency                               *prometheus.Desc
	transactionsOpen, transactionsParked                      *prometheus.Desc
	pullWaiting, replays                                      *prometheus.Desc
	limitUsed, limitBound, pending, clockAhead                *prometheus.Desc
	events, disk, owed, queued, waiting, up                   *prometheus.Desc

	mu     sync.Mutex
	names  map[string]map[string]string // label → name → shown name
	series sync.Map                     // seriesKey → *targetSeries or *busSeries

	attempted atomic.Int64 // targets that have asked for a histogram
}

type seriesKey struct{ label, name string }

type busSeries struct {
	received, bytes, duplicates, scheduled, routed, matched prometheus.Counter
}

type targetSeries struct {
	delivered, retried, dead, expired prometheus.Counter
	attempt                           prometheus.Observer
}

func newMetrics(e *Engine) *metrics {
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "switchyard_" + name, Help: help}, []string{label})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "switchyard_" + name, Help: help})
	}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("switchyard_"+name, help, labels, nil)
	}
	latency := prometheus.ExponentialBuckets(0.0005, 2, 18) // 0.5 ms to 65 s
	return &metrics{
		e:              e,
		received:       vec("events_received_total", "Events accepted, duplicates included.", "bus"),
		receivedBytes:  vec("events_received_bytes_total", "Size of the events accepted.", "bus"),
		duplicates:     vec("events_duplicate_total", "Events that were known already.", "bus"),
		scheduled:      vec("events_scheduled_total", "Events accepted for a later time.", "bus"),
		routedEvents:   vec("events_routed_total", "Events matched against the rules of their bus.", "bus"),
		matchedTotal:   vec("deliveries_matched_total", "Deliveries that matches made.", "bus"),
		deliveredTotal: vec("deliveries_delivered_total", "Deliveries that succeeded.", "target"),
		retriedTotal:   vec("deliveries_retried_total", "Attempts that failed and are tried again.", "target"),
		deadTotal:      vec("deliveries_dead_total", "Deliveries that became dead letters.", "target"),
		expiredTotal:   vec("deliveries_expired_total", "Deliveries dropped because the event's expirytime had passed.", "target"),
		repliesDropped: vec("replies_dropped_total", "Events that receivers replied with, for replyTo, and that could not be published.", "target"),
		openedTotal:    vec("target_breaker_opened_total", "How often the target's circuit breaker has opened after it was closed.", "target"),
		pullLeases: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "switchyard_pull_leases_total",
			Help: "What became of leases of pull targets: received, acked, nacked, extended or expired."}, []string{"target", "event"}),
		attemptSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "switchyard_delivery_attempt_seconds", Help: "How long successful attempts took.", Buckets: latency}, []string{"target"}),
		endToEnd: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "switchyard_delivery_latency_seconds", Help: "From an event's recording to its successful delivery.", Buckets: latency}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "switchyard_publish_refused_total",
			Help: "Batches refused because a limit was reached, by the first bus of the batch that it holds for."}, []string{"bus", "limit"}),
		limitUsed:          desc("limit_used", "What a limit on publishing is on, as measured: bytes, deliveries or seconds; bus is empty for a limit of the server.", "bus", "limit"),
		limitBound:         desc("limit_bound", "The limit that is set; publishing is refused from there on.", "bus", "limit"),
		clockAhead:         desc("store_clock_ahead_seconds", "By how much the clock jumped forward (negative: back) while retention by age does not go by it yet; 0 as a rule."),
		pending:            desc("store_waiting_bytes", "Events that wait for the log to be synced."),
		publishFailed:      counter("publish_failed_total", "Batches that the store did not take."),
		routeErrors:        counter("route_errors_total", "Routing steps that failed and were tried again."),
		replayScanned:      counter("replay_events_read_total", "Events that replays have read from the log."),
		replayQueued:       counter("replay_deliveries_queued_total", "Deliveries that replays and seeks have queued."),
		replays:            desc("replays_running", "Replays under way, and seeks that queue events again."),
		transactionsOpen:   desc("transactions_open", "Transactions that wait for their commit or rollback, parked ones among them."),
		transactionsParked: desc("transactions_parked", "Transactions that nobody is asked about any more; commit them or roll them back."),
		depth:              desc("queue_depth", "Deliveries not settled.", "target"),
		inFlight:           desc("deliveries_in_flight", "Deliveries claimed and not settled.", "target"),
		deadLetters:        desc("dead_letters", "Dead letters kept.", "target"),
		oldest:             desc("queue_oldest_age_seconds", "Age of the oldest unsettled delivery.", "target"),
		pullWaiting:        desc("pull_waiting", "Receives of pull targets that wait for a delivery.", "target"),
		filterErrors:       desc("filter_errors_total", "Filter evaluations that failed, which do not match.", "bus"),
		rules:              desc("rules", "Rules in force, by how the events that their filters match are found: indexed, mixed or scan.", "bus", "class"),
		breakers:           desc("target_breaker_open", "1 while the target's circuit breaker is open or half-open, so that its deliveries wait.", "target"),
		held:               desc("target_held", "1 while the target's deliveries wait because it asked for a pause (Retry-After).", "target"),
		concurrency:        desc("target_concurrency", "Attempts that may be under way to the target at the same time, as adapted.", "target"),
		events:             desc("store_events_total", "Events written to the log since the start."),
		disk:               desc("store_disk_bytes", "Disk used by the store."),
		owed:               desc("store_owed_bytes", "Bodies kept beyond retention because they are owed."),
		queued:             desc("store_queue_records", "Deliveries in durable queues."),
		waiting:            desc("store_scheduled", "Events that wait for their time."),
		up:                 desc("store_available", "1 while the store accepts events."),
		enrich:             newEnrichMetrics(),
		names:              map[string]map[string]string{"bus": {}, "target": {}, "rule": {}},
	}
}

// shown is the label value of name: itself, or "other" once there are too many.
func (m *metrics) shown(label, name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.names[label][name]; ok {
		return v
	}
	v := name
	if len(m.names[label]) >= labelMost {
		return "other"
	}
	m.names[label][name] = v
	return v
}

func (m *metrics) bus(name string) *busSeries {
	if v, ok := m.series.Load(seriesKey{"bus", name}); ok {
		return v.(*busSeries)
	}
	l := m.shown("bus", name)
	s := &busSeries{
		received: m.received.WithLabelValues(l), bytes: m.receivedBytes.WithLabelValues(l),
		duplicates: m.duplicates.WithLabelValues(l), scheduled: m.scheduled.WithLabelValues(l),
		routed: m.routedEvents.WithLabelValues(l), matched: m.matchedTotal.WithLabelValues(l),
	}
	v, _ := m.series.LoadOrStore(seriesKey{"bus", name}, s)
	return v.(*busSeries)
}

func (m *metrics) target(name string) *targetSeries {
	if v, ok := m.series.Load(seriesKey{"target", name}); ok {
		return v.(*targetSeries)
	}
	l := m.shown("target", name)
	attempt := l
	if m.attempted.Add(1) > histogramMost {
		attempt = "other"
	}
	s := &targetSeries{
		delivered: m.deliveredTotal.WithLabelValues(l), retried: m.retriedTotal.WithLabelValues(l),
		dead: m.deadTotal.WithLabelValues(l), expired: m.expiredTotal.WithLabelValues(l),
		attempt: m.attemptSeconds.WithLabelValues(attempt),
	}
	v, _ := m.series.LoadOrStore(seriesKey{"target", name}, s)
	return v.(*targetSeries)
}

// published counts events of one bus that were accepted.
func (m *metrics) published(bus string, bytes int, results []store.Result) {
	duplicates, scheduled := 0, 0
	for _, r := range results {
		switch {
		case r.Duplicate:
			duplicates++
		case r.Scheduled:
			scheduled++
		}
	}
	s := m.bus(bus)
	s.received.Add(float64(len(results)))
	s.bytes.Add(float64(bytes))
	if duplicates > 0 {
		s.duplicates.Add(float64(duplicates))
	}
	if scheduled > 0 {
		s.scheduled.Add(float64(scheduled))
	}
}

func (m *metrics) routed(bus string, events, matches int) {
	s := m.bus(bus)
	s.routed.Add(float64(events))
	s.matched.Add(float64(matches))
}

func (m *metrics) delivered(spec *subscriptionSpec, took, sinceRecorded time.Duration) {
	s := m.target(spec.target.name)
	s.delivered.Inc()
	s.attempt.Observe(took.Seconds())
	m.endToEnd.Observe(sinceRecorded.Seconds())
}

// replayed counts a step of a replay.
func (m *metrics) replayed(events, deliveries int) {
	m.replayScanned.Add(float64(events))
	m.replayQueued.Add(float64(deliveries))
}

func (m *metrics) retried(spec *subscriptionSpec) { m.target(spec.target.name).retried.Inc() }
func (m *metrics) dead(spec *subscriptionSpec)    { m.target(spec.target.name).dead.Inc() }
func (m *metrics) replyDropped(spec *subscriptionSpec) {
	m.repliesDropped.WithLabelValues(m.shown("target", spec.target.name)).Inc()
}

func (m *metrics) expired(spec *subscriptionSpec) { m.target(spec.target.name).expired.Inc() }

func (m *metrics) breakerOpened(whose *gateOwner) {
	if whose.target == nil {
		m.enrich.opened.WithLabelValues(m.shown("rule", whose.rule)).Inc()
		return
	}
	m.openedTotal.WithLabelValues(m.shown("target", whose.target.name)).Inc()
}

// What became of leases, as the metric says it.
const (
	leaseReceived = "received"
	leaseAcked    = "acked"
	leaseNacked   = "nacked"
	leaseExtended = "extended"
	leaseExpired  = "expired"
)

// leases counts what became of n leases.
func (m *metrics) leases(spec *subscriptionSpec, event string, n int) {
	if n > 0 {
		m.pullLeases.WithLabelValues(m.shown("target", spec.target.name), event).Add(float64(n))
	}
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.received, m.receivedBytes, m.duplicates, m.scheduled, m.routedEvents, m.matchedTotal,
		m.deliveredTotal, m.retriedTotal, m.deadTotal, m.expiredTotal, m.openedTotal, m.repliesDropped, m.pullLeases, m.attemptSeconds, m.endToEnd,
		m.publishFailed, m.refused, m.routeErrors, m.replayScanned, m.replayQueued,
		m.enrich.calls, m.enrich.hits, m.enrich.failures, m.enrich.seconds, m.enrich.opened}
}

func (m *metrics) descs() []*prometheus.Desc {
	return []*prometheus.Desc{m.depth, m.inFlight, m.deadLetters, m.oldest, m.pullWaiting, m.replays, m.transactionsOpen, m.transactionsParked, m.filterErrors, m.rules,
		m.breakers, m.held, m.concurrency, m.events, m.disk, m.owed, m.queued, m.waiting, m.up,
		m.limitUsed, m.limitBound, m.pending, m.clockAhead, m.enrich.open, m.enrich.held}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(ch)
	}
	for _, d := range m.descs() {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	m.collectQueues(gauge)
	m.collectTargets(gauge)
	m.collectAsked(gauge)
	m.collectPulls(gauge)
	m.collectFilters(ch, gauge)
	stats := m.e.store.Stats()
	ch <- prometheus.MustNewConstMetric(m.events, prometheus.CounterValue, float64(stats.Events))
	gauge(m.disk, float64(stats.DiskBytes))
	gauge(m.owed, float64(stats.OwedBytes))
	gauge(m.queued, float64(stats.QueuedRecords))
	gauge(m.waiting, float64(stats.Scheduled))
	gauge(m.pending, float64(stats.WaitingBytes))
	gauge(m.clockAhead, stats.ClockAhead.Seconds())
	m.e.pressure.collect(gauge)
	available := 1.0
	if m.e.store.Err() != nil {
		available = 0
	}
	gauge(m.up, available)
	gauge(m.replays, float64(m.e.replays.running()))
	open, parked := m.e.transactions.counts()
	gauge(m.transactionsOpen, float64(open))
	gauge(m.transactionsParked, float64(parked))
}

// collectQueues adds up the subscriptions of each target.
func (m *metrics) collectQueues(gauge func(*prometheus.Desc, float64, ...string)) {
	type sums struct {
		depth, inFlight, dead int64
		oldest                time.Time
	}
	byTarget := map[string]*sums{}
	for _, info := range m.e.store.Subscriptions() {
		_, name := SplitSubscription(info.Name)
		name = m.shown("target", name)
		s := byTarget[name]
		if s == nil {
			s = &sums{}
			byTarget[name] = s
		}
		s.depth += info.Depth
		s.inFlight += info.InFlight
		s.dead += info.Dead
		if !info.Oldest.IsZero() && (s.oldest.IsZero() || info.Oldest.Before(s.oldest)) {
			s.oldest = info.Oldest
		}
	}
	for name, s := range byTarget {
		gauge(m.depth, float64(s.depth), name)
		gauge(m.inFlight, float64(s.inFlight), name)
		gauge(m.deadLetters, float64(s.dead), name)
		age := 0.0
		if !s.oldest.IsZero() {
			age = max(0, time.Since(s.oldest).Seconds())
		}
		gauge(m.oldest, age, name)
	}
}

// collectTargets shows the limits of each target; those that share a name are
// added up.
func (m *metrics) collectTargets(gauge func(*prometheus.Desc, float64, ...string)) {
	type sums struct{ open, held, limit int }
	byTarget := map[string]*sums{}
	now := time.Now()
	for name, t := range m.e.state.Load().targets {
		name = m.shown("target", name)
		s := byTarget[name]
		if s == nil {
			s = &sums{}
			byTarget[name] = s
		}
		open, held := t.gate.rests(now)
		if open {
			s.open++
		}
		if held {
			s.held++
		}
		limit, _ := t.limit.now()
		s.limit += limit
	}
	for name, s := range byTarget {
		gauge(m.breakers, float64(s.open), name)
		gauge(m.held, float64(s.held), name)
		gauge(m.concurrency, float64(s.limit), name)
	}
}

// collectPulls adds up the polls that wait at each target.
func (m *metrics) collectPulls(gauge func(*prometheus.Desc, float64, ...string)) {
	waiting := map[string]int{}
	for _, s := range m.e.pullers() {
		status, _ := m.e.PullStatus(s.id)
		waiting[m.shown("target", s.spec.Load().target.name)] += status.Waiting
	}
	for name, n := range waiting {
		gauge(m.pullWaiting, float64(n), name)
	}
}

// collectFilters adds up the filter errors of each bus's rules in force, and
// counts these by class.
func (m *metrics) collectFilters(ch chan<- prometheus.Metric, gauge func(*prometheus.Desc, float64, ...string)) {
	type sums struct {
		failed uint64
		rules  [rules.Scan + 1]int
	}
	byBus := map[string]*sums{}
	for _, r := range m.e.state.Load().rules.All() {
		name := m.shown("bus", r.Bus)
		s := byBus[name]
		if s == nil {
			s = &sums{}
			byBus[name] = s
		}
		_, _, failed, _, _ := r.Matcher.Stats()
		s.failed += failed
		s.rules[r.Matcher.IndexClass()]++
	}
	for name, s := range byBus {
		ch <- prometheus.MustNewConstMetric(m.filterErrors, prometheus.CounterValue, float64(s.failed), name)
		for class, n := range s.rules {
			gauge(m.rules, float64(n), name, rules.Class(class).String())
		}
	}
}
