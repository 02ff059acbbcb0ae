// Command bench measures Switchyard against what this machine can do at all.
//
//	go run ./bench [-run REGEXP] [-time 3s] [-rounds 5] [-o json]
//
// A scenario has contenders that do the same work: Switchyard, and a limit (a
// bare net/http server, a bare net/http client, a bare append and fsync loop)
// or a peer. They take turns, round after round, in one run, so that whatever
// else the machine does falls on all of them; medians are printed with their
// ratios and the bars that are set for them.
//
// scenario.go says what a scenario is and runs them, scenarios.go lists them
// all. bare*.go are the limits, jetstream.go is the peer, load.go and drive.go
// make the load, process.go starts the real program as a child process, and
// every other file is a group of scenarios. Nothing but loopback is used.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

func main() {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(playRole(role))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		stop()
		os.Exit(1)
	}
}

// run is main without the process around it.
func run(ctx context.Context, args []string, out, progress io.Writer) error {
	s := defaults()
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(progress)
	only := flags.String("run", "", "run only the scenarios whose names match this `regexp`")
	list := flags.Bool("list", false, "list the scenarios and run none")
	format := flags.String("o", "table", "output: table or json")
	flags.StringVar(&s.dir, "dir", ".", "a folder on a real disk; a folder of our own is made in it, and removed at the end")
	flags.StringVar(&s.binary, "binary", "", "the switchyard program to measure; built from this checkout when empty")
	flags.DurationVar(&s.round, "time", s.round, "how long each contender works in each round")
	flags.DurationVar(&s.steady, "steady", s.steady, "how long each contender of latency and scheduled works in each round")
	flags.IntVar(&s.rounds, "rounds", s.rounds, "how many rounds")
	flags.IntVar(&s.events, "events", s.events, "how many events are stored, queued or scheduled for startup/stored, memory/backlog, backlog, search and scheduled")
	if err := flags.Parse(args); err != nil {
		return err
	}
	pattern, err := regexp.Compile(*only)
	switch {
	case err != nil:
		return fmt.Errorf("-run: %w", err)
	case flags.NArg() > 0:
		return fmt.Errorf("%q is not a flag; see -help", flags.Arg(0))
	case *format != "table" && *format != "json":
		return fmt.Errorf("-o %q: use table or json", *format)
	case s.rounds < 1 || s.round <= 0 || s.steady <= 0 || s.events < 100:
		return errors.New("-rounds must be at least 1, -time and -steady above 0, -events at least 100")
	}
	e, err := newEnvironment(s, progress)
	if err != nil {
		return err
	}
	defer e.close()
	var all []outcome
	for _, sc := range scenarios() {
		if !pattern.MatchString(sc.name) {
			continue
		}
		if *list {
			fmt.Fprintf(out, "%-16s %s\n", sc.name, sc.about)
			continue
		}
		got, err := sc.measure(ctx, e)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", sc.name, err)
			fmt.Fprintln(progress, "bench:", err)
		}
		all = append(all, outcome{Scenario: sc.name, rows: sc.rows, Measured: got, Err: err})
	}
	if *list {
		return nil
	}
	if *format == "json" {
		err = writeJSON(out, all)
	} else {
		err = writeTable(out, all)
	}
	for _, o := range all {
		err = errors.Join(err, o.Err)
	}
	return err
}

// settings are how much is measured.
type settings struct {
	dir, binary   string
	round, steady time.Duration // of one contender: of throughput, of latency
	idle          time.Duration // before memory is read
	rounds        int
	events        int   // stored, queued or scheduled
	recycle       int64 // bytes written before a store is measured, so that its segments are recycled ones
	appendFile    int64 // bytes of the bare append loop's file
	rate          int   // events a second of latency and scheduled/http
	schedule      int   // events a second of scheduled/process
	rules         int   // on the bus of through/rules
	targets       int   // of half and memory/hanging
	buses         int   // of buses and startup/buses
}

func defaults() settings {
	return settings{
		round: 3 * time.Second, steady: 10 * time.Second, idle: 3 * time.Second,
		rounds: 5, events: 1_000_000, recycle: 640 << 20, appendFile: 64 << 20, rate: 1000, schedule: 10_000, rules: 100_000, targets: 10_000, buses: 10_000,
	}
}
