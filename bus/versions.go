package bus

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/switchyard-dev/switchyard/bus/persistent"
	"github.com/switchyard-dev/switchyard/bus/store"
)

// Bounds of what is kept of rules as they were.
const (
	// KeptRuleVersions is how many versions of a rule are kept at most, the
	// present one among them.
	KeptRuleVersions = 20
	keptRuleBytes    = 256 << 10           // of the definitions of one rule together, beside the present one
	keptGone         = 90 * 24 * time.Hour // what is known of a rule after it was removed
	keptGoneRules    = 10_000              // and of how many such rules
)

// versionsKind is the kind under which the versions of rules stand in the
// catalogue, by the rule's name.
const versionsKind = "rule-versions"

// RuleVersion is a rule as it was from a time on.
type RuleVersion struct {
	Version uint64    `json:"version"` // of this rule, from 1
	Since   time.Time `json:"since"`   // when it came into force
	Bus     string    `json:"bus,omitempty"`
	After   uint64    `json:"after"` // it matched the events of Bus above this sequence
	Removed bool      `json:"removed,omitempty"`
	// Definition is RulePlan.Definition.
	Definition json.RawMessage `json:"definition,omitempty"`
}

// RuleHistory is the versions of one rule that are known, oldest first.
type RuleHistory []RuleVersion

// Matched is the version that matched the event of a delivery on a bus, which was
// queued then (zero: not known). ok is false when that is known no more.
func (h RuleHistory) Matched(bus string, id store.DeliveryID, queued time.Time) (v RuleVersion, ok bool) {
	if id.Run != 0 { // a replay matches by the rule as it is then
		return h.At(queued)
	}
	for _, v := range slices.Backward(h) {
		// What was queued before a crash is no match of the rules that came into
		// force with the start after it, though the router's place is behind it.
		if v.Bus == bus && !v.Removed && v.After < id.Sequence && (queued.IsZero() || !queued.Before(v.Since)) {
			return v, true
		}
	}
	return v, false
}

// At is the version in force at t; ok is false when that is not known.
func (h RuleHistory) At(t time.Time) (v RuleVersion, ok bool) {
	for _, v := range slices.Backward(h) {
		if !t.Before(v.Since) {
			return v, !v.Removed
		}
	}
	return v, false
}

// RuleVersion is the version of a rule in force, 0 if there is no such rule or
// its plan has no Definition.
func (e *Engine) RuleVersion(rule string) uint64 { return e.state.Load().versions.At(rule) }

// RuleVersions is what is known of a rule and of what it was, also of one that
// was removed. It is empty for one that never was.
func (e *Engine) RuleVersions(ctx context.Context, rule string) (RuleHistory, error) {
	o, err := e.store.GetObject(ctx, versionsKind, rule)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("bus: versions of rule %q: %w", rule, err)
	}
	return parseHistory(o.Value)
}

func parseHistory(value []byte) (h RuleHistory, err error) {
	if err := json.Unmarshal(value, &h); err != nil {
		return nil, fmt.Errorf("bus: the versions of a rule cannot be read: %w", err)
	}
	return h, nil
}

// knownVersions is what the store has of the rules as they were.
type knownVersions struct {
	versions  persistent.Map[string, uint64]    // the newest, of rules that were not removed
	gone      persistent.Map[string, time.Time] // rules that were removed, and when
	histories map[string]RuleHistory            // of rules that are not as their newest version says
}

// readVersions reads what the store has of the rules as they were, for the first
// plan; later ones have it from the state in force.
func (e *Engine) readVersions(ctx context.Context, c *planChange) (*knownVersions, error) {
	old := e.state.Load()
	k := &knownVersions{versions: old.versions, gone: old.gone, histories: map[string]RuleHistory{}}
	if old.planned {
		return k, nil
	}
	all, err := e.store.ListObjects(ctx, versionsKind)
	if err != nil {
		return nil, fmt.Errorf("bus: read the versions of rules: %w", err)
	}
	numbers, gone := make([]uint64, len(all)), map[string]time.Time{} // 0: it is not there
	known := 0
	for i, o := range all {
		r, ok := c.rules[o.Name]
		if ok {
			if numbers[i] = sameNewest(o.Value, r); numbers[i] > 0 {
				known++
				continue
			}
		}
		h, err := parseHistory(o.Value)
		if err != nil || len(h) == 0 {
			e.log.Warn("what a rule was before cannot be read and is forgotten", "rule", o.Name, "error", err)
			continue
		}
		last := h[len(h)-1]
		if last.Removed {
			gone[o.Name] = last.Since
		} else {
			numbers[i] = last.Version
			known++
		}
		if !ok || !sameDefinition(last, r) {
			k.histories[o.Name] = h
		}
	}
	k.gone = persistent.Of(gone)
	k.versions = persistent.From(known, func(yield func(string, uint64) bool) {
		for i, o := range all {
			if numbers[i] > 0 && !yield(o.Name, numbers[i]) {
				return
			}
		}
	})
	return k, nil
}

// recordVersions keeps the rules that change and are not as they were, and notes
// their versions in the next state. Nothing is routed meanwhile, so that the
// places of the router tell which version matched what.
func (e *Engine) recordVersions(ctx context.Context, c *planChange) error {
	old, next := e.state.Load(), c.next
	histories := c.known.histories // those that are read already
	next.versions, next.gone = c.known.versions, c.known.gone
	known := next.versions
	now := time.Now().UTC()
	newest := map[string]uint64{}
	var changed []store.Object
	add := func(name string, v RuleVersion) error {
		h, ok := histories[name]
		if !ok {
			var err error
			if h, err = e.RuleVersions(ctx, name); err != nil {
				return err
			}
		}
		v.Version, v.Since = 1, now
		if len(h) > 0 {
			v.Version = h[len(h)-1].Version + 1
		}
		value, err := plainJSON(append(h, v).bounded())
		if err != nil {
			return fmt.Errorf("bus: rule %q: %w", name, err)
		}
		changed = append(changed, store.Object{Kind: versionsKind, Name: name, Value: value})
		if v.Removed {
			next.versions, next.gone = next.versions.Without(name), next.gone.With(name, now)
		} else {
			newest[name], next.gone = v.Version, next.gone.Without(name)
		}
		return nil
	}
	for name, r := range c.rules {
		_, was := known.Get(name)
		if len(r.Definition) == 0 {
			next.versions = next.versions.Without(name)
			continue
		}
		if _, differs := histories[name]; was && !differs && (!old.planned || sameRule(old.rules.At(name), r)) {
			continue
		}
		b := next.buses[r.Bus]
		if err := add(name, RuleVersion{Bus: r.Bus, After: e.router.position(b.id), Definition: r.Definition}); err != nil {
			return err
		}
	}
	if c.whole {
		for name := range known.All() {
			if _, there := c.rules[name]; !there {
				if err := add(name, RuleVersion{Removed: true}); err != nil {
					return err
				}
			}
		}
	} else if _, was := known.Get(c.removed); was {
		if err := add(c.removed, RuleVersion{Removed: true}); err != nil {
			return err
		}
	}
	next.versions = next.versions.WithAll(newest)
	if err := e.store.PutObjects(ctx, changed); err != nil {
		return fmt.Errorf("bus: keep the versions of rules: %w", err)
	}
	next.gone = e.forgetGone(ctx, next.gone, now)
	return nil
}

// sameNewest is the number of the newest version of a history that was written, if
// it is plain without parsing the history that the rule is this version; else 0.
// There are as many histories as rules, and at a start hardly one has changed.
func sameNewest(history []byte, r RulePlan) uint64 {
	head, ok := bytes.CutSuffix(history, []byte("}]"))
	if ok {
		head, ok = bytes.CutSuffix(head, r.Definition)
	}
	if ok {
		head, ok = bytes.CutSuffix(head, []byte(`,"definition":`))
	}
	if !ok || len(r.Definition) == 0 {
		return 0
	}
	// What stands before a definition is its version's own: of what it has, only
	// definitions have braces.
	newest, ok := bytes.CutPrefix(head[max(0, bytes.LastIndexByte(head, '{')):], []byte(`{"version":`))
	if !ok || !bytes.Contains(newest, []byte(`,"bus":"`+r.Bus+`","after":`)) {
		return 0
	}
	digits, _, _ := bytes.Cut(newest, []byte{','})
	version, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil {
		return 0
	}
	return version
}

// sameDefinition says whether a rule is what its newest version says.
func sameDefinition(v RuleVersion, r RulePlan) bool {
	written, err := plainJSON(json.RawMessage(r.Definition))
	return err == nil && !v.Removed && v.Bus == r.Bus && bytes.Equal(v.Definition, written)
}

func sameRule(a, b RulePlan) bool { return a.Bus == b.Bus && bytes.Equal(a.Definition, b.Definition) }

// plainJSON is json.Marshal, with <, > and & as they are.
func plainJSON(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSpace(buf.Bytes()), err
}

// bounded drops the oldest versions of those that are too many or too long. The
// newest stays.
func (h RuleHistory) bounded() RuleHistory {
	h = h[max(0, len(h)-KeptRuleVersions):]
	left := keptRuleBytes
	for i := len(h) - 2; i >= 0; i-- {
		if left -= len(h[i].Definition); left < 0 {
			return h[i+1:]
		}
	}
	return h
}

// forgetGone drops what is known of rules that were removed long ago, or of the
// oldest of too many. What fails is tried again with the next change.
func (e *Engine) forgetGone(ctx context.Context, gone persistent.Map[string, time.Time], now time.Time) persistent.Map[string, time.Time] {
	var drop, rest []string
	for name, since := range gone.All() {
		if now.Sub(since) > keptGone {
			drop = append(drop, name)
		} else {
			rest = append(rest, name)
		}
	}
	if n := len(rest) - keptGoneRules; n > 0 {
		slices.SortFunc(rest, func(a, b string) int { return cmp.Or(gone.At(a).Compare(gone.At(b)), cmp.Compare(a, b)) })
		drop = append(drop, rest[:n]...)
	}
	for _, name := range drop {
		if err := e.store.DeleteObject(ctx, versionsKind, name, store.AnyVersion); err != nil && !errors.Is(err, store.ErrNotFound) {
			e.log.Warn("what a removed rule was is kept for longer", "rule", name, "error", err)
			break
		}
		gone = gone.Without(name)
	}
	return gone
}
