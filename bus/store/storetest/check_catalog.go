package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/switchyard-dev/switchyard/bus/store"
)

func catalogChecks() []check {
	return []check{
		{"an object is read as it was written", objectAsWritten},
		{"objects are listed by kind in order of name", objectsListed},
		{"a write with another version than the present one is a conflict", objectConflicts},
		{"versions grow, also across deletion", objectVersionsGrow},
		{"of concurrent writers with one version one wins", objectOneWriterWins},
		{"many objects are written at once, whatever their versions are", objectsAtOnce},
		{"objects survive reopening", func(f *fixture) { objectsSurvive(f, (*fixture).reopen) }},
		{"objects survive a crash", func(f *fixture) { objectsSurvive(f, (*fixture).crash) }},
	}
}

func (f *fixture) put(kind, name, value string, expect uint64) uint64 {
	f.Helper()
	v, err := f.store.PutObject(f.ctx, kind, name, []byte(value), expect)
	f.must(err)
	return v
}

func (f *fixture) wantObject(kind, name, value string, version uint64) {
	f.Helper()
	o, err := f.store.GetObject(f.ctx, kind, name)
	f.must(err)
	if o.Kind != kind || o.Name != name || string(o.Value) != value || o.Version != version {
		f.Errorf("the object is %+v, want %s %q version %d value %q", o, kind, name, version, value)
	}
}

func objectsAtOnce(f *fixture) {
	one := f.put("rule", "one", "before", 0)
	objects := []store.Object{{Kind: "rule", Name: "one", Value: []byte("after"), Version: 7}}
	for i := range 50 {
		objects = append(objects, store.Object{Kind: "many", Name: fmt.Sprintf("%02d", i), Value: bytes.Repeat([]byte{byte(i)}, 200<<10)})
	}
	f.must(f.store.PutObjects(f.ctx, objects))
	f.must(f.store.PutObjects(f.ctx, nil))
	check := func() {
		f.Helper()
		o, err := f.store.GetObject(f.ctx, "rule", "one")
		f.must(err)
		if string(o.Value) != "after" || o.Version <= one {
			f.Errorf("the object is %q with version %d, which was %d", o.Value, o.Version, one)
		}
		all, err := f.store.ListObjects(f.ctx, "many")
		f.must(err)
		if len(all) != 50 {
			f.Fatalf("%d objects are there, want 50", len(all))
		}
		seen := map[uint64]bool{}
		for i, o := range all {
			if o.Name != objects[i+1].Name || !bytes.Equal(o.Value, objects[i+1].Value) || seen[o.Version] {
				f.Errorf("object %d is %q with version %d", i, o.Name, o.Version)
			}
			seen[o.Version] = true
		}
	}
	check()
	if f.canCrash() {
		f.crash()
		check()
	}
	if v := f.put("rule", "one", "last", store.AnyVersion); v <= one+51 {
		f.Errorf("the next version is %d, and was used", v)
	}
}

func objectAsWritten(f *fixture) {
	_, err := f.store.GetObject(f.ctx, "rule", "r")
	f.wantErr("what was not written", err, store.ErrNotFound)
	value := []byte("one")
	v, err := f.store.PutObject(f.ctx, "rule", "r", value, 0)
	f.must(err)
	copy(value, "two") // the store must have its own
	f.wantObject("rule", "r", "one", v)
	o, err := f.store.GetObject(f.ctx, "rule", "r")
	f.must(err)
	copy(o.Value, "two")
	f.wantObject("rule", "r", "one", v)
	big := bytes.Repeat([]byte("x"), 1<<20)
	v = f.put("rule", "r", string(big), v)
	f.wantObject("rule", "r", string(big), v)
	v = f.put("rule", "r", "", v)
	f.wantObject("rule", "r", "", v)
	_, err = f.store.GetObject(f.ctx, "target", "r")
	f.wantErr("the same name of another kind", err, store.ErrNotFound)
}

func objectsListed(f *fixture) {
	for _, name := range []string{"b", "a", "c.1", "c", "ab"} {
		f.put("rule", name, "rule "+name, 0)
	}
	f.put("rules", "x", "of a longer kind", 0)
	f.put("rul", "y", "of a shorter kind", 0)
	objects, err := f.store.ListObjects(f.ctx, "rule")
	f.must(err)
	var got []string
	for _, o := range objects {
		got = append(got, o.Name)
		f.wantObject("rule", o.Name, string(o.Value), o.Version)
	}
	if want := []string{"a", "ab", "b", "c", "c.1"}; !slices.Equal(got, want) {
		f.Errorf("listed %v, want %v", got, want)
	}
	if objects, err := f.store.ListObjects(f.ctx, "none"); len(objects) != 0 || err != nil {
		f.Errorf("of an unknown kind: %v, %v", objects, err)
	}
}

func objectConflicts(f *fixture) {
	v := f.put("bus", "a", "1", 0)
	for _, wrong := range []uint64{0, v + 1, v + 100} {
		_, err := f.store.PutObject(f.ctx, "bus", "a", []byte("2"), wrong)
		f.wantErr(fmt.Sprintf("put expecting version %d of %d", wrong, v), err, store.ErrConflict)
		f.wantErr("delete", f.store.DeleteObject(f.ctx, "bus", "a", wrong), store.ErrConflict)
	}
	_, err := f.store.PutObject(f.ctx, "bus", "none", []byte("2"), 7)
	f.wantErr("put expecting what is not there", err, store.ErrConflict)
	f.wantErr("delete of what is not there", f.store.DeleteObject(f.ctx, "bus", "none", store.AnyVersion), store.ErrNotFound)
	f.wantObject("bus", "a", "1", v)
	v = f.put("bus", "a", "2", store.AnyVersion)
	f.wantObject("bus", "a", "2", v)
	f.put("bus", "new", "1", store.AnyVersion)
	f.must(f.store.DeleteObject(f.ctx, "bus", "a", v))
	_, err = f.store.GetObject(f.ctx, "bus", "a")
	f.wantErr("after its deletion", err, store.ErrNotFound)
	f.must(f.store.DeleteObject(f.ctx, "bus", "new", store.AnyVersion))
}

func objectVersionsGrow(f *fixture) {
	last := uint64(0)
	grow := func(v uint64) {
		f.Helper()
		if v <= last || v == store.AnyVersion {
			f.Errorf("version %d follows %d", v, last)
		}
		last = v
	}
	for range 3 {
		grow(f.put("bus", "a", "x", 0))
		grow(f.put("bus", "a", "x", last))
		grow(f.put("bus", "a", "y", store.AnyVersion))
		f.must(f.store.DeleteObject(f.ctx, "bus", "a", last))
		f.reopenIfPossible()
	}
}

func objectOneWriterWins(f *fixture) {
	v := f.put("bus", "a", "0", 0)
	for round := range 10 {
		var won atomic.Int32
		var next atomic.Uint64
		parallel(f, 6, func(w int) error {
			if got, err := f.store.PutObject(f.ctx, "bus", "a", []byte(fmt.Sprint(round, w)), v); err == nil {
				won.Add(1)
				next.Store(got)
			} else {
				f.wantErr("a writer that lost", err, store.ErrConflict)
			}
			return nil
		})
		if won.Load() != 1 {
			f.Fatalf("%d of 6 writers with version %d won", won.Load(), v)
		}
		v = next.Load()
	}
}

func objectsSurvive(f *fixture, end func(*fixture)) {
	v1 := f.put("bus", "a", "1", 0)
	v2 := f.put("rule", "r", "2", 0)
	f.put("rule", "gone", "3", 0)
	f.must(f.store.DeleteObject(f.ctx, "rule", "gone", store.AnyVersion))
	end(f)
	f.wantObject("bus", "a", "1", v1)
	f.wantObject("rule", "r", "2", v2)
	_, err := f.store.GetObject(f.ctx, "rule", "gone")
	f.wantErr("a deleted object", err, store.ErrNotFound)
}
