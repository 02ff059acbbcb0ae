// Command rules measures what it costs to match one event against the rules of
// a bus, by their number and shape, beside plain cel-go in the same run.
//
// A figure is the time from the stored bytes of an event's data, not yet
// parsed, to the subscriptions that get it, on one goroutine. The contenders
// take turns, round after round; medians are shown. Nothing goes over a network.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/rules"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "rules:", err)
		os.Exit(1)
	}
}

type settings struct {
	most   int
	naive  int
	round  time.Duration
	rounds int
}

// result is one line.
type result struct {
	Family string  `json:"family"`
	Size   int     `json:"eventBytes"`
	Rules  int     `json:"rules"`
	Warm   float64 `json:"warmNs"`    // sixteen events in turn
	Cold   float64 `json:"coldNs"`    // events for random rules
	Naive  float64 `json:"naiveNs"`   // 0: not measured
	Allocs float64 `json:"allocs"`    // an event
	Build  float64 `json:"buildNs"`   // a rule, from its source
	Start  float64 `json:"restartNs"` // a rule, from what was written down
	Bytes  float64 `json:"bytes"`     // a rule, with its source
}

func run(args []string, out, progress io.Writer) error {
	s := settings{}
	flags := flag.NewFlagSet("rules", flag.ContinueOnError)
	flags.SetOutput(progress)
	only := flags.String("run", "", "only the families whose names match this `regexp`")
	large := flags.Bool("large", true, "also events of 10 KB")
	format := flags.String("o", "table", "output: table or json")
	flags.IntVar(&s.most, "most", 100_000, "the largest number of rules")
	flags.IntVar(&s.naive, "naive", 0, "the largest number of rules that plain cel-go is given; 0 takes the family's own, 10,000 for most")
	flags.DurationVar(&s.round, "time", 200*time.Millisecond, "how long each contender works in each round")
	flags.IntVar(&s.rounds, "rounds", 5, "how many rounds")
	if err := flags.Parse(args); err != nil {
		return err
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	if *format != "table" && *format != "json" || flags.NArg() > 0 || s.rounds < 1 || s.round <= 0 || s.most < 10 {
		return errors.New("see -help")
	}
	var all []result
	for _, f := range families() {
		if !pattern.MatchString(f.name) {
			continue
		}
		for _, size := range []int{1 << 10, 10 << 10} {
			if size > 1<<10 && !*large {
				continue
			}
			fmt.Fprintf(progress, "%s, %d bytes\n", f.name, size)
			got, err := f.measure(&s, size)
			if err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			all = append(all, got...)
		}
	}
	if *format == "json" {
		return json.NewEncoder(out).Encode(all)
	}
	return table(out, all)
}

// contender is one set of rules with its events.
type contender struct {
	result
	set         *rules.Set
	warm, cold  []*event.Event
	naive       []cel.Program
	next        int
	warms       []float64
	colds       []float64
	naives      []float64
	dst         []rules.ID
	matched     int
	naiveEvents int
}

func (f *family) measure(s *settings, size int) ([]result, error) {
	var all []*contender
	for n := 10; n <= s.most; n *= 10 {
		if n == 100 {
			continue
		}
		most := f.naive
		if s.naive > 0 && !f.pattern {
			most = s.naive
		}
		c, err := f.contender(n, size, most)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	for round := range s.rounds + 1 {
		for _, c := range all {
			warm, cold := c.work(c.warm, s.round), c.work(c.cold, s.round)
			if round == 0 { // not counted
				c.Allocs = c.allocations()
				continue
			}
			c.warms, c.colds = append(c.warms, warm), append(c.colds, cold)
			if len(c.naive) > 0 {
				c.naives = append(c.naives, c.workNaively(s.round))
			}
		}
	}
	var out []result
	for _, c := range all {
		c.Warm, c.Cold, c.Naive = median(c.warms), median(c.colds), median(c.naives)
		if c.matched == 0 {
			return nil, errors.New("no event matched")
		}
		out = append(out, c.result)
	}
	return out, nil
}

// contender compiles n rules and makes events for them; plain cel-go gets at
// most as many as naive.
func (f *family) contender(n, size, naive int) (*contender, error) {
	c := &contender{result: result{Family: f.name, Size: size, Rules: n}}
	env, err := rules.NewEnv()
	if err != nil {
		return nil, err
	}
	before, started := heap(), time.Now()
	written, err := c.compile(f, env)
	if err != nil {
		return nil, err
	}
	c.Build = float64(time.Since(started).Nanoseconds()) / float64(n)
	c.Bytes = max(0, float64(int64(heap()-before)-int64(len(written)))) / float64(n)
	if c.Start, err = f.restart(n, written); err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range 16 + 4096 {
		ev, err := event.FromStructured([]byte(f.structured(r.IntN(n), n, size, r)), event.Limits{})
		if err != nil {
			return nil, err
		}
		if i < 16 {
			c.warm = append(c.warm, ev)
		} else {
			c.cold = append(c.cold, ev)
		}
	}
	if n > naive {
		return c, nil
	}
	plain, err := cel.NewEnv(cel.Variable("event", cel.DynType), cel.CrossTypeNumericComparisons(true))
	if err != nil {
		return nil, err
	}
	for i := range n {
		checked, issues := plain.Compile(f.rule(i, n))
		if issues.Err() != nil {
			return nil, issues.Err()
		}
		p, err := plain.Program(checked, cel.EvalOptions(cel.OptOptimize))
		if err != nil {
			return nil, err
		}
		c.naive = append(c.naive, p)
	}
	return c, nil
}

// compile makes the set, and what a server would write down of it.
func (c *contender) compile(f *family, env *rules.Env) (written []byte, err error) {
	entries := make([]rules.Entry, c.Rules)
	matchers := make([]*rules.Matcher, c.Rules)
	for i := range entries {
		if matchers[i], err = env.Compile(f.filter(i, c.Rules)); err != nil {
			return nil, err
		}
		entries[i] = rules.Entry{ID: rules.ID(i), Rule: "rule", Matcher: matchers[i]}
	}
	c.set = rules.NewSet(entries)
	return rules.AppendCompiled(nil, "bench", matchers), nil
}

// restart makes the set again as a server does that starts with what the last
// start wrote down.
func (f *family) restart(n int, written []byte) (float64, error) {
	env, err := rules.NewEnv()
	if err != nil {
		return 0, err
	}
	filters := make([]rules.Filter, n)
	for i := range n {
		filters[i] = f.filter(i, n)
	}
	started := time.Now()
	if _, err := env.Remember("bench", written); err != nil {
		return 0, err
	}
	entries := make([]rules.Entry, n)
	for i := range n {
		m, err := env.Compile(filters[i])
		if err != nil {
			return 0, err
		}
		entries[i] = rules.Entry{ID: rules.ID(i), Rule: "rule", Matcher: m}
	}
	rules.NewSet(entries)
	took := float64(time.Since(started).Nanoseconds()) / float64(n)
	if env.Compiled() > 0 {
		return 0, fmt.Errorf("%d filters were compiled again", env.Compiled())
	}
	return took, nil
}

// work matches events for about d and returns nanoseconds for each.
func (c *contender) work(events []*event.Event, d time.Duration) float64 {
	done := 0
	start := time.Now()
	for time.Since(start) < d {
		for range 16 {
			if c.next++; c.next >= len(events) {
				c.next = 0
			}
			c.dst = c.set.Match(events[c.next], c.dst[:0])
			c.matched += len(c.dst)
			done++
		}
	}
	return float64(time.Since(start).Nanoseconds()) / float64(done)
}

func (c *contender) allocations() float64 {
	var before, after runtime.MemStats
	const events = 1000
	runtime.ReadMemStats(&before)
	for i := range events {
		c.dst = c.set.Match(c.warm[i%len(c.warm)], c.dst[:0])
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / events
}

// workNaively does as many events with a program for each rule, over a map.
func (c *contender) workNaively(d time.Duration) float64 {
	done := 0
	start := time.Now()
	for done == 0 || time.Since(start) < d {
		ev := c.warm[done%len(c.warm)]
		var data any
		if err := json.Unmarshal(ev.Data(), &data); err != nil {
			panic(err) // the event was decoded before
		}
		vars := map[string]any{"event": map[string]any{"type": ev.Type(), "source": ev.Source(), "subject": ev.Subject(), "data": data}}
		for _, p := range c.naive {
			if out, _, err := p.Eval(vars); err == nil && out.Value() == true {
				c.naiveEvents++
			}
		}
		done++
	}
	return float64(time.Since(start).Nanoseconds()) / float64(done)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return v[len(v)/2]
}

func table(out io.Writer, all []result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "family\tevent\trules\twarm µs\tcold µs\t÷ 10 rules\tcold ÷\tallocs\tnaive µs\tnaive ÷ warm\tbuild µs/rule\trestart ms\tbytes/rule\t")
	var ten result
	for _, r := range all {
		if r.Rules == 10 {
			ten = r
		}
		naive, times := "", ""
		if r.Naive > 0 {
			naive, times = fmt.Sprintf("%.0f", r.Naive/1000), fmt.Sprintf("%.0f", r.Naive/r.Warm)
		}
		fmt.Fprintf(w, "%s\t%d KB\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%s\t%s\t%.0f\t%.0f\t%.0f\t\n", r.Family, r.Size>>10, r.Rules,
			r.Warm/1000, r.Cold/1000, r.Warm/ten.Warm, r.Cold/ten.Cold, r.Allocs, naive, times, r.Build/1000, r.Start*float64(r.Rules)/1e6, r.Bytes)
	}
	return w.Flush()
}
