package main

import "fmt"

// scenarios lists everything that is measured, in the order of the table.
func scenarios() []*scenario {
	atLeast := func(ratio float64) bar { return bar{value: ratio} }
	all := []*scenario{
		storeScenario(64, 12),
		storeScenario(256, 20),
		busScenario(),
		traceScenario(),
		publishScenario(16),
		ingestScenario(1, bar{}),
		ingestScenario(16, bar{}),
		ingestScenario(64, atLeast(0.6)),
		batchScenario(),
		deliveryScenario(),
		fanOutScenario(1),
		fanOutScenario(10),
		fanOutScenario(100),
		orderScenario(1, 0),
		orderScenario(100, 0),
		orderScenario(100_000, 0.8),
		signingScenario(),
		pullScenario(1),
		pullScenario(64),
		halfScenario(),
		hangingScenario(),
		throughScenario(),
		rulesScenario(),
		changeScenario(),
		replayReadScenario(),
		replayLiveScenario(),
		backupScenario(),
		latencyScenario(),
		scheduledProcessScenario(),
		scheduledHTTPScenario(),
		idleScenario(),
		backlogScenario(),
		queuedScenario(),
		searchScenario(),
		startupEmptyScenario(),
		startupStoredScenario(),
		startupRulesScenario(),
		busesScenario(),
		startupBusesScenario(),
	}
	return all
}

// rateRows are the rows that every scenario of throughput has.
func rateRows(limit string, rate bar) []row {
	return []row{
		{measure: perSecond, limit: limit, bar: rate},
		{measure: p50, limit: limit},
		{measure: p99, limit: limit},
		{measure: cpuAnEvent, limit: limit},
	}
}

// named is a scenario's name with its number of clients.
func named(group string, clients int) string { return fmt.Sprintf("%s/%d", group, clients) }
