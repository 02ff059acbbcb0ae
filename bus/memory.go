package bus

import (
	"runtime"
	rtmetrics "runtime/metrics"
	"time"
)

// neededMemory is what the process needs, in bytes: what the Go runtime has
// from the system, without free pages and without garbage that was not
// collected yet. With GOMEMLIMIT set the heap may be as large as that all the
// time, so its size tells nothing.
func neededMemory() int64 {
	samples := []rtmetrics.Sample{
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	rtmetrics.Read(samples)
	v := func(i int) int64 { return int64(samples[i].Value.Uint64()) }
	return v(0) - v(1) - v(2) - v(3) - v(4) + min(v(4), v(5))
}

// collectGarbage brings up to date what memory is needed, now and then while
// it is why publishing is refused: what is refused allocates so little that no
// collection would come by itself.
func (p *pressure) collectGarbage(r *refusals) {
	if !p.collects || r == nil || r.all == nil || r.all.Limit != limitMemory || time.Since(p.collected) < collectEvery {
		return
	}
	runtime.GC()
	p.collected = time.Now()
}
