package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// consoleConfig has a rule that delivers, one whose receiver refuses, one of a
// pull target that nobody asks, and one that never matches.
const consoleConfig = `
version: 1
buses: {orders: {}, quiet: {}}
sources:
  legacy: {bus: quiet, nats: {url: "nats://127.0.0.1:1", subject: orders}}
rules:
  large:
    bus: orders
    when: event.type == "order.placed" && event.data.total > 100
    transform: {type: crm.order, data: {number: "${{ event.data.id }}"}}
    targets: [printed]
    tests:
      - {event: {type: order.placed, data: {id: 1, total: 150}}, expect: match}
  refunds:
    bus: orders
    pattern: {detail-type: [order.refunded]}
    targets: [ledger]
  jobs: {bus: orders, when: event.type == "job", targets: [workers]}
targets:
  printed: {log: {}}
  workers: {pull: {}}
  ledger: {http: {url: %q}}
`

// hostile is a text that does harm where it is taken for markup.
const hostile = `<img src=x onerror=document.title='owned'>`

// tab is a page of the console in a browser.
type tab struct {
	t   *testing.T
	ctx context.Context
	url string // of the server
}

// newTab starts a browser that is shared by the subtests; without Chromium the
// test skips.
func newTab(t *testing.T, url string) *tab {
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.DisableGPU, chromedp.ExecPath(chromium(t)))
	if os.Geteuid() == 0 {
		opts = append(opts, chromedp.NoSandbox) // which root cannot have
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	p := &tab{t, ctx, url}
	p.listen()
	return p
}

// chromium is the browser's program.
func chromium(t *testing.T) string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome", "headless-shell"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	require(t, false, "Chromium")
	return ""
}

// listen makes the test fail for what a browser complains of: errors of scripts,
// files that are not there, and what the content security policy forbids.
func (p *tab) listen() {
	var mu sync.Mutex
	var found []string
	messages := chromedp.Console(p.ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.Source == "network" && !strings.Contains(m.URL, "/console/") {
				continue // a call that failed, which the page shows
			}
			mu.Lock()
			if len(found) < 20 {
				found = append(found, fmt.Sprintf("%s (%s:%d)", m, m.URL, m.Line))
			}
			mu.Unlock()
		}
	}()
	p.t.Cleanup(func() { // before the browser ends
		mu.Lock()
		defer mu.Unlock()
		for _, m := range found {
			p.t.Errorf("the browser says: %s", m)
		}
	})
}

// in is the tab for a subtest.
func (p *tab) in(t *testing.T) *tab { return &tab{t, p.ctx, p.url} }

// open goes to a page of the console, as a link does.
func (p *tab) open(route string) {
	p.t.Helper()
	here, err := chromedp.Run(p.ctx, chromedp.Location())
	if err != nil {
		p.t.Fatal(err)
	}
	if !strings.HasPrefix(here, p.url) {
		p.do(chromedp.Navigate(p.url + "/console/" + route))
		return
	}
	p.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`new Promise((gone) => {
		addEventListener('hashchange', gone, {once: true});
		if (location.hash === %[1]q) dispatchEvent(new HashChangeEvent('hashchange'));
		else location.hash = %[1]q; })`, route), chromedp.EvalAwaitPromise))
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// eval runs JavaScript that gives a boolean.
func (p *tab) eval(script string, args ...any) bool {
	p.t.Helper()
	for i, a := range args {
		quoted, err := json.Marshal(a)
		if err != nil {
			p.t.Fatal(err)
		}
		args[i] = string(quoted)
	}
	ok, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool](fmt.Sprintf(script, args...)))
	if err != nil {
		p.t.Fatal(err)
	}
	return ok
}

// shown is what a person can read on the page.
func (p *tab) shown() string {
	p.t.Helper()
	text, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`document.body.innerText`))
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

// sees waits until the page shows all of the texts.
func (p *tab) sees(texts ...string) {
	p.t.Helper()
	p.until(func(shown string) string {
		for _, text := range texts {
			if !strings.Contains(shown, text) {
				return fmt.Sprintf("does not show %q", text)
			}
		}
		return ""
	})
}

// until waits until wrong has nothing to say of what the page shows.
func (p *tab) until(wrong func(shown string) string) {
	p.t.Helper()
	end := time.Now().Add(15 * time.Second)
	for {
		shown := p.shown()
		problem := wrong(shown)
		if problem == "" {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("the page %s; it shows:\n%s", problem, shown)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// click waits for the button with a text, in an open dialog if there is one, and
// clicks it.
func (p *tab) click(label string) {
	p.t.Helper()
	eventually(p.t, "a button "+label, 15*time.Second, func() bool {
		return p.eval(`(() => { const top = document.querySelector('dialog') ?? document;
			const b = [...top.querySelectorAll('button, summary, main a')].find((b) => b.textContent.startsWith(%s) && !b.disabled);
			b?.click(); return Boolean(b); })()`, label)
	})
}

// enter sets a field as if it was typed.
func (p *tab) enter(selector, value string) {
	p.t.Helper()
	eventually(p.t, "a field "+selector, 15*time.Second, func() bool {
		return p.eval(`(() => { const f = document.querySelector(%s); if (!f) return false;
			f.value = %s; f.dispatchEvent(new Event('input')); return true; })()`, selector, value)
	})
}

func TestTheConsole(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: it starts a browser")
	}
	chromium(t)
	var accepts atomic.Bool
	ledger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if accepts.Load() {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		http.Error(w, "no such account "+hostile, http.StatusUnprocessableEntity)
	}))
	t.Cleanup(ledger.Close)
	s := serve(t, t.TempDir(), fmt.Sprintf(consoleConfig, ledger.URL))
	publish := func(event string) {
		t.Helper()
		if status, body := s.call("POST", "/v1/buses/orders/events", structured, event); status != http.StatusAccepted {
			t.Fatalf("%d %s", status, body)
		}
	}
	publish(`{"specversion":"1.0","id":"a","source":"/shop","type":"order.placed","data":{"id":12345678901234567890,"total":150.50}}`)
	publish(`{"specversion":"1.0","id":"b","source":"/shop","type":"order.placed","data":{"id":8,"total":87}}`)
	for _, id := range []string{"c", "d", "e"} {
		publish(fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/shop","type":"order.refunded","subject":%q,"data":{"reason":%q}}`, id, hostile, hostile))
	}
	eventually(t, "three dead letters", 20*time.Second, func() bool {
		_, body := s.call("GET", "/v1/subscriptions/refunds/ledger", "", "")
		return strings.Contains(body, `"deadLetters":3`)
	})
	if !strings.Contains(s.stderr(), "console: "+s.url+"/console/") {
		t.Errorf("serve does not say where the console is:\n%s", s.stderr())
	}
	p := newTab(t, s.url)

	t.Run("an event shows its timeline, its data and the rules' reasons", func(t *testing.T) {
		p := p.in(t)
		p.open("#/events/orders/1")
		p.sees("Received over HTTP from 127.0.0.1, stored as #1 of orders", "1 rule matched, for 1 delivery", "large → printed",
			"Matched by version 1 of the rule", "Attempt 1: accepted", "Delivered,", `"id": 12345678901234567890`, `"total": 150.50`)
		p.click("Before and after the transform")
		p.sees(`"type": "crm.order"`, `"number": 12345678901234567890`)
		p.open("#/events/orders/2")
		p.sees("No rule matched", "does not match", "event.data.total > 100: total is 87")
	})
	t.Run("what users send is text and never markup", func(t *testing.T) {
		p := p.in(t)
		p.open("#/events/orders/3")
		p.sees(hostile, "422 Unprocessable Entity: no such account "+hostile, "Became a dead letter", "dead letter")
		if p.eval(`document.querySelector('main img') !== null || document.title.includes('owned')`) {
			t.Error("a text of an event became an element")
		}
	})
	t.Run("events are searched by the filters in the address, and arrive live", func(t *testing.T) {
		p := p.in(t)
		p.open("#/events/orders?when=event.data.total+%3C+100")
		p.sees("1 event shown", "#2")
		p.open("#/events/orders?status=dead&rule=refunds")
		p.sees("3 events shown", "refunds → ledger")
		p.open("#/events/orders?type=order.pl*")
		p.sees("2 events shown")
		if value := p.eval(`document.querySelector('[name=type]').value === 'order.pl*'`); !value {
			t.Error("the form does not show the filter of the address")
		}
		p.do(chromedp.Evaluate[chromedp.Void](`document.getElementById('live').click()`))
		p.sees("New events appear on top.")
		publish(`{"specversion":"1.0","id":"other","source":"/shop","type":"job"}`)
		publish(`{"specversion":"1.0","id":"live-1","source":"/shop","type":"order.placed","data":{"id":9,"total":1}}`)
		p.sees("live-1", "Live: at most the last")
		if strings.Contains(p.shown(), "other") {
			t.Error("an event that the filter leaves out arrived")
		}
		p.open("#/events/orders?when=event.data.total+%3E%3E+1")
		p.sees("the filter does not compile")
	})
	t.Run("the overview begins with what needs attention", func(t *testing.T) {
		p := p.in(t)
		p.open("#/")
		p.sees("Needs attention", "3 dead letters", "refunds/ledger", "source legacy", "connection refused", "jobs → workers")
		p.click("Redrive or purge")
		p.sees("refunds → ledger", "Redrive all (3)")
	})
	t.Run("a subscription is paused and resumed", func(t *testing.T) {
		p := p.in(t)
		p.open("#/subscriptions/large/printed")
		p.click("Pause…")
		p.enter("#reason", "maintenance")
		p.click("Pause")
		p.sees("paused", "maintenance")
		p.click("Resume")
		p.sees("active")
	})
	t.Run("what goes wrong is shown with what to do", func(t *testing.T) {
		p := p.in(t)
		p.open("#/subscriptions/large/printed")
		p.click("Seek…")
		p.enter("#place", "nowhere")
		p.click("Move")
		p.sees("Bad Request", "give a sequence from 1 on", "/to: not a place")
		p.open("#/events/orders/999999")
		p.sees("Not Found", `bus "orders" has no event with sequence 999999`, "Try again")
	})
	t.Run("dead letters are redriven and purged", func(t *testing.T) {
		p := p.in(t)
		p.open("#/subscriptions/refunds/ledger")
		p.sees("Redrive all (3)")
		p.click("Attempts and event")
		p.sees("Attempt 1: 422")
		accepts.Store(true)
		p.click("Redrive")
		eventually(t, "that no letter is left", 15*time.Second, func() bool {
			_, body := s.call("GET", "/v1/subscriptions/refunds/ledger/deadletters", "", "")
			return strings.Contains(body, `"items":[]`)
		})
		p.sees("None: nothing was given up.")
		accepts.Store(false)
		publish(`{"specversion":"1.0","id":"f","source":"/shop","type":"order.refunded"}`)
		p.sees("Redrive all (1)")
		p.click("Purge all…")
		if p.eval(`[...document.querySelectorAll('dialog button')].some((b) => b.textContent === 'Purge' && !b.disabled)`) {
			t.Error("a purge does not ask for the name")
		}
		p.enter("dialog input", "refunds/ledger")
		p.click("Purge")
		p.sees("None: nothing was given up.")
		p.open("#/events/orders/3")
		p.sees("Redriven", "after a redrive", "accepted with 204")
	})
	t.Run("an event is replayed to a rule", func(t *testing.T) {
		p := p.in(t)
		p.open("#/events/orders/1")
		p.click("Replay to a rule…")
		p.enter("#choose-rule", "large")
		p.click("Go on")
		p.click("Replay")
		p.sees("Queued by replay", "1 rule matched, for 2 deliveries")
		p.open("#/replays")
		p.sees("Replay for large", "done", "1 of 1")
	})
	t.Run("a rule is tried on an event and on history without being changed", func(t *testing.T) {
		p := p.in(t)
		p.open("#/rules/large")
		p.sees("Filter in CEL", "indexed", "1 test stand", "Version 1")
		p.enter("#event", `{"type": "order.placed", "data": {"id": 12345678901234567891, "total": 50}}`)
		p.click("Try it on the event")
		p.sees("does not match", "event.data.total > 100: total is 50")
		p.enter("#filter", `event.data.total > 10`)
		p.click("Try it on the event")
		p.sees("matches", "What would be delivered", `"number": 12345678901234567891`)
		p.click("Run it over what is stored")
		p.sees("looked at", "The last that match")
		p.enter("#filter", `event.data.total >`)
		p.click("Try it on the event")
		p.sees("the filter does not compile", "/filter/when line 1")
		if _, body := s.call("GET", "/v1/rules/large", "", ""); !strings.Contains(body, "> 100") {
			t.Errorf("the rule was changed: %s", body)
		}
	})
	t.Run("a scheduled event is cancelled", func(t *testing.T) {
		p := p.in(t)
		s.call("POST", "/v1/buses/orders/events?delay=1h", structured, `{"specversion":"1.0","id":"later","source":"/shop","type":"reminder"}`)
		p.open("#/scheduled/orders")
		p.sees("reminder", "in 60 min")
		p.click("Cancel…")
		p.click("Cancel the event")
		p.sees("Nothing waits on orders.")
	})
	t.Run("what is typed stays when the page is renewed", func(t *testing.T) {
		p := p.in(t)
		p.open("#/subscriptions")
		p.enter("#narrow", "large")
		p.sees("large → printed")
		s.call("POST", "/v1/subscriptions/large/printed/pause", "application/json", `{"reason": "seen later"}`)
		p.sees("seen later")
		if !p.eval(`document.getElementById('narrow').value === 'large'`) || strings.Contains(p.shown(), "refunds → ledger") {
			t.Error("what was typed is gone")
		}
	})
	t.Run("every page fits a phone and says what to do when it is empty", func(t *testing.T) {
		p := p.in(t)
		p.do(chromedp.EmulateViewport(400, 800, chromedp.EmulateMobile))
		for route, want := range map[string]string{
			"#/": "Buses", "#/events": "events shown", "#/events/quiet": "Publish an event:", "#/events/orders/1": "What happened", "#/subscriptions": "jobs → workers",
			"#/subscriptions/refunds/ledger": "Recent attempts", "#/rules": "refunds", "#/rules/refunds": "Filter in event pattern",
			"#/buses": "quiet", "#/buses/orders": "Definition", "#/targets": "ledger", "#/targets/ledger": "Circuit breaker",
			"#/sources": "failing", "#/replays": "Replay for large", "#/scheduled": "Nothing waits", "#/nothing": "There is no such page",
		} {
			p.open(route)
			p.sees(want)
			if p.eval(`document.documentElement.scrollWidth > 400`) {
				t.Errorf("%q is wider than the screen", route)
			}
		}
	})
	t.Run("a page says that the server is gone", func(t *testing.T) {
		p := p.in(t)
		p.open("#/")
		p.sees("Subscriptions")
		s.kill()
		p.sees("The server cannot be reached: what is shown may be old.")
	})
}
