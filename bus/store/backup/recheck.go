package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/time/rate"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/objects"
)

// An object that a backup takes over from an earlier one may have been damaged
// where it lies. Its size is asked for each time; its bytes are read again a
// part at a time, so that a backup stays cheap and yet all objects are read once
// in a while. What is not what was written is written anew from the store, which
// mends the earlier backups that have it too.

// RecheckAll makes Write read all that it takes over.
const RecheckAll = -1

// DefaultRecheck is how many bytes of what a backup takes over are read again
// unless told otherwise.
const DefaultRecheck = 256 << 20

// chooseChecks picks what of the files that earlier backups have is read again:
// those whose last check is longest ago, up to a number of bytes, but one at
// least.
func (w *writer) chooseChecks(files []store.SnapshotFile, most int64) {
	if most == 0 {
		return
	}
	var all []File
	for i := range files {
		if old, ok := w.known[files[i].Identity]; ok && old.Size == files[i].Size {
			all = append(all, old)
		}
	}
	slices.SortFunc(all, func(a, b File) int {
		return cmp.Or(a.Checked.Compare(b.Checked), strings.Compare(a.Identity, b.Identity))
	})
	left := most
	for i := range all {
		if most > 0 && i > 0 && left < all[i].Size {
			continue // a smaller one may fit
		}
		left -= all[i].Size
		w.rechecks[all[i].Identity] = true
	}
}

// takeOver makes use of the object of an earlier backup, if it is what was
// written; else the file has to be copied.
func (w *writer) takeOver(ctx context.Context, old File) (file File, ok bool, err error) {
	info, err := w.at.Stat(ctx, old.object())
	switch {
	case errors.Is(err, objects.ErrNotFound):
		err = errMissing
	case err == nil && info.Size != old.Size:
		err = sizeError(&old)
	case err == nil && w.rechecks[old.Identity]:
		if err = fetch(ctx, w.at, &old, &pacedWriter{ctx, w.pace, io.Discard}); err == nil {
			old.Checked = w.manifest.Taken
			w.mu.Lock()
			w.checkedFiles++
			w.checkedBytes += old.Size
			w.mu.Unlock()
		}
	}
	if errors.Is(err, ErrDamaged) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.mended = append(w.mended, badOf(&old, err))
		return File{}, false, nil
	}
	return old, err == nil, err
}

// holds says of a file that was written anew whether it is what it was; else the
// backups before have another one.
func (w *writer) holds(old, file File) {
	if old.SHA256 == file.SHA256 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.mended {
		if b := &w.mended[i]; b.Object == file.object() {
			b.Reason += fmt.Sprintf("; what the store has now is not what backup %s had, so earlier backups stay damaged: look at the store with switchyard store check", old.from)
		}
	}
}

// pacedWriter is a writer that keeps to a rate, for what is read elsewhere.
type pacedWriter struct {
	ctx  context.Context // of the one who writes to it
	pace *rate.Limiter
	w    io.Writer
}

func (p *pacedWriter) Write(b []byte) (int, error) {
	for part := range slices.Chunk(b, chunk) {
		if p.pace.Limit() == rate.Inf {
			break
		}
		if err := p.pace.WaitN(p.ctx, len(part)); err != nil {
			return 0, err
		}
	}
	return p.w.Write(b)
}
