package archive_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/store/archive"
	"github.com/switchyard-dev/switchyard/bus/store/embedded"
)

// TestARestoredCopyDoesNotReadTheArchiveOfItsOriginal lets the original archive
// more events after it was copied; the copy gives the same sequences to others
// and archives those.
func TestARestoredCopyDoesNotReadTheArchiveOfItsOriginal(t *testing.T) {
	f := newFixture(t)
	f.publish(100)
	f.flush()
	f.must(f.store.Close())
	copied := vfs.NewMem()
	if ok, err := vfs.Clone(f.fs, copied, "data", "data"); err != nil || !ok {
		t.Fatal(ok, err)
	}
	f.open()
	f.publish(200)
	f.flush()
	f.age()
	f.wantAll(1, 300)
	f.must(f.store.Close())

	inner, err := embedded.Open(embedded.Options{FS: copied, Dir: "data", NoBackground: true, DiskReserve: -1})
	f.must(err)
	f.must(archive.Renew(t.Context(), inner))
	f.must(inner.Close())
	f.fs, f.last = copied, 100
	f.open()
	if list := f.objects(); len(list) > 0 {
		t.Errorf("the copy begins with the archive of the original: %v", list)
	}
	f.publish(50)
	f.flush()
	f.age()
	f.wantAll(1, 150)
	if list := f.objects(); len(list) == 0 || list[len(list)-1].Last != 150 {
		t.Errorf("the copy archived %v", list)
	}
}
