package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settleTime is how long files must rest before they are read again: editors
// and deployments write in several steps.
const settleTime = 200 * time.Millisecond

// watchFiles sends when the configuration at path changed. It watches folders,
// not files, because many tools replace a file by another. A system that
// cannot watch says so in the log; SIGHUP works all the same.
//
// last is the contentOf path that is in force; what changed since it was read
// counts too.
func watchFiles(ctx context.Context, path, last string, log *slog.Logger) <-chan struct{} {
	changed := make(chan struct{}, 1)
	if path == "" {
		return changed
	}
	w, err := fsnotify.NewWatcher()
	if err == nil {
		folder := path
		if info, serr := os.Stat(path); serr == nil && !info.IsDir() {
			folder = filepath.Dir(path)
		}
		if err = w.Add(folder); err != nil {
			w.Close()
		}
	}
	if err != nil {
		log.Warn("the configuration files are not watched; send SIGHUP to reload", "path", path, "error", err)
		return changed
	}
	go func() {
		defer w.Close()
		quiet := time.NewTimer(settleTime)
		for {
			select {
			case <-ctx.Done():
				return
			case _, ok := <-w.Events:
				if !ok {
					return
				}
				quiet.Reset(settleTime)
			case err, ok := <-w.Errors:
				if !ok {
					return
				}
				log.Warn("watching the configuration files", "error", err)
				quiet.Reset(settleTime)
			case <-quiet.C:
				if now := contentOf(path); now != last {
					last = now
					select {
					case changed <- struct{}{}:
					default:
					}
				}
			}
		}
	}()
	return changed
}

// contentOf is a fingerprint of the configuration at path, so that other files
// of the folder, and writes that change nothing, do not reload.
func contentOf(path string) string {
	files := []string{path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		files = nil
		for _, pattern := range []string{"*.yaml", "*.yml"} {
			found, _ := filepath.Glob(filepath.Join(path, pattern))
			files = append(files, found...)
		}
	}
	h := sha256.New()
	for _, f := range files {
		h.Write([]byte(f))
		h.Write([]byte{0})
		h.Write(digest(f))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// digest is that of a file, or of why it cannot be read. A file may be long, and is
// not taken into memory.
func digest(path string) []byte {
	h := sha256.New()
	f, err := os.Open(path)
	if err == nil {
		_, err = io.Copy(h, f)
		_ = f.Close()
	}
	if err != nil {
		sum := sha256.Sum256([]byte(err.Error()))
		return sum[:]
	}
	return h.Sum(nil)
}

// fingerprint is a short digest of data.
func fingerprint(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}
