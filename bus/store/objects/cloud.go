//go:build cloud

package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"cloud.google.com/go/storage"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // azblob://
	_ "gocloud.dev/blob/gcsblob"   // gs://
	"gocloud.dev/gcerrors"
)

// cloud keeps objects in a bucket of Google Cloud Storage or a container of
// Azure Blob Storage.
type cloud struct {
	l      Location
	bucket *blob.Bucket
}

func openCloud(ctx context.Context, l Location) (Storage, error) {
	bucket, err := blob.OpenBucket(ctx, l.Scheme+"://"+l.Bucket)
	if err != nil {
		return nil, err
	}
	return newCloud(l, bucket), nil
}

// supported is nil if this build has a kind of storage: it has all.
func supported(string) error { return nil }

func newCloud(l Location, bucket *blob.Bucket) Storage { return &cloud{l, bucket} }

func (c *cloud) String() string { return c.l.String() }

// Close implements Storage.
func (c *cloud) Close() error {
	err := c.bucket.Close()
	if gcerrors.Code(err) == gcerrors.FailedPrecondition { // closed before
		return nil
	}
	return err
}

// Put implements Storage: an object is shown when its writer is closed, unless
// its context ended before.
func (c *cloud) Put(ctx context.Context, name string, r io.Reader, size int64) error {
	if err := CheckName(name); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := c.bucket.NewWriter(ctx, c.l.key(name), &blob.WriterOptions{ContentType: "application/octet-stream"})
	if err != nil {
		return c.failure(name, err)
	}
	if _, err = io.Copy(w, newExact(r, size)); err != nil {
		cancel()
		_ = w.Close() // it says that it was cancelled
		return c.failure(name, err)
	}
	return c.failure(name, w.Close())
}

// Get implements Storage.
func (c *cloud) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := errors.Join(ctx.Err(), CheckName(name), checkRange(offset, length)); err != nil {
		return nil, err
	}
	info, err := c.Stat(ctx, name)
	if err != nil {
		return nil, err
	}
	if offset >= info.Size && (offset > 0 || length >= 0) {
		return nil, c.failure(name, ErrRange)
	}
	r, err := c.bucket.NewRangeReader(ctx, c.l.key(name), offset, length, nil)
	if err != nil {
		return nil, c.failure(name, err)
	}
	return r, nil
}

// Stat implements Storage.
func (c *cloud) Stat(ctx context.Context, name string) (Info, error) {
	if err := CheckName(name); err != nil {
		return Info{}, err
	}
	a, err := c.bucket.Attributes(ctx, c.l.key(name))
	if err != nil {
		return Info{}, c.failure(name, err)
	}
	return Info{name, a.Size, a.ModTime}, nil
}

// List implements Storage. Azure cannot begin after a name, so there it reads
// past those before.
func (c *cloud) List(ctx context.Context, prefix, after string, n int) ([]Info, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n = limit(n)
	it := c.bucket.List(&blob.ListOptions{
		Prefix: c.l.key(prefix),
		BeforeList: func(as func(any) bool) error {
			var q *storage.Query
			if after != "" && as(&q) {
				q.StartOffset = c.l.key(after)
			}
			return nil
		},
	})
	var found []Info
	for len(found) < n {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", c, err)
		}
		name := c.l.name(o.Key)
		if o.IsDir || name <= after || !strings.HasPrefix(name, prefix) || CheckName(name) != nil {
			continue
		}
		found = append(found, Info{name, o.Size, o.ModTime})
	}
	return found, nil
}

// Delete implements Storage.
func (c *cloud) Delete(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	err := c.failure(name, c.bucket.Delete(ctx, c.l.key(name)))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// failure makes an error of the library one of a storage.
func (c *cloud) failure(name string, err error) error {
	if err == nil {
		return nil
	}
	if gcerrors.Code(err) == gcerrors.NotFound {
		err = ErrNotFound
	}
	return fmt.Errorf("object %q in %s: %w", name, c, err)
}
