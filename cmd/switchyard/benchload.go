package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// benchmark is the load of switchyard bench. The ids of its events say when
// they were sent.
type benchmark struct {
	*benchFlags
	events atomic.Int64 // ever made

	late     latencies // of what was received
	arrived  atomic.Int64
	received chan struct{} // something was
}

// sync appends events to a file and syncs each.
func (b *benchmark) sync(ctx context.Context, file string) (p benchPart, err error) {
	f, err := os.Create(file)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(file)) }()
	var times latencies
	event := make([]byte, b.size)
	began := time.Now()
	for end := began.Add(time.Duration(b.duration)); time.Now().Before(end) && ctx.Err() == nil; {
		at := time.Now()
		if _, err := f.Write(event); err != nil {
			return p, err
		}
		if err := f.Sync(); err != nil {
			return p, err
		}
		times.add(time.Since(at))
	}
	return times.part(time.Since(began)), ctx.Err()
}

// publish lets the clients send requests one after the other. The times are of
// requests, the rate is of events.
func (b *benchmark) publish(ctx context.Context, url string) (benchPart, error) {
	var times latencies
	began := time.Now()
	end := began.Add(time.Duration(b.duration))
	err := b.eachClient(ctx, func(ctx context.Context, c *benchClient, _ int) error {
		for time.Now().Before(end) && ctx.Err() == nil {
			at := time.Now()
			if err := c.post(ctx, url, at); err != nil {
				return err
			}
			times.add(time.Since(at))
		}
		return ctx.Err()
	})
	p := times.part(time.Since(began))
	p.PerSecond *= float64(b.batch)
	return p, err
}

// through publishes events that are delivered, as fast as clients can or at a
// rate of so many a second, and waits for the last. The times are from when an
// event was to be sent to its receipt.
func (b *benchmark) through(ctx context.Context, server string, rate int) (benchPart, error) {
	b.late.reset()
	b.arrived.Store(0)
	var sent atomic.Int64
	began := time.Now()
	end := began.Add(time.Duration(b.duration))
	err := b.eachClient(ctx, func(ctx context.Context, c *benchClient, client int) error {
		for n := client; ctx.Err() == nil; n += b.clients {
			at := time.Now()
			if rate > 0 {
				at = began.Add(time.Duration(n) * time.Duration(b.batch) * time.Second / time.Duration(rate))
				if at.Before(end) && !sleepUntil(ctx, at) {
					break
				}
			}
			if !at.Before(end) {
				return nil
			}
			if err := c.post(ctx, server+"/v1/buses/"+benchDelivered+"/events", at); err != nil {
				return err
			}
			sent.Add(int64(b.batch))
		}
		return ctx.Err()
	})
	if err == nil {
		err = b.await(ctx, sent.Load())
	}
	return b.late.part(time.Since(began)), err
}

// benchPatience is how long nothing may arrive before bench gives up.
const benchPatience = 30 * time.Second

// await waits until so many events were received.
func (b *benchmark) await(ctx context.Context, n int64) error {
	for b.arrived.Load() < n {
		select {
		case <-b.received:
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(benchPatience):
			return fmt.Errorf("%d of %d events were delivered, and no more for %v", b.arrived.Load(), n, benchPatience)
		}
	}
	return nil
}

// receive is the receiver of what is delivered.
func (b *benchmark) receive(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.WriteHeader(http.StatusNoContent)
	nanos, _, _ := strings.Cut(r.Header.Get("Ce-Id"), "-")
	sent, err := strconv.ParseInt(nanos, 10, 64)
	if err != nil {
		return // no event of ours
	}
	b.late.add(time.Since(time.Unix(0, sent)))
	b.arrived.Add(1)
	select {
	case b.received <- struct{}{}:
	default:
	}
}

// eachClient runs clients beside each other; the first error ends all.
func (b *benchmark) eachClient(ctx context.Context, work func(ctx context.Context, c *benchClient, client int) error) error {
	transport := &http.Transport{MaxIdleConnsPerHost: b.clients, DisableCompression: true}
	defer transport.CloseIdleConnections()
	g, ctx := errgroup.WithContext(ctx)
	for i := range b.clients {
		g.Go(func() error {
			return work(ctx, &benchClient{benchmark: b, http: &http.Client{Transport: transport}}, i)
		})
	}
	return g.Wait()
}

func sleepUntil(ctx context.Context, at time.Time) bool {
	select {
	case <-time.After(time.Until(at)):
		return true
	case <-ctx.Done():
		return false
	}
}

// benchClient publishes, one request at a time.
type benchClient struct {
	*benchmark
	http *http.Client
	body []byte
}

// post publishes a batch of events that are to be sent at a time.
func (c *benchClient) post(ctx context.Context, url string, at time.Time) error {
	media := "application/cloudevents+json"
	c.body = c.body[:0]
	if c.batch > 1 {
		media = "application/cloudevents-batch+json"
		c.body = append(c.body, '[')
	}
	for i := range c.batch {
		if i > 0 {
			c.body = append(c.body, ',')
		}
		c.body = c.event(c.body, at)
	}
	if c.batch > 1 {
		c.body = append(c.body, ']')
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(c.body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", media)
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	if err == nil && res.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("publishing was answered %s: %s", res.Status, firstOf(500, answer))
	}
	return err
}

// event appends an event, with data that makes it as long as was asked for.
func (c *benchClient) event(dst []byte, at time.Time) []byte {
	start := len(dst)
	dst = append(dst, `{"specversion":"1.0","id":"`...)
	dst = strconv.AppendInt(dst, at.UnixNano(), 10)
	dst = append(dst, '-')
	dst = strconv.AppendInt(dst, c.events.Add(1), 10)
	dst = append(dst, `","source":"/bench","type":"bench","data":"`...)
	const end = `"}`
	for len(dst)-start+len(end) < int(c.size) {
		dst = append(dst, 'x')
	}
	return append(dst, end...)
}

// latencies counts times in buckets that are 3% wide, so that any number of them
// takes the same memory. It is safe for concurrent use.
type latencies struct {
	mu      sync.Mutex
	buckets [60 * bucketsPerPower]int64
	count   int64
	most    time.Duration
}

const bucketsPerPower = 32

// bucketOf is the bucket of a time: the power of two that it reaches, and the
// next five bits.
func bucketOf(d time.Duration) int {
	n := uint64(max(d, 0))
	if n < bucketsPerPower {
		return int(n)
	}
	power := bits.Len64(n) - 1
	return (power-4)*bucketsPerPower + int(n>>(power-5))&(bucketsPerPower-1)
}

// bucketEnd is the longest time in a bucket.
func bucketEnd(i int) time.Duration {
	if i < bucketsPerPower {
		return time.Duration(i)
	}
	power := i/bucketsPerPower + 4
	return time.Duration(uint64(bucketsPerPower+i%bucketsPerPower+1)<<(power-5) - 1)
}

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buckets[bucketOf(d)]++
	l.count++
	l.most = max(l.most, d)
}

func (l *latencies) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buckets, l.count, l.most = [len(l.buckets)]int64{}, 0, 0
}

// percentile is the time that a share of all stay within.
func (l *latencies) percentile(share float64) time.Duration {
	left := int64(share * float64(l.count))
	for i, n := range l.buckets {
		if left -= n; left < 0 {
			return min(bucketEnd(i), l.most)
		}
	}
	return l.most
}

// part sums up what took so long in all.
func (l *latencies) part(took time.Duration) benchPart {
	l.mu.Lock()
	defer l.mu.Unlock()
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return benchPart{PerSecond: float64(l.count) / took.Seconds(), P50: ms(l.percentile(0.5)), P99: ms(l.percentile(0.99)), Max: ms(l.most)}
}
