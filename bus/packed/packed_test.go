package packed

import (
	"errors"
	"strings"
	"testing"
)

func TestWhatWasWrittenIsRead(t *testing.T) {
	b := Begin([]byte("before"), "form 1\n", "a build")
	b = AppendNumber(AppendNumber(b, 0), 1<<31-1)
	b = AppendText(AppendText(AppendText(b, ""), strings.Repeat("long ", 100)), []byte("bytes"))
	b = AppendNumber(append(b, 7), 3)
	b = End(append(b, "abc"...), len("before"))
	r, err := Open(b[len("before"):], "form 1\n", "a build")
	if err != nil {
		t.Fatal(err)
	}
	if x, y := r.Number(), r.Number(); x != 0 || y != 1<<31-1 {
		t.Errorf("numbers %d and %d", x, y)
	}
	if x, y, z := r.Text(), r.Text(), r.Text(); x != "" || y != strings.Repeat("long ", 100) || z != "bytes" {
		t.Errorf("texts %q, %q and %q", x, y, z)
	}
	if x, n := r.Byte(), r.Count(); x != 7 || n != 3 || r.Take(n) != "abc" {
		t.Errorf("byte %d, count %d", x, n)
	}
	if r.Bad || r.Rest != "" {
		t.Errorf("bad %t, %q is left", r.Bad, r.Rest)
	}
	if r.Byte(); !r.Bad {
		t.Error("there was something after the end")
	}
}

func TestWhatDoesNotFitIsRefused(t *testing.T) {
	whole := End(AppendText(Begin(nil, "form 1\n", "one"), "text"), 0)
	if _, err := Open(whole, "form 2\n", "one"); err == nil {
		t.Error("another form was taken")
	}
	if _, err := Open(whole, "form 1\n", "two"); err == nil {
		t.Error("another build was taken")
	}
	for i := range whole {
		damaged := append([]byte(nil), whole...)
		damaged[i] ^= 4
		if _, err := Open(damaged, "form 1\n", "one"); err == nil {
			t.Errorf("damage at %d was not seen", i)
		}
		if _, err := Open(whole[:i], "form 1\n", "one"); err == nil {
			t.Errorf("the first %d bytes were taken for all", i)
		}
	}
	if _, err := Open(End([]byte("form 1\n\xff"), 0), "form 1\n", "one"); !errors.Is(err, ErrDamaged) {
		t.Errorf("a build that is not there: %v", err)
	}
	for name, read := range map[string]func(*Reader){
		"a text beyond the end":     func(r *Reader) { r.Text() },
		"more things than bytes":    func(r *Reader) { r.Count() },
		"less than nothing":         func(r *Reader) { r.Take(-1) },
		"a number that goes on":     func(r *Reader) { *r = Reader{Rest: "\xff\xff\xff\xff\xff\xff"}; r.Number() },
		"a number beyond the limit": func(r *Reader) { *r = Reader{Rest: "\x80\x80\x80\x80\x08"}; r.Number() },
	} {
		r := Reader{Rest: "\x05abc"}
		if read(&r); !r.Bad || r.Rest != "" {
			t.Errorf("%s was read: %q is left", name, r.Rest)
		}
	}
}
