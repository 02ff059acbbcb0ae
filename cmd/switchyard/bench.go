package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/bus/component"
)

// Bounds of what bench may be asked for.
const (
	benchMostClients = 1024
	benchMostBatch   = 1000
	benchLeastSize   = 128
	benchMostSize    = 256 << 10 // the default limit of a bus
	benchMostRate    = 100_000
	benchShortest    = 100 * time.Millisecond
	benchLongest     = 10 * time.Minute
)

// benchFlags are the flags of switchyard bench.
type benchFlags struct {
	out            output
	dir            string
	duration       durationFlag
	size           component.Size
	clients, batch int
	rate           int
}

func newBench() *cobra.Command {
	f := benchFlags{duration: durationFlag(5 * time.Second), size: 1 << 10}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what this machine bears",
		Long: "Start a server with a new data folder on loopback, load it, and print what it bore: syncs of the disk,\n" +
			"events published over HTTP beside what a server that only reads them takes, events published and delivered\n" +
			"to a receiver, and how long one takes from its publisher to its receiver at a steady rate. Clients, server\n" +
			"and receiver share this machine. The folder is removed at the end; running servers are left alone.",
		Example: "  switchyard bench\n" +
			"  switchyard bench --dir /var/lib/switchyard --clients 64 --size 4KiB\n" +
			"  switchyard bench --batch 100 --duration 20s -o json",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return &usageError{err}
			}
			report, err := f.run(cmd.Context(), newProgress(cmd.ErrOrStderr()))
			if err != nil {
				return err
			}
			if f.out.json() {
				return printJSON(cmd, report)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s, events of %d bytes, in %s\n", counted(f.clients, "client", "clients"), f.size, report.Dir)
			return table(cmd, "\tA SECOND\tP50\tP99\tMAX\tOF THE LIMIT", report.rows())
		},
	}
	f.out.flag(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.dir, "dir", "", "a folder on the disk to measure (default: that of temporary files)")
	flags.Var(&f.duration, "duration", "how long each part takes")
	flags.Var((*sizeFlag)(&f.size), "size", "bytes of an event as JSON")
	flags.IntVar(&f.clients, "clients", 16, "how many clients publish at a time")
	flags.IntVar(&f.batch, "batch", 1, "events in a request")
	flags.IntVar(&f.rate, "rate", 1000, "events a second of the steady part")
	return cmd
}

// sizeFlag is a flag that is a number of bytes as the configuration has it: 4KiB.
type sizeFlag component.Size

func (s *sizeFlag) Set(text string) error {
	parsed, err := component.ParseSize(text)
	*s = sizeFlag(parsed)
	return err
}

func (s *sizeFlag) String() string { return component.Size(*s).String() }

func (s *sizeFlag) Type() string { return "size" }

func (f *benchFlags) check() error {
	within := func(name string, value, least, most int64) error {
		if value < least || value > most {
			return fmt.Errorf("--%s takes %d to %d, not %d", name, least, most, value)
		}
		return nil
	}
	d := time.Duration(f.duration)
	err := errors.Join(
		within("clients", int64(f.clients), 1, benchMostClients), within("batch", int64(f.batch), 1, benchMostBatch),
		within("size", int64(f.size), benchLeastSize, benchMostSize), within("rate", int64(f.rate), 1, benchMostRate))
	if err == nil && (d < benchShortest || d > benchLongest) {
		err = fmt.Errorf("--duration takes %v to %v, not %v", benchShortest, benchLongest, d)
	}
	return err
}

// benchReport is what bench prints with -o json. Parts are rates a second and
// times in milliseconds.
type benchReport struct {
	Dir     string    `json:"dir"`
	Version string    `json:"version"`
	Size    int64     `json:"size"`
	Clients int       `json:"clients"`
	Batch   int       `json:"batch"`
	Rate    int       `json:"rate"`
	Sync    benchPart `json:"sync"`    // one client that appends an event and syncs
	Publish benchPart `json:"publish"` // times are of requests
	Limit   benchPart `json:"limit"`   // the same requests to a server that only reads them
	Through benchPart `json:"through"` // published, matched and delivered; times from the publisher to the receiver
	Steady  benchPart `json:"steady"`  // the same at the steady rate
}

// benchPart is what one part measured.
type benchPart struct {
	PerSecond float64 `json:"perSecond"`
	P50       float64 `json:"p50"`
	P99       float64 `json:"p99"`
	Max       float64 `json:"max"`
}

func (r *benchReport) rows() [][]string {
	row := func(name string, p benchPart, of string) []string {
		return []string{name, strconv.FormatFloat(p.PerSecond, 'f', 0, 64), milliseconds(p.P50), milliseconds(p.P99), milliseconds(p.Max), of}
	}
	return [][]string{
		row("append and sync", r.Sync, ""),
		row("publish", r.Publish, fmt.Sprintf("%.2f", r.Publish.PerSecond/r.Limit.PerSecond)),
		row("  the limit: only read", r.Limit, ""),
		row("publish and deliver", r.Through, ""),
		row(fmt.Sprintf("the same, at %d a second", r.Rate), r.Steady, ""),
	}
}

func milliseconds(ms float64) string { return strconv.FormatFloat(ms, 'f', 2, 64) + " ms" }

// run measures all parts, each after the other.
func (f *benchFlags) run(ctx context.Context, show *progress) (_ *benchReport, err error) {
	dir, err := os.MkdirTemp(f.dir, "switchyard-bench-")
	if err != nil {
		return nil, fmt.Errorf("a folder for the data: %w; name one with --dir", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	defer show.end()
	b := &benchmark{benchFlags: f, received: make(chan struct{}, 1)}
	report := &benchReport{Dir: filepath.Dir(dir), Version: release, Size: int64(f.size), Clients: f.clients, Batch: f.batch, Rate: f.rate}

	show.line("syncing the disk")
	if report.Sync, err = b.sync(ctx, filepath.Join(dir, "sync")); err != nil {
		return nil, err
	}
	receiver, err := serveLocal(http.HandlerFunc(b.receive))
	if err != nil {
		return nil, err
	}
	defer receiver.Close()
	reader, err := serveLocal(http.HandlerFunc(onlyRead))
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	server, stop, err := benchServer(ctx, dir, receiver.Addr)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()

	show.line("publishing")
	if report.Publish, err = b.publish(ctx, server+"/v1/buses/"+benchStored+"/events"); err != nil {
		return nil, err
	}
	show.line("the same to a server that only reads")
	if report.Limit, err = b.publish(ctx, "http://"+reader.Addr); err != nil {
		return nil, err
	}
	show.line("publishing and delivering")
	if report.Through, err = b.through(ctx, server, 0); err != nil {
		return nil, err
	}
	show.line("the same at %d a second", f.rate)
	report.Steady, err = b.through(ctx, server, f.rate)
	return report, err
}

// The buses of the server that is measured: one without rules, and one whose
// events are all delivered.
const (
	benchStored    = "stored"
	benchDelivered = "delivered"
)

// benchServer starts a server in a folder, which delivers to a receiver.
func benchServer(ctx context.Context, dir, receiver string) (url string, stop func() error, err error) {
	file := filepath.Join(dir, "switchyard.yaml")
	config := fmt.Sprintf("version: 1\nbuses: {%s: {}, %s: {}}\nrules: {all: {bus: %[2]s, targets: [receiver]}}\n"+
		"targets: {receiver: {http: {url: 'http://%[3]s/'}}}\n", benchStored, benchDelivered, receiver)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return "", nil, err
	}
	a, err := newApp(ctx, serveFlags{config: file, data: filepath.Join(dir, "data"), listen: "127.0.0.1:0"},
		slog.New(slog.DiscardHandler), io.Discard, io.Discard)
	if err != nil {
		return "", nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- a.run(running, nil) }()
	return "http://" + a.listener.Addr().String(), func() error { cancel(); return <-done }, nil
}

// serveLocal serves on loopback until it is closed.
func serveLocal(h http.Handler) (*http.Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &http.Server{Addr: l.Addr().String(), Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(l) }()
	return s, nil
}

// onlyRead answers once it has read a request.
func onlyRead(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.WriteHeader(http.StatusAccepted)
}
