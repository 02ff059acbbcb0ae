package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// placed is a store in a real folder, with a bus and one event.
func placed(t *testing.T) (s *Store, bus store.BusID, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	s, err := Open(Options{Dir: dir, DiskReserve: -1, NoBackground: true, SegmentSize: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if s.home.folders[0].id == (placeGuard{folders: make([]folder, 1)}).folders[0].id {
		t.Skip("the system does not tell files apart")
	}
	if bus, err = s.OpenBus(context.Background(), "a", store.BusOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := publishTo(t, s, bus, "1"); err != nil {
		t.Fatal(err)
	}
	return s, bus, dir
}

func publishTo(t *testing.T, s *Store, bus store.BusID, id string) error {
	_, err := s.Append(context.Background(), []store.Entry{{Bus: bus, Event: small(t, id)}})
	return err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestNothingIsAcknowledgedIntoAFolderThatWasMovedAndAllIsWellWhenItIsBack(t *testing.T) {
	for _, part := range []string{"", "log", "state"} {
		t.Run("data/"+part, func(t *testing.T) {
			s, bus, dir := placed(t)
			from, to := filepath.Join(dir, part), dir+"-moved"
			must(t, os.Rename(from, to))
			s.home.asked = s.home.asked.Add(-placeEvery)
			for i := range 3 {
				if err := publishTo(t, s, bus, fmt.Sprint("lost", i)); !errors.Is(err, store.ErrUnavailable) {
					t.Fatalf("publishing gives %v", err)
				}
			}
			if err := s.Err(); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "moved or deleted") {
				t.Errorf("Err is %v", err)
			}
			if _, err := s.PutObject(context.Background(), "k", "n", nil, store.AnyVersion); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("a command gives %v", err)
			}
			// Another folder in its place is not written to.
			must(t, os.Mkdir(from, 0o755))
			if err := publishTo(t, s, bus, "elsewhere"); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("with another folder: %v", err)
			}
			if names, err := os.ReadDir(from); err != nil || len(names) != 0 {
				t.Errorf("the other folder holds %v, %v", names, err)
			}
			must(t, os.Remove(from))
			must(t, os.Rename(to, from))
			must(t, s.log.Reopen(context.Background()))
			if err := s.Err(); err != nil {
				t.Errorf("with the folder back: %v", err)
			}
			if err := publishTo(t, s, bus, "2"); err != nil {
				t.Errorf("publishing with the folder back: %v", err)
			}
			must(t, s.Close())
			checkSound(t, dir)
			s, err := Open(Options{Dir: dir, NoBackground: true})
			must(t, err)
			defer s.Close()
			rs, err := s.Read(context.Background(), bus, 1, 10, 1<<20, nil)
			if err != nil || len(rs) != 2 || rs[0].Event.ID() != "1" || rs[1].Event.ID() != "2" {
				t.Errorf("after a restart: %d events, %v", len(rs), err)
			}
		})
	}
}

func TestADeletedFolderIsNoticedBeforeTheNextAcknowledgement(t *testing.T) {
	s, bus, dir := placed(t)
	if err := publishTo(t, s, bus, "2"); err != nil { // the guard has looked a moment ago
		t.Fatal(err)
	}
	must(t, os.RemoveAll(dir))
	if err := publishTo(t, s, bus, "3"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("publishing gives %v", err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder was made again: %v", err)
	}
}

// checkSound reads a closed store in full.
func checkSound(t *testing.T, dir string) {
	t.Helper()
	report, err := Check(context.Background(), CheckOptions{Dir: dir})
	if err != nil || len(report.Problems) > 0 {
		t.Errorf("check: %v, %v", report.Problems, err)
	}
}
