package index

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-backup/cairn/chunkstore"
)

const (
	// indexEvery is how long durable packs wait at most for an index object in a long backup.
	indexEvery = time.Minute
	// renewEvery is how often a session says that it lives.
	renewEvery = 5 * time.Minute
)

// ErrEnded: the session was committed or aborted before.
var ErrEnded = errors.New("the session has ended")

// SessionOptions say what a session is for. All of it goes to the marker that others see while it runs.
type SessionOptions struct {
	Source string // required; see CheckSource
	User   string
	PID    int

	prune bool // it makes no restore point
}

// Session is a backup on its way to a restore point. It ends with Commit or Abort. Its methods are safe for use by many
// goroutines; a Batch belongs to one.
type Session struct {
	r       *Repository
	o       SessionOptions
	started time.Time
	claims  *claims
	bad     atomic.Pointer[unusable] // what may not be relied on, as of Begin or the last try to commit
	relied  relied

	data, tree *chunkstore.Writer
	treeMu     sync.Mutex // treeBatch is of one goroutine at a time
	treeBatch  *chunkstore.Batch

	chunks, added, stored, reused atomic.Int64
	claimed, placed               atomic.Int64 // chunks to store, and those in durable packs

	mu        sync.Mutex
	ctx       context.Context // of the session's own work, which outlives the calls that begin it
	pending   []chunkstore.Pack
	waiting   int // chunks in pending
	indexed   time.Time
	ended     bool
	indexing  sync.Mutex // index objects are written one after another
	mark      markers
	stopTend  context.CancelFunc
	tendEnded chan struct{}
}

// SessionStats are what a session wrote so far.
type SessionStats struct {
	Chunks      int64 // handed to Batch.Store
	Added       int64 // bytes of chunks that were not known, tree nodes included
	AddedStored int64 // bytes of the packs written so far, parity included
	Reused      int64 // bytes of chunks that were known already
}

// CheckSource tells why a name cannot be a source's: it is a folder's name in the mounted tree, and SPECs must be able to
// name it.
func CheckSource(name string) error {
	switch {
	case name == "":
		return errors.New("the source has no name")
	case name == "." || name == "..", strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("%q cannot be the name of a source: it must be usable as a folder's name", name)
	case len(name) > 255:
		return fmt.Errorf("the name of a source is at most 255 bytes long, this one has %d", len(name))
	}
	return nil
}

// Begin starts a session and leaves its marker in the repository. ctx is for Begin alone.
func (r *Repository) Begin(ctx context.Context, o SessionOptions) (*Session, error) {
	if err := CheckSource(o.Source); err != nil {
		return nil, err
	}
	if r.o.Now == nil || r.o.Random == nil {
		return nil, errors.New("begin a session: no clock or no source of randomness was given")
	}
	s := &Session{r: r, o: o, started: r.o.Now(), claims: newClaims(), tendEnded: make(chan struct{})}
	s.indexed = s.started
	id, err := r.randomName()
	if err != nil {
		return nil, err
	}
	s.mark = markers{r: r, id: id}
	// In this order: who condemns a pack before the marker is there is seen here, and who does so after it sees the marker.
	err = s.mark.renew(ctx, s.marker())
	if err == nil {
		err = s.mark.date(ctx)
	}
	if err == nil {
		err = s.readGraves(ctx)
	}
	if err == nil {
		err = r.Refresh(ctx)
	}
	if err != nil {
		if s.mark.renewal > 0 {
			_ = s.mark.remove(context.WithoutCancel(ctx))
		}
		return nil, fmt.Errorf("begin a session: %w", err)
	}
	if !o.prune {
		if err := s.findUnlisted(ctx); err != nil && ctx.Err() == nil {
			r.o.Warn(fmt.Errorf("what interrupted backups stored cannot be listed, so some of it may be stored again: %w", err))
		}
	}
	tend, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.ctx, s.stopTend = tend, stop
	s.openWriters()
	go s.tend(tend)
	return s, nil
}

func (s *Session) openWriters() {
	o := chunkstore.WriterOptions{Stored: s.packStored, Random: s.r.o.Random}
	s.data = s.r.store.NewWriter(chunkstore.KindData, o)
	s.treeMu.Lock()
	defer s.treeMu.Unlock()
	s.tree = s.r.store.NewWriter(chunkstore.KindTree, o)
	s.treeBatch = s.tree.NewBatch()
}

func (s *Session) marker() marker {
	return marker{
		Source: text(s.o.Source), Host: text(s.r.o.Host), User: text(s.o.User), PID: s.o.PID,
		Started: s.started.UTC(), Renewed: s.r.o.Now().UTC(), Stored: s.stored.Load(), Begun: s.mark.begun, Prune: s.o.prune,
	}
}

// tend renews the marker and indexes packs that wait while none follow them.
func (s *Session) tend(ctx context.Context) {
	defer close(s.tendEnded)
	minute := time.NewTicker(indexEvery)
	defer minute.Stop()
	renewed := s.started
	for {
		select {
		case <-ctx.Done():
			return
		case <-minute.C:
		}
		if now := s.r.o.Now(); now.Sub(renewed) >= renewEvery {
			if err := s.mark.renew(ctx, s.marker()); err != nil && ctx.Err() == nil {
				s.r.o.Warn(fmt.Errorf("renew the session: %w", err))
			} else {
				renewed = now
			}
		}
		if err := s.index(ctx, false); err != nil && ctx.Err() == nil {
			s.r.o.Warn(err) // the packs wait for the next time
		}
	}
}

// packStored takes in a pack that is durable, and writes an index object when it is time for one.
func (s *Session) packStored(p chunkstore.Pack) error {
	s.stored.Add(p.Size)
	s.placed.Add(int64(len(p.Chunks)))
	s.relied.add(p.ID)
	s.mu.Lock()
	s.pending = append(s.pending, p)
	s.waiting += len(p.Chunks)
	s.mu.Unlock()
	return s.index(s.ctx, false)
}

// index writes an index object for the packs that wait, if there are many or they waited long, or if now is set.
func (s *Session) index(ctx context.Context, now bool) error {
	s.indexing.Lock()
	defer s.indexing.Unlock()
	at := s.r.o.Now()
	s.mu.Lock()
	packs, chunks := s.pending, s.waiting
	due := len(packs) > 0 && (now || chunks >= objectChunks || at.Sub(s.indexed) >= indexEvery)
	if due {
		s.pending, s.waiting, s.indexed = nil, 0, at
	}
	s.mu.Unlock()
	if !due {
		return nil
	}
	name, err := s.r.putListing(ctx, packs)
	if err != nil {
		s.mu.Lock()
		s.pending = append(packs, s.pending...)
		s.waiting += chunks
		s.mu.Unlock()
		return err
	}
	if err := s.r.fold(ctx, []string{name}, packs); err != nil {
		// The repository has it; until this host's cache does, the claims stand in.
		s.r.o.Warn(err)
		return nil
	}
	for _, p := range packs {
		for i := range p.Chunks {
			s.claims.remove(p.Chunks[i].ID)
		}
	}
	return nil
}

// claim tells whether the caller is to store the chunk: it is new, and now claimed.
func (s *Session) claim(id chunkstore.ID) (bool, error) {
	generation := s.r.cache.Generation()
	if ok, err := s.known(id); ok || err != nil {
		return false, err
	}
	if !s.claims.add(id) {
		return false, nil
	}
	if s.r.cache.Generation() != generation {
		// An index object was folded since: another's claim may have become an entry between the two questions.
		if ok, err := s.known(id); ok || err != nil {
			s.claims.remove(id)
			return false, err
		}
	}
	s.claimed.Add(1)
	return true, nil
}

// Has tells whether a chunk is in the repository, in a place that may be relied on, or on its way there by this session:
// a file whose chunks are all known need not be read. The session's restore point may then refer to the chunk: whatever
// it takes over from an earlier one, nodes of trees included, must be asked for.
func (s *Session) Has(id chunkstore.ID) (bool, error) {
	if ok, err := s.known(id); ok || err != nil {
		return ok, err
	}
	if s.claims.has(id) {
		return true, nil
	}
	return s.known(id) // the claim may have become an entry between the two questions
}

// SaveNode stores a tree node unless it is known.
func (s *Session) SaveNode(ctx context.Context, node []byte) (chunkstore.ID, error) {
	id := s.r.store.ChunkID(node)
	isNew, err := s.claim(id)
	if err != nil || !isNew {
		return id, err
	}
	s.added.Add(int64(len(node)))
	s.treeMu.Lock()
	defer s.treeMu.Unlock()
	if s.treeBatch == nil {
		return id, ErrEnded
	}
	return id, s.treeBatch.Add(ctx, id, node)
}

// Stats tells what the session wrote so far.
func (s *Session) Stats() SessionStats {
	return SessionStats{Chunks: s.chunks.Load(), Added: s.added.Load(), AddedStored: s.stored.Load(), Reused: s.reused.Load()}
}

// Batch takes the chunks of one goroutine, in the order in which they will be read.
type Batch struct {
	s *Session
	b *chunkstore.Batch
}

// NewBatch returns a batch. Each must be flushed before Commit.
func (s *Session) NewBatch() *Batch { return &Batch{s: s, b: s.data.NewBatch()} }

// Store takes one chunk: it names it, and adds it unless the repository or this session has it. data is not kept.
func (b *Batch) Store(ctx context.Context, data []byte) (id chunkstore.ID, added bool, err error) {
	s := b.s
	id = s.r.store.ChunkID(data)
	s.chunks.Add(1)
	added, err = s.claim(id)
	switch {
	case err != nil:
		return id, false, err
	case !added:
		s.reused.Add(int64(len(data)))
		return id, false, nil
	}
	s.added.Add(int64(len(data)))
	return id, true, b.b.Add(ctx, id, data)
}

// Flush hands on what the batch still holds.
func (b *Batch) Flush(ctx context.Context) error { return b.b.Flush(ctx) }

// end marks the session as ended; ErrEnded when it was.
func (s *Session) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return ErrEnded
	}
	s.ended = true
	return nil
}

// flush makes all that was stored durable and lists it in an index object.
func (s *Session) flush(ctx context.Context) error {
	s.treeMu.Lock()
	last := s.treeBatch
	s.treeBatch = nil
	s.treeMu.Unlock()
	var g errgroup.Group // both, whatever becomes of the other
	g.Go(func() error { return s.data.Close(ctx) })
	g.Go(func() error {
		err := last.Flush(ctx)
		return errors.Join(err, s.tree.Close(ctx))
	})
	err := g.Wait()
	if err != nil {
		s.data.Abort()
		s.tree.Abort()
	}
	return errors.Join(err, s.index(context.WithoutCancel(ctx), true))
}

// stop ends the session's own work.
func (s *Session) stop() {
	s.stopTend()
	<-s.tendEnded
}
