package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/switchyard-dev/switchyard/api"
	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/configs"
)

// Put implements api.Objects.
func (m *manager) Put(ctx context.Context, kind, name string, body []byte, cond api.Condition) (api.Object, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, exists := m.current.Object(kind, name)
	if err := m.check(old, exists, cond); err != nil {
		return api.Object{}, false, err
	}
	if exists && old.Origin.FromFile() {
		return api.Object{}, false, readOnly(old)
	}
	parsed, found := m.loader.ParseObject(kind, name, body)
	if len(parsed.Raw) == 0 && found.HasErrors() { // it could not even be read
		return api.Object{}, false, &api.InvalidError{Diagnostics: found}
	}
	merged, more := m.loader.With(m.current, parsed)
	if found = append(found, more...); found.HasErrors() {
		return api.Object{}, false, &api.InvalidError{Diagnostics: found}
	}
	write := func(ctx context.Context) error { return m.writeOne(ctx, kind, name, parsed.Raw) }
	undo := func(ctx context.Context) error { return m.removeOne(ctx, kind, name) }
	if exists {
		undo = func(ctx context.Context) error { return m.writeOne(ctx, kind, name, old.Raw) }
	}
	if err := m.change(ctx, kind, name, merged, write, undo); err != nil {
		return api.Object{}, false, err
	}
	o, _ := m.show(kind, name)
	if kind == configs.Rules {
		found = append(found, merged.FailedTests(name)...)
	}
	for _, w := range found.Warnings() {
		if !m.concerns(w, kind, name) {
			continue
		}
		m.log.Warn(w.Message, "at", w.Path)
		o.Warnings = append(o.Warnings, warningOf(w, kind, name))
	}
	return o, !exists, nil
}

// concerns reports whether a diagnostic is about an object or one that names it.
// What is wrong with others was said when they were made.
func (m *manager) concerns(d configs.Diagnostic, kind, name string) bool {
	if k, n := d.Object(); k == kind && n == name {
		return true
	}
	return slices.ContainsFunc(m.current.Users(kind, name), func(user string) bool {
		return d.Path == user || strings.HasPrefix(d.Path, user+".")
	})
}

// warningOf is a warning that a change of an object drew.
func warningOf(w configs.Diagnostic, kind, name string) api.Warning {
	if k, n := w.Object(); k != kind || n != name { // what it means for another one
		return api.Warning{Message: w.Path + ": " + w.Message}
	}
	return api.Warning{Pointer: w.Pointer(), Line: w.Line, Column: w.Column, Message: w.Message}
}

// Delete implements api.Objects.
func (m *manager) Delete(ctx context.Context, kind, name string, cond api.Condition) (orphaned []api.Orphan, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if kind == configs.Buses && name == configs.SystemBus {
		return nil, &api.ConflictError{Reason: fmt.Sprintf("bus %q is built in and cannot be removed", name)}
	}
	old, exists := m.current.Object(kind, name)
	_, stored := m.versions[objectKey{kind, name}]
	leftOut := stored && (!exists || old.Origin.FromFile()) // what start did not put in force
	if !exists && !leftOut {
		return nil, store.ErrNotFound
	}
	if exists {
		if err := m.check(old, exists, cond); err != nil {
			return nil, err
		}
	}
	switch {
	case leftOut:
		return nil, m.removeOne(ctx, kind, name)
	case old.Origin.FromFile():
		return nil, readOnly(old)
	}
	if users := m.current.Users(kind, name); len(users) > 0 {
		return nil, &api.ConflictError{Reason: fmt.Sprintf("%s %q is used by %s; remove that first", api.Singular(kind), name, strings.Join(users, ", "))}
	}
	merged, found := m.loader.Without(m.current, kind, name)
	if found.HasErrors() {
		return nil, &api.InvalidError{Diagnostics: found}
	}
	subscriptions := m.engine.SubscriptionsOf(name)
	write := func(ctx context.Context) error { return m.removeOne(ctx, kind, name) }
	undo := func(ctx context.Context) error { return m.writeOne(ctx, kind, name, old.Raw) }
	if err = m.change(ctx, kind, name, merged, write, undo); err != nil {
		return nil, err
	}
	switch kind {
	case configs.Buses:
		return nil, m.engine.DropBus(ctx, name)
	case configs.Rules:
		return m.orphans(subscriptions), nil
	}
	return nil, nil
}

// orphans are those of the subscriptions of a rule that was removed which still
// owe something.
func (m *manager) orphans(ids []store.SubscriptionID) (out []api.Orphan) {
	for _, id := range ids {
		if info, err := m.engine.Store().Subscription(id); err == nil && info.Depth+info.Dead > 0 {
			out = append(out, api.Orphan{Subscription: info.Name, Deliveries: info.Depth, DeadLetters: info.Dead})
		}
	}
	return out
}

// writeOne stores an object, and learns its version.
func (m *manager) writeOne(ctx context.Context, kind, name string, raw []byte) error {
	version, err := m.engine.Store().PutObject(ctx, catalogKind(kind), name, raw, store.AnyVersion)
	if err == nil {
		m.versions[objectKey{kind, name}] = version
	}
	return err
}

// removeOne removes an object from the store.
func (m *manager) removeOne(ctx context.Context, kind, name string) error {
	err := m.engine.Store().DeleteObject(ctx, catalogKind(kind), name, store.AnyVersion)
	if err == nil {
		delete(m.versions, objectKey{kind, name})
	}
	return err
}

// change puts a configuration in force that differs by one object: this is
// written first, then swapped in; what was written is undone if that fails. It
// goes on when nobody waits for the answer any more, for what is stored and what
// is in force are to be the same.
func (m *manager) change(ctx context.Context, kind, name string, merged *configs.Config, write, undo func(context.Context) error) error {
	ctx = context.WithoutCancel(ctx)
	if err := write(ctx); err != nil {
		return err
	}
	swap := m.swap
	if kind == configs.Rules {
		swap = func(ctx context.Context, cfg *configs.Config) error { return m.swapRule(ctx, cfg, name) }
	}
	if err := swap(ctx, merged); err != nil {
		return errors.Join(err, undo(ctx))
	}
	return nil
}

// swapRule is swap for a configuration that differs by one rule.
func (m *manager) swapRule(ctx context.Context, cfg *configs.Config, name string) error {
	var rule *bus.RulePlan
	if r, ok := cfg.Rules.Get(name); ok {
		p := m.rulePlan(cfg, name, r)
		rule = &p
	}
	if err := m.engine.ChangeRule(ctx, name, rule); err != nil {
		return err
	}
	m.current = cfg
	return nil
}

// check holds a condition against what is there.
func (m *manager) check(o configs.Object, exists bool, cond api.Condition) error {
	switch {
	case cond.Absent && exists:
		return api.ErrExists
	case cond.Exists && !exists:
		return api.ErrPrecondition
	case cond.ETag != "" && (!exists || m.etag(o) != cond.ETag):
		return api.ErrPrecondition
	}
	return nil
}

func readOnly(o configs.Object) error {
	return &api.ConflictError{Reason: fmt.Sprintf("%s %q is defined in %s and read-only here; change the file", api.Singular(o.Kind), o.Name, o.Origin)}
}
