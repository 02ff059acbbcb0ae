package archive

import (
	"context"
	"errors"
	"fmt"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// Renew lets a store that was restored from a copy begin archives of its own.
// Those of the original may go on beyond the copy, with other events under the
// sequences that the restored store gives next; they stay where they are. No
// Store may stand around it.
func Renew(ctx context.Context, st store.Store) error {
	err := st.DeleteObject(ctx, "system", "archive", store.AnyVersion)
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("archive: identity of the store: %w", err)
	}
	known, err := st.ListObjects(ctx, objectKind)
	if err != nil {
		return err
	}
	for _, o := range known {
		if err := st.DeleteObject(ctx, objectKind, o.Name, store.AnyVersion); err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("archive of bus %q: what is known of it: %w", o.Name, err)
		}
	}
	return nil
}
