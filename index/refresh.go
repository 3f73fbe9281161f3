package index

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/index/locator"
)

const (
	// objectChunks is how many chunks an index object lists at most, give or take a pack, and how many are brought into
	// the cache at once.
	objectChunks = 256 << 10
	// fetchers is how many index objects or records are fetched at once.
	fetchers = 4
)

// cacheError: this host's cache cannot be used.
type cacheError struct{ err error }

func (e *cacheError) Error() string { return "cache of the index: " + e.err.Error() }
func (e *cacheError) Unwrap() error { return e.err }

// Refresh takes in what other processes and hosts added to the repository since Open or the last Refresh.
func (r *Repository) Refresh(ctx context.Context) error {
	r.refreshing.Lock()
	defer r.refreshing.Unlock()
	for {
		vanished, err := r.refresh(ctx)
		if !vanished || err != nil {
			return err
		}
		// An index object went between listing and reading: what has taken its place was not listed.
	}
}

// refresh is one pass of Refresh. refreshing must be held.
func (r *Repository) refresh(ctx context.Context) (vanished bool, err error) {
	// What a run covers was in the repository when the run was written. So the runs are read first: an object that is
	// not listed afterwards is gone.
	if err := r.cache.Reload(ctx); err != nil {
		return false, &cacheError{err}
	}
	covered := r.cache.Covered()
	listed, err := r.store.ListObjects(ctx, chunkstore.TypeIndex)
	if err != nil {
		return false, fmt.Errorf("list index objects: %w", err)
	}
	listed = slices.DeleteFunc(listed, func(info destination.Info) bool { return !isRandomName(info.Name) })
	// What is gone from the index is in the ledger by now, if it was a prune that took it.
	if err := r.refreshLedger(ctx); err != nil {
		if ctx.Err() != nil {
			return false, err
		}
		r.o.Warn(err) // to read, it is not needed; whoever relies on chunks asks again
	}
	dropped, lost, err := r.lost(ctx, listed, covered)
	if err != nil {
		return false, err
	}
	if dropped {
		covered = r.cache.Covered()
	}
	var missing []string
	for _, info := range listed {
		if _, ok := covered[info.Name]; !ok {
			missing = append(missing, info.Name)
		}
	}
	damaged, vanished, err := r.foldObjects(ctx, missing)
	if err != nil {
		return false, err
	}
	if len(damaged) > 0 || lost {
		return vanished, r.recover(ctx, damaged)
	}
	return vanished, nil
}

// lost drops from the cache what index objects that are gone listed, and tells whether there were such (dropped), and
// whether any of them is lost rather than written afresh by a prune, or a repository with restore points has no index
// object at all.
func (r *Repository) lost(ctx context.Context, listed []destination.Info, covered map[string]struct{}) (dropped, lost bool, err error) {
	gone := make(map[string]struct{})
	for name := range covered {
		gone[name] = struct{}{}
	}
	for _, info := range listed {
		delete(gone, info.Name)
	}
	if len(gone) > 0 {
		r.cache.Drop(gone)
		for name := range gone {
			lost = lost || !r.ledger.wasReplaced(name)
		}
		return true, lost, nil
	}
	if len(listed) > 0 {
		return false, false, nil
	}
	points, err := r.store.ListObjects(ctx, chunkstore.TypePoint)
	if err != nil {
		return false, false, fmt.Errorf("list restore points: %w", err)
	}
	return false, len(points) > 0, nil
}

// recover lists the chunks of packs that no index object lists. A repository that cannot be written to, or a damaged
// pack, is no reason to fail: what is known can be read.
func (r *Repository) recover(ctx context.Context, damaged []string) error {
	if r.o.Random == nil {
		return nil
	}
	done, err := r.rebuild(ctx)
	if done.Packs > 0 {
		r.o.Warn(fmt.Errorf("index objects were lost or damaged: %d packs that none listed are listed again", done.Packs))
	}
	for _, err := range done.Damaged {
		r.o.Warn(err)
	}
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		r.o.Warn(fmt.Errorf("make up for lost index objects: %w", err))
		return nil
	}
	if len(damaged) == 0 {
		return nil
	}
	return r.fold(ctx, damaged, nil) // all that they listed is covered now
}

// listing is an index object, fetched and decoded.
type listing struct {
	name    string
	packs   []chunkstore.Pack
	chunks  int
	damaged error
}

// foldObjects brings index objects into the cache and returns the names of those that are damaged. vanished says that
// there were some that are gone by now.
func (r *Repository) foldObjects(ctx context.Context, names []string) (damaged []string, vanished bool, err error) {
	var packs []chunkstore.Pack
	var objects []string
	chunks := 0
	for len(names) > 0 {
		part := make([]listing, min(fetchers, len(names)))
		g, fetch := errgroup.WithContext(ctx)
		for i := range part {
			part[i].name = names[i]
			g.Go(func() error { return r.fetchListing(fetch, &part[i]) })
		}
		if err := g.Wait(); err != nil {
			return nil, false, err
		}
		names = names[len(part):]
		for i := range part {
			if l := &part[i]; l.damaged != nil {
				r.o.Warn(fmt.Errorf("read index object %s: %w", l.name, l.damaged))
				damaged = append(damaged, l.name)
			} else if l.packs != nil {
				objects = append(objects, l.name)
				packs = append(packs, l.packs...)
				chunks += l.chunks
			} else {
				vanished = true
			}
		}
		if chunks >= objectChunks || len(names) == 0 && len(objects) > 0 {
			if err := r.fold(ctx, objects, packs); err != nil {
				return nil, false, err
			}
			packs, objects, chunks = nil, nil, 0
		}
	}
	return damaged, vanished, nil
}

// fetchListing reads one index object. One that was removed meanwhile has no packs and is left out.
func (r *Repository) fetchListing(ctx context.Context, l *listing) error {
	payload, err := r.store.GetObject(ctx, chunkstore.TypeIndex, l.name)
	if err == nil {
		l.packs, err = decodeListing(payload)
		if l.packs == nil {
			l.packs = []chunkstore.Pack{}
		}
	}
	for _, p := range l.packs {
		l.chunks += len(p.Chunks)
	}
	var damage *chunkstore.DamageError
	switch {
	case errors.Is(err, destination.ErrNotFound):
		return nil
	case errors.As(err, &damage), errors.Is(err, errListing), errors.Is(err, chunkstore.ErrDamaged), errors.Is(err, chunkstore.ErrForeign):
		l.damaged, l.packs = err, nil
		return nil
	case err != nil:
		return fmt.Errorf("read index object %s: %w", l.name, err)
	}
	return nil
}

// fold brings chunks into the cache. A damaged part of the cache is dropped, and comes back with the next Refresh.
func (r *Repository) fold(ctx context.Context, objects []string, packs []chunkstore.Pack) error {
	for {
		err := r.cache.Fold(ctx, objects, packs)
		corrupt := locator.IsCorrupt(err)
		switch {
		case err == nil:
			return nil
		case corrupt == nil:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return &cacheError{err}
		}
		r.o.Warn(fmt.Errorf("drop it and make it again from the repository: %w", corrupt))
		r.cache.Discard(corrupt)
	}
}

// putListing writes an index object that lists packs, and returns its name.
func (r *Repository) putListing(ctx context.Context, packs []chunkstore.Pack) (string, error) {
	name, err := r.randomName()
	if err != nil {
		return "", err
	}
	if err := r.store.PutObject(ctx, chunkstore.TypeIndex, name, encodeListing(packs)); err != nil {
		return "", fmt.Errorf("write index object: %w", err)
	}
	return name, nil
}

// randomName returns a name that no object has: 128 random bits.
func (r *Repository) randomName() (string, error) {
	if r.o.Random == nil {
		return "", errors.New("name an object: no source of randomness was given")
	}
	var b [16]byte
	if _, err := io.ReadFull(r.o.Random, b[:]); err != nil {
		return "", fmt.Errorf("name an object: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// isRandomName tells whether a name can be one of randomName. What lies beside with another name is none of ours.
func isRandomName(name string) bool {
	var b [16]byte
	if len(name) != hex.EncodedLen(len(b)) {
		return false
	}
	_, err := hex.Decode(b[:], []byte(name))
	return err == nil
}
