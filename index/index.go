package index

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/index/locator"
)

// Options are what a Repository needs of its surroundings.
type Options struct {
	// CacheDir is the folder for caches of this host; a folder for the repository is made inside. Empty, or when it
	// cannot be used: a temporary folder that Close removes.
	CacheDir string
	// Now is the clock. Required for Begin and InProgress.
	Now func() time.Time
	// Random gives the names of index and session objects and the ids of packs. It must be safe for use by many
	// goroutines. Required for Begin and RebuildIndex.
	Random io.Reader
	// Host is the name of this host, for the records of restore points.
	Host string
	// Warn gets what was worked around, as it happens, perhaps from several goroutines. nil drops it.
	Warn func(error)
}

// Repository is a repository seen through its index. It is safe for use by many goroutines.
type Repository struct {
	store *chunkstore.Store
	o     Options

	cache     *locator.Cache
	temporary string // folder to remove; empty when the cache is to stay

	refreshing sync.Mutex
	recovered  atomic.Bool // packs were searched for chunks that the index does not list
	nodes      nodeCache
	points     pointCache
	marks      markLog
	seen       seen
	ledger     ledger
}

// MissingError: no index object lists the chunk.
type MissingError struct {
	ID chunkstore.ID
}

// Error names the chunk.
func (e *MissingError) Error() string {
	return fmt.Sprintf("chunk %s is not in the repository's index", e.ID)
}

// Unwrap makes errors.Is(err, chunkstore.ErrMissing) hold.
func (e *MissingError) Unwrap() error { return chunkstore.ErrMissing }

// Open opens the index of the repository in store and brings this host's cache of it up to date. A cache that is
// missing, stale or damaged is made again; index objects that are lost or damaged are made up for from the packs.
func Open(ctx context.Context, store *chunkstore.Store, o Options) (*Repository, error) {
	if o.Warn == nil {
		o.Warn = func(error) {}
	}
	r := &Repository{store: store, o: o}
	r.seen.warn = o.Warn
	id := store.Config().Repository
	if o.CacheDir != "" {
		dir := filepath.Join(o.CacheDir, fmt.Sprintf("%x", id), "chunks")
		err := r.openCache(ctx, dir)
		r.seen.path = filepath.Join(filepath.Dir(dir), "seen")
		var unusable *cacheError
		if err == nil || !errors.As(err, &unusable) {
			return r.orClose(err)
		}
		r.o.Warn(fmt.Errorf("the cache in %s cannot be used, a temporary one takes its place: %w", dir, unusable.err))
		_ = r.Close()
		r.seen.path = ""
	}
	dir, err := os.MkdirTemp("", "cairn-cache-")
	if err != nil {
		return nil, fmt.Errorf("make temporary cache folder: %w", err)
	}
	r.temporary = dir
	return r.orClose(r.openCache(ctx, filepath.Join(dir, "chunks")))
}

// openCache opens the cache in dir and refreshes it.
func (r *Repository) openCache(ctx context.Context, dir string) error {
	cache, err := locator.Open(dir, r.store.Config().Repository, r.o.Warn)
	if err != nil {
		return &cacheError{err}
	}
	r.cache = cache
	return r.Refresh(ctx)
}

func (r *Repository) orClose(err error) (*Repository, error) {
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	return r, nil
}

// Close releases the cache. It does not close the store.
func (r *Repository) Close() error {
	var err error
	if r.cache != nil {
		err = r.cache.Close()
	}
	if r.temporary != "" {
		err = errors.Join(err, os.RemoveAll(r.temporary))
	}
	return err
}

// Store is the chunk store under the index.
func (r *Repository) Store() *chunkstore.Store { return r.store }

// Locate tells where a chunk lies; false when the index, as of the last Refresh, does not list it.
func (r *Repository) Locate(id chunkstore.ID) (chunkstore.Location, bool, error) {
	loc, ok, err := r.best(id, chunkstore.Location{})
	for tries := 0; err != nil && tries < 3; tries++ {
		corrupt := locator.IsCorrupt(err)
		if corrupt == nil {
			break
		}
		r.o.Warn(fmt.Errorf("make the cache again from the repository: %w", err))
		r.cache.Discard(corrupt)
		if err := r.Refresh(context.Background()); err != nil {
			return chunkstore.Location{}, false, fmt.Errorf("make the cache again from the repository: %w", err)
		}
		loc, ok, err = r.best(id, chunkstore.Location{})
	}
	return loc, ok, err
}

// Find is Locate for a chunk that must be there: when the index does not list it, Find refreshes, and then looks, once
// in the life of a Repository, for packs that no index object lists. *MissingError when all is in vain.
func (r *Repository) Find(ctx context.Context, id chunkstore.ID) (chunkstore.Location, error) {
	loc, ok, err := r.Locate(id)
	if err != nil || ok {
		return loc, err
	}
	if err := r.Refresh(ctx); err != nil {
		return loc, err
	}
	if loc, ok, err = r.Locate(id); err != nil || ok {
		return loc, err
	}
	if r.o.Random != nil && r.recovered.CompareAndSwap(false, true) {
		r.o.Warn(fmt.Errorf("%w: looking for packs that no index object lists", &MissingError{ID: id}))
		if _, err := r.RebuildIndex(ctx); err != nil {
			r.o.Warn(err)
		}
		if loc, ok, err = r.Locate(id); err != nil || ok {
			return loc, err
		}
	}
	return loc, &MissingError{ID: id}
}

// ReadChunk appends the bytes of the chunk to dst[:0] and returns them; *MissingError when the chunk is unknown.
func (r *Repository) ReadChunk(ctx context.Context, id chunkstore.ID, dst []byte) ([]byte, error) {
	loc, err := r.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	data, err := r.store.Read(ctx, id, loc, dst)
	var damage *chunkstore.DamageError
	if errors.As(err, &damage) && ctx.Err() == nil {
		if other, ok, lookup := r.Elsewhere(ctx, id, loc); ok && lookup == nil {
			return r.store.Read(ctx, id, other, dst)
		}
	}
	return data, err
}

// LoadNode returns the bytes of a tree node, from a cache of 16 MiB. The caller must not modify them. They are checked
// against the id in any repository: no tree leads back into itself then, whoever wrote the packs and the index.
func (r *Repository) LoadNode(ctx context.Context, id chunkstore.ID) ([]byte, error) {
	if node, ok := r.nodes.get(id); ok {
		return node, nil
	}
	node, err := r.ReadChunk(ctx, id, nil)
	if err != nil {
		return nil, err
	}
	if !r.store.Config().Plain && r.store.ChunkID(node) != id {
		return nil, fmt.Errorf("tree node %s is not what was stored: %w", id, chunkstore.ErrDamaged)
	}
	r.nodes.put(id, node)
	return node, nil
}

// IndexedPack is a pack as the index knows it.
type IndexedPack = locator.PackRecord

// IndexedPacks returns the packs that the index, as of the last Refresh, lists, in no particular order.
func (r *Repository) IndexedPacks(ctx context.Context) ([]IndexedPack, error) {
	gone := r.ledger.unusable().gone
	packs := slices.DeleteFunc(r.cache.Packs(), func(p IndexedPack) bool { return gone.has(p.ID) })
	return packs, ctx.Err()
}

// CacheStats tells how big this host's cache of the index is.
func (r *Repository) CacheStats() locator.Stats { return r.cache.Stats() }
