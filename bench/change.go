package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// changeScenario is the change of one rule while the server runs.
func changeScenario() *scenario {
	return &scenario{
		name:  "change",
		about: "one rule put and removed again and again beside 100,000 rules, beside the same with 10 rules; an event is a change",
		rows: []row{
			{measure: p50, limit: fewContends, bar: bar{value: 50, most: true, absolute: true}},
			{measure: p99, limit: fewContends},
			{measure: cpuAnEvent, limit: fewContends},
		},
		open: func(ctx context.Context, e *environment, c *closer) ([]contender, error) {
			return besideFewRules(ctx, e, c, func(_ *receiver, server *process) (runner, error) {
				return changing("http://" + server.Addr + "/v1/rules/changing"), nil
			})
		},
	}
}

// changing puts a rule, puts another in its place and removes it, over and over.
func changing(url string) runner {
	return func(ctx context.Context, d time.Duration) (measures, error) {
		var took []time.Duration
		for start := time.Now(); len(took) == 0 || time.Since(start) < d; {
			for i, method := range []string{http.MethodPut, http.MethodPut, http.MethodDelete} {
				body := ""
				if method == http.MethodPut {
					body = fmt.Sprintf(`{"bus": "bench", "when": "event.type == \"com.example.changing.%d.%d\"", "targets": ["receiver"]}`, len(took), i)
				}
				started := time.Now()
				if err := ask(ctx, method, url, body); err != nil {
					return nil, err
				}
				took = append(took, time.Since(started))
			}
		}
		slices.Sort(took)
		return measures{p50: percentile(took, 0.5), p99: percentile(took, 0.99), counted: float64(len(took))}, nil
	}
}

// ask makes one request, which has to succeed.
func ask(ctx context.Context, method, url, body string) (err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, url, res.Status, answer)
	}
	return err
}
