package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// mood is how a receiver behaves.
type mood string

const (
	isWell     mood = "well"
	isFailing  mood = "500"
	isFlaky    mood = "flaky" // 500 to some
	isLimiting mood = "429"   // with Retry-After, to some
	isPicky    mood = "picky" // 400 to some events, for good
	isSlow     mood = "slow"
	isHanging  mood = "hangs"       // and then cuts the connection
	isCutting  mood = "cuts off"    // in the middle of the status line
	isUnclear  mood = "half answer" // 200, and cuts the connection in the body
	isRefusing mood = "refuses"     // connections
)

// moods are those of a target that is broken.
func moods() []mood {
	return []mood{isFailing, isFlaky, isLimiting, isPicky, isSlow, isHanging, isCutting, isUnclear, isRefusing}
}

// receiver is where the deliveries of one subscription go. It keeps what it
// sees in the history.
type receiver struct {
	sub     string
	history *history
	pace    pace

	mu     sync.Mutex
	random *rand.Rand
	mood   mood

	server   *http.Server // nil without a listener
	addr     string
	listener net.Listener
	serving  sync.WaitGroup
}

func newReceiver(sub string, h *history, p pace, seed, n uint64) *receiver {
	return &receiver{sub: sub, history: h, pace: p, random: rand.New(rand.NewPCG(seed, n)), mood: isWell}
}

// listen serves HTTP on loopback.
func (r *receiver) listen() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	r.addr = l.Addr().String()
	r.server = &http.Server{Handler: r}
	r.serve(l)
	return nil
}

func (r *receiver) serve(l net.Listener) {
	r.listener = l
	r.serving.Go(func() { _ = r.server.Serve(l) })
}

// close ends it; what is under way is cut off.
func (r *receiver) close() error {
	if r.server == nil {
		return nil
	}
	err := r.server.Close()
	r.serving.Wait()
	return err
}

// set changes its mood.
func (r *receiver) set(m mood) error {
	r.mu.Lock()
	was := r.mood
	r.mood = m
	r.mu.Unlock()
	switch {
	case r.server == nil:
	case m == isRefusing && was != isRefusing:
		r.listener.Close()
	case m != isRefusing && was == isRefusing:
		var l net.Listener
		var err error
		for range 100 { // another may have the port for a moment
			if l, err = net.Listen("tcp", r.addr); err == nil {
				r.serve(l)
				return nil
			}
			time.Sleep(20 * time.Millisecond)
		}
		return fmt.Errorf("receiver of %s: listen on %s again: %w", r.sub, r.addr, err)
	}
	return nil
}

// verdict is what becomes of a request.
type verdict struct {
	outcome outcome
	how     mood          // with what answer
	takes   time.Duration // until then
}

// decide says what becomes of a request of n events, of which id is the first.
func (r *receiver) decide(id string, n int) verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	chance := r.random.IntN(10)
	takes := time.Duration(r.random.Int64N(int64(r.pace.slow)))
	switch m := r.mood; {
	case m == isFailing, m == isRefusing, m == isCutting:
		return verdict{failed, m, 0}
	case m == isFlaky && chance < 4:
		return verdict{failed, isFailing, takes / 4}
	case m == isLimiting && chance < 4:
		return verdict{failed, m, 0}
	case m == isHanging:
		return verdict{failed, m, r.pace.hang}
	case m == isUnclear:
		return verdict{unclear, m, 0}
	case m == isSlow:
		return verdict{taken, isWell, takes}
	case m == isPicky && n == 1 && int(id[len(id)-1])%5 == 0:
		return verdict{refused, m, 0}
	}
	return verdict{taken, isWell, 0}
}

// wait passes the time that a verdict takes; false says that the sender gave up.
func (v verdict) wait(ctx context.Context) bool {
	if v.takes <= 0 {
		return ctx.Err() == nil
	}
	return pause(ctx, v.takes) == nil
}

// member is an event in a batched request.
type member struct {
	ID       string `json:"id"`
	Delivery string `json:"deliveryid"`
	Replay   string `json:"replayname"`
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	began := time.Now()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender was killed
	}
	tries := []attempt{{sub: r.sub, event: req.Header.Get("Ce-Id"), delivery: req.Header.Get("Webhook-Id"), replay: req.Header.Get("Ce-Replayname")}}
	if strings.HasPrefix(req.Header.Get("Content-Type"), "application/cloudevents-batch") {
		var members []member
		if err := json.Unmarshal(body, &members); err != nil || len(members) == 0 {
			r.history.wrong("format", "subscription %s was sent a batch that cannot be read: %v", r.sub, err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		tries = tries[:0]
		for _, m := range members {
			tries = append(tries, attempt{sub: r.sub, event: m.ID, delivery: m.Delivery, replay: m.Replay})
		}
	}
	v := r.decide(tries[0].event, len(tries))
	if !v.wait(req.Context()) {
		v = verdict{failed, isHanging, 0}
	}
	redriven := req.Header.Get("Switchyard-Redriven") != ""
	nanos, err := strconv.ParseInt(req.Header.Get(lifeHeader), 10, 64)
	if err != nil {
		r.history.wrong("format", "subscription %s was sent a request without the header %s of its target", r.sub, lifeHeader)
	}
	life := time.Unix(0, nanos)
	now := time.Now()
	for _, a := range tries {
		a.silent = v.how == isHanging
		a.life, a.began, a.ended, a.outcome, a.redriven = life, began, now, v.outcome, redriven
		r.history.attempted(a)
	}
	r.answer(w, v)
}

// answer sends what a verdict says.
func (r *receiver) answer(w http.ResponseWriter, v verdict) {
	switch v.how {
	case isFailing, isRefusing:
		w.WriteHeader(http.StatusInternalServerError)
	case isLimiting:
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(r.pace.retryAfter.Seconds()))))
		w.WriteHeader(http.StatusTooManyRequests)
	case isPicky:
		w.WriteHeader(http.StatusBadRequest)
	case isHanging:
		cut(w, "")
	case isCutting:
		cut(w, "HTTP/1.1 2")
	case isUnclear:
		cut(w, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Type: text/plain\r\n\r\nhalf of")
	}
}

// cut sends some bytes and ends the connection.
func cut(w http.ResponseWriter, bytes string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, _ = io.WriteString(conn, bytes)
	conn.Close()
}

// receivers are all of a world, by subscription.
type receivers map[string]*receiver

func newReceivers(all []route, h *history, p pace, seed uint64) receivers {
	rs := receivers{}
	for i, r := range all {
		if r.into == "" {
			rs[r.name] = newReceiver(r.name, h, p, seed, uint64(i)+100)
		}
	}
	return rs
}

// names are the subscriptions with receivers, in order.
func (rs receivers) names() []string {
	names := make([]string, 0, len(rs))
	for name := range rs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
