package objects

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Location says where a storage is. It holds no credentials.
type Location struct {
	Scheme string // "file", "s3", "gs" or "azblob"
	Path   string // of a folder
	Bucket string // or container
	Prefix string // what names in the bucket begin with, without slashes at its ends; may be empty

	Endpoint  string // of S3: scheme and host; "" is Amazon's
	Region    string // of S3; "" is found out, or us-east-1 at an endpoint
	PathStyle bool   // the bucket is in the path and not in the host's name
}

// Parse reads an address: a folder (a path, or file:///path), or a bucket and
// a prefix in it: s3://BUCKET/PREFIX?region=&endpoint=&pathStyle=,
// gs://BUCKET/PREFIX, azblob://CONTAINER/PREFIX. Credentials do not belong in
// it.
func Parse(text string) (Location, error) {
	scheme, rest, isURL := strings.Cut(text, "://")
	if text == "" {
		return Location{}, errors.New("it is empty; give a folder or s3://BUCKET/PREFIX")
	}
	if !isURL {
		return Location{Scheme: "file", Path: filepath.Clean(text)}, nil
	}
	if scheme == "file" {
		if !strings.HasPrefix(rest, "/") {
			return Location{}, fmt.Errorf("%q: a file:// address has three slashes and an absolute path; for a relative one give just the path", text)
		}
		path, err := url.PathUnescape(rest)
		if err != nil {
			return Location{}, fmt.Errorf("%q: %w", text, err)
		}
		return Location{Scheme: "file", Path: filepath.Clean(path)}, nil
	}
	if !slices.Contains([]string{"s3", "gs", "azblob"}, scheme) {
		return Location{}, fmt.Errorf("scheme %q is not supported; use a folder, s3://, gs:// or azblob://", scheme)
	}
	u, err := url.Parse(text)
	if err != nil {
		return Location{}, fmt.Errorf("not an address of the form %s://BUCKET/PREFIX", scheme) // the error could quote a password
	}
	if u.User != nil {
		return Location{}, fmt.Errorf("%s: credentials do not belong in the address; set the access key beside it or take it from the environment", u.Redacted())
	}
	l := Location{Scheme: scheme, Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	if l.Bucket == "" || u.Port() != "" || u.Fragment != "" {
		return Location{}, fmt.Errorf("%q: it must name a bucket: %s://BUCKET/PREFIX", text, scheme)
	}
	if l.Prefix != "" {
		if err := CheckName(l.Prefix); err != nil {
			return Location{}, fmt.Errorf("prefix: %w", err)
		}
	}
	return l, l.query(u.RawQuery)
}

// query reads the settings of S3.
func (l *Location) query(raw string) error {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return errors.New("the part after \"?\" is malformed; use key=value&key=value")
	}
	for key, list := range values {
		if l.Scheme != "s3" || len(list) != 1 {
			return fmt.Errorf("%q after \"?\": only s3:// has settings, each once", key)
		}
		value := list[0]
		switch key {
		case "region":
			l.Region = value
		case "endpoint":
			e, err := url.Parse(value)
			if err != nil || e.Scheme != "http" && e.Scheme != "https" || e.Host == "" || e.User != nil || strings.Trim(e.Path, "/") != "" || e.RawQuery != "" {
				return errors.New("endpoint: it must be http://HOST[:PORT] or https://HOST[:PORT] and nothing more")
			}
			l.Endpoint = e.Scheme + "://" + e.Host
		case "pathStyle":
			if l.PathStyle, err = strconv.ParseBool(value); err != nil {
				return fmt.Errorf("pathStyle: %q is neither true nor false", value)
			}
		default:
			return fmt.Errorf("%q after \"?\" is unknown; there are region, endpoint and pathStyle", key)
		}
	}
	return nil
}

// Supported is nil if this build has the kind of storage, else it says which
// has (ErrUnsupported).
func (l Location) Supported() error { return supported(l.Scheme) }

// String is the address that Parse reads.
func (l Location) String() string {
	if l.Scheme == "file" {
		return l.Path
	}
	text := l.Scheme + "://" + l.Bucket
	if l.Prefix != "" {
		text += "/" + l.Prefix
	}
	q := url.Values{}
	if l.Region != "" {
		q.Set("region", l.Region)
	}
	if l.Endpoint != "" {
		q.Set("endpoint", l.Endpoint)
	}
	if l.PathStyle {
		q.Set("pathStyle", "true")
	}
	if len(q) > 0 {
		text += "?" + q.Encode()
	}
	return text
}

// key is an object's name in the bucket.
func (l Location) key(name string) string {
	if l.Prefix == "" {
		return name
	}
	return l.Prefix + "/" + name
}

// name is the object's name of a key in the bucket.
func (l Location) name(key string) string {
	if l.Prefix == "" {
		return key
	}
	return strings.TrimPrefix(key, l.Prefix+"/")
}
