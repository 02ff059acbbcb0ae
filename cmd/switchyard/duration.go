package main

import "github.com/switchyard-dev/switchyard/bus/component"

// durationFlag is a flag that is a length of time as the configuration and the
// API have it: 30s, 1h30m, 7d. Zero is its default and is not shown.
type durationFlag component.Duration

func (d *durationFlag) Set(text string) error {
	parsed, err := component.ParseDuration(text)
	*d = durationFlag(parsed)
	return err
}

func (d *durationFlag) String() string {
	if *d == 0 {
		return ""
	}
	return component.Duration(*d).String()
}

func (d *durationFlag) Type() string { return "duration" }
