package objects_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/store/objects"
	"github.com/switchyard-dev/switchyard/bus/store/objects/objectstest"
)

func open(t *testing.T, address string, opts objects.Options) objects.Storage {
	t.Helper()
	l, err := objects.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	s, err := objects.Open(t.Context(), l, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFolder(t *testing.T) {
	objectstest.Run(t, func(t *testing.T) objects.Storage {
		return open(t, "file://"+t.TempDir()+"/made/on/put", objects.Options{})
	})
}

// s3Server is an S3 of this process with one bucket, and the query of its
// address.
func s3Server(t *testing.T) string {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("events"); err != nil {
		t.Fatal(err)
	}
	fake := gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		const streamed = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
		if r.URL.Query().Has("partNumber") && r.Header.Get("X-Amz-Content-Sha256") == streamed {
			// The fake takes the signatures between the chunks of a part for
			// bytes of the object.
			data, err := unsigned(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(data))
			r.Header.Set("Content-Length", strconv.Itoa(len(data)))
			r.ContentLength = int64(len(data))
		}
		fake.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return "?region=eu-west-1&pathStyle=true&endpoint=" + server.URL
}

// unsigned is a body that was signed chunk by chunk, without the signatures.
func unsigned(body io.Reader) ([]byte, error) {
	r := bufio.NewReader(body)
	var data []byte
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		digits, _, _ := strings.Cut(line, ";")
		n, err := strconv.ParseInt(digits, 16, 32)
		if err != nil || n == 0 {
			return data, err
		}
		chunk := make([]byte, n+2) // and a line's end
		if _, err := io.ReadFull(r, chunk); err != nil {
			return nil, err
		}
		data = append(data, chunk[:n]...)
	}
}

func keys() objects.Options {
	return objects.Options{AccessKey: "key", SecretKey: component.NewSecret("hidden-value")}
}

func TestS3(t *testing.T) {
	for name, prefix := range map[string]string{"whole bucket": "", "prefix": "/some/where"} {
		t.Run(name, func(t *testing.T) {
			objectstest.Run(t, func(t *testing.T) objects.Storage {
				return open(t, "s3://events"+prefix+s3Server(t), keys())
			})
		})
	}
}

func TestPrefixesOfOneBucketDoNotMeet(t *testing.T) {
	query := s3Server(t)
	a, b := open(t, "s3://events/a"+query, keys()), open(t, "s3://events/ab"+query, keys())
	if err := b.Put(t.Context(), "x", strings.NewReader("x"), 1); err != nil {
		t.Fatal(err)
	}
	if found, err := a.List(t.Context(), "", "", 0); err != nil || len(found) != 0 {
		t.Errorf("the other prefix's list: %v, %v", found, err)
	}
}

func TestErrorsOfS3NameThePlaceAndHideTheKey(t *testing.T) {
	s := open(t, "s3://nosuch/a"+s3Server(t), keys())
	err := s.Put(t.Context(), "x", strings.NewReader("x"), 1)
	if err == nil || !strings.Contains(err.Error(), "s3://nosuch/a") || strings.Contains(err.Error(), "hidden") {
		t.Errorf("Put into a bucket that is not there: %v", err)
	}
	if _, err := s.List(t.Context(), "", "", 0); err == nil {
		t.Error("List of a bucket that is not there was empty and no error")
	}
	if _, err := s.Get(t.Context(), "x", 0, -1); err == nil || errors.Is(err, objects.ErrNotFound) {
		t.Errorf("Get in a bucket that is not there: %v, want an error that is about the bucket", err)
	}
}

func TestFolderRemovesWhatKilledWritersLeft(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, objects.Options{})
	old, young := filepath.Join(dir, ".partial", "1.tmp"), filepath.Join(dir, ".partial", "2.tmp")
	if err := os.MkdirAll(filepath.Dir(old), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{old, young} {
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	if found, err := s.List(t.Context(), "", "", 0); err != nil || len(found) != 0 {
		t.Errorf("half written files are listed: %v, %v", found, err)
	}
	open(t, dir, objects.Options{})
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("an old one is still there: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("a young one, perhaps of another process, is gone: %v", err)
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]objects.Location{
		"archive":          {Scheme: "file", Path: "archive"},
		"file:///mnt/a%20": {Scheme: "file", Path: "/mnt/a "},
		"s3://bucket":      {Scheme: "s3", Bucket: "bucket"},
		"s3://b/p/q/?region=r&pathStyle=true&endpoint=http://127.0.0.1:9000": {
			Scheme: "s3", Bucket: "b", Prefix: "p/q", Region: "r", Endpoint: "http://127.0.0.1:9000", PathStyle: true},
		"gs://b/p":     {Scheme: "gs", Bucket: "b", Prefix: "p"},
		"azblob://c/p": {Scheme: "azblob", Bucket: "c", Prefix: "p"},
	} {
		got, err := objects.Parse(text)
		if err != nil || got != want {
			t.Errorf("Parse %q: %+v, %v, want %+v", text, got, err, want)
		}
		if again, err := objects.Parse(got.String()); err != nil || again != got {
			t.Errorf("Parse %q of what it printed: %+v, %v", got.String(), again, err)
		}
	}
	for text, want := range map[string]string{
		"":                                 "empty",
		"file://relative":                  "three slashes",
		"ftp://host/x":                     `scheme "ftp" is not supported`,
		"s3://":                            "must name a bucket",
		"s3://user:topsecret@bucket":       "credentials do not belong",
		"s3://b?endpoint=127.0.0.1:9000":   "endpoint: it must be http://",
		"s3://b?endpoint=http://u:p@h":     "endpoint: it must be http://",
		"s3://b?pathStyle=maybe":           "neither true nor false",
		"s3://b?secret=topsecret":          `"secret" after "?" is unknown`,
		"gs://b?region=x":                  "only s3:// has settings",
		"s3://b/../x":                      "prefix",
		"s3://b/a?region=a&region=b":       "each once",
		"s3://us er:topsecret@b%zz/":       "not an address",
		"azblob://account:topsecret@c/pre": "credentials do not belong",
	} {
		_, err := objects.Parse(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("Parse %q: %v, want %q and no secret", text, err, want)
		}
	}
}

func TestOptionsThatDoNotFitAreRefused(t *testing.T) {
	folder, bucket := objects.Location{Scheme: "file", Path: t.TempDir()}, objects.Location{Scheme: "s3", Bucket: "b"}
	if _, err := objects.Open(t.Context(), folder, keys()); err == nil {
		t.Error("keys for a folder were accepted")
	}
	if _, err := objects.Open(t.Context(), bucket, objects.Options{AccessKey: "a"}); err == nil {
		t.Error("an access key without a secret was accepted")
	}
}

func TestAFolderThatIsAFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := objects.Open(t.Context(), objects.Location{Scheme: "file", Path: path}, objects.Options{}); err == nil || !strings.Contains(err.Error(), "not a folder") {
		t.Errorf("Open of a file: %v", err)
	}
}

func TestFaultyLosesAnswers(t *testing.T) {
	f := objectstest.NewFaulty(open(t, t.TempDir(), objects.Options{}), func(op objectstest.Op) error {
		if op.Kind == "put" && op.After {
			return objectstest.ErrInjected
		}
		return nil
	})
	if err := f.Put(t.Context(), "x", strings.NewReader("x"), 1); !errors.Is(err, objectstest.ErrInjected) {
		t.Errorf("Put: %v", err)
	}
	f.SetFail(nil)
	r, err := f.Get(t.Context(), "x", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(r); err != nil || string(data) != "x" || r.Close() != nil {
		t.Errorf("the object whose answer was lost: %q, %v", data, err)
	}
}
