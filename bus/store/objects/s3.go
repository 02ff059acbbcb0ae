package objects

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	// partSize is how much of a large object one request carries; an object of
	// unknown size can have 10,000 of them, 156 GiB.
	partSize = 16 << 20
	// tries bounds how often a request is made that fails for a passing reason.
	tries = 4
	// headerTimeout bounds the wait for an answer to begin.
	headerTimeout = 30 * time.Second
)

// s3 keeps objects in a bucket of Amazon S3, or of what speaks its protocol.
type s3 struct {
	l         Location
	core      minio.Core
	transport *http.Transport
}

func openS3(l Location, opts Options) (Storage, error) {
	host, secure := "s3.amazonaws.com", true
	if l.Endpoint != "" {
		e, err := url.Parse(l.Endpoint)
		if err != nil {
			return nil, err
		}
		host, secure = e.Host, e.Scheme == "https"
	}
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("the process has replaced net/http's transport by one that cannot be copied")
	}
	transport = transport.Clone()
	transport.ResponseHeaderTimeout = headerTimeout
	transport.DisableCompression = true // objects come as they are
	keys := credentials.NewStaticV4(opts.AccessKey, opts.SecretKey.Reveal(), opts.SessionToken.Reveal())
	if opts.AccessKey == "" {
		keys = credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{},
			&credentials.FileAWSCredentials{},
			&credentials.IAM{},
		})
	}
	lookup := minio.BucketLookupAuto
	if l.PathStyle {
		lookup = minio.BucketLookupPath
	}
	client, err := minio.New(host, &minio.Options{
		Creds: keys, Secure: secure, Transport: transport, Region: l.Region,
		BucketLookup: lookup, MaxRetries: tries,
	})
	if err != nil {
		return nil, err
	}
	return &s3{l, minio.Core{Client: client}, transport}, nil
}

func (s *s3) String() string { return s.l.String() }

// Close implements Storage.
func (s *s3) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}

// Put implements Storage: S3 shows an object once all of it is there, also one
// that was sent in parts.
func (s *s3) Put(ctx context.Context, name string, r io.Reader, size int64) error {
	if err := CheckName(name); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, size, err := announced(newExact(r, size), size)
	if err != nil {
		return s.failure(name, err)
	}
	opts := minio.PutObjectOptions{ContentType: "application/octet-stream", PartSize: partSize}
	if size == 0 {
		// With its sum the request is signed as a whole; signed in chunks it
		// would be sent without a length, which S3 refuses.
		opts.DisableContentSha256 = true
		sum := sha256.Sum256(nil)
		_, err = s.core.PutObject(ctx, s.l.Bucket, s.l.key(name), r, 0, "", hex.EncodeToString(sum[:]), opts)
	} else {
		_, err = s.core.Client.PutObject(ctx, s.l.Bucket, s.l.key(name), r, size, opts)
	}
	return s.failure(name, err)
}

// announced sees whether there is anything in r at all: the client sends what
// is empty only if it knows.
func announced(r io.Reader, size int64) (io.Reader, int64, error) {
	if size > 0 {
		return r, size, nil
	}
	first := make([]byte, 1)
	switch n, err := io.ReadFull(r, first); {
	case errors.Is(err, io.EOF):
		return http.NoBody, 0, nil
	case err != nil:
		return nil, 0, err
	default:
		return io.MultiReader(bytes.NewReader(first[:n]), r), size, nil
	}
}

// Get implements Storage.
func (s *s3) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := errors.Join(CheckName(name), checkRange(offset, length)); err != nil {
		return nil, err
	}
	var opts minio.GetObjectOptions
	var err error
	switch {
	case length >= 0:
		err = opts.SetRange(offset, offset+length-1)
	case offset > 0:
		err = opts.SetRange(offset, 0)
	}
	if err != nil {
		return nil, err
	}
	r, _, _, err := s.core.GetObject(ctx, s.l.Bucket, s.l.key(name), opts)
	if err != nil {
		return nil, s.failure(name, err)
	}
	return r, nil
}

// Stat implements Storage.
func (s *s3) Stat(ctx context.Context, name string) (Info, error) {
	if err := CheckName(name); err != nil {
		return Info{}, err
	}
	info, err := s.core.StatObject(ctx, s.l.Bucket, s.l.key(name), minio.StatObjectOptions{})
	if err != nil {
		return Info{}, s.failure(name, err)
	}
	return Info{name, info.Size, info.LastModified}, nil
}

// List implements Storage.
func (s *s3) List(ctx context.Context, prefix, after string, n int) ([]Info, error) {
	n = limit(n)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	opts := minio.ListObjectsOptions{Prefix: s.l.key(prefix), Recursive: true, MaxKeys: n}
	if after != "" {
		opts.StartAfter = s.l.key(after)
	}
	var found []Info
	for o := range s.core.ListObjectsIter(ctx, s.l.Bucket, opts) {
		if o.Err != nil {
			return nil, fmt.Errorf("list %s: %w", s, o.Err)
		}
		name := s.l.name(o.Key)
		if name <= after || !strings.HasPrefix(name, prefix) || CheckName(name) != nil {
			continue // not ours, or a service that does not know start-after
		}
		if found = append(found, Info{name, o.Size, o.LastModified}); len(found) == n {
			break
		}
	}
	return found, ctx.Err()
}

// Delete implements Storage.
func (s *s3) Delete(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	err := s.failure(name, s.core.RemoveObject(ctx, s.l.Bucket, s.l.key(name), minio.RemoveObjectOptions{}))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// failure makes an answer of S3 one of a storage.
func (s *s3) failure(name string, err error) error {
	if err == nil {
		return nil
	}
	switch minio.ToErrorResponse(err).Code {
	case minio.NoSuchKey:
		err = ErrNotFound
	case minio.InvalidRange:
		err = ErrRange
	}
	return fmt.Errorf("object %q in %s: %w", name, s, err)
}
