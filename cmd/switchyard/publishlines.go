package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/api"
	"github.com/switchyard-dev/switchyard/bus/event"
)

// Bounds on the requests that the lines of a file are sent in.
const (
	pieceEvents = 100
	pieceBytes  = 1 << 20
)

// maxRefusals bounds how many refused lines are reported one by one.
const maxRefusals = 1000

// How often a piece is sent that the server has no room for, and how long it is
// waited in between.
const (
	pieceTries = 30
	pieceWait  = time.Second
)

// linesReport is what became of the lines of a file.
type linesReport struct {
	Stored     int           `json:"stored"` // duplicates left out
	Duplicates int           `json:"duplicates"`
	Scheduled  int           `json:"scheduled"`
	Refused    int           `json:"refused"`
	Refusals   []lineRefused `json:"refusals"` // the first of them
}

// lineRefused is one line that was not stored.
type lineRefused struct {
	Line   int    `json:"line"`
	Detail string `json:"detail"`
}

// eventLines reads events, one a line.
type eventLines struct {
	r    *bufio.Reader
	file string
	line int // the number of the last one
}

// next is the next line that is not blank, io.EOF at the end. It holds until the
// next call.
func (l *eventLines) next() ([]byte, error) {
	var long []byte
	for {
		part, err := l.r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			if long = append(long, part...); len(long) > maxInput {
				return nil, fmt.Errorf("%s:%d: the line is longer than %d bytes", l.file, l.line+1, maxInput)
			}
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if len(long) > 0 {
			part, long = append(long, part...), nil
		}
		if len(part) == 0 {
			return nil, io.EOF
		}
		l.line++
		if part = bytes.TrimSpace(part); len(part) > 0 {
			return part, nil
		}
	}
}

// waits reports whether the next line is not there yet.
func (l *eventLines) waits() bool {
	have, _ := l.r.Peek(l.r.Buffered())
	return bytes.IndexByte(have, '\n') < 0
}

// perLine reports whether a file has one event a line, and more than one of them
// unless its name says that it is such a file. It leaves r where it is.
func perLine(name string, r *bufio.Reader) bool {
	if ext := filepath.Ext(name); ext == ".ndjson" || ext == ".jsonl" {
		return true
	}
	for {
		_, err := r.Peek(r.Buffered() + 1) // one more read, of what there is
		have, _ := r.Peek(r.Buffered())
		have = bytes.TrimLeft(have, " \t\r\n")
		first, rest, whole := bytes.Cut(have, []byte("\n"))
		if len(first) > 0 && first[0] != '{' || whole && !json.Valid(first) {
			return false
		}
		if len(bytes.TrimSpace(rest)) > 0 {
			return true
		}
		if err != nil { // all that there is, or as much as is looked at
			return false
		}
	}
}

// linePiece is the lines of one request.
type linePiece struct {
	events [][]byte
	lines  []int
	bytes  int
}

func (p *linePiece) add(line int, event []byte) {
	p.events, p.lines = append(p.events, bytes.Clone(event)), append(p.lines, line)
	p.bytes += len(event) + 1
}

func (p *linePiece) full() bool { return len(p.events) >= pieceEvents || p.bytes >= pieceBytes }

func (p *linePiece) without(i int) {
	p.events = append(p.events[:i], p.events[i+1:]...)
	p.lines = append(p.lines[:i], p.lines[i+1:]...)
}

func (p *linePiece) body() []byte {
	return append(append([]byte{'['}, bytes.Join(p.events, []byte{','})...), ']')
}

// lineSender publishes lines in pieces.
type lineSender struct {
	c      *client
	path   string
	file   string
	errOut io.Writer
	report linesReport
	show   *progress
}

// publishLines publishes the events of a file that has one a line. What is
// refused of them does not hold up the others.
func publishLines(cmd *cobra.Command, c *client, path, file string, r *bufio.Reader) error {
	s := lineSender{c: c, path: path, file: file, errOut: cmd.ErrOrStderr(), show: newProgress(cmd.ErrOrStderr()), report: linesReport{Refusals: []lineRefused{}}}
	err := s.all(cmd.Context(), &eventLines{r: r, file: file})
	s.show.end()
	slices.SortFunc(s.report.Refusals, func(a, b lineRefused) int { return a.Line - b.Line })
	if c.out.json() {
		err = errors.Join(err, printJSON(cmd, s.report))
	} else {
		rep := s.report
		text := fmt.Sprintf("%s stored", counted(rep.Stored, "event", "events"))
		if rep.Duplicates > 0 {
			text += fmt.Sprintf(", %d already there", rep.Duplicates)
		}
		if rep.Scheduled > 0 {
			text += fmt.Sprintf(", %d scheduled", rep.Scheduled)
		}
		if rep.Refused > 0 {
			text += fmt.Sprintf(", %d refused", rep.Refused)
		}
		fmt.Fprintln(cmd.OutOrStdout(), text)
	}
	if err == nil && s.report.Refused > 0 {
		return errReported
	}
	return err
}

func (s *lineSender) all(ctx context.Context, in *eventLines) error {
	var p linePiece
	for {
		line, err := in.next()
		switch {
		case errors.Is(err, io.EOF):
			return s.send(ctx, &p)
		case err != nil:
			return errors.Join(s.send(ctx, &p), err)
		}
		if _, err := event.FromStructured(line, event.Limits{MaxEventSize: maxInput}); err != nil {
			s.refuse(in.line, err.Error())
		} else {
			p.add(in.line, line)
		}
		if p.full() || in.waits() {
			if err := s.send(ctx, &p); err != nil {
				return err
			}
			p = linePiece{}
			s.show.line("line %d: %d stored, %d refused", in.line, s.report.Stored, s.report.Refused)
		}
	}
}

// send publishes a piece: once more without it for each line that is refused. An
// error says where it stopped.
func (s *lineSender) send(ctx context.Context, p *linePiece) error {
	for tries := 1; len(p.events) > 0; {
		var reply api.PublishResults
		_, err := s.c.call(ctx, http.MethodPost, s.path, http.Header{"Content-Type": {"application/cloudevents-batch+json"}}, p.body(), &reply)
		if err == nil {
			s.count(reply)
			return nil
		}
		var refused *refusal
		if errors.As(err, &refused) {
			if i, why := memberAtFault(refused.problem); i >= 0 && i < len(p.events) {
				s.refuse(p.lines[i], why)
				p.without(i)
				continue
			}
			if full := refused.problem.Status == http.StatusTooManyRequests || refused.problem.Status == http.StatusServiceUnavailable; full && tries < pieceTries {
				tries++
				select {
				case <-time.After(pieceWait):
					continue
				case <-ctx.Done():
				}
			}
		}
		return fmt.Errorf("%s: stopped before line %d; of the lines before it, all that were not refused are stored: %w", s.file, p.lines[0], err)
	}
	return nil
}

func (s *lineSender) count(reply api.PublishResults) {
	for _, r := range reply.Results {
		switch {
		case r.Duplicate:
			s.report.Duplicates++
		case r.Sequence == nil:
			s.report.Scheduled++
		default:
			s.report.Stored++
		}
	}
}

func (s *lineSender) refuse(line int, detail string) {
	s.report.Refused++
	if len(s.report.Refusals) == maxRefusals {
		return
	}
	s.report.Refusals = append(s.report.Refusals, lineRefused{line, detail})
	s.show.end()
	fmt.Fprintf(s.errOut, "%s:%d: %s\n", s.file, line, detail)
	if len(s.report.Refusals) == maxRefusals {
		fmt.Fprintf(s.errOut, "%s: more refused lines are counted only\n", s.file)
	}
}

// memberAtFault is the one event of a batch that a problem is about, -1 if it is
// about none.
func memberAtFault(p api.Problem) (int, string) {
	if len(p.Errors) == 0 {
		return -1, ""
	}
	member, attribute, _ := strings.Cut(strings.TrimPrefix(p.Errors[0].Pointer, "/"), "/")
	i, err := strconv.Atoi(member)
	if err != nil {
		return -1, ""
	}
	if why := p.Errors[0].Detail; attribute == "" || strings.Contains(why, attribute) {
		return i, why
	}
	return i, attribute + ": " + p.Errors[0].Detail
}
