package storetest

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"github.com/switchyard-dev/switchyard/bus/store"
)

type objectKey struct{ kind, name string }

// GetObject implements store.Catalog.
func (m *Model) GetObject(ctx context.Context, kind, name string) (store.Object, error) {
	if err := m.enter(ctx); err != nil {
		return store.Object{}, err
	}
	defer m.mu.Unlock()
	o, ok := m.state.objects[objectKey{kind, name}]
	if !ok {
		return store.Object{}, fmt.Errorf("%s %q: %w", kind, name, store.ErrNotFound)
	}
	o.Value = slices.Clone(o.Value)
	return o, nil
}

// ListObjects implements store.Catalog.
func (m *Model) ListObjects(ctx context.Context, kind string) ([]store.Object, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var objects []store.Object
	for key, o := range m.state.objects {
		if key.kind == kind {
			o.Value = slices.Clone(o.Value)
			objects = append(objects, o)
		}
	}
	sort.Slice(objects, func(i, j int) bool { return objects[i].Name < objects[j].Name })
	return objects, nil
}

// PutObject implements store.Catalog. Versions come from one counter, so that
// an object that was deleted and made again has not a version that it had.
func (m *Model) PutObject(ctx context.Context, kind, name string, value []byte, expect uint64) (uint64, error) {
	if err := m.enter(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	key := objectKey{kind, name}
	if present := m.state.objects[key].Version; expect != store.AnyVersion && expect != present {
		return 0, fmt.Errorf("%s %q has version %d, not %d: %w", kind, name, present, expect, store.ErrConflict)
	}
	m.state.version++
	m.state.objects[key] = store.Object{Kind: kind, Name: name, Version: m.state.version, Value: slices.Clone(value)}
	return m.state.version, nil
}

// PutObjects implements store.Catalog.
func (m *Model) PutObjects(ctx context.Context, objects []store.Object) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	for _, o := range objects {
		m.state.version++
		o.Version, o.Value = m.state.version, slices.Clone(o.Value)
		m.state.objects[objectKey{o.Kind, o.Name}] = o
	}
	return nil
}

// DeleteObject implements store.Catalog.
func (m *Model) DeleteObject(ctx context.Context, kind, name string, expect uint64) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	key := objectKey{kind, name}
	o, ok := m.state.objects[key]
	if !ok {
		return fmt.Errorf("%s %q: %w", kind, name, store.ErrNotFound)
	}
	if expect != store.AnyVersion && expect != o.Version {
		return fmt.Errorf("%s %q has version %d, not %d: %w", kind, name, o.Version, expect, store.ErrConflict)
	}
	delete(m.state.objects, key)
	return nil
}
