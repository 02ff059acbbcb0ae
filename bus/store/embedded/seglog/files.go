package seglog

import (
	"container/list"
	"fmt"
	"sync"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const writeCategory = vfs.WriteCategoryUnspecified

func removeIfThere(fs vfs.FS, path string) error {
	if err := fs.Remove(path); err != nil && !oserror.IsNotExist(err) {
		return err
	}
	return nil
}

// fileCache holds read handles, at most max of them idle, and defers what happens to a
// retired file until its last reader is done with it.
type fileCache struct {
	mu   sync.Mutex
	max  int
	open map[*segment]*handle
	lru  list.List // of *handle, most recently used first
}

type handle struct {
	vfs.File
	seg    *segment
	refs   int
	elem   *list.Element
	onIdle func() // set when retired while in use
}

// acquire pins the segment's file. A retired segment is ErrGone.
func (c *fileCache) acquire(l *Log, s *segment) (*handle, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		return nil, ErrClosed
	}
	if s.retired {
		return nil, ErrGone
	}
	if h := c.open[s]; h != nil {
		h.refs++
		c.lru.MoveToFront(h.elem)
		return h, nil
	}
	f, err := l.opts.FS.Open(l.path(s.name))
	if err != nil {
		return nil, fmt.Errorf("open segment %s: %w", s.name, err)
	}
	h := &handle{File: f, seg: s, refs: 1}
	h.elem = c.lru.PushFront(h)
	c.open[s] = h
	for e := c.lru.Back(); e != nil && len(c.open) > c.max; {
		old := e.Value.(*handle)
		e = e.Prev()
		if old.refs == 0 {
			c.drop(old)
		}
	}
	return h, nil
}

func (c *fileCache) drop(h *handle) {
	c.lru.Remove(h.elem)
	delete(c.open, h.seg)
	_ = h.Close()
}

func (c *fileCache) release(h *handle) {
	c.mu.Lock()
	h.refs--
	var then func()
	if h.refs == 0 && (h.seg.retired || c.open == nil || len(c.open) > c.max) {
		then = h.onIdle
		c.drop(h)
	}
	c.mu.Unlock()
	if then != nil {
		then()
	}
}

// retire refuses new readers of s and runs then once the last one is done, at once if there
// is none.
func (c *fileCache) retire(s *segment, then func()) {
	c.mu.Lock()
	s.retired = true
	if h := c.open[s]; h != nil {
		if h.refs > 0 {
			h.onIdle = then
			c.mu.Unlock()
			return
		}
		c.drop(h)
	}
	c.mu.Unlock()
	then()
}

// close closes idle handles and refuses new ones; those in use close at their release.
func (c *fileCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.open {
		if h.refs == 0 {
			c.drop(h)
		}
	}
	c.open = nil
}

// filePool is the retired files that wait for reuse.
type filePool struct {
	mu    sync.Mutex
	free  []freeFile
	limit int
}

type freeFile struct {
	name string
	size int64
}

func (p *filePool) take() (name string, size int64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == 0 {
		return "", 0, false
	}
	f := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	return f.name, f.size, true
}

// put reports whether there was room.
func (p *filePool) put(name string, size int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) >= p.limit {
		return false
	}
	p.free = append(p.free, freeFile{name, size})
	return true
}

func (p *filePool) bytes() (n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.free {
		n += f.size
	}
	return n
}
