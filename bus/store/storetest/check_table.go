package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

func tableChecks() []check {
	return []check{
		{"a table has the newest event of each subject", tableNewest},
		{"a table is read in order of subject, by prefix and in pages", tablePages},
		{"a bus without a table says so", tableNone},
		{"retention spares the rows of a table", tableOutlivesRetention},
		{"a row that is replaced after retention passed it is gone", tableReplaced},
		{"an event without data ends the row of its subject", tableEnds},
		{"events without a subject have no place in a table", tableNeedsSubject},
		{"what is owed is kept though it is no row any more", tableKeepsOwed},
		{"a table is made of what was there, and dropped", tableSwitched},
		{"rows survive much that came after them", tableRewritten},
		{"a table survives a crash", tableCrash},
		{"SequenceAt finds rows that retention has passed", tableSequenceAt},
	}
}

// about is an event with a subject, "" for none, and with data unless that is "".
func about(t testing.TB, bus store.BusID, id, subject, data string) store.Entry {
	t.Helper()
	b := event.NewBuilder()
	for _, a := range [...][2]string{{"id", id}, {"source", "/shop"}, {"type", "stock"}, {"subject", subject}} {
		if a[1] == "" {
			continue
		}
		if err := b.Set(a[0], event.StringValue(a[1])); err != nil {
			t.Fatal(err)
		}
	}
	if data != "" {
		b.SetJSON([]byte(data))
	}
	e, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return store.Entry{Bus: bus, Event: e, Via: "http", Dedupe: event.DedupeKey("/shop", id)}
}

// tell appends events that are written "ID SUBJECT", each with data, or "ID
// SUBJECT end" for one without, or "ID" without a subject, in batches of one.
func (f *fixture) tell(bus store.BusID, events ...string) {
	f.Helper()
	for _, e := range events {
		words := append(strings.Fields(e), "", "")
		data := fmt.Sprintf(`{"of":%q}`, words[0])
		if words[2] == "end" {
			data = ""
		}
		f.append(about(f, bus, words[0], words[1], data))
	}
}

// tabled is a bus with a table and a retention of an hour.
func (f *fixture) tabled() store.BusID {
	f.Helper()
	return f.busWith("t", store.BusOptions{MaxAge: time.Hour, Table: true})
}

// pass lets retention pass all that was appended so far.
func (f *fixture) pass(bus store.BusID) {
	f.Helper()
	f.route(bus)
	f.advance(2 * time.Hour)
	f.trim()
}

// table reads a whole table, in pages of some rows.
func (f *fixture) table(bus store.BusID, prefix string, page int) (rows []store.Record) {
	f.Helper()
	for after := ""; ; {
		n := len(rows)
		var next string
		var err error
		rows, next, err = f.store.ReadTable(f.ctx, bus, prefix, after, page, 1<<20, rows)
		f.must(err)
		if len(rows) > n+page {
			f.Fatalf("a page of %d rows has %d", page, len(rows)-n)
		}
		if next == "" {
			return rows
		}
		if next <= after {
			f.Fatalf("the page after %q goes on after %q", after, next)
		}
		after = next
	}
}

// wantTable wants the table to have rows with these ids, in order of subject,
// before and after reopening.
func (f *fixture) wantTable(bus store.BusID, want ...string) {
	f.Helper()
	for _, when := range []string{"at once", "after reopening"} {
		if got := ids(f.table(bus, "", 100)); !slices.Equal(got, want) {
			f.Errorf("%s the table has the rows %v, want %v", when, got, want)
		}
		if when == "at once" {
			f.reopenIfPossible()
		}
	}
}

func (f *fixture) wantRow(bus store.BusID, subject, want string) {
	f.Helper()
	r, err := f.store.TableRow(f.ctx, bus, subject)
	switch {
	case want == "" && !errors.Is(err, store.ErrNotFound):
		f.Errorf("the row of %q: got %v and %v, want that there is none", subject, r.Sequence, err)
	case want != "" && err != nil:
		f.Errorf("the row of %q: %v", subject, err)
	case want != "" && (r.Event.ID() != want || r.Event.Subject() != subject):
		f.Errorf("the row of %q is %q, want %q", subject, r.Event.ID(), want)
	}
}

func (f *fixture) wantRead(bus store.BusID, from uint64, want ...string) {
	f.Helper()
	records := f.read(bus, from)
	if got := ids(records); !slices.Equal(got, want) {
		f.Errorf("from %d on there are %v, want %v", from, got, want)
	}
	for i := 1; i < len(records); i++ {
		if records[i].Sequence <= records[i-1].Sequence {
			f.Errorf("sequence %d comes after %d", records[i].Sequence, records[i-1].Sequence)
		}
	}
}

func tableNewest(f *fixture) {
	a := f.tabled()
	f.wantTable(a)
	f.tell(a, "1 lamp", "2 chair", "3 lamp", "4 desk", "5 chair")
	f.wantRow(a, "lamp", "3")
	f.wantRow(a, "sofa", "")
	f.wantRow(a, "lam", "")
	f.append(about(f, a, "6", "desk", "1"), about(f, a, "7", "sofa", "1"), about(f, a, "8", "desk", "2"))
	f.wantTable(a, "5", "8", "3", "7")
	f.wantRow(a, "desk", "8")
	rows := f.table(a, "", 10)
	records := f.read(a, 1)
	for _, r := range rows {
		f.wantSameRecord(records[r.Sequence-1], r)
	}
	info, err := f.store.Table(a)
	f.must(err)
	if info.Left != 0 {
		f.Errorf("the table is not finished: %+v", info)
	}
	f.trim()
	if info, err = f.store.Table(a); err != nil || info.Subjects != 4 || info.First != 3 {
		f.Errorf("the table is %+v, %v", info, err)
	}
}

func tablePages(f *fixture) {
	a, b := f.tabled(), f.busWith("u", store.BusOptions{Table: true})
	var batch []store.Entry
	var want []string
	for i := range 30 {
		subject := fmt.Sprintf("%s/%02d", []string{"eu", "us", "eu2"}[i%3], i)
		batch = append(batch, about(f, a, fmt.Sprint("a", i), subject, "1"), about(f, b, fmt.Sprint("b", i), subject, "1"))
		want = append(want, subject)
	}
	f.append(batch...)
	subjects := func(rows []store.Record) (out []string) {
		for _, r := range rows {
			out = append(out, r.Event.Subject())
		}
		return out
	}
	slices.Sort(want)
	for _, page := range []int{1, 7, 30, 100} {
		if got := subjects(f.table(a, "", page)); !slices.Equal(got, want) {
			f.Errorf("in pages of %d there are %v, want %v", page, got, want)
		}
	}
	for _, prefix := range []string{"eu", "eu/", "us/0", "zz", "\xff"} {
		var some []string
		for _, s := range want {
			if strings.HasPrefix(s, prefix) {
				some = append(some, s)
			}
		}
		if got := subjects(f.table(a, prefix, 4)); !slices.Equal(got, some) {
			f.Errorf("with the prefix %q there are %v, want %v", prefix, got, some)
		}
	}
	rows, next, err := f.store.ReadTable(f.ctx, a, "", "", 100, 1, []store.Record{{Sequence: 99}})
	if err != nil || len(rows) != 2 || rows[0].Sequence != 99 || next != want[0] {
		f.Errorf("a page of few bytes has %d rows, next %q, %v", len(rows), next, err)
	}
	rows, next, err = f.store.ReadTable(f.ctx, a, "eu/", "a", 2, 1<<20, nil)
	if err != nil || len(rows) != 2 || next != rows[1].Event.Subject() {
		f.Errorf("after what is before the prefix there are %v, next %q, %v", subjects(rows), next, err)
	}
	if rows, next, err = f.store.ReadTable(f.ctx, a, "eu/", "us", 2, 1<<20, nil); err != nil || len(rows) != 0 || next != "" {
		f.Errorf("after all of the prefix there are %v, next %q, %v", subjects(rows), next, err)
	}
}

func tableNone(f *fixture) {
	a := f.bus("a")
	f.publish(a, "x")
	_, _, err := f.store.ReadTable(f.ctx, a, "", "", 10, 1000, nil)
	f.wantErr("ReadTable", err, store.ErrNoTable)
	_, err = f.store.TableRow(f.ctx, a, "o-x")
	f.wantErr("TableRow", err, store.ErrNoTable)
	_, err = f.store.Table(a)
	f.wantErr("Table", err, store.ErrNoTable)
	_, _, err = f.store.ReadTable(f.ctx, 77, "", "", 10, 1000, nil)
	f.wantErr("ReadTable of no bus", err, store.ErrNotFound)
	_, err = f.store.Table(77)
	f.wantErr("Table of no bus", err, store.ErrNotFound)
}

func tableOutlivesRetention(f *fixture) {
	a, b := f.tabled(), f.busWith("b", store.BusOptions{MaxAge: time.Hour})
	f.tell(a, "1 lamp", "2 chair", "3 lamp", "4 desk")
	f.tell(b, "1 lamp", "2 chair")
	f.wantRead(a, 1, "1", "2", "3", "4") // retention has passed nothing yet
	f.pass(a)
	f.pass(b)
	f.tell(a, "5 sofa")
	for range 2 {
		f.wantRead(a, 1, "2", "3", "4", "5")
		f.wantRead(a, 3, "3", "4", "5")
		f.wantRead(b, 1)
		if got := f.bounds(a); got.First != 1 || got.History != 5 || got.Last != 5 {
			f.Errorf("the bounds are %+v", got)
		}
		_, err := f.store.Get(f.ctx, a, 1)
		f.wantErr("Get of a replaced event", err, store.ErrTrimmed)
		if r, err := f.store.Get(f.ctx, a, 2); err != nil || r.Event.ID() != "2" {
			f.Errorf("Get of a row: %v", err)
		}
		f.wantTable(a, "2", "4", "3", "5")
		f.trim()
	}
	if got, err := f.store.Read(f.ctx, a, 1, 2, 1<<20, nil); err != nil || !slices.Equal(ids(got), []string{"2", "3"}) {
		f.Errorf("a page of two has %v, %v", ids(got), err)
	}
	if got := f.publish(a, "next"); got[0] != 6 {
		f.Errorf("the next event has sequence %d, want 6", got[0])
	}
}

func tableReplaced(f *fixture) {
	a := f.tabled()
	f.tell(a, "1 lamp", "2 chair")
	f.pass(a)
	f.tell(a, "3 lamp")
	_, err := f.store.Get(f.ctx, a, 1)
	f.wantErr("Get", err, store.ErrTrimmed)
	f.wantRead(a, 1, "2", "3")
	f.wantTable(a, "2", "3")
	f.pass(a)
	f.wantRead(a, 1, "2", "3")
}

func tableEnds(f *fixture) {
	a := f.tabled()
	f.tell(a, "1 lamp", "2 chair", "3 lamp end", "4 never end")
	f.wantRow(a, "lamp", "")
	f.wantTable(a, "2")
	f.wantRead(a, 1, "1", "2", "3", "4")
	f.pass(a)
	f.wantRead(a, 1, "2")
	_, err := f.store.Get(f.ctx, a, 3)
	f.wantErr("Get of a tombstone", err, store.ErrTrimmed)
	f.trim()
	f.tell(a, "5 lamp", "6 chair end")
	f.wantTable(a, "5")
	f.wantRead(a, 1, "5", "6")
	f.pass(a)
	f.wantRead(a, 1, "5")
	f.wantTable(a, "5")
}

func tableNeedsSubject(f *fixture) {
	a := f.tabled()
	long := strings.Repeat("x", store.MaxTableSubject)
	f.tell(a, "1", "2 lamp", "3")
	f.append(about(f, a, "4", long, "1"), about(f, a, "5", long+"y", "1"))
	f.wantTable(a, "2", "4")
	f.wantRow(a, long, "4")
	f.wantRow(a, long+"y", "")
	f.wantRow(a, "", "")
	f.pass(a)
	f.wantRead(a, 1, "2", "4")
}

func tableKeepsOwed(f *fixture) {
	a := f.tabled()
	sub := f.subscribe("r/t", a, store.OrderNone)
	f.tell(a, "1 lamp", "2 lamp end", "3 chair")
	records := f.read(a, 1)
	f.route(a, sub)
	f.settleAll(f.claimAll(sub), func(d store.Delivery) store.Settlement { return f.retry(d, 100*time.Hour) })
	f.advance(2 * time.Hour)
	f.trim()
	f.tell(a, "4 chair")
	f.route(a)
	f.trim()
	f.reopenIfPossible()
	f.wantReadable(records)
	f.wantTable(a, "4")
	f.advance(200 * time.Hour)
	for _, d := range f.wantClaim("long after", sub, "1", "2", "3") {
		f.wantSameRecord(records[d.ID.Sequence-1], d.Record)
		f.settle(f.done(d))
	}
	f.trim()
	for n := range uint64(3) {
		_, err := f.store.Get(f.ctx, a, n+1)
		f.wantErr("Get of what is neither owed nor a row", err, store.ErrTrimmed)
	}
}

func tableSwitched(f *fixture) {
	plain := store.BusOptions{MaxAge: time.Hour}
	with := store.BusOptions{MaxAge: time.Hour, Table: true}
	a := f.busWith("t", plain)
	f.tell(a, "1 lamp", "2 chair", "3 lamp", "4 desk", "5 desk end")
	f.pass(a)
	f.tell(a, "6 sofa", "7 chair", "8 sofa")
	if again := f.busWith("t", with); again != a {
		f.Fatalf("the bus has id %d, want %d", again, a)
	}
	f.tell(a, "9 sofa", "10 lamp")
	f.trim() // which finishes it
	f.wantTable(a, "7", "10", "9")
	if got := f.bounds(a); got.First != 6 || got.History != 6 {
		f.Errorf("the bounds are %+v", got)
	}
	f.pass(a)
	f.wantRead(a, 1, "7", "9", "10")
	f.busWith("t", plain)
	f.wantRead(a, 1)
	_, err := f.store.Get(f.ctx, a, 7)
	f.wantErr("Get without a table", err, store.ErrTrimmed)
	f.tell(a, "11 stool")
	f.trim()
	f.busWith("t", with)
	f.reopenIfPossible()
	f.trim()
	f.wantTable(a, "11")
	f.wantRead(a, 1, "11")
}

// tableRewritten makes an engine with small files take apart those that hold
// little but rows.
func tableRewritten(f *fixture) {
	a, b := f.tabled(), f.busWith("b", store.BusOptions{MaxAge: time.Hour})
	padding := fmt.Sprintf(`{"padding":%q}`, strings.Repeat("x", 8<<10))
	for round := range 12 {
		var batch []store.Entry
		for i := range 40 {
			batch = append(batch,
				about(f, a, fmt.Sprintf("s%d-%d", round, i), fmt.Sprintf("seldom-%d-%d", round, i/20), padding),
				about(f, a, fmt.Sprintf("o%d-%d", round, i), fmt.Sprint("often-", i%3), padding),
				about(f, b, fmt.Sprintf("b%d-%d", round, i), "x", padding))
		}
		f.append(batch...)
		f.pass(a)
		f.pass(b)
		if round%4 == 3 {
			f.reopenIfPossible()
		}
	}
	var want, inOrder []string
	for round := range 12 {
		for half := range 2 {
			want = append(want, fmt.Sprintf("s%d-%d", round, 20*half+19))
		}
	}
	inOrder = append(slices.Clone(want[:len(want)-1]), "o11-37", "o11-38", "s11-39", "o11-39")
	rows := f.table(a, "seldom", 5)
	got := ids(rows)
	slices.SortFunc(rows, func(x, y store.Record) int { return int(x.Sequence) - int(y.Sequence) })
	if !slices.Equal(ids(rows), want) {
		f.Errorf("the table has %v, want %v", got, want)
	}
	records := f.read(a, 1)
	if !slices.Equal(ids(records), inOrder) {
		f.Errorf("there are %v, want %v", ids(records), inOrder)
	}
	for _, r := range records {
		one, err := f.store.Get(f.ctx, a, r.Sequence)
		if err != nil {
			f.Errorf("Get of %d: %v", r.Sequence, err)
			continue
		}
		f.wantSameRecord(r, one)
		row, err := f.store.TableRow(f.ctx, a, r.Event.Subject())
		if err != nil {
			f.Errorf("the row of %q: %v", r.Event.Subject(), err)
			continue
		}
		f.wantSameRecord(r, row)
	}
}

func tableCrash(f *fixture) {
	a := f.tabled()
	f.tell(a, "1 lamp", "2 chair", "3 lamp")
	f.crash()
	if got := ids(f.table(a, "", 10)); !slices.Equal(got, []string{"2", "3"}) {
		f.Errorf("after a crash there are %v", got)
	}
	f.pass(a)
	f.tell(a, "4 lamp", "5 chair end", "6 desk")
	f.crash()
	f.trim()
	if got := ids(f.table(a, "", 10)); !slices.Equal(got, []string{"6", "4"}) {
		f.Errorf("after another there are %v", got)
	}
	f.wantRead(a, 1, "4", "5", "6")
}

func tableSequenceAt(f *fixture) {
	a := f.tabled()
	begin := f.now()
	f.tell(a, "1 lamp")
	f.advance(time.Minute)
	f.tell(a, "2 chair")
	f.advance(time.Minute)
	f.tell(a, "3 lamp", "4 desk")
	f.pass(a)
	f.tell(a, "5 sofa")
	f.wantSequenceAt(a, begin, 2)
	f.wantSequenceAt(a, begin.Add(90*time.Second), 3)
	f.wantSequenceAt(a, begin.Add(3*time.Minute), 5)
	f.wantSequenceAt(a, f.now().Add(time.Minute), 6)
}
