package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/switchyard-dev/switchyard/api"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/configs"
)

// Apply implements api.Objects.
func (m *manager) Apply(ctx context.Context, given []api.Named, dry bool) ([]api.Applied, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := application{manager: m, merged: m.current.API(), present: map[objectKey]int{}, sent: map[objectKey]int{}}
	for i, o := range a.merged {
		a.present[objectKey{o.Kind, o.Name}] = i
	}
	for _, n := range given {
		a.add(n)
	}
	if a.broken || len(a.fresh) == 0 {
		return a.done, a.err()
	}
	merged, found := m.loader.Merge(m.file, a.merged)
	for _, o := range a.fresh {
		if o.Kind == configs.Rules && !found.HasErrors() {
			found = append(found, merged.FailedTests(o.Name)...)
		}
	}
	a.take(found)
	if len(a.faults) > 0 || dry {
		return a.done, a.err()
	}
	ctx = context.WithoutCancel(ctx) // what is stored and what is in force are to be the same, though nobody may wait any more
	if err := m.write(ctx, a.fresh); err != nil {
		return nil, err
	}
	if err := m.swap(ctx, merged); err != nil {
		return nil, errors.Join(err, a.undo(ctx))
	}
	for _, o := range a.done {
		for _, w := range o.Warnings {
			m.log.Warn(w.Message, "kind", o.Kind, "name", o.Name)
		}
	}
	return a.done, nil
}

// write stores objects, and learns their versions.
func (m *manager) write(ctx context.Context, objects []configs.Object) error {
	rows := make([]store.Object, len(objects))
	kinds := map[string]bool{}
	for i, o := range objects {
		rows[i] = store.Object{Kind: catalogKind(o.Kind), Name: o.Name, Value: o.Raw}
		kinds[o.Kind] = true
	}
	if err := m.engine.Store().PutObjects(ctx, rows); err != nil {
		return err
	}
	for kind := range kinds {
		stored, err := m.engine.Store().ListObjects(ctx, catalogKind(kind))
		if err != nil {
			return err
		}
		for _, o := range stored {
			m.versions[objectKey{kind, o.Name}] = o.Version
		}
	}
	return nil
}

// application is what one call of Apply is about to do.
type application struct {
	*manager
	merged []configs.Object // all of the API as they will be
	fresh  []configs.Object // those that are created or changed
	old    []configs.Object // those that are replaced
	done   []api.Applied
	// Where objects are: in merged those that were there, in done those of fresh.
	present, sent map[objectKey]int

	faults []api.ProblemField
	broken bool // one could not be taken up, so that others may miss it
}

func (a *application) err() error {
	if len(a.faults) > 0 {
		return &api.ApplyError{Fields: a.faults}
	}
	return nil
}

// add takes one object up, or says what is wrong with it by itself.
func (a *application) add(n api.Named) {
	parsed, found := a.loader.ParseObject(n.Kind, n.Name, n.Body)
	for _, d := range found.Errors() {
		a.faults = append(a.faults, n.Fault(d.Pointer(), d.Message))
	}
	if found.HasErrors() {
		a.broken = true
		return
	}
	out := api.Applied{Kind: api.Singular(n.Kind), Name: n.Name, Result: api.Created}
	old, exists := a.current.Object(n.Kind, n.Name)
	if exists {
		out.Changes = changes(old, parsed)
		out.Result = api.Changed
		if len(out.Changes) == 0 {
			out.Result = api.Unchanged
		}
	}
	switch {
	case out.Result == api.Unchanged:
	case exists && old.Origin.FromFile():
		a.faults = append(a.faults, n.Fault("", readOnly(old).Error()))
		return
	case exists:
		a.merged[a.present[objectKey{n.Kind, n.Name}]] = parsed
		a.fresh, a.old = append(a.fresh, parsed), append(a.old, old)
	default:
		a.merged = append(a.merged, parsed)
		a.fresh = append(a.fresh, parsed)
	}
	for _, w := range found.Warnings() {
		out.Warnings = append(out.Warnings, warningOf(w, n.Kind, n.Name))
	}
	if out.Result != api.Unchanged {
		a.sent[objectKey{n.Kind, n.Name}] = len(a.done)
	}
	a.done = append(a.done, out)
}

// take takes up what the objects mean together: errors, and warnings of what was
// sent.
func (a *application) take(found configs.Diagnostics) {
	for _, d := range found {
		kind, name := d.Object()
		i, sent := a.sent[objectKey{kind, name}]
		switch {
		case !d.Warning && sent:
			a.faults = append(a.faults, api.Named{Kind: kind, Name: name}.Fault(d.Pointer(), d.Message))
		case !d.Warning: // what it means for another one
			a.faults = append(a.faults, api.ProblemField{Detail: d.Path + ": " + d.Message})
		case sent:
			a.done[i].Warnings = append(a.done[i].Warnings, warningOf(d, kind, name))
		}
	}
}

// undo stores again what was there before.
func (a *application) undo(ctx context.Context) error {
	errs := []error{a.write(ctx, a.old)}
	for _, o := range a.fresh {
		if _, existed := a.current.Object(o.Kind, o.Name); !existed {
			errs = append(errs, a.removeOne(ctx, o.Kind, o.Name))
		}
	}
	return errors.Join(errs...)
}

// changes are the settings that differ between two versions of an object,
// whatever the order of their keys.
func changes(before, after configs.Object) []api.Change {
	old, fresh := settings(before.Raw), settings(after.Raw)
	oldShown, freshShown := settings(before.View()), settings(after.View())
	names := maps.Clone(old)
	maps.Copy(names, fresh)
	var out []api.Change
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !sameJSON(old[name], fresh[name]) {
			out = append(out, api.Change{Setting: name, Before: oldShown[name], After: freshShown[name]})
		}
	}
	return out
}

// settings are the members of an object.
func settings(raw json.RawMessage) (out map[string]json.RawMessage) {
	_ = json.Unmarshal(raw, &out) // what the loader wrote is JSON
	return out
}

// sameJSON reports whether two values, nil for none, are the same but for the
// order of keys and white space. Numbers are the same when their digits are.
func sameJSON(a, b json.RawMessage) bool {
	return bytes.Equal(normal(a), normal(b))
}

func normal(raw json.RawMessage) []byte {
	if raw == nil {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return raw
	}
	out, err := json.Marshal(v) // with its keys in order
	if err != nil {
		return raw
	}
	return out
}
