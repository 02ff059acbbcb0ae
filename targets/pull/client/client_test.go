package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/switchyard-dev/switchyard/api"
	"github.com/switchyard-dev/switchyard/bus"
	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/targets/pull"
	"github.com/switchyard-dev/switchyard/targets/pull/client"
)

// switchyard is a server in this process, with a bus "orders" and a rule "all"
// to the pull target "workers", the broadcast "caches" and "other", which is of
// another kind.
type switchyard struct {
	url    string
	engine *bus.Engine
	stop   func()
}

type other struct{}

func (other) Start(context.Context) error                      { return nil }
func (other) Deliver(context.Context, *targets.Delivery) error { return nil }
func (other) Close() error                                     { return nil }

// start starts a server with its data in dir.
func start(dir string, lease time.Duration, policy bus.TargetPlan) (*switchyard, error) {
	st, err := embedded.Open(embedded.Options{Dir: dir, DiskReserve: -1})
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	engine, err := bus.New(bus.Options{Store: st, Registry: registry})
	if err != nil {
		return nil, err
	}
	env, err := rules.NewEnv()
	if err != nil {
		return nil, err
	}
	every, err := env.Compile(rules.Filter{})
	if err != nil {
		return nil, err
	}
	build := func(broadcast bool) targets.Target {
		config := pull.NewConfig()
		config.Lease, config.Broadcast = component.Duration(lease), broadcast
		built, _ := config.Build(targets.Env{})
		return built
	}
	shared, broadcast := policy, policy
	shared.Target, broadcast.Target = build(false), build(true)
	err = engine.Apply(context.Background(), bus.Plan{
		Buses:   map[string]bus.BusPlan{"orders": {}},
		Rules:   map[string]bus.RulePlan{"all": {Bus: "orders", Matcher: every, Targets: []string{"workers", "caches", "other"}}},
		Targets: map[string]bus.TargetPlan{"workers": shared, "caches": broadcast, "other": {Target: other{}}},
	})
	if err != nil {
		return nil, err
	}
	server, err := api.New(api.Options{Engine: engine, Rules: env, Registry: registry, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Version: "test"})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); engine.Run(ctx) }()
	web := httptest.NewServer(server)
	return &switchyard{url: web.URL, engine: engine, stop: sync.OnceFunc(func() {
		server.Shutdown()
		web.Close()
		cancel()
		<-done
		engine.Close()
		st.Close()
	})}, nil
}

func started(t *testing.T, lease time.Duration, policy bus.TargetPlan) *switchyard {
	t.Helper()
	s, err := start(t.TempDir(), lease, policy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	return s
}

// publish publishes events with these ids.
func (s *switchyard) publish(ids ...string) {
	for _, id := range ids {
		b := event.NewBuilder()
		err := errors.Join(b.Set("id", event.StringValue(id)), b.Set("source", event.StringValue("/shop")), b.Set("type", event.StringValue("com.example.order")),
			b.Set("subject", event.StringValue("key"+id[len(id)-1:])))
		ev, err2 := b.Build()
		if err = errors.Join(err, err2); err == nil {
			_, err = s.engine.Publish(context.Background(), []bus.Publication{{Bus: "orders", Event: ev}}, bus.PublishOptions{Via: "test"})
		}
		if err != nil {
			panic(err)
		}
	}
}

func (s *switchyard) client(t *testing.T, target string, opts client.Options) *client.Client {
	t.Helper()
	if opts.OnError == nil {
		opts.OnError = func(err error) { t.Log(err) }
	}
	c, err := client.New(s.url, "all", target, opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *switchyard) info(t *testing.T, target string) store.SubscriptionInfo {
	t.Helper()
	info, err := s.engine.FindSubscription("all", target)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestReceiveWaitsForADeliveryWhichIsAcknowledged(t *testing.T) {
	s := started(t, time.Minute, bus.TargetPlan{})
	c := s.client(t, "workers", client.Options{Consumer: "w", Wait: 50 * time.Millisecond})
	time.AfterFunc(200*time.Millisecond, func() { s.publish("1") })
	ctx := within(t)
	d, err := c.Receive(ctx)
	if err != nil || d.Event.ID() != "1" || d.Event.Source() != "/shop" || d.Attempt != 1 || d.Lasts != time.Minute || d.ID == "" {
		t.Fatalf("received %+v, %v", d, err)
	}
	if got, err := c.Extend(ctx, d.Lease); err != nil || len(got.Valid) != 1 {
		t.Errorf("extending: %+v, %v", got, err)
	}
	if got, err := c.NackAfter(ctx, 0, strings.Repeat("ü", 400), d.Lease); err != nil || len(got.Valid) != 1 {
		t.Errorf("giving back: %+v, %v", got, err)
	}
	again, err := c.Receive(ctx)
	if err != nil || again.ID != d.ID || again.Attempt != 2 {
		t.Fatalf("received %+v, %v", again, err)
	}
	got, err := c.Ack(ctx, d.Lease, again.Lease)
	if err != nil || len(got.Valid) != 1 || got.Valid[0] != again.Lease || len(got.Invalid) != 1 {
		t.Errorf("acknowledging: %+v, %v", got, err)
	}
}

func TestRunSharesTheWorkInOrderAndTriesAgainWhatFails(t *testing.T) {
	s := started(t, time.Minute, bus.TargetPlan{Order: store.OrderKey, Retry: bus.RetryPolicy{Attempts: 100, Initial: time.Millisecond, Max: time.Millisecond}})
	const events = 60
	for i := range events {
		s.publish(fmt.Sprintf("%03d", i))
	}
	ctx, cancel := context.WithCancel(within(t))
	var mu sync.Mutex
	last, done, calls := map[string]string{}, 0, 0
	handle := func(_ context.Context, d client.Delivery) error {
		time.Sleep(time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		switch calls++; {
		case calls%5 == 0:
			return &client.RetryAfter{After: time.Millisecond, Err: errors.New("busy")}
		case calls%7 == 0:
			panic("a bug")
		}
		key, id := d.Event.Subject(), d.Event.ID()
		if id <= last[key] {
			t.Errorf("event %s came after event %s of its key", id, last[key])
		}
		last[key] = id
		if done++; done == events {
			time.AfterFunc(200*time.Millisecond, cancel) // lets the last be acknowledged
		}
		return nil
	}
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		c := s.client(t, "workers", client.Options{Consumer: name, OnError: func(error) {}})
		wg.Go(func() {
			if err := c.Run(ctx, 4, handle); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if info := s.info(t, "workers"); done != events || info.Depth != 0 {
		t.Errorf("%d of %d events were worked on; %d are left", done, events, info.Depth)
	}
}

func TestRunExtendsALeaseWhileTheHandlerWorks(t *testing.T) {
	s := started(t, time.Second, bus.TargetPlan{})
	s.publish("1")
	ctx, cancel := context.WithCancel(within(t))
	c := s.client(t, "workers", client.Options{})
	attempts := 0
	err := c.Run(ctx, 2, func(ctx context.Context, d client.Delivery) error {
		attempts++
		select {
		case <-time.After(2500 * time.Millisecond):
		case <-ctx.Done():
			t.Error("the lease was lost")
		}
		time.AfterFunc(200*time.Millisecond, cancel)
		return nil
	})
	if info := s.info(t, "workers"); err != nil || attempts != 1 || info.Depth != 0 {
		t.Errorf("%d attempts, %d left, %v", attempts, info.Depth, err)
	}
}

func TestAHandlerIsToldWhenItsLeaseIsLost(t *testing.T) {
	s := started(t, time.Second, bus.TargetPlan{})
	s.publish("1")
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	var cut atomic.Bool
	c := s.client(t, "workers", client.Options{HTTP: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if cut.Load() && strings.HasSuffix(r.URL.Path, "/extend") {
			return nil, errors.New("the network is down")
		}
		return http.DefaultTransport.RoundTrip(r)
	})}})
	attempts := 0
	err := c.Run(ctx, 1, func(ctx context.Context, d client.Delivery) error {
		if attempts++; attempts == 2 {
			time.AfterFunc(200*time.Millisecond, cancel)
			return nil
		}
		cut.Store(true)
		<-ctx.Done()
		return ctx.Err()
	})
	if info := s.info(t, "workers"); err != nil || attempts != 2 || info.Depth != 0 {
		t.Errorf("%d attempts, %d left, %v", attempts, info.Depth, err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestRunThatEndsGivesBackWhatItWorksOn(t *testing.T) {
	s := started(t, time.Hour, bus.TargetPlan{})
	s.publish("1")
	ctx, cancel := context.WithCancel(within(t))
	c := s.client(t, "workers", client.Options{Consumer: "first"})
	err := c.Run(ctx, 1, func(ctx context.Context, d client.Delivery) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	if err != nil {
		t.Error(err)
	}
	if d, err := c.Receive(within(t)); err != nil || d.Attempt != 2 {
		t.Errorf("received %+v, %v", d, err)
	}
}

func TestWhatWaitsForABusyWorkerIsGivenBackToOthers(t *testing.T) {
	s := started(t, time.Hour, bus.TargetPlan{})
	for i := range 20 {
		s.publish(fmt.Sprintf("%03d", i))
	}
	ctx, cancel := context.WithCancel(within(t))
	blocked := make(chan struct{})
	var calls, done atomic.Int32
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { // is quick, so that it receives ahead, and then is not
		c := s.client(t, "workers", client.Options{Consumer: "busy", OnError: func(error) {}})
		_ = c.Run(ctx, 1, func(ctx context.Context, d client.Delivery) error {
			done.Add(1)
			if calls.Add(1) == 10 {
				close(blocked)
				<-ctx.Done()
			}
			return nil
		})
	})
	<-blocked
	finished := make(chan struct{})
	wg.Go(func() {
		c := s.client(t, "workers", client.Options{Consumer: "free", OnError: func(error) {}})
		_ = c.Run(ctx, 1, func(ctx context.Context, d client.Delivery) error {
			if done.Add(1) == 20 {
				close(finished)
			}
			return nil
		})
	})
	select {
	case <-finished:
	case <-ctx.Done():
		t.Errorf("%d of 20 events were worked on while one worker was busy", done.Load())
	}
}

func TestRunEndsWhenTheServerRefuses(t *testing.T) {
	s := started(t, time.Minute, bus.TargetPlan{})
	for target, want := range map[string]int{"other": 409, "none": 404, "caches": 400} {
		err := s.client(t, target, client.Options{}).Run(within(t), 3, func(context.Context, client.Delivery) error { return nil })
		var refused *client.Error
		if !errors.As(err, &refused) || refused.Status != want {
			t.Errorf("running on %s: %v, want status %d", target, err, want)
		}
	}
}

func TestRunGoesOnWhenTheServerIsBack(t *testing.T) {
	dir := t.TempDir()
	s, err := start(dir, time.Minute, bus.TargetPlan{})
	if err != nil {
		t.Fatal(err)
	}
	s.publish("1", "2")
	var at atomic.Pointer[switchyard]
	at.Store(s)
	c := s.client(t, "workers", client.Options{HTTP: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		r.URL.Host = strings.TrimPrefix(at.Load().url, "http://")
		return http.DefaultTransport.RoundTrip(r)
	})}})
	ctx, cancel := context.WithCancel(within(t))
	seen := make(chan string, 10)
	done := make(chan error)
	go func() {
		done <- c.Run(ctx, 1, func(_ context.Context, d client.Delivery) error { seen <- d.Event.ID(); return nil })
	}()
	<-seen
	<-seen
	s.stop()
	s, err = start(dir, time.Minute, bus.TargetPlan{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	at.Store(s)
	s.publish("3")
	for id := range seen { // one of those before may come again
		if id == "3" {
			break
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestEachConsumerOfABroadcastIsServed(t *testing.T) {
	s := started(t, time.Minute, bus.TargetPlan{})
	a := s.client(t, "caches", client.Options{Consumer: "a", Wait: time.Second})
	b := s.client(t, "caches", client.Options{Consumer: "b", Wait: time.Second})
	for _, c := range []*client.Client{a, b} {
		if ds, err := c.ReceiveUpTo(within(t), 1); err != nil || len(ds) != 0 {
			t.Fatalf("received %v, %v", ds, err)
		}
	}
	s.publish("1")
	for _, c := range []*client.Client{a, b} {
		if d, err := c.Receive(within(t)); err != nil || d.Event.ID() != "1" {
			t.Errorf("received %+v, %v", d, err)
		}
	}
}

func TestAClientIsRefusedWhatCannotWork(t *testing.T) {
	for _, c := range [][3]string{{"", "r", "t"}, {"127.0.0.1:8080", "r", "t"}, {"ftp://x", "r", "t"}, {"http://x", "", "t"}, {"http://x", "r", ""}} {
		if _, err := client.New(c[0], c[1], c[2], client.Options{}); err == nil {
			t.Errorf("a client of %q was made", c)
		}
	}
	if _, err := client.New("http://x", "r", "t", client.Options{Wait: 2 * time.Minute}); err == nil {
		t.Error("a wait of two minutes was accepted")
	}
}
