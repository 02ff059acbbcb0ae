package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/switchyard-dev/switchyard/api"
	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/archive"
	"github.com/switchyard-dev/switchyard/configs"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/transform/enrich"
)

// manager keeps the configuration in force: the objects of the files merged
// with those of the API. Every change — a reload, a PUT, a DELETE — is checked
// against the whole, builds what is new, and only then is swapped in. A PUT or
// DELETE of a rule leaves alone what has nothing to do with it, so that it takes
// no longer beside many rules than beside few.
//
// It implements api.Objects. One change is made at a time; readers of the
// present configuration take the same lock briefly.
type manager struct {
	loader  *configs.Loader
	path    string // of the file or folder; "" without one
	content string // contentOf path before it was read last; only watch changes it
	listen  string // the address that the server listens on
	engine  *bus.Engine
	archive *archive.Store
	sources *sourceSet
	log     *slog.Logger
	out     io.Writer // where log targets print
	errOut  io.Writer

	mu       sync.Mutex
	file     *configs.Config
	versions map[objectKey]uint64
	current  *configs.Config
}

type objectKey struct{ kind, name string }

// catalogKind is the kind under which the API's objects stand in the store.
func catalogKind(kind string) string { return "config/" + kind }

func objectKinds() []string {
	return []string{configs.Buses, configs.Sources, configs.Rules, configs.Targets}
}

// start puts the first configuration in force.
func (m *manager) start(ctx context.Context, file *configs.Config) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.versions = map[objectKey]uint64{}
	var objects []configs.Object
	for _, kind := range objectKinds() {
		stored, err := m.engine.Store().ListObjects(ctx, catalogKind(kind))
		if err != nil {
			return fmt.Errorf("read the %s that were made through the API: %w", kind, err)
		}
		for _, o := range stored {
			m.versions[objectKey{kind, o.Name}] = o.Version
			parsed, found := m.loader.ParseStored(kind, o.Name, o.Value)
			if found.HasErrors() {
				m.leaveOut(kind, o.Name, found)
				continue
			}
			objects = append(objects, parsed)
		}
	}
	merged, found := m.loader.Merge(file, objects)
	for found.HasErrors() {
		kind, name := found.Errors()[0].Object()
		left := slices.DeleteFunc(slices.Clone(objects), func(o configs.Object) bool { return o.Kind == kind && o.Name == name })
		if len(left) == len(objects) {
			return fmt.Errorf("the configuration and what was made through the API do not fit together: %w", found.Err())
		}
		m.leaveOut(kind, name, found)
		objects = left
		merged, found = m.loader.Merge(file, objects)
	}
	m.file = file
	return m.swap(ctx, merged)
}

// inForce is the present configuration.
func (m *manager) inForce() *configs.Config {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current
}

// leaveOut says why an object that was made through the API is not in force.
// It stays in the store: a PUT replaces it, a DELETE removes it, and it is tried
// again at the next start.
func (m *manager) leaveOut(kind, name string, found configs.Diagnostics) {
	for _, d := range found.Errors() {
		if k, n := d.Object(); k == kind && n == name {
			m.log.Error("an object that was made through the API does not fit the configuration and is not in force; "+
				"mend the configuration and restart, or PUT or DELETE the object", "kind", api.Singular(kind), "name", name, "error", d.Message)
			return
		}
	}
}

// swap builds what cfg says and puts it in force.
func (m *manager) swap(ctx context.Context, cfg *configs.Config) error {
	plan, err := m.plan(cfg)
	if err != nil {
		return err
	}
	dedupe := map[string]time.Duration{}
	for _, s := range m.loader.Kinds.Sources {
		dedupe[s.Kind] = s.Dedupe
	}
	fresh, err := m.sources.build(cfg, dedupe)
	if err != nil {
		closeNew(m.engine.Targets(), plan)
		return err
	}
	old := m.engine.Targets()
	err = m.archive.Configure(ctx, archives(cfg))
	if err == nil {
		if err = m.engine.Apply(ctx, plan); err != nil && m.current != nil {
			err = errors.Join(err, m.archive.Configure(ctx, archives(m.current)))
		}
	}
	if err != nil {
		closeNew(old, plan)
		for _, r := range fresh {
			r.source.Close()
		}
		return err
	}
	m.sources.apply(cfg, fresh)
	m.current = cfg
	return nil
}

// archives is where the buses of cfg are archived to.
func archives(cfg *configs.Config) map[string]archive.Settings {
	all := map[string]archive.Settings{}
	for name, b := range cfg.Buses {
		if a := b.Archive; a.To != "" {
			all[name] = archive.Settings{
				To: a.Location, Keys: a.Keys(), MaxAge: a.Age.Std(), MaxSize: int64(a.Size), Segment: int64(a.Segment), After: a.After.Std(),
			}
		}
	}
	return all
}

// plan builds what the engine needs of cfg. Targets whose settings are those
// in force are taken over.
func (m *manager) plan(cfg *configs.Config) (bus.Plan, error) {
	old := m.engine.Targets()
	plan := bus.Plan{
		Buses:   make(map[string]bus.BusPlan, len(cfg.Buses)),
		Rules:   make(map[string]bus.RulePlan, cfg.Rules.Len()),
		Targets: make(map[string]bus.TargetPlan, len(cfg.Targets)),
	}
	plan.Limits = serverLimits(cfg.Server.Limits)
	for name, b := range cfg.Buses {
		plan.Buses[name] = bus.BusPlan{
			MaxAge: time.Duration(b.Retention.Age), MaxBytes: int64(b.Retention.Size),
			Table:  b.Compact == configs.CompactSubject,
			Dedupe: time.Duration(b.Dedupe), MaxEventSize: int(b.MaxEventSize),
			Limits: bus.BusLimits{Depth: int64(b.Limits.Depth), Age: b.Limits.Age.Std()},
		}
	}
	for name, r := range cfg.Rules.All() {
		plan.Rules[name] = m.rulePlan(cfg, name, r)
	}
	dial := guardedDial(cfg.Network, m.listen)
	var errs []error
	for name, t := range cfg.Targets {
		p := bus.TargetPlan{
			Retry:       retryPolicy(t.Retry),
			Concurrency: t.Concurrency, Rate: t.Rate.PerSecond(), Burst: t.Rate.Burst, Order: orderOf(t.Order), DeadLetterBus: t.DeadLetterBus(),
			ReplyTo: t.ReplyTo,
			Breaker: bus.BreakerPolicy{Failures: t.Breaker.Failures, Open: t.Breaker.Open.Std(), PauseAfter: t.Breaker.PauseAfter.Std()},
		}
		if t.Batched {
			p.Batch = bus.BatchPolicy{Events: t.Batch.Events, Wait: t.Batch.Wait.Std(), Bytes: int(t.Batch.Bytes)}
		}
		p.Fingerprint = fmt.Sprintf("%s %s %+v %v", t.Kind, t.Fingerprint, p, cfg.Network.Allow)
		if have, ok := old[name]; ok && have.Fingerprint == p.Fingerprint {
			plan.Targets[name] = have
			continue
		}
		built, err := t.Config.Build(targets.Env{
			Name: name, Version: release, Logger: m.log.With("target", name), Publisher: m.engine, Out: m.out, Dial: dial,
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("target %q: %w", name, err))
			continue
		}
		p.Target, p.Hide = built, t.Hide()
		plan.Targets[name] = p
	}
	if len(errs) > 0 {
		closeNew(old, plan)
	}
	return plan, errors.Join(errs...)
}

// rulePlan is what the engine needs of one rule. An enricher whose settings are
// those in force is taken over.
func (m *manager) rulePlan(cfg *configs.Config, name string, r *configs.Rule) bus.RulePlan {
	p := bus.RulePlan{Bus: r.Bus, Matcher: r.Matcher, Transform: r.Transform, Targets: r.Targets, Hide: r.Hide()}
	if len(r.Enrich) > 0 {
		p.EnrichFingerprint = fmt.Sprint(r.EnrichFingerprint, cfg.Network.Allow)
		if have, ok := m.engine.Rule(name); ok && have.EnrichFingerprint == p.EnrichFingerprint {
			p.Enrich = have.Enrich // with its cache
		} else {
			p.Enrich = enrich.New(r.Enrich, enrich.Options{Dial: guardedDial(cfg.Network, m.listen), Version: release})
		}
	}
	if r.Retry != nil {
		retry := retryPolicy(*r.Retry)
		p.Retry = &retry
	}
	if o, ok := cfg.Object(configs.Rules, name); ok {
		p.Definition = o.View()
	}
	return p
}

// atStart is what of the server's settings only a start takes over.
func atStart(s configs.Server) configs.Server {
	s.Limits = configs.Limits{Waiting: s.Limits.Waiting, DiskReserve: s.Limits.DiskReserve}
	return s
}

// serverLimits fills in the limit on memory: 90% of the Go runtime's, if that
// is set, so that publishing is refused before the collector works all the time.
func serverLimits(l configs.Limits) bus.Limits {
	memory := int64(l.Memory)
	if soft := debug.SetMemoryLimit(-1); memory == 0 && soft != math.MaxInt64 {
		memory = soft / 10 * 9
	}
	return bus.Limits{Memory: memory, Disk: int64(l.Disk), Owed: int64(l.Owed)}
}

// closeNew closes the targets that were built for a plan that is not used.
func closeNew(old map[string]bus.TargetPlan, plan bus.Plan) {
	for name, p := range plan.Targets {
		if old[name].Target != p.Target {
			p.Target.Close()
		}
	}
}

func retryPolicy(r configs.Retry) bus.RetryPolicy {
	matches := func(in []configs.RetryMatch) (out []bus.RetryMatch) {
		for _, m := range in {
			out = append(out, bus.RetryMatch{From: m.From, To: m.To, Class: m.Class})
		}
		return out
	}
	delays, jitter := r.Schedule()
	return bus.RetryPolicy{Attempts: r.Attempts, Age: r.Age.Std(), Initial: r.Initial.Std(), Max: r.Max.Std(),
		Delays: delays, Jitter: jitter, On: matches(r.On), Not: matches(r.Not)}
}

func orderOf(text string) store.Order {
	switch text {
	case configs.OrderKey:
		return store.OrderKey
	case configs.OrderStrict:
		return store.OrderStrict
	}
	return store.OrderNone
}

// guardedDial connects to the addresses that the network rules allow; the
// others fail for good. It checks what is dialled, not what a name resolved to
// before.
func guardedDial(n configs.Network, listen string) func(context.Context, string, string) (net.Conn, error) {
	guardian := n.Guardian(listen)
	d := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second,
		Control: func(network, address string, c syscall.RawConn) error {
			if err := guardian.Safe(network, address, c); err != nil {
				return targets.Classify(targets.Forbidden,
					targets.Permanentf("the network rules do not allow %s; add it to network.allow if targets may reach it", address))
			}
			return nil
		}}
	return d.DialContext
}

// reload reads the files again and puts them in force; if anything is wrong
// with them, what was in force goes on and the log says why.
func (m *manager) reload(ctx context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loader.Current = m.file
	file, found := m.loader.LoadPath(m.path)
	m.loader.Current = nil
	if !found.HasErrors() {
		var merged *configs.Config
		if merged, found = m.loader.Merge(file, m.current.API()); !found.HasErrors() {
			if err := m.swap(ctx, merged); err != nil {
				m.log.Error("the configuration was not reloaded; the old one stays in force", "path", m.path, "error", err)
				return
			}
			if atStart(file.Server) != atStart(m.file.Server) {
				m.log.Warn("server.listen, server.data, server.limits.waiting and server.limits.diskReserve take effect after a restart only", "path", m.path)
			}
			m.file = file
			m.log.Info("configuration reloaded", "path", m.path, "buses", len(merged.Buses), "sources", len(merged.Sources),
				"rules", merged.Rules.Len(), "targets", len(merged.Targets))
		}
	}
	if len(found) > 0 {
		fmt.Fprintln(m.errOut, found)
	}
	if found.HasErrors() {
		m.log.Error("the configuration was not reloaded; the old one stays in force", "path", m.path, "errors", len(found.Errors()))
	}
}

// List implements api.Objects.
func (m *manager) List(kind string) ([]api.Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	switch kind {
	case configs.Buses:
		names = append(slices.Collect(maps.Keys(m.current.Buses)), configs.SystemBus)
		slices.Sort(names)
	case configs.Sources:
		names = slices.Sorted(maps.Keys(m.current.Sources))
	case configs.Rules:
		for name := range m.current.Rules.All() {
			names = append(names, name)
		}
		slices.Sort(names)
	case configs.Targets:
		names = slices.Sorted(maps.Keys(m.current.Targets))
	}
	out := make([]api.Object, 0, len(names))
	for _, name := range names {
		if o, ok := m.show(kind, name); ok {
			out = append(out, o)
		}
	}
	return out, nil
}

// Get implements api.Objects.
func (m *manager) Get(kind, name string) (api.Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.show(kind, name)
	if !ok {
		return o, store.ErrNotFound
	}
	if s, ok := o.Status.(ruleStatus); ok { // takes time to find, so that lists go without
		_, s.ClassReason = m.current.Rules.At(name).Matcher.Class()
		o.Status = s
	}
	return o, nil
}

// show is an object of the present configuration as the API shows it.
func (m *manager) show(kind, name string) (api.Object, bool) {
	if kind == configs.Buses && name == configs.SystemBus {
		return m.systemBus(), true
	}
	o, ok := m.current.Object(kind, name)
	if !ok {
		return api.Object{}, false
	}
	return api.Object{Name: name, Origin: o.Origin.String(), ETag: m.etag(o), JSON: o.View(), Status: m.status(kind, name)}, true
}

// systemBus is the bus that is always there, as the API shows it.
func (m *manager) systemBus() api.Object {
	plan := bus.SystemPlan()
	view := fmt.Appendf(nil, `{"retention":{"age":%q,"size":%q}}`, component.Duration(plan.MaxAge), component.Size(plan.MaxBytes))
	return api.Object{Name: configs.SystemBus, Origin: builtIn, ETag: "f" + fingerprint(view), JSON: view, Status: m.busStatus(configs.SystemBus)}
}

// builtIn is the origin of what nobody has configured.
const builtIn = "built in"

// etag tells the versions of an object apart: the API's by their version in
// the catalogue, a file's by what is shown of them.
func (m *manager) etag(o configs.Object) string {
	if !o.Origin.FromFile() {
		return "v" + strconv.FormatUint(m.versions[objectKey{o.Kind, o.Name}], 10)
	}
	return "f" + fingerprint(o.View())
}

// ruleStatus is what a rule has done since it was compiled.
type ruleStatus struct {
	Version   uint64 `json:"version"` // as traces name it
	Evaluated uint64 `json:"evaluated"`
	Matched   uint64 `json:"matched"`
	Errors    uint64 `json:"errors"`
	LastError string `json:"lastError,omitempty"`
	Suspended bool   `json:"suspended,omitempty"`
	// How the events that the filter matches are found, and of one rule why.
	Class       string `json:"class"`
	ClassReason string `json:"classReason,omitempty"`
	// How the endpoints do that the rule asks.
	Enrich []bus.EnrichStatus `json:"enrich,omitempty"`
}

// sourceStatus is what a source has refused since it was built, and what keeps
// it from working now, if anything.
type sourceStatus struct {
	URL          string           `json:"url,omitempty"`
	Rejected     map[string]int64 `json:"rejected"`
	LastError    string           `json:"lastError,omitempty"`
	FailingSince *time.Time       `json:"failingSince,omitempty"`
}

// busStatus is what a bus holds.
type busStatus struct {
	First  uint64 `json:"first"` // the lowest that can be read; of a compacted bus as of the last time that retention was applied
	Last   uint64 `json:"last"`
	Routed uint64 `json:"routed"` // the rules have seen the events up to it
	Bytes  int64  `json:"bytes"`
	// Of a compacted bus.
	History uint64       `json:"history,omitempty"` // from there on nothing is missing
	Table   *tableStatus `json:"table,omitempty"`
}

// tableStatus is how far the table of a bus is.
type tableStatus struct {
	Subjects *int64 `json:"subjects,omitempty"` // as of the last time that retention was applied; nil before
	Left     uint64 `json:"left,omitempty"`     // events that were there before and are still to be looked at
	Total    uint64 `json:"total,omitempty"`
}

// busStatus says what a bus holds, nil if there is none.
func (m *manager) busStatus(name string) any {
	id, err := m.engine.BusID(name)
	if err != nil {
		return nil
	}
	s := m.engine.Store()
	b, err := s.Bounds(id)
	if err != nil {
		return nil
	}
	out := busStatus{First: b.First, Last: b.Last, Routed: s.Position(id), Bytes: b.Bytes}
	if t, err := s.Table(id); err == nil {
		out.History = b.History
		out.Table = &tableStatus{Left: t.Left}
		if t.Subjects >= 0 {
			out.Table.Subjects = &t.Subjects
			if out.First = b.History; t.First > 0 {
				out.First = min(t.First, b.History)
			}
		}
		if t.Left > 0 {
			out.Table.Total = t.Total
		}
	}
	return out
}

// status is what an object does at present, nil if there is nothing to say.
func (m *manager) status(kind, name string) any {
	switch kind {
	case configs.Buses:
		return m.busStatus(name)
	case configs.Rules:
		matcher := m.current.Rules.At(name).Matcher
		s := ruleStatus{Version: m.engine.RuleVersion(name)}
		s.Evaluated, s.Matched, s.Errors, s.LastError, s.Suspended = matcher.Stats()
		s.Class = matcher.IndexClass().String()
		s.Enrich = m.engine.EnrichStatus(name)
		return s
	case configs.Targets:
		if s, ok := m.engine.TargetStatus(name); ok {
			return s
		}
	case configs.Sources:
		s := sourceStatus{Rejected: m.sources.refused(name)}
		if f := m.sources.failureOf(name); f != nil {
			s.LastError, s.FailingSince = f.err.Error(), new(f.since.UTC())
		}
		if m.sources.hook(name) != nil {
			s.URL = "/v1/hooks/" + name
		}
		return s
	}
	return nil
}

// watch reloads on SIGHUP and when the files change, until ctx is done.
func (m *manager) watch(ctx context.Context, reload <-chan os.Signal) error {
	changed := watchFiles(ctx, m.path, m.content, m.log)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-reload:
			if m.path == "" {
				m.log.Warn("there is no configuration file to reload; start with -c")
				continue
			}
		case <-changed:
			if contentOf(m.path) == m.content {
				continue // a SIGHUP came first
			}
		}
		m.content = contentOf(m.path)
		m.reload(ctx)
	}
}
