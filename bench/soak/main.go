// Command soak runs Switchyard for minutes or hours while it is broken in every
// way, and then checks that every promise was kept.
//
//	go run ./bench/soak [-seed N | -seeds A..B] [-faults N] [-duration D] [-mode process|memory|both] [-o json]
//
// A seed is one run: producers publish, schedule, and use transactions;
// operators reload, pause, redrive, replay; and the server is killed, its log's
// end torn, its disk filled, its targets broken and mended. Then all is mended,
// and when nothing is left to do, the history that producers and receivers kept
// is held against the promises (check.go).
//
// In process mode the server is the real program with receivers on loopback; in
// memory mode an engine in this process on a file system that loses what was not
// synced and refuses operations, where crashes cost milliseconds. schedule.go
// chooses the steps, soak.go makes them, process.go and memory.go are the two
// servers, produce.go and receiver.go the two ends. The steps depend on the seed
// alone; what happens between them on time, too.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/switchyard-dev/switchyard/bench/child"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "soak:", err)
		}
		stop()
		os.Exit(1)
	}
}

// options are what the command was asked for.
type options struct {
	seeds    seedRange
	each     int
	faults   int
	duration time.Duration
	modes    []string
	json     bool
	verbose  bool
	stuck    time.Duration

	binary, dir string
}

// seedRange is both included; an open one goes on for as long as it is wanted.
type seedRange struct {
	from, to uint64
	open     bool
}

// parse reads the flags.
func parse(args []string, progress io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.SetOutput(progress)
	seed := flags.Uint64("seed", 0, "the first seed; random when it is 0")
	seeds := flags.String("seeds", "", "run exactly these seeds, `A..B`, both included")
	flags.IntVar(&o.each, "each", 60, "faults of each seed")
	flags.IntVar(&o.faults, "faults", 0, "go on through seeds until so many faults were made in all")
	flags.DurationVar(&o.duration, "duration", 0, "go on through seeds until so much time has passed")
	mode := flags.String("mode", "both", "process, memory, or both, which take turns")
	format := flags.String("o", "text", "output: text or json")
	flags.StringVar(&o.binary, "binary", "", "the switchyard program to soak; built from this checkout when empty")
	flags.StringVar(&o.dir, "dir", "", "a folder for data and the program; the system's for temporary files when empty")
	flags.DurationVar(&o.stuck, "stuck", time.Minute, "how long nothing may happen before a server that is not settled counts as stuck")
	flags.BoolVar(&o.verbose, "verbose", false, "show what engines in memory log")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("%q is not a flag; see -help", flags.Arg(0))
	case *format != "text" && *format != "json":
		return o, fmt.Errorf("-o %q: use text or json", *format)
	case o.each < 1 || o.faults < 0 || o.duration < 0 || o.stuck <= 0:
		return o, errors.New("-each and -stuck must be above 0, -faults and -duration not below")
	case *seeds != "" && (*seed != 0 || o.faults > 0 || o.duration > 0):
		return o, errors.New("-seeds says exactly what is run; leave -seed, -faults and -duration out")
	}
	switch o.json = *format == "json"; *mode {
	case modeProcess, modeMemory:
		o.modes = []string{*mode}
	case "both":
		o.modes = []string{modeProcess, modeMemory}
	default:
		return o, fmt.Errorf("-mode %q: use process, memory or both", *mode)
	}
	if *seeds != "" {
		first, last, ok := strings.Cut(*seeds, "..")
		from, err1 := strconv.ParseUint(first, 10, 64)
		to, err2 := strconv.ParseUint(last, 10, 64)
		if !ok || err1 != nil || err2 != nil || from > to {
			return o, fmt.Errorf("-seeds %q is no range such as 1..100", *seeds)
		}
		o.seeds = seedRange{from: from, to: to}
		return o, nil
	}
	if *seed == 0 {
		*seed = uint64(rand.Uint32())
	}
	o.seeds = seedRange{from: *seed, to: *seed, open: o.faults > 0 || o.duration > 0}
	return o, nil
}

// summary is what a command found, over all seeds.
type summary struct {
	First      uint64         `json:"firstSeed"`
	Last       uint64         `json:"lastSeed"`
	Faults     int            `json:"faults"`
	ByKind     map[string]int `json:"byKind"`
	Sent       int            `json:"sent"`
	Acked      int            `json:"acknowledged"`
	Attempts   int            `json:"attempts"`
	Violations int            `json:"violations"`
	Failed     []string       `json:"failed,omitempty"` // seeds that could not be run to their end
	Seconds    float64        `json:"seconds"`
	Results    []result       `json:"results"`
}

// command is main without the process around it.
func command(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	began := time.Now()
	dir, err := os.MkdirTemp(o.dir, "soak-")
	if err != nil {
		return fmt.Errorf("make a folder for the data: %w; name another place with -dir", err)
	}
	defer os.RemoveAll(dir)
	s := settings{faults: o.each, dir: dir, progress: progress, log: slog.New(slog.DiscardHandler), stuck: o.stuck}
	if o.verbose {
		s.log = slog.New(slog.NewTextHandler(progress, nil))
	}
	if o.modes[0] == modeProcess {
		if s.program, err = program(ctx, o.binary, dir); err != nil {
			return err
		}
	}
	sum := summary{First: o.seeds.from, ByKind: map[string]int{}}
	fmt.Fprintf(progress, "the first seed is %d\n", o.seeds.from)
	for seed := o.seeds.from; ctx.Err() == nil; seed++ {
		for _, mode := range o.modes {
			s.inMemory = mode == modeMemory
			res, err := soak(ctx, seed, s)
			if ctx.Err() != nil {
				break
			}
			sum.add(res, err)
			show(progress, res, err)
		}
		sum.Last = seed
		wanted := o.seeds.open && (sum.Faults < o.faults || time.Since(began) < o.duration)
		if !wanted && seed >= o.seeds.to {
			break
		}
	}
	sum.Seconds = time.Since(began).Seconds()
	if o.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		err = enc.Encode(sum)
	} else {
		sum.print(out)
	}
	switch {
	case ctx.Err() != nil:
		err = errors.Join(err, ctx.Err())
	case sum.Violations > 0 || len(sum.Failed) > 0:
		err = errors.Join(err, fmt.Errorf("%d promises were broken, %d runs failed", sum.Violations, len(sum.Failed)))
	}
	return err
}

// program is the program to soak.
func program(ctx context.Context, binary, dir string) (string, error) {
	if binary != "" {
		return filepath.Abs(binary)
	}
	return child.Build(ctx, dir)
}

func (s *summary) add(r result, err error) {
	s.Faults += r.Made
	for kind, n := range r.Faults {
		s.ByKind[kind] += n
	}
	for kind, n := range r.Operations {
		s.ByKind[kind] += n
	}
	s.Sent += r.Sent
	s.Acked += r.Acked
	s.Attempts += r.Attempts
	s.Violations += len(r.Violations)
	if err != nil {
		s.Failed = append(s.Failed, fmt.Sprintf("seed %d (%s): %v", r.Seed, r.Mode, err))
	}
	s.Results = append(s.Results, r)
}

// shownViolations is how many of one seed are shown; the others are like them.
const shownViolations = 10

// show prints what came of one seed.
func show(w io.Writer, r result, err error) {
	fmt.Fprintf(w, "seed %d (%s): %d faults, %d events, %d deliveries settled, %d repeats (the oldest after %v), %d dead, %d expired, %d violations, %.1fs\n",
		r.Seed, r.Mode, r.Made, r.Acked, r.Settled, r.Repeats, r.Oldest.Round(time.Millisecond), r.Dead, r.Expired, len(r.Violations), r.Seconds)
	for _, v := range r.Violations[:min(len(r.Violations), shownViolations)] {
		fmt.Fprintf(w, "  %s\n", v)
	}
	if err != nil {
		fmt.Fprintf(w, "  failed: %v\n", err)
	}
}

func (s *summary) print(w io.Writer) {
	fmt.Fprintf(w, "seeds %d..%d: %d faults, %d events acknowledged of %d, %d attempts seen, %d violations, %.0fs\n",
		s.First, s.Last, s.Faults, s.Acked, s.Sent, s.Attempts, s.Violations, s.Seconds)
	for _, kind := range sortedKeys(s.ByKind) {
		fmt.Fprintf(w, "  %6d %s\n", s.ByKind[kind], kind)
	}
	for _, text := range s.Failed {
		fmt.Fprintln(w, " ", text)
	}
}
