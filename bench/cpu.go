package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// The measures that say how much CPU time an event took: of this process for
// what runs in it, load included, and of the child process for what runs there.
// On a machine that others use too they move less than rates do.
const (
	counted    = "events"
	cpuAnEvent = "CPU µs/event"
)

// withCPU adds cpuAnEvent to what a contender measures.
func withCPU(c contender, used func() (time.Duration, error)) contender {
	run := c.run
	c.run = func(ctx context.Context, d time.Duration) (measures, error) {
		before, err := used()
		if err != nil {
			return nil, err
		}
		m, err := run(ctx, d)
		if err != nil {
			return nil, err
		}
		after, err := used()
		if err != nil {
			return nil, err
		}
		m[cpuAnEvent] = float64((after - before).Nanoseconds()) / 1e3 / m[counted]
		return m, nil
	}
	return c
}

// ownCPU is the CPU time that this process has used.
func ownCPU() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// ticks are the units of CPU time in /proc, a second's worth: 100 on every
// Linux that Go runs on.
const ticks = 100

// cpu is the CPU time that the process has used.
func (p *process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return 0, err
	}
	// After the name, which is in parentheses, utime and stime are the 12th
	// and 13th field.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat is too short", p.PID())
	}
	sum := 0
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(string(f))
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return time.Duration(sum) * time.Second / ticks, nil
}
