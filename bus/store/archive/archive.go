// Package archive keeps the events of buses in an object storage beyond what
// the engine holds, and reads them back as if they were there.
//
// Store stands around a store.Store. An archiver (archiver.go) writes routed
// events of a bus in segments (segment.go), each an object whose name says
// which sequences and times it has, and lets local retention have only what it
// wrote. Reads (read.go) go on into the segments for what the engine has
// removed. There is no manifest: a listing of the names is all that is known of
// an archive, an object is there whole or not at all, and an upload that was
// interrupted is simply made again from the first sequence that no object has.
//
// All methods may be called from many goroutines. Each archive has one mutex
// for what is known of it; nothing is read or written while it is held.
package archive

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/objects"
)

// ErrMissing means that an object is missing, or damaged, that must be there.
var ErrMissing = errors.New("archived events are missing")

// ErrUnreachable means that an archive could not be read at the moment.
var ErrUnreachable = errors.New("the archive cannot be read")

// ErrDiverged means that an archive holds later events than its bus: the store
// was brought back to an earlier state, and what comes now is not what the
// archive has.
var ErrDiverged = errors.New("the archive is ahead of the bus")

// Defaults of Settings.
const (
	DefaultSegment = 32 << 20
	DefaultAfter   = time.Hour
)

// Settings are one bus's archive.
type Settings struct {
	To      objects.Location
	Keys    objects.Options
	MaxAge  time.Duration // events older than this are deleted from the archive; 0 keeps them for ever
	MaxSize int64         // bytes of objects; the oldest are deleted above it; 0 is no limit
	Segment int64         // bytes of events that make a segment; 0 is DefaultSegment
	After   time.Duration // the age at which events are written though they are fewer; 0 is DefaultAfter
}

func (s Settings) withDefaults() Settings {
	if s.Segment <= 0 {
		s.Segment = DefaultSegment
	}
	if s.After <= 0 {
		s.After = DefaultAfter
	}
	return s
}

// Options configure a Store. Store is required.
type Options struct {
	Store  store.Store
	Logger *slog.Logger // default: discarded
	// Open opens a storage; default objects.Open.
	Open func(context.Context, objects.Location, objects.Options) (objects.Storage, error)
	// Clock tells the time; default time.Now.
	Clock func() time.Time
	// Every is how often the archiver looks for what there is to do; default 5 s.
	Every time.Duration
}

// Store is a store.Store with archives. Make it with New.
type Store struct {
	store.Store
	opts  Options
	cache *cache

	mu      sync.RWMutex
	byName  map[string]*archive
	byBus   atomic.Pointer[map[store.BusID]*archive] // replaced whole, so that reads take no lock
	home    string                                   // of this data folder, in the names of objects
	wake    chan struct{}
	metrics *metrics
}

var _ store.Store = (*Store)(nil)

// New stands around a store. It closes that with itself.
func New(opts Options) (*Store, error) {
	if opts.Store == nil {
		return nil, errors.New("archive: Options.Store is required")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if opts.Open == nil {
		opts.Open = objects.Open
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.Every <= 0 {
		opts.Every = 5 * time.Second
	}
	s := &Store{
		Store: opts.Store, opts: opts, cache: newCache(), byName: map[string]*archive{},
		wake: make(chan struct{}, 1),
	}
	s.metrics = newMetrics(s)
	s.byBus.Store(&map[store.BusID]*archive{})
	return s, s.loadHome()
}

// loadHome reads what tells this data folder's events from those of another
// one with buses of the same names, or makes it up.
func (s *Store) loadHome() error {
	ctx := context.Background()
	o, err := s.Store.GetObject(ctx, "system", "archive")
	if errors.Is(err, store.ErrNotFound) {
		o.Value = make([]byte, 8)
		rand.Read(o.Value)
		_, err = s.Store.PutObject(ctx, "system", "archive", o.Value, 0)
	}
	if err != nil {
		return fmt.Errorf("archive: identity of the store: %w", err)
	}
	s.home = hex.EncodeToString(o.Value)
	return nil
}

// Configure says which buses have archives, by name. It holds from the next
// OpenBus of each on, so call it before the buses are opened with new settings;
// the settings before it come back by another Configure. Storages are opened
// here: an error leaves everything as it was.
func (s *Store) Configure(ctx context.Context, wanted map[string]Settings) error {
	fresh := map[string]*archive{}
	s.mu.RLock()
	have := maps.Clone(s.byName)
	s.mu.RUnlock()
	for name, set := range wanted {
		set = set.withDefaults()
		a := have[name]
		if a != nil && a.settings == set {
			fresh[name] = a
			continue
		}
		storage, err := s.opts.Open(ctx, set.To, set.Keys)
		if err != nil {
			for n, f := range fresh {
				if have[n] != f {
					err = errors.Join(err, f.storage.Close())
				}
			}
			return fmt.Errorf("archive of bus %q: %w", name, err)
		}
		next := &archive{name: name, settings: set, storage: storage, s: s}
		if a != nil {
			next.bus.Store(a.bus.Load())
		}
		fresh[name] = next
	}
	s.mu.Lock()
	s.byName = fresh
	open := map[store.BusID]*archive{}
	for _, a := range fresh {
		if id := a.id(); id != 0 {
			open[id] = a
		}
	}
	s.byBus.Store(&open)
	s.mu.Unlock()
	for name, a := range have {
		if fresh[name] != a {
			a.retired.Store(true)
			_ = a.storage.Close() // idle connections only
		}
	}
	s.nudge()
	return nil
}

// nudge has the archiver look at once.
func (s *Store) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// OpenBus implements store.Store: a bus with an archive is held.
func (s *Store) OpenBus(ctx context.Context, name string, opts store.BusOptions) (store.BusID, error) {
	s.mu.RLock()
	a := s.byName[name]
	s.mu.RUnlock()
	opts.Hold = opts.Hold || a != nil
	id, err := s.Store.OpenBus(ctx, name, opts)
	if err != nil || a == nil {
		return id, err
	}
	a.localAge.Store(int64(opts.MaxAge))
	a.localBytes.Store(opts.MaxBytes)
	a.bus.Store(uint32(id))
	if err := a.restore(ctx); err != nil {
		return 0, err
	}
	s.mu.Lock()
	if s.byName[name] == a {
		open := maps.Clone(*s.byBus.Load())
		open[id] = a
		s.byBus.Store(&open)
	}
	s.mu.Unlock()
	s.nudge()
	return id, nil
}

// DropBus implements store.Store. The archive's objects stay where they are.
func (s *Store) DropBus(ctx context.Context, bus store.BusID) error {
	if err := s.Store.DropBus(ctx, bus); err != nil {
		return err
	}
	s.mu.Lock()
	a := s.of(bus)
	open := maps.Clone(*s.byBus.Load())
	delete(open, bus)
	s.byBus.Store(&open)
	s.mu.Unlock()
	if a == nil {
		return nil
	}
	a.forget()
	err := s.Store.DeleteObject(ctx, objectKind, a.name, store.AnyVersion)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// Close implements store.Store. Run must have returned.
func (s *Store) Close() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var errs []error
	for _, a := range s.byName {
		errs = append(errs, a.storage.Close())
	}
	return errors.Join(append(errs, s.Store.Close())...)
}

// of is the archive of a bus, nil if it has none.
func (s *Store) of(bus store.BusID) *archive { return (*s.byBus.Load())[bus] }

// all lists the archives of buses that are open, in order of name.
func (s *Store) all() []*archive {
	list := slices.Collect(maps.Values(*s.byBus.Load()))
	slices.SortFunc(list, func(a, b *archive) int { return strings.Compare(a.name, b.name) })
	return list
}

// objectKind is the kind of what the catalogue keeps of archives.
const objectKind = "archive"

// known is what the catalogue keeps of an archive, so that it is not taken for
// shorter than it is while its storage cannot be reached.
type known struct {
	First uint64      `json:"first"` // 0: it has nothing
	Last  uint64      `json:"last"`
	Bus   store.BusID `json:"bus"`
	To    string      `json:"to"` // where that was
}

// archive is one bus's archive.
type archive struct {
	s        *Store
	name     string
	settings Settings
	storage  objects.Storage
	bus      atomic.Uint32 // store.BusID; 0 until it is opened
	retired  atomic.Bool

	localAge, localBytes atomic.Int64 // of retention

	loading sync.Mutex // one listing at a time
	working sync.Mutex // one pass of the archiver at a time

	mu       sync.Mutex
	known    known
	loaded   bool
	segments []Segment // in order, without overlaps
	failed   error     // of the archiver's last pass
	since    time.Time // when that began
	success  time.Time // when a pass last ended well
	failures uint64
	uploaded int64 // bytes of objects since start
	lag      uint64
}

// id is the store's id of the bus.
func (a *archive) id() store.BusID { return store.BusID(a.bus.Load()) }

// prefix is what the names of the bus's objects begin with.
func (a *archive) prefix() string {
	return fmt.Sprintf("%s/%s-%d/", a.name, a.s.home, a.bus.Load())
}

// restore reads what the catalogue has of the archive.
func (a *archive) restore(ctx context.Context) error {
	o, err := a.s.Store.GetObject(ctx, objectKind, a.name)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	var k known
	if err == nil {
		err = json.Unmarshal(o.Value, &k)
	}
	if err != nil {
		return fmt.Errorf("archive of bus %q: what is known of it: %w", a.name, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if k.Bus == a.id() && k.To == a.settings.To.String() {
		a.known = k
	}
	return nil
}

// keep writes what the archive has now into the catalogue.
func (a *archive) keep(ctx context.Context) error {
	a.mu.Lock()
	k := known{Bus: a.id(), To: a.settings.To.String()}
	if n := len(a.segments); n > 0 {
		k.First, k.Last = a.segments[0].First, a.segments[n-1].Last
	}
	same := k == a.known
	a.mu.Unlock()
	if same {
		return nil
	}
	value, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if _, err := a.s.Store.PutObject(ctx, objectKind, a.name, value, store.AnyVersion); err != nil {
		return err
	}
	a.mu.Lock()
	a.known = k
	a.mu.Unlock()
	return nil
}

// forget empties what is known, for the bus is gone.
func (a *archive) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known, a.loaded, a.segments = known{}, false, nil
	a.bus.Store(0)
}

// first is the lowest sequence in the archive, 0 if it has nothing.
func (a *archive) first() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.loaded && len(a.segments) == 0 {
		return 0
	}
	if a.loaded {
		return a.segments[0].First
	}
	return a.known.First
}

// list is what the archive has, listed once if it was not yet.
func (a *archive) list(ctx context.Context) ([]Segment, error) {
	a.mu.Lock()
	segments, loaded := a.segments, a.loaded
	a.mu.Unlock()
	if loaded {
		return segments, nil
	}
	a.loading.Lock()
	defer a.loading.Unlock()
	a.mu.Lock()
	segments, loaded = a.segments, a.loaded
	a.mu.Unlock()
	if loaded {
		return segments, nil
	}
	segments, err := List(ctx, a.storage, a.prefix())
	if err != nil {
		return nil, a.failure(ctx, err)
	}
	a.mu.Lock()
	had := a.known.Last
	if len(segments) == 0 && had > 0 {
		a.mu.Unlock()
		return nil, a.failure(ctx, fmt.Errorf("%s is empty and had events up to %d; is it mounted? An archive that was deleted on purpose begins anew in another place: %w", a.storage, had, ErrMissing))
	}
	a.segments, a.loaded = segments, true
	a.mu.Unlock()
	return segments, nil
}

// doubt has the archive listed again: it is not sure what the storage has.
func (a *archive) doubt() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.loaded = false
}
