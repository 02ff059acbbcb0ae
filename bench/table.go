package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"text/tabwriter"
)

// outcome is what came of one scenario.
type outcome struct {
	Scenario string
	Measured map[string][]measures
	Err      error

	rows []row
}

// line is a row with its numbers.
type line struct {
	Scenario string  `json:"scenario"`
	Measure  string  `json:"measure"`
	Of       string  `json:"of"`
	Value    float64 `json:"value"`
	Limit    string  `json:"limit,omitempty"`
	LimitIs  float64 `json:"limitValue,omitempty"`
	Ratio    float64 `json:"ratio,omitempty"`
	Bar      string  `json:"bar,omitempty"`
	Reached  *bool   `json:"reached,omitempty"`
}

// lines compares the medians of an outcome, row by row. A row whose contenders
// have no result is left out.
func (o *outcome) lines() []line {
	var all []line
	for _, r := range o.rows {
		l := line{Scenario: o.Scenario, Measure: r.measure, Of: r.of, Limit: r.limit}
		if l.Of == "" {
			l.Of = ours
		}
		var ok bool
		if l.Value, ok = median(o.Measured[l.Of], r.measure); !ok {
			continue
		}
		if r.limit != "" {
			if l.LimitIs, ok = median(o.Measured[r.limit], r.measure); !ok {
				continue
			}
			if l.LimitIs > 0 {
				l.Ratio = l.Value / l.LimitIs
			}
		}
		if r.bar.value > 0 {
			l.Bar = r.bar.String()
			reached := r.bar.reached(l.Value, l.Ratio)
			l.Reached = &reached
		}
		all = append(all, l)
	}
	return all
}

func (b bar) reached(value, ratio float64) bool {
	if !b.absolute {
		value = ratio
	}
	if b.most {
		return value <= b.value
	}
	return value >= b.value
}

// String is "≥ 0.8×" for a ratio, "≤ 300" for a measure itself.
func (b bar) String() string {
	text := "≥ "
	if b.most {
		text = "≤ "
	}
	if b.absolute {
		return text + number(b.value)
	}
	return text + strconv.FormatFloat(b.value, 'g', 4, 64) + "×"
}

// median is the middle of one measure over the rounds; ok is false when there
// was no round.
func median(rounds []measures, name string) (m float64, ok bool) {
	var values []float64
	for _, r := range rounds {
		if v, ok := r[name]; ok {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return 0, false
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2, true
}

// number is a measure in at most four digits, or whole.
func number(v float64) string {
	if math.Abs(v) >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// writeTable prints the outcomes for people.
func writeTable(out io.Writer, all []outcome) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SCENARIO\tMEASURE\tOURS\tLIMIT\tRATIO\tBAR\tREACHED")
	for _, o := range all {
		for _, l := range o.lines() {
			value, limit, ratio, reached := number(l.Value), "", "", ""
			if l.Of != ours {
				value += " (" + l.Of + ")"
			}
			if l.Limit != "" {
				limit, ratio = number(l.LimitIs)+" "+l.Limit, strconv.FormatFloat(l.Ratio, 'f', 2, 64)
			}
			if l.Reached != nil {
				reached = "no"
				if *l.Reached {
					reached = "yes"
				}
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.Scenario, l.Measure, value, limit, ratio, l.Bar, reached)
		}
		if o.Err != nil {
			fmt.Fprintf(w, "%s\tfailed\t\t\t\t\t\n", o.Scenario)
		}
	}
	return w.Flush()
}

// writeJSON prints the outcomes for programs, with every round.
func writeJSON(out io.Writer, all []outcome) error {
	type result struct {
		Scenario string                `json:"scenario"`
		Rows     []line                `json:"rows"`
		Rounds   map[string][]measures `json:"rounds"`
		Error    string                `json:"error,omitempty"`
	}
	results := make([]result, 0, len(all))
	for _, o := range all {
		r := result{Scenario: o.Scenario, Rows: o.lines(), Rounds: o.Measured}
		if o.Err != nil {
			r.Error = o.Err.Error()
		}
		results = append(results, r)
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(results)
}
