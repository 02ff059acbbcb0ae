package main

import (
	"context"
	"fmt"
	"time"
)

// Batches over HTTP: how many clients, and how many events in each.
const (
	batchClients = 16
	batchEvents  = 100
)

// ingestScenario is single events over HTTP.
func ingestScenario(clients int, atLeast bar) *scenario {
	sc := &scenario{
		name:  named("ingest", clients),
		about: fmt.Sprintf("durable publishes of single events over HTTP, %d clients", clients),
		rows:  rateRows(bareServer, atLeast),
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			all, err := ingestContenders(ctx, e, c, clients, 1)
			if err != nil {
				return nil, err
			}
			t, err := newTemplate()
			if err != nil {
				return nil, err
			}
			bare, err := bareAppend(e, c, clients, frameBytes(t))
			return append(all, bare), err
		},
	}
	sc.rows = append(sc.rows, row{measure: perSecond, limit: bareFsync}, row{measure: p99, limit: bareFsync})
	return sc
}

// batchScenario is batches over HTTP.
func batchScenario() *scenario {
	return &scenario{
		name:  "ingest/batches",
		about: fmt.Sprintf("durable publishes over HTTP in batches of %d, %d clients", batchEvents, batchClients),
		rows:  rateRows(bareServer, bar{value: 0.4}),
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			return ingestContenders(ctx, e, c, batchClients, batchEvents)
		},
	}
}

// ingestContenders are Switchyard and the bare server, given the same requests.
func ingestContenders(ctx context.Context, e *environment, c *closer, clients, events int) ([]contender, error) {
	data, err := e.folder(c, "ingest")
	if err != nil {
		return nil, err
	}
	server, err := startSwitchyard(ctx, e, c, data, busOnly)
	if err != nil {
		return nil, err
	}
	ourClients, err := newClients(c, server.Addr, clients, events)
	if err != nil {
		return nil, err
	}
	bare, err := startBare(ctx, c, roleServer, "")
	if err != nil {
		return nil, err
	}
	bareClients, err := newClients(c, bare.Addr, clients, events)
	if err != nil {
		return nil, err
	}
	ourRun := posting(e, ourClients, func(t *tally, stored float64) (float64, error) {
		now, err := server.Metric("switchyard_store_events_total")
		if err == nil && now-stored != float64(t.events) {
			err = fmt.Errorf("%d events were acknowledged, but %v were stored", t.events, now-stored)
		}
		return now, err
	})
	bareRun := posting(e, bareClients, nil)
	return []contender{
		withCPU(contender{ours, ourRun}, server.cpu), withCPU(contender{bareServer, bareRun}, bare.cpu),
	}, nil
}

// posting lets clients post; check, if any, gets what it returned the last time.
func posting(e *environment, clients []*client, check func(t *tally, last float64) (float64, error)) func(context.Context, time.Duration) (measures, error) {
	last := 0.0
	return func(ctx context.Context, d time.Duration) (measures, error) {
		t, err := drive(ctx, workers(clients, &e.ids), d)
		if err == nil && check != nil {
			last, err = check(t, last)
		}
		if err != nil {
			return nil, err
		}
		return t.measures(), nil
	}
}
