package embedded

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// GetObject implements store.Catalog.
func (s *Store) GetObject(ctx context.Context, kind, name string) (store.Object, error) {
	if err := s.enter(ctx); err != nil {
		return store.Object{}, err
	}
	defer s.leave()
	o, ok, err := s.object(kind, name)
	if err == nil && !ok {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Object{}, fmt.Errorf("%s %q: %w", kind, name, err)
	}
	return o, nil
}

func (s *Store) object(kind, name string) (o store.Object, ok bool, err error) {
	ok, err = s.state.get(objectKey(kind, name), func(v []byte) error {
		r := rowReader{rest: v}
		o = store.Object{Kind: kind, Name: name, Version: r.u64()}
		o.Value = bytes.Clone(r.rest)
		return r.err()
	})
	return o, ok, err
}

// ListObjects implements store.Catalog.
func (s *Store) ListObjects(ctx context.Context, kind string) ([]store.Object, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	prefix := objectKey(kind, "")
	var all []store.Object
	err := s.state.scanPrefix(prefix, func(key, value []byte) (bool, error) {
		r := rowReader{rest: value}
		o := store.Object{Kind: kind, Name: string(key[len(prefix):]), Version: r.u64()}
		o.Value = bytes.Clone(r.rest)
		all = append(all, o)
		return true, r.err()
	})
	if err != nil {
		return nil, fmt.Errorf("list %s objects: %w", kind, err)
	}
	return all, nil
}

// PutObject implements store.Catalog. Versions come from one counter, so that
// an object that was deleted and made again has not a version that it had.
func (s *Store) PutObject(ctx context.Context, kind, name string, value []byte, expect uint64) (uint64, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	s.catalogMu.Lock()
	defer s.catalogMu.Unlock()
	if bytes.IndexByte([]byte(kind), 0) >= 0 {
		return 0, fmt.Errorf("kind %q has a zero byte", kind)
	}
	o, _, err := s.object(kind, name)
	if err != nil {
		return 0, fmt.Errorf("%s %q: %w", kind, name, err)
	}
	if expect != store.AnyVersion && expect != o.Version {
		return 0, fmt.Errorf("%s %q has version %d, not %d: %w", kind, name, o.Version, expect, store.ErrConflict)
	}
	version, err := s.state.metaNumber("version")
	if err != nil {
		return 0, err
	}
	version++
	batch := s.state.db.NewBatch()
	_ = batch.Set(metaKey("version"), be64(nil, version), nil)
	_ = batch.Set(objectKey(kind, name), append(be64(nil, version), value...), nil)
	if err := s.state.commitSynced(batch); err != nil {
		return 0, fmt.Errorf("%s %q: %w", kind, name, err)
	}
	return version, nil
}

// objectsBatch bounds the bytes of one write of PutObjects, about.
const objectsBatch = 4 << 20

// PutObjects implements store.Catalog.
func (s *Store) PutObjects(ctx context.Context, objects []store.Object) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	s.catalogMu.Lock()
	defer s.catalogMu.Unlock()
	if len(objects) == 0 {
		return nil
	}
	version, err := s.state.metaNumber("version")
	if err != nil {
		return err
	}
	batch := s.state.db.NewBatch()
	for _, o := range objects {
		if strings.IndexByte(o.Kind, 0) >= 0 {
			_ = batch.Close()
			return fmt.Errorf("kind %q has a zero byte", o.Kind)
		}
		version++
		_ = batch.Set(objectKey(o.Kind, o.Name), append(be64(nil, version), o.Value...), nil)
		if batch.Len() < objectsBatch {
			continue
		}
		_ = batch.Set(metaKey("version"), be64(nil, version), nil)
		if err := s.state.commit(batch); err != nil {
			return fmt.Errorf("write %d objects: %w", len(objects), err)
		}
		batch = s.state.db.NewBatch()
	}
	_ = batch.Set(metaKey("version"), be64(nil, version), nil)
	if err := s.state.commitSynced(batch); err != nil { // and so all before
		return fmt.Errorf("write %d objects: %w", len(objects), err)
	}
	return nil
}

// DeleteObject implements store.Catalog.
func (s *Store) DeleteObject(ctx context.Context, kind, name string, expect uint64) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	s.catalogMu.Lock()
	defer s.catalogMu.Unlock()
	o, ok, err := s.object(kind, name)
	if err == nil && !ok {
		err = store.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("%s %q: %w", kind, name, err)
	}
	if expect != store.AnyVersion && expect != o.Version {
		return fmt.Errorf("%s %q has version %d, not %d: %w", kind, name, o.Version, expect, store.ErrConflict)
	}
	batch := s.state.db.NewBatch()
	_ = batch.Delete(objectKey(kind, name), nil)
	return s.state.commitSynced(batch)
}
