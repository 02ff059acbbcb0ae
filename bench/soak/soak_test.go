package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	busevent "github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded"
	"github.com/switchyard-dev/switchyard/configs"
	"github.com/switchyard-dev/switchyard/rules"
	"github.com/switchyard-dev/switchyard/targets"
	bustarget "github.com/switchyard-dev/switchyard/targets/bus"
	httptarget "github.com/switchyard-dev/switchyard/targets/http"
)

// short is a soak that CI has time for: by faults, however long they take.
func short(t *testing.T, faults int) settings {
	return settings{faults: faults, dir: t.TempDir(), progress: io.Discard, log: slog.New(slog.DiscardHandler), stuck: 2 * time.Minute}
}

// holds runs a seed and fails on every promise that is broken.
func holds(t *testing.T, seed uint64, s settings) {
	t.Helper()
	r, err := soak(t.Context(), seed, s)
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	for _, v := range r.Violations {
		t.Errorf("seed %d: %s", seed, v)
	}
	t.Logf("seed %d: %d faults, %d events acknowledged, %d attempts, %d repeats", seed, r.Made, r.Acked, r.Attempts, r.Repeats)
	if r.Made != s.faults || r.Acked == 0 || r.Settled == 0 {
		t.Errorf("seed %d: %d faults, %d acknowledged events, %d settled deliveries: too little was tried", seed, r.Made, r.Acked, r.Settled)
	}
}

func TestPromisesHoldInAShortSoakOfTheEngine(t *testing.T) {
	s := short(t, 25)
	s.inMemory = true
	for range 2 {
		holds(t, uint64(rand.Uint32()), s)
	}
}

func TestPromisesHoldInAShortSoakOfTheProgram(t *testing.T) {
	s := short(t, 10)
	var err error
	if s.program, err = program(t.Context(), "", s.dir); err != nil {
		t.Fatal(err)
	}
	holds(t, uint64(rand.Uint32()), s)
}

// troubled is a server of which only the troubles count.
type troubled struct {
	server
	all []trouble
}

func (t troubled) troubles() []trouble { return t.all }

func TestTheStepsDependOnTheSeedAlone(t *testing.T) {
	s := troubled{all: []trouble{diskFull, logSync}}
	steps := func(seed uint64) []step {
		return schedule(rand.New(rand.NewPCG(seed, 1)), 200, s, []string{"all/plain", "keyed/keyed"}, memoryPace(), true)
	}
	if !reflect.DeepEqual(steps(7), steps(7)) {
		t.Error("one seed makes two schedules")
	}
	if reflect.DeepEqual(steps(7), steps(8)) {
		t.Error("two seeds make one schedule")
	}
	faults, kinds := 0, map[string]bool{}
	for _, s := range steps(7) {
		kinds[s.kind] = true
		if s.fault {
			faults++
		}
	}
	if faults != 200 || len(kinds) < 20 {
		t.Errorf("%d faults of 200, %d kinds of steps", faults, len(kinds))
	}
}

// What tearTail writes was promised to nobody: the events are all there, and the
// store opens and goes on.
func TestATornTailTakesNothingThatWasAcknowledged(t *testing.T) {
	ctx, fs, random := context.Background(), vfs.NewMem(), rand.New(rand.NewPCG(1, 1))
	for round := range uint64(12) {
		st, err := embedded.Open(embedded.Options{FS: fs, Dir: memoryDir, DiskReserve: -1})
		if err != nil {
			t.Fatal(err)
		}
		bus, err := st.OpenBus(ctx, "a", store.BusOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if b, err := st.Bounds(bus); err != nil || b.Last != round {
			t.Fatalf("round %d: %+v, %v", round, b, err)
		}
		ev, err := busevent.New("/soak", "x", "soak.plain", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Append(ctx, []store.Entry{{Bus: bus, Event: ev}}); err != nil {
			t.Fatal(err)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		if err := tearTail(fs, fs.PathJoin(memoryDir, "log"), random); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheConfigurationOfTheSoakIsValid(t *testing.T) {
	urls := map[string]string{}
	for _, r := range routes() {
		urls[r.name] = "http://127.0.0.1:1/" + r.name
	}
	env, err := rules.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	loader := &configs.Loader{Kinds: configs.Kinds{Targets: []targets.Spec{bustarget.Spec(), httptarget.Spec()}}, Rules: env, Listen: "127.0.0.1:0"}
	config, found := loader.LoadBytes("soak.yaml", []byte(configuration(routes(), urls, processPace(), time.Now())))
	if len(found) > 0 {
		t.Fatal(found)
	}
	if config.Rules.Len() != len(routes()) || len(config.Targets) != len(routes()) {
		t.Errorf("%d rules, %d targets, want %d of each", config.Rules.Len(), len(config.Targets), len(routes()))
	}
}

func TestFlagsThatMakeNoSenseAreRefused(t *testing.T) {
	for want, args := range map[string][]string{
		`-seeds "5..1" is no range`:         {"-seeds", "5..1"},
		"-seeds says exactly what is run":   {"-seeds", "1..2", "-faults", "9"},
		`-mode "disk": use process, memory`: {"-mode", "disk"},
		`-o "xml": use text or json`:        {"-o", "xml"},
		"-each and -stuck must be above 0":  {"-each", "0"},
		`"more" is not a flag`:              {"more"},
	} {
		if _, err := parse(args, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", args, err, want)
		}
	}
}

func TestTheCommandSumsUpInJSON(t *testing.T) {
	var out bytes.Buffer
	if err := command(t.Context(), []string{"-mode", "memory", "-seeds", "3..4", "-each", "3", "-dir", t.TempDir(), "-o", "json"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	var sum summary
	if err := json.Unmarshal(out.Bytes(), &sum); err != nil {
		t.Fatal(err)
	}
	if sum.First != 3 || sum.Last != 4 || sum.Faults != 6 || len(sum.Results) != 2 || sum.Violations != 0 || sum.Acked == 0 {
		t.Errorf("%+v", sum)
	}
}
