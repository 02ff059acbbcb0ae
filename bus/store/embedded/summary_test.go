package embedded

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

func summaryStore(t *testing.T, fs vfs.FS) *Store {
	t.Helper()
	s, err := Open(Options{FS: fs, Dir: "data", NoBackground: true, summaryEvents: 16})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func appendNumbered(t *testing.T, s *Store, bus store.BusID, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if _, err := s.Append(context.Background(), []store.Entry{{Bus: bus, Event: numbered(t, i)}}); err != nil {
			t.Fatal(err)
		}
	}
}

// numbered is the event whose id is e and a number.
func numbered(t *testing.T, i int) *event.Event {
	t.Helper()
	b := event.NewBuilder()
	for name, v := range map[string]string{"id": fmt.Sprint("e", i), "source": "/s", "type": "t"} {
		if err := b.Set(name, event.StringValue(v)); err != nil {
			t.Fatal(err)
		}
	}
	ev, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func always(time.Duration) bool { return true }

func TestALookUpReadsOnlyTheEventsOfOneSummary(t *testing.T) {
	s := summaryStore(t, vfs.NewMem())
	defer s.Close()
	id, err := s.OpenBus(context.Background(), "a", store.BusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	appendNumbered(t, s, id, 1, 319)
	if err := s.summarise(always); err != nil {
		t.Fatal(err)
	}
	out, err := s.Scan(context.Background(), id, store.ScanQuery{Newest: true, Max: 10, MaxBytes: 1 << 20, Has: []store.AttributeValue{{Name: "id", Value: "e100"}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Records) != 1 || out.Records[0].Sequence != 100 || out.Looked != 16 || out.Skipped != 303 {
		t.Errorf("%d records, %d looked at, %d skipped", len(out.Records), out.Looked, out.Skipped)
	}
}

func TestSummariesThatAPowerCutTookAreMadeAgainAndTornOnesAreNotBelieved(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := summaryStore(t, fs)
	ctx := context.Background()
	id, err := s.OpenBus(ctx, "a", store.BusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	appendNumbered(t, s, id, 1, 100)
	if err := s.summarise(always); err != nil { // not synced
		t.Fatal(err)
	}
	after := fs.CrashClone(vfs.CrashCloneCfg{})
	_ = s.Close()
	s = summaryStore(t, after)
	defer s.Close()
	find := func() store.Scanned {
		t.Helper()
		out, err := s.Scan(ctx, id, store.ScanQuery{Max: 10, MaxBytes: 1 << 20, Has: []store.AttributeValue{{Name: "id", Value: "e40"}}})
		if err != nil || len(out.Records) != 1 || out.Records[0].Sequence != 40 {
			t.Fatalf("%+v %v", out, err)
		}
		return out
	}
	find()
	if err := s.summarise(always); err != nil {
		t.Fatal(err)
	}
	if out := find(); out.Looked >= 100 {
		t.Errorf("%d events were read although there are summaries", out.Looked)
	}
	batch := s.state.db.NewBatch()
	_ = batch.Set(seqKey(nil, prefixSummary, id, 2), []byte("torn"), nil)
	if err := s.state.commit(batch); err != nil {
		t.Fatal(err)
	}
	find()
}

func TestSummariesOfWhatWasCollectedAndOfWhatIsReadFindTheSame(t *testing.T) {
	for name, taken := range map[string]int64{"collected": 0, "read": collectorBudget} {
		t.Run(name, func(t *testing.T) {
			s := summaryStore(t, vfs.NewMem())
			defer s.Close()
			s.collected.Store(taken)
			ctx := context.Background()
			var ids [2]store.BusID
			for i := range ids {
				var err error
				if ids[i], err = s.OpenBus(ctx, fmt.Sprint("b", i), store.BusOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			// Batches over both buses, each with an event that is there already.
			for i := range 200 {
				batch := []store.Entry{
					{Bus: ids[0], Event: numbered(t, max(i-1, 0)), Window: time.Hour, Dedupe: event.DedupeKey("/s", fmt.Sprint("e", max(i-1, 0)))},
					{Bus: ids[1], Event: numbered(t, 1000+i)},
					{Bus: ids[0], Event: numbered(t, i), Window: time.Hour, Dedupe: event.DedupeKey("/s", fmt.Sprint("e", i))},
				}
				if _, err := s.Append(ctx, batch); err != nil {
					t.Fatal(err)
				}
			}
			if got := s.collected.Load() - taken; (got > 0) != (taken == 0) {
				t.Errorf("%d bytes of terms are kept", got)
			}
			if err := s.summarise(always); err != nil {
				t.Fatal(err)
			}
			for i := range 400 {
				bus, id := ids[i%2], i/2
				if i%2 == 1 {
					id += 1000
				}
				out, err := s.Scan(ctx, bus, store.ScanQuery{Newest: true, Max: 10, MaxBytes: 1 << 20, Has: []store.AttributeValue{{Name: "id", Value: fmt.Sprint("e", id)}}})
				if err != nil || len(out.Records) != 1 || out.Records[0].Event.ID() != fmt.Sprint("e", id) || out.Looked > 40 {
					t.Fatalf("e%d: %d records, %d looked at, %v", id, len(out.Records), out.Looked, err)
				}
			}
			if err := s.DropBus(ctx, ids[0]); err != nil {
				t.Fatal(err)
			}
			if err := s.DropBus(ctx, ids[1]); err != nil {
				t.Fatal(err)
			}
			if s.collected.Load() != taken {
				t.Errorf("%d bytes of terms are counted of buses that are gone", s.collected.Load()-taken)
			}
		})
	}
}

// TestTermsOfAnEventAreThoseThatAreReadFromTheLog compares what is collected of an
// event with what is read of its stored form.
func TestTermsOfAnEventAreThoseThatAreReadFromTheLog(t *testing.T) {
	bare, err := event.New("/s", "1", "t", nil)
	must(t, err)
	b := event.FromEvent(bare)
	for name, v := range map[string]event.Value{
		"subject": event.StringValue("a"), "time": event.StringValue("2026-12-01T00:00:00Z"), "text": event.StringValue(""),
		"number": event.IntegerValue(-7), "yes": event.BooleanValue(true), "dataschema": event.StringValue("https://example.com/s"),
	} {
		must(t, b.Set(name, v))
	}
	full, err := b.Build()
	must(t, err)
	for _, ev := range []*event.Event{bare, full} {
		var want []uint64
		must(t, event.PeekAttributes(ev.AppendBinary(nil), func(name string, v event.Value) {
			want = append(want, termOf(name, v.Text()).where)
		}))
		if got := appendTerms(nil, ev); !slices.Equal(got, want) {
			t.Errorf("collected %x, read %x", got, want)
		}
	}
}
