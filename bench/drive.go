package main

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// worker makes one call and says how many events it brought in.
type worker func() (events int, err error)

// tally is what drive counted.
type tally struct {
	events  int64
	elapsed time.Duration
	times   []time.Duration // of calls, in order of length
}

// drive lets workers call over and over for d, each waiting for its answer
// before it calls again. All calls that were begun are counted, and the time
// until the last of them was answered.
func drive(ctx context.Context, workers []worker, d time.Duration) (*tally, error) {
	counts := make([]int64, len(workers))
	times := make([][]time.Duration, len(workers))
	var g errgroup.Group
	began := time.Now()
	for i, call := range workers {
		g.Go(func() error {
			var count int64
			own := make([]time.Duration, 0, 1<<12)
			defer func() { counts[i], times[i] = count, own }()
			for at := time.Now(); at.Sub(began) < d && ctx.Err() == nil; {
				got, err := call()
				if err != nil {
					return err
				}
				end := time.Now()
				own = append(own, end.Sub(at))
				count += int64(got)
				at = end
			}
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	t := &tally{elapsed: time.Since(began), times: slices.Concat(times...)}
	for _, c := range counts {
		t.events += c
	}
	slices.Sort(t.times)
	return t, nil
}

// measures are the rate and the percentiles.
func (t *tally) measures() measures {
	return measures{
		counted:   float64(t.events),
		perSecond: float64(t.events) / t.elapsed.Seconds(),
		p50:       percentile(t.times, 0.50),
		p99:       percentile(t.times, 0.99),
	}
}

// percentile is a quantile of sorted times, in milliseconds.
func percentile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1)+0.5)].Seconds() * 1e3
}
