//go:build !cloud

package objects

import (
	"context"
	"fmt"
)

// openCloud opens storages that only builds with the tag "cloud" have: their
// libraries weigh more than Switchyard.
func openCloud(_ context.Context, l Location) (Storage, error) {
	return nil, supported(l.Scheme)
}

// supported is nil if this build has a kind of storage.
func supported(scheme string) error {
	if scheme == "file" || scheme == "s3" {
		return nil
	}
	return fmt.Errorf("%s:// needs a build with -tags cloud (go build -tags cloud ./cmd/switchyard); a folder and s3:// need none: %w", scheme, ErrUnsupported)
}
