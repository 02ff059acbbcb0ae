package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/switchyard-dev/switchyard/bus/store/embedded/seglog"
)

// Rewind ends a store that no process has open before the first event that was
// recorded, or scheduled, after to: that one and all that came later are gone.
// What the state has is left as it is, so to must not be before the state was
// written; events that it knows stay in any case. cut says whether anything
// was dropped. It is meant for a copy that is being restored.
func Rewind(ctx context.Context, fs vfs.FS, dir string, to time.Time) (cut bool, err error) {
	st, err := openState(fs, fs.PathJoin(dir, "state"), slog.New(slog.DiscardHandler), true)
	if err != nil {
		return false, err
	}
	covered, _, err := coveredRow(st)
	if err = errors.Join(err, st.db.Close()); err != nil {
		return false, err
	}
	limit := nanos(to)
	var at seglog.Position
	log := fs.PathJoin(dir, "log")
	var damage error
	_, err = seglog.Check(ctx, fs, log, seglog.Visitor{
		Record: func(pos seglog.Position, payload []byte) error {
			if cut || !covered.Less(pos) {
				return nil
			}
			err := walkPayload(payload, func(e *entry) error {
				when := e.record
				if e.flags&flagScheduled != 0 {
					when = e.accepted()
				}
				cut = cut || when > limit
				return nil
			})
			if cut {
				at = pos
			}
			return err
		},
		Damaged: func(d seglog.Damage) { damage = fmt.Errorf("the log is damaged: %s", d.Reason) },
		Segment: func(int, int) {},
	})
	if err = errors.Join(err, damage); err != nil || !cut {
		return false, err
	}
	return true, seglog.Cut(fs, log, at)
}
