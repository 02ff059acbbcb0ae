package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/api"
	"github.com/switchyard-dev/switchyard/bus/event"
)

// maxInput bounds what publish reads from a file or from standard input.
const maxInput = 64 << 20

// publishFlags describe one event, or name a file of them.
type publishFlags struct {
	id, source, typ, subject, time string
	attributes                     []string
	data, contentType              string
	bus, file                      string
	delay                          durationFlag
}

func newPublish() *cobra.Command {
	var c client
	var f publishFlags
	cmd := &cobra.Command{
		Use:   "publish [BUS [FILE]]",
		Short: "Publish events to a bus",
		Long: "Publish one event made of flags, or the events of a file: one CloudEvent in the JSON\n" +
			"format, an array of them, which is stored whole or not at all, or any number of them,\n" +
			"one a line (NDJSON): these are sent in pieces, and a line that is refused is reported\n" +
			"and does not hold up the others. Without BUS each event of the file names its bus in\n" +
			"the extension \"bus\". It is done when the events are on stable storage.",
		Example: "  switchyard publish orders --type com.example.order.placed --subject eu/de --data '{\"id\": 7, \"total\": 150, \"customer\": {\"name\": \"Ada\"}}'\n" +
			"  switchyard publish orders --file events.json\n" +
			"  switchyard publish orders --file - < events.ndjson\n" +
			"  switchyard publish orders --type com.example.reminder --delay 10m",
		Args: arguments(0, 2),
		RunE: func(cmd *cobra.Command, args []string) error { return publish(cmd, &c, &f, args) },
	}
	c.flags(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.id, "id", "", "the event's id (default: a random one)")
	fl.StringVar(&f.source, "source", "/switchyard/cli", "the event's source")
	fl.StringVar(&f.typ, "type", "", "the event's type")
	fl.StringVar(&f.subject, "subject", "", "the event's subject")
	fl.StringVar(&f.time, "time", "", "the event's time, RFC 3339 (default: now)")
	fl.StringArrayVar(&f.attributes, "attribute", nil, "another attribute, NAME=VALUE; may be repeated")
	fl.StringVar(&f.data, "data", "", "the event's data; @FILE reads a file, - standard input")
	fl.StringVar(&f.contentType, "content-type", "application/json", "content type of the data")
	fl.StringVarP(&f.file, "file", "f", "", "a file of events as JSON, the same as FILE; - is standard input")
	fl.StringVar(&f.bus, "bus", "", "the bus, the same as BUS")
	fl.Var(&f.delay, "delay", "record and route the event this much later, e.g. 30s or 1d")
	return cmd
}

func publish(cmd *cobra.Command, c *client, f *publishFlags, args []string) error {
	if f.delay < 0 {
		return &usageError{fmt.Errorf("--delay %s: the past cannot be chosen", &f.delay)}
	}
	if err := busAndFile(args, &f.bus, &f.file, false); err != nil {
		return err
	}
	path := "/v1/events"
	if f.bus != "" {
		path = "/v1/buses/" + url.PathEscape(f.bus) + "/events"
	}
	if f.delay != 0 {
		path += "?delay=" + f.delay.String()
	}
	if f.file == "" {
		if f.typ == "" {
			return &usageError{errors.New("say what happened with --type, or name a file of events with --file")}
		}
		ev, err := f.event(cmd)
		if err != nil {
			return err
		}
		return publishOnce(cmd, c, path, event.AppendStructured(nil, ev))
	}
	for _, name := range []string{"id", "source", "type", "subject", "time", "attribute", "data", "content-type"} {
		if cmd.Flags().Changed(name) {
			return &usageError{fmt.Errorf("--file goes without --%s: the file says it all", name)}
		}
	}
	in, err := openInput(cmd, f.file)
	if err != nil {
		return err
	}
	defer in.Close()
	r := bufio.NewReaderSize(in, readAhead)
	if perLine(f.file, r) {
		return publishLines(cmd, c, path, f.file, r)
	}
	body, err := readAll(r, f.file)
	if err != nil {
		return err
	}
	err = publishOnce(cmd, c, path, body)
	var refused *refusal
	if errors.As(err, &refused) {
		err = fmt.Errorf("%s: %w", f.file, err)
	}
	return err
}

// busAndFile takes a bus and a file from arguments, BUS FILE, and from flags that
// say the same. One argument is what the flags leave to be said; if they leave
// both, it is the file if loneFile, else the bus.
func busAndFile(args []string, bus, file *string, loneFile bool) error {
	places := []*string{bus, file}
	if len(args) == 1 && (*bus != "" || loneFile && *file == "") {
		places = places[1:]
	}
	for i, arg := range args {
		if *places[i] != "" {
			return &usageError{fmt.Errorf("%q is one too many: %q is named already", arg, *places[i])}
		}
		*places[i] = arg
	}
	return nil
}

// publishOnce publishes an event, or an array of them, in one request.
func publishOnce(cmd *cobra.Command, c *client, path string, body []byte) error {
	contentType := "application/cloudevents+json"
	if bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("[")) {
		contentType = "application/cloudevents-batch+json"
	}
	var reply api.PublishResults
	if _, err := c.call(cmd.Context(), http.MethodPost, path, http.Header{"Content-Type": {contentType}}, body, &reply); err != nil {
		return err
	}
	if c.out.json() {
		return printJSON(cmd, reply)
	}
	if len(reply.Results) == 0 {
		fmt.Fprintln(cmd.OutOrStdout(), "no events to publish")
	}
	for _, r := range reply.Results {
		what := "scheduled"
		if r.Sequence != nil {
			what = fmt.Sprintf("sequence %d", *r.Sequence)
		}
		if r.Duplicate {
			what += ", a duplicate: stored once"
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s  %s\n", r.ID, what)
	}
	return nil
}

// event is the event that the flags say.
func (f *publishFlags) event(cmd *cobra.Command) (*event.Event, error) {
	b := event.NewBuilder()
	set := func(name, value string) error {
		if value == "" {
			return nil
		}
		return b.Set(name, event.StringValue(value))
	}
	id, at := f.id, f.time
	if id == "" {
		id = rand.Text()
	}
	if at == "" {
		at = time.Now().Format(time.RFC3339Nano)
	}
	errs := []error{set("id", id), set("source", f.source), set("type", f.typ), set("subject", f.subject), set("time", at)}
	for _, a := range f.attributes {
		name, value, ok := strings.Cut(a, "=")
		if !ok {
			return nil, &usageError{fmt.Errorf("--attribute %q is not NAME=VALUE", a)}
		}
		errs = append(errs, set(name, value))
	}
	if f.data != "" {
		data := []byte(f.data)
		if file, ok := strings.CutPrefix(f.data, "@"); ok || f.data == "-" {
			if !ok {
				file = "-"
			}
			var err error
			if data, err = readInput(cmd, file); err != nil {
				return nil, err
			}
		}
		b.SetData(f.contentType, data)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, &usageError{err}
	}
	ev, err := b.Build()
	if err != nil {
		return nil, &usageError{err}
	}
	return ev, nil
}

// readAhead is how much of a file of events is held in memory to see what it is.
const readAhead = 1 << 20

// openInput opens a file, or standard input for "-".
func openInput(cmd *cobra.Command, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(cmd.InOrStdin()), nil
	}
	return os.Open(name)
}

// readInput reads a file, or standard input for "-".
func readInput(cmd *cobra.Command, name string) ([]byte, error) {
	in, err := openInput(cmd, name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return readAll(in, name)
}

// readAll reads all of an input, which is bounded.
func readAll(r io.Reader, name string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err == nil && len(data) > maxInput {
		err = fmt.Errorf("%s is larger than %d bytes", name, maxInput)
	}
	return data, err
}
