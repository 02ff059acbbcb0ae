package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/switchyard-dev/switchyard/api"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/configs"
)

// appWithObjects is an app that is not running, with the bus orders from a file and
// through the API a target screen, which prints text, and a rule shown to it.
func appWithObjects(t *testing.T) *app {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "switchyard.yaml")
	if err := os.WriteFile(file, []byte("version: 1\nbuses: {orders: {}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := newApp(t.Context(), serveFlags{config: file, data: filepath.Join(dir, "data"), listen: "127.0.0.1:0"},
		slog.New(slog.DiscardHandler), io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.close)
	if _, err := a.config.Apply(t.Context(), []api.Named{
		{Kind: configs.Targets, Name: "screen", Body: []byte(`{"log":{"format":"text"}}`)},
		{Kind: configs.Rules, Name: "shown", Body: []byte(`{"bus":"orders","targets":["screen"]}`)},
	}, false); err != nil {
		t.Fatal(err)
	}
	return a
}

// kept is what the store has of the API's objects and what is in force of them.
func (a *app) kept(t *testing.T) (stored, inForce map[objectKey]string) {
	t.Helper()
	stored, inForce = map[objectKey]string{}, map[objectKey]string{}
	for _, kind := range objectKinds() {
		all, err := a.engine.Store().ListObjects(t.Context(), catalogKind(kind))
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range all {
			stored[objectKey{kind, o.Name}] = string(o.Value)
		}
	}
	for _, o := range a.config.inForce().API() {
		inForce[objectKey{o.Kind, o.Name}] = string(o.Raw)
	}
	return stored, inForce
}

func same(a, b map[objectKey]string) bool {
	for k := range a {
		if a[k] != b[k] {
			return false
		}
	}
	return len(a) == len(b)
}

func TestAChangeThatCannotComeIntoForceLeavesNothing(t *testing.T) {
	const json, file = `{"log":{"format":"json"}}`, `{"bus":"orders","when":"event.type == \"a\"","targets":["file"]}`
	put := func(kind, name, body string) func(context.Context, *manager) error {
		return func(ctx context.Context, m *manager) error {
			_, _, err := m.Put(ctx, kind, name, []byte(body), api.Condition{})
			return err
		}
	}
	for name, change := range map[string]func(context.Context, *manager) error{
		"a put that creates":  put(configs.Targets, "file", json),
		"a put that replaces": put(configs.Targets, "screen", json),
		"an apply of several": func(ctx context.Context, m *manager) error {
			_, err := m.Apply(ctx, []api.Named{
				{Kind: configs.Targets, Name: "screen", Body: []byte(json)},
				{Kind: configs.Targets, Name: "file", Body: []byte(json)},
				{Kind: configs.Rules, Name: "filed", Body: []byte(file)},
			}, false)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := appWithObjects(t)
			before, _ := a.kept(t)
			a.config.out = nil // no log target can be built any more
			if err := change(t.Context(), a.config); err == nil {
				t.Fatal("it came into force")
			}
			stored, inForce := a.kept(t)
			if !same(stored, before) || !same(inForce, before) {
				t.Errorf("before it was\n%v\nin the store is\n%v\nin force is\n%v", before, stored, inForce)
			}
			if _, err := a.config.Delete(t.Context(), configs.Targets, "file", api.Condition{}); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("to delete what was never made: %v", err)
			}
			a.config.out = io.Discard
			shown, _ := a.config.Get(configs.Targets, "screen")
			if _, _, err := a.config.Put(t.Context(), configs.Targets, "screen", []byte(json), api.Condition{ETag: shown.ETag}); err != nil {
				t.Errorf("a change of what was there before: %v", err)
			}
		})
	}
}

// leaving is a handler of logs that has what cancel ends at the moment when a
// target is built: after a change is stored, and before it is in force.
type leaving struct {
	slog.Handler
	cancel context.CancelFunc
}

func (l leaving) WithAttrs([]slog.Attr) slog.Handler { l.cancel(); return l }

func TestAChangeComesIntoForceThoughItsClientHasGone(t *testing.T) {
	for name, change := range map[string]func(context.Context, *manager) error{
		"put": func(ctx context.Context, m *manager) error {
			_, _, err := m.Put(ctx, configs.Targets, "file", []byte(`{"log":{}}`), api.Condition{})
			return err
		},
		"apply": func(ctx context.Context, m *manager) error {
			_, err := m.Apply(ctx, []api.Named{{Kind: configs.Targets, Name: "file", Body: []byte(`{"log":{}}`)}}, false)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := appWithObjects(t)
			ctx, cancel := context.WithCancel(t.Context())
			a.config.log = slog.New(leaving{slog.DiscardHandler, cancel})
			if err := change(ctx, a.config); err != nil {
				t.Fatal(err)
			}
			if ctx.Err() == nil {
				t.Fatal("the client is still there")
			}
			if stored, inForce := a.kept(t); !same(stored, inForce) || stored[objectKey{configs.Targets, "file"}] == "" {
				t.Errorf("in the store is\n%v\nin force is\n%v", stored, inForce)
			}
		})
	}
}

func TestAPutWarnsOfWhatItConcerns(t *testing.T) {
	a := appWithObjects(t)
	put := func(kind, name, body string) []string {
		t.Helper()
		o, _, err := a.config.Put(t.Context(), kind, name, []byte(body), api.Condition{})
		if err != nil {
			t.Fatal(err)
		}
		var messages []string
		for _, w := range o.Warnings {
			messages = append(messages, w.Message)
		}
		return messages
	}
	const private = `{"http":{"url":"http://10.0.0.1/"}}`
	if got := put(configs.Targets, "private", private); len(got) != 1 || !strings.Contains(got[0], "may not reach 10.0.0.1") {
		t.Errorf("the target itself: %q", got)
	}
	if got := put(configs.Buses, "other", `{}`); got != nil {
		t.Errorf("a bus that has nothing to do with it: %q", got)
	}
	if got := put(configs.Targets, "chained", `{"bus":{"name":"other"}}`); got != nil {
		t.Errorf("another target: %q", got)
	}
}
