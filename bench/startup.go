package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// startupEmptyScenario is the time to be ready without data.
func startupEmptyScenario() *scenario {
	return &scenario{
		name:  "startup/empty",
		about: "from the start of the process until /readyz answers 200, with an empty store",
		rows:  []row{{measure: milliseconds, limit: bareServer, bar: bar{value: 300, most: true, absolute: true}}},
		open: func(ctx context.Context, e *environment, _ *closer) ([]contender, error) {
			return []contender{
				{ours, starting(inNewFolder(ctx, e, "empty", busOnly))},
				bareStart(ctx),
			}, nil
		},
	}
}

// inNewFolder starts a server in a folder of its own, which has nothing in it.
func inNewFolder(ctx context.Context, e *environment, name, config string) func(*closer) (*process, error) {
	return func(c *closer) (*process, error) {
		data, err := e.folder(c, name)
		if err != nil {
			return nil, err
		}
		return startSwitchyard(ctx, e, c, data, config)
	}
}

// crashed is Switchyard after it was killed while events came in.
const crashed = "after a kill"

// startupStoredScenario is the time to be ready with much data.
func startupStoredScenario() *scenario {
	return &scenario{
		name:  "startup/stored",
		about: "the same with a million stored events, after an orderly stop and after a kill while events came in",
		rows: []row{
			{measure: milliseconds, limit: bareServer, bar: bar{value: 2000, most: true, absolute: true}},
			{measure: milliseconds, of: crashed, limit: bareServer, bar: bar{value: 2000, most: true, absolute: true}},
		},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			data, err := e.folder(c, "stored")
			if err != nil {
				return nil, err
			}
			restart := func(c *closer) (*process, error) { return startSwitchyard(ctx, e, c, data, busOnly) }
			if err := fillStore(ctx, e, restart, e.events, false); err != nil {
				return nil, err
			}
			return []contender{
				{ours, starting(restart)},
				{crashed, starting(func(c *closer) (*process, error) {
					if err := fillStore(ctx, e, restart, e.events/50, true); err != nil {
						return nil, err
					}
					return restart(c)
				})},
				bareStart(ctx),
			}, nil
		},
	}
}

// firstStart is the contender that has nothing of an earlier start.
const firstStart = "first start"

// startupRulesScenario is the time to be ready with many rules in YAML.
func startupRulesScenario() *scenario {
	return &scenario{
		name:  "startup/rules",
		about: "from the start of the process until /readyz answers 200, with 100,000 rules in a file that has not changed since the last start, beside a first start",
		rows: []row{
			{measure: milliseconds, limit: firstStart, bar: bar{value: 1000, most: true, absolute: true}},
			{measure: cpuMilliseconds, limit: firstStart},
			{measure: megabytes, limit: firstStart},
		},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			config := mixedRules(e.settings.rules)
			data, err := e.folder(c, "startrules")
			if err != nil {
				return nil, err
			}
			again := func(c *closer) (*process, error) { return startSwitchyard(ctx, e, c, data, config) }
			if _, err := startingWhole(again)(ctx, 0); err != nil { // which leaves what the next ones find
				return nil, err
			}
			return []contender{
				{ours, startingWhole(again)},
				{firstStart, startingWhole(inNewFolder(ctx, e, "firststart", config))},
			}, nil
		},
	}
}

// mixedRules is a configuration with n rules: of each four, two have a CEL
// expression, one of them with a transform, one has a pattern and one a list of
// filters.
func mixedRules(n int) string {
	var b strings.Builder
	b.WriteString(busOnly)
	b.WriteString("targets:\n  crm: {http: {url: 'http://127.0.0.1:9/crm'}}\n  audit: {log: {}}\nrules:\n")
	for i := range n {
		fmt.Fprintf(&b, "  customer-%d:\n    bus: bench\n", i)
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "    when: event.subject == \"c/%d\" && event.data.total > %d\n    targets: [crm, audit]\n", i, i%500)
		case 1:
			fmt.Fprintf(&b, "    pattern: {source: [/shop/%d], detail: {customer: [\"c-%d\"]}}\n    targets: [audit]\n", i%200, i)
		case 2:
			fmt.Fprintf(&b, "    filters: [{exact: {subject: c/%d}}, {prefix: {source: /shop/}}]\n    targets: [audit]\n", i)
		case 3:
			fmt.Fprintf(&b, "    when: event.type == \"com.example.t%d\"\n    transform:\n      data: {order: \"${{ event.data.id }}\", note: for %d}\n    targets: [crm]\n", i, i)
		}
	}
	return b.String()
}

// fillStore starts a server, publishes n events and stops it, or kills it.
func fillStore(ctx context.Context, e *environment, start func(*closer) (*process, error), n int, kill bool) (err error) {
	var c closer
	defer func() { err = errors.Join(err, c.close()) }()
	p, err := start(&c)
	if err != nil {
		return err
	}
	clients, err := newFillers(&c, p.Addr)
	if err != nil {
		return err
	}
	if _, err = publish(ctx, e, clients, n); err == nil && kill {
		p.Kill()
	}
	return err
}

// startingWhole is starting, with the CPU time until the server was ready and the
// anonymous memory then.
func startingWhole(start func(c *closer) (*process, error)) func(context.Context, time.Duration) (measures, error) {
	return func(context.Context, time.Duration) (_ measures, err error) {
		var c closer
		defer func() { err = errors.Join(err, c.close()) }()
		p, err := start(&c)
		if err != nil {
			return nil, err
		}
		used, err := p.cpu()
		if err != nil {
			return nil, err
		}
		memory, err := p.Anonymous()
		return measures{milliseconds: p.Ready.Seconds() * 1e3, cpuMilliseconds: used.Seconds() * 1e3, megabytes: memory}, err
	}
}

// starting times one start.
func starting(start func(c *closer) (*process, error)) func(context.Context, time.Duration) (measures, error) {
	return func(context.Context, time.Duration) (_ measures, err error) {
		var c closer
		defer func() { err = errors.Join(err, c.close()) }()
		p, err := start(&c)
		if err != nil {
			return nil, err
		}
		return measures{milliseconds: p.Ready.Seconds() * 1e3}, nil
	}
}

// bareStart is the start of the bare server.
func bareStart(ctx context.Context) contender {
	return contender{bareServer, starting(func(c *closer) (*process, error) { return startBare(ctx, c, roleServer, "") })}
}
