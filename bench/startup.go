package main

import (
	"context"
	"errors"
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
				{ours, starting(func(c *closer) (*process, error) {
					data, err := e.folder(c, "empty")
					if err != nil {
						return nil, err
					}
					return startSwitchyard(ctx, e, c, data, busOnly)
				})},
				bareStart(ctx),
			}, nil
		},
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
