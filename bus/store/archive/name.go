package archive

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store/objects"
)

// Segment is one object of an archive.
type Segment struct {
	Object      string    // its name
	First, Last uint64    // sequences
	From, To    time.Time // recorded times of these; zero of a gap
	Bytes       int64     // of the object
	Timelines   int64     // bytes of the object with the timelines of its events; 0 while there is none
	Gap         bool      // it only says that these events were removed before they could be archived
}

const (
	segmentSuffix   = ".sya"
	timelinesSuffix = ".syt"
	gapSuffix       = ".gap"
)

// nameOf is a segment's object. The sequences come first and have all their
// digits, so that names are in order.
func nameOf(prefix string, g Segment) string {
	if g.Gap {
		return fmt.Sprintf("%s%020d-%020d%s", prefix, g.First, g.Last, gapSuffix)
	}
	return fmt.Sprintf("%s%020d-%020d-%d-%d%s", prefix, g.First, g.Last, g.From.UnixNano(), g.To.UnixNano(), segmentSuffix)
}

// parseName reads what a name says; ok is false if it is not a segment's.
func parseName(prefix, name string) (g Segment, ok bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return g, false
	}
	g.Object = name
	want := 4
	switch {
	case strings.HasSuffix(rest, gapSuffix):
		rest, g.Gap, want = strings.TrimSuffix(rest, gapSuffix), true, 2
	case strings.HasSuffix(rest, segmentSuffix):
		rest = strings.TrimSuffix(rest, segmentSuffix)
	default:
		return g, false
	}
	parts := strings.Split(rest, "-")
	if len(parts) != want || len(parts[0]) != 20 || len(parts[1]) != 20 {
		return g, false
	}
	var n [4]uint64
	for i, p := range parts {
		v, err := strconv.ParseUint(p, 10, 64)
		if err != nil || i > 1 && v > 1<<63-1 {
			return g, false
		}
		n[i] = v
	}
	g.First, g.Last = n[0], n[1]
	if !g.Gap {
		g.From, g.To = time.Unix(0, int64(n[2])), time.Unix(0, int64(n[3]))
	}
	return g, g.First > 0 && g.First <= g.Last
}

// Prefixes lists what the names of segments in a storage begin with, one for
// each bus of each data folder that wrote there: BUS/FOLDER-NUMBER/. bus "" is
// every bus.
func Prefixes(ctx context.Context, from objects.Storage, bus string) ([]string, error) {
	under := ""
	if bus != "" {
		under = bus + "/"
	}
	var found []string
	for after := ""; ; {
		page, err := from.List(ctx, under, after, 1)
		if err != nil || len(page) == 0 {
			return found, err
		}
		name := page[0].Name
		after = name
		parts := strings.Split(name, "/")
		if len(parts) != 3 {
			continue // not ours
		}
		prefix := parts[0] + "/" + parts[1] + "/"
		if _, ok := parseName(prefix, name); ok {
			found = append(found, prefix)
			after = prefix + "~" // behind every name that begins so
		}
	}
}

// List lists the segments of one bus under prefix, which ends with a slash, in
// order. One whose events others have as well, which a lost answer can bring
// about, is left out.
func List(ctx context.Context, from objects.Storage, prefix string) ([]Segment, error) {
	var segments []Segment
	for after := ""; ; {
		page, err := from.List(ctx, prefix, after, objects.MaxList)
		if err != nil {
			return nil, err
		}
		for _, o := range page {
			n := len(segments)
			if n > 0 && o.Name == segments[n-1].timelinesObject() {
				segments[n-1].Timelines = o.Size
				continue
			}
			g, ok := parseName(prefix, o.Name)
			if !ok {
				continue
			}
			g.Bytes = o.Size
			switch {
			case n > 0 && g.First == segments[n-1].First && g.Last > segments[n-1].Last:
				segments[n-1] = g // the longer one has all of it
			case n == 0 || g.First > segments[n-1].Last:
				segments = append(segments, g)
			case g.Last > segments[n-1].Last:
				return nil, fmt.Errorf("objects %q and %q in %s share events; two servers must not archive to one place", segments[n-1].Object, g.Object, from)
			}
		}
		if len(page) < objects.MaxList {
			return segments, nil
		}
		after = page[len(page)-1].Name
	}
}
