package embedded

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// former is a subscription that was removed, for as long as traces name it: until
// retention has passed what its bus held then.
type former struct {
	name string
	bus  store.BusID
	last uint64 // of its bus, when it was removed
}

func (f *former) row() []byte {
	return appendText(be64(be32(nil, uint32(f.bus)), f.last), f.name)
}

func parseFormer(v []byte) (f former, err error) {
	r := rowReader{rest: v}
	f.bus, f.last, f.name = store.BusID(r.u32()), r.u64(), r.text()
	return f, r.err()
}

// rememberSub keeps the name of a subscription that is removed; sub.mu is held.
func (s *Store) rememberSub(sub *subscription, batch *pebble.Batch) {
	f := former{name: sub.name, bus: sub.bus}
	if b, err := s.bus(sub.bus); err == nil {
		b.mu.Lock()
		f.last = b.last
		b.mu.Unlock()
	}
	_ = batch.Set(idKey(nil, prefixFormer, uint32(sub.id)), f.row(), nil)
}

// nameOf is the name of a subscription, also of one that was removed; "" if it
// is not known any more.
func (s *Store) nameOf(id store.SubscriptionID) (name string, err error) {
	if sub := s.sub(id); sub != nil {
		return sub.name, nil // it never changes
	}
	_, err = s.state.get(idKey(nil, prefixFormer, uint32(id)), func(v []byte) error {
		f, err := parseFormer(v)
		name = f.name
		return err
	})
	return name, err
}

// eachFormer calls f for each subscription that was removed and is remembered.
func (s *Store) eachFormer(f func(id store.SubscriptionID, was former) (bool, error)) error {
	return s.state.scanPrefix([]byte{prefixFormer}, func(key, value []byte) (bool, error) {
		k := rowReader{rest: key[1:]}
		id := store.SubscriptionID(k.u32())
		was, err := parseFormer(value)
		if err = errors.Join(err, k.err()); err != nil {
			return false, err
		}
		return f(id, was)
	})
}

// Former implements store.Trace.
func (s *Store) Former(ctx context.Context) (map[store.SubscriptionID]string, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	all := map[store.SubscriptionID]string{}
	err := s.eachFormer(func(id store.SubscriptionID, was former) (bool, error) {
		all[id] = was.name
		return true, ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list removed subscriptions: %w", err)
	}
	return all, nil
}

// forgetFormer drops the names that no trace can need.
func (s *Store) forgetFormer() error {
	batch := s.state.db.NewBatch()
	err := s.eachFormer(func(id store.SubscriptionID, was former) (bool, error) {
		needed := false
		if b, err := s.bus(was.bus); err == nil {
			b.mu.Lock()
			needed = b.first <= was.last
			b.mu.Unlock()
		}
		if !needed {
			_ = batch.Delete(idKey(nil, prefixFormer, uint32(id)), nil)
		}
		return true, nil
	})
	if err != nil {
		_ = batch.Close()
		return err
	}
	return s.state.commit(batch)
}
