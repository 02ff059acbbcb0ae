package event

import (
	"bytes"
	"slices"
	"testing"
)

func TestStorageDecodeAllocatesTheEventAndItsExtensionsOnly(t *testing.T) {
	buf := orderEvent(t).AppendBinary(nil)
	if n := testing.AllocsPerRun(100, func() { _, _ = Decode(buf) }); n > 2 {
		t.Errorf("%v allocations", n)
	}
}

func TestStorageKeepsEverything(t *testing.T) {
	e, err := FromStructured([]byte(object(`"subject":"s","time":"2026-11-05t17:31:00.5+01:00","dataschema":"x:y","n":-5,"yes":true,"no":false,"text":"a","data":[1]`)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	prefix := []byte("before")
	buf := e.AppendBinary(prefix)[len(prefix):]
	if len(buf) != e.EncodedSize() || e.Size() != len(buf) {
		t.Errorf("%d bytes, said to be %d", len(buf), e.EncodedSize())
	}
	d, err := Decode(buf)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := AppendStructured(nil, d), AppendStructured(nil, e); !bytes.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	a, _ := e.Time()
	if b, ok := d.Time(); !ok || !a.Equal(b) || a.Nanosecond() != 500_000_000 {
		t.Errorf("time %v became %v", a, b)
	}
}

// peeked is what PeekAttributes shows, in its order.
func peeked(buf []byte) (all []string, err error) {
	err = PeekAttributes(buf, func(name string, v Value) { all = append(all, name+"="+v.Text()) })
	return all, err
}

func TestPeekingShowsWhatTellsEventsApart(t *testing.T) {
	for optional, want := range map[string][]string{
		"": {"id=1", "source=/shop", "type=t"},
		`"time":"2026-11-05T17:31:00Z","dataschema":"x:y","data":[1]`: {"id=1", "source=/shop", "type=t"},
		`"subject":"s","time":"2026-11-05T17:31:00Z","n":-5,"yes":true,"text":"a","data":"b"`: {"id=1", "source=/shop", "type=t", "subject=s",
			"n=-5", "text=a", "yes=true"},
	} {
		e, err := FromStructured([]byte(object(optional)), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := peeked(e.AppendBinary(nil)); err != nil || !slices.Equal(got, want) {
			t.Errorf("of %q it shows %q, %v; want %q", optional, got, err, want)
		}
	}
}

func TestDamagedBytesAreRefusedOrHarmless(t *testing.T) {
	buf := orderEvent(t).AppendBinary(nil)
	for n := range len(buf) {
		if _, err := Decode(buf[:n:n]); err == nil {
			t.Errorf("the first %d bytes are accepted", n)
		}
		_, _ = peeked(buf[:n:n])
	}
	if _, err := Decode(append(bytes.Clone(buf), 0)); err == nil {
		t.Error("a byte too many is accepted")
	}
	for i := range buf {
		for _, b := range []byte{0, 1, 0x7F, 0x80, 0xFF, buf[i] + 1, buf[i] ^ 0x20} {
			damaged := bytes.Clone(buf)
			damaged[i] = b
			_, refused := peeked(damaged)
			if e, err := Decode(damaged); err == nil {
				use(e)
				if refused != nil {
					t.Errorf("byte %d as %d is refused only when it is peeked at", i, b)
				}
			}
		}
	}
	if _, err := Decode([]byte{2, 0}); err == nil {
		t.Error("an unknown version is accepted")
	}
}

// use calls all that might fail on an event with damaged bytes.
func use(e *Event) {
	AppendStructured(nil, e, Extension{"sequence", StringValue("1")})
	e.AppendBinary(nil)
	e.Time()
	e.PartitionKey()
	for name := range e.Attributes() {
		e.Attribute(name)
	}
	if t := e.Tree(); t != nil {
		value(t.Root())
	}
}

func TestDedupeKeysDoNotCollideAcrossTheBorder(t *testing.T) {
	seen := map[[16]byte][2]string{}
	for _, p := range [][2]string{{"a", "bc"}, {"ab", "c"}, {"abc", ""}, {"", "abc"}, {"a\x02", "c"}, {"a", "\x02c"}} {
		key := DedupeKey(p[0], p[1])
		if other, ok := seen[key]; ok {
			t.Errorf("%q and %q have one key", p, other)
		}
		seen[key] = p
	}
	first, again := DedupeKey("a", "b"), DedupeKey("a", "b")
	if first != again {
		t.Error("the key is not stable")
	}
}
