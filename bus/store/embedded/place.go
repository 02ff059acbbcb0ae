package embedded

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// placeEvery is how long an answer about the folder holds. The log looks for
// its own file after each sync besides, so that nothing is acknowledged in
// between.
const placeEvery = 100 * time.Millisecond

// placeGuard notices that the data folder was moved, deleted or replaced. The
// files in it stay open then and take all that is written, to be lost.
type placeGuard struct {
	fs      vfs.FS
	folders []folder

	mu    sync.Mutex
	asked time.Time
	err   error
}

type folder struct {
	path string
	id   seglog.Identity
}

// watch adds a folder that must stay where it is.
func (g *placeGuard) watch(path string) error {
	id, err := seglog.Identify(g.fs, path)
	if err != nil {
		return fmt.Errorf("look at the data folder: %w", err)
	}
	g.folders = append(g.folders, folder{path, id})
	return nil
}

// check says what is not where it was; it looks at most every placeEvery.
func (g *placeGuard) check() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil && time.Since(g.asked) < placeEvery {
		return nil
	}
	return g.look()
}

// checkNow is check, but looks.
func (g *placeGuard) checkNow() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.look()
}

func (g *placeGuard) look() error {
	g.asked, g.err = time.Now(), nil
	for _, f := range g.folders {
		if err := f.id.StandsAt(g.fs, f.path); err != nil {
			g.err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
			break
		}
	}
	return g.err
}

// displaced reports whether err is of a folder that is not where it was.
func displaced(err error) bool {
	var d *seglog.DisplacedError
	return errors.As(err, &d)
}

// watchPlace tells once that the folder is gone, and that it is back.
func (s *Store) watchPlace(gone bool) bool {
	err := s.home.check()
	switch {
	case err != nil && !gone:
		s.opts.Logger.Error("publishing is refused", "error", err)
	case err == nil && gone:
		s.opts.Logger.Info("the data folder is back where it was")
	}
	return err != nil
}
