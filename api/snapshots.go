package api

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// Snapshot is what a backup copies: the files of the store as they were at one
// moment. It ends by itself when nobody reads of it.
type Snapshot struct {
	ID string `json:"id" doc:"Who knows it may read the files."`
	store.SnapshotInfo
	Idle string `json:"idle" doc:"After how long without a request the snapshot ends by itself, such as 2m0s."`
}

const (
	// snapshotsMost is how many snapshots may be open at once: each keeps
	// retention from freeing files.
	snapshotsMost = 2
	// snapshotIdle is after how long without a request a snapshot ends.
	snapshotIdle = 2 * time.Minute
)

// snapshots are those that are open.
type snapshots struct {
	mu   sync.Mutex
	open map[string]*openSnapshot
}

type openSnapshot struct {
	id      string
	sn      store.Snapshot // nil while it is taken
	readers int
	idle    *time.Timer
	ended   bool
}

// takeSnapshot fixes what the store holds.
func (s *Server) takeSnapshot(c *gin.Context) {
	if err := readRequest(c, nil); err != nil {
		fail(c, err)
		return
	}
	if s.opts.Snapshots == nil {
		fail(c, problem(http.StatusNotImplemented, "not-supported", "this server's store cannot be copied while it runs; back up what keeps its data"))
		return
	}
	o, err := s.snapshots.reserve()
	if err != nil {
		fail(c, err)
		return
	}
	ctx, cancel := withStop(c.Request.Context(), s.stop)
	defer cancel()
	sn, err := s.opts.Snapshots.Snapshot(ctx)
	if err == nil && !s.snapshots.begin(o, sn) {
		err = problem(http.StatusServiceUnavailable, "unavailable", "the server is shutting down; try again")
	}
	if err != nil {
		s.snapshots.drop(o)
		if sn != nil {
			_ = sn.Close() // what it leaves goes at the next start
		}
		fail(c, err)
		return
	}
	s.opts.Logger.Info("a snapshot was taken for a backup", "files", len(sn.Info().Files))
	c.Header("Location", "/v1/snapshots/"+o.id)
	c.PureJSON(http.StatusCreated, Snapshot{ID: o.id, SnapshotInfo: sn.Info(), Idle: snapshotIdle.String()})
}

// readSnapshot answers with one file of a snapshot.
func (s *Server) readSnapshot(c *gin.Context) {
	o, err := s.snapshots.enter(c.Param("snapshot"))
	if err != nil {
		fail(c, err)
		return
	}
	defer s.snapshots.leave(o)
	name := c.Query("name")
	ctx, cancel := withStop(c.Request.Context(), s.stop)
	defer cancel()
	for _, f := range o.sn.Info().Files {
		if f.Name != name {
			continue
		}
		r, err := o.sn.Open(ctx, name)
		if err != nil {
			fail(c, err)
			return
		}
		defer r.Close()
		c.Header("Content-Type", "application/octet-stream")
		c.Header("Content-Length", strconv.FormatInt(f.Size, 10))
		c.Header("Cache-Control", "no-store")
		c.Status(http.StatusOK)
		if c.Request.Method == http.MethodHead {
			return
		}
		w := &prompt{c.Writer, http.NewResponseController(c.Writer)}
		_, err = io.Copy(w, r)
		_ = w.control.SetWriteDeadline(time.Time{}) // the connection is used again
		if err != nil && ctx.Err() == nil {
			s.opts.Logger.Warn("reading a file for a backup failed", "file", name, "error", err)
		}
		return
	}
	fail(c, problem(http.StatusNotFound, "not-found", "the snapshot has no file %q; it lists those that it has", name))
}

// prompt gives up on a reader that takes nothing for as long as a snapshot may
// be idle: it would keep retention from freeing files.
type prompt struct {
	io.Writer
	control *http.ResponseController
}

// Write implements io.Writer.
func (p *prompt) Write(b []byte) (int, error) {
	if err := p.control.SetWriteDeadline(time.Now().Add(snapshotIdle)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return p.Writer.Write(b)
}

// endSnapshot lets go of a snapshot.
func (s *Server) endSnapshot(c *gin.Context) {
	if err := s.snapshots.end(c.Param("snapshot")); err != nil {
		fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}

func noSnapshot() error {
	return problem(http.StatusNotFound, "not-found", "there is no such snapshot; it ended, or nobody read of it for %s: begin the backup again, which goes on where it was", snapshotIdle)
}

// reserve makes room for one more.
func (ss *snapshots) reserve() (*openSnapshot, error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.open == nil {
		ss.open = map[string]*openSnapshot{}
	}
	if len(ss.open) >= snapshotsMost {
		return nil, problem(http.StatusTooManyRequests, "busy", "%d backups are under way, which is as many as there may be; try again later (one that was killed counts until nobody has read of it for %s)", len(ss.open), snapshotIdle)
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	o := &openSnapshot{id: hex.EncodeToString(b[:])}
	ss.open[o.id] = o
	return o, nil
}

// begin gives a reserved one its snapshot; false if all were closed meanwhile.
func (ss *snapshots) begin(o *openSnapshot, sn store.Snapshot) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if o.ended {
		return false
	}
	o.sn = sn
	o.idle = time.AfterFunc(snapshotIdle, func() { _ = ss.end(o.id) })
	return true
}

func (ss *snapshots) drop(o *openSnapshot) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	delete(ss.open, o.id)
}

// enter keeps a snapshot from ending; leave must follow.
func (ss *snapshots) enter(id string) (*openSnapshot, error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	o := ss.open[id]
	if o == nil || o.sn == nil {
		return nil, noSnapshot()
	}
	o.readers++
	o.idle.Stop()
	return o, nil
}

func (ss *snapshots) leave(o *openSnapshot) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if o.readers--; o.readers > 0 {
		return
	}
	if o.ended {
		_ = o.sn.Close() // what it leaves goes at the next start
		return
	}
	o.idle.Reset(snapshotIdle)
}

// end closes a snapshot, once nobody reads of it any more.
func (ss *snapshots) end(id string) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	o := ss.open[id]
	if o == nil || o.sn == nil {
		return noSnapshot()
	}
	delete(ss.open, id)
	return o.close()
}

func (o *openSnapshot) close() error {
	o.ended = true
	if o.sn == nil {
		return nil
	}
	o.idle.Stop()
	if o.readers > 0 {
		return nil
	}
	return o.sn.Close()
}

// endAll closes all of them.
func (ss *snapshots) endAll() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for id, o := range ss.open {
		delete(ss.open, id)
		_ = o.close() // what it leaves goes at the next start
	}
}
