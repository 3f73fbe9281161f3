package index

import (
	"context"
	"fmt"

	"github.com/cairn-backup/cairn/chunkstore"
)

// Rebuilt is what RebuildIndex did.
type Rebuilt struct {
	Packs   int     // packs that no index object listed, and now one does
	Chunks  int     // chunks in them
	Objects int     // index objects written
	Damaged []error // packs whose table could not be read
}

// RebuildIndex reads the tables of all packs that no readable index object lists and writes index objects for them. It
// may run beside backups: a pack that is listed twice does no harm.
func (r *Repository) RebuildIndex(ctx context.Context) (Rebuilt, error) {
	if err := r.Refresh(ctx); err != nil {
		return Rebuilt{}, err
	}
	r.refreshing.Lock()
	defer r.refreshing.Unlock()
	return r.rebuild(ctx)
}

// rebuild is RebuildIndex with the cache as it is. refreshing must be held.
func (r *Repository) rebuild(ctx context.Context) (Rebuilt, error) {
	var done Rebuilt
	known := make(map[chunkstore.PackID]struct{})
	for _, p := range r.cache.Packs() {
		known[p.ID] = struct{}{}
	}
	for id := range r.ledger.unusable().gone { // on their way out
		known[id] = struct{}{}
	}
	var unlisted []chunkstore.PackID
	err := r.store.Packs(ctx, func(p chunkstore.PackInfo) error {
		if _, ok := known[p.ID]; !ok {
			unlisted = append(unlisted, p.ID)
		}
		return nil
	})
	if err != nil {
		return done, fmt.Errorf("list packs: %w", err)
	}
	var packs []chunkstore.Pack
	chunks := 0
	for i, id := range unlisted {
		p, err := r.store.Table(ctx, id)
		switch {
		case ctx.Err() != nil:
			return done, ctx.Err()
		case err != nil:
			done.Damaged = append(done.Damaged, fmt.Errorf("read table of pack %s: %w", id, err))
		default:
			packs = append(packs, p)
			chunks += len(p.Chunks)
		}
		if len(packs) == 0 || chunks < objectChunks && i < len(unlisted)-1 {
			continue
		}
		name, err := r.putListing(ctx, packs)
		if err != nil {
			return done, err
		}
		done.Objects++
		if err := r.fold(ctx, []string{name}, packs); err != nil {
			return done, err
		}
		done.Packs += len(packs)
		done.Chunks += chunks
		packs, chunks = nil, 0
	}
	return done, nil
}
