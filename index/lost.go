package index

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
)

// ForgetLost writes the index objects afresh that list chunks which cannot be read any more: without those chunks, and
// without the packs that are gone. Backups take no such chunk for known then, and store it again where the source
// still has it, which also mends the restore points that refer to it. It gives the number of places forgotten.
//
// It may run beside backups, and may be interrupted: the old objects go last, and what is listed twice does no harm.
func (r *Repository) ForgetLost(ctx context.Context, lost func(chunkstore.Location) bool, gone func(chunkstore.PackID) bool) (int, error) {
	listed, err := r.store.ListObjects(ctx, chunkstore.TypeIndex)
	if err != nil {
		return 0, fmt.Errorf("list index objects: %w", err)
	}
	forgotten := 0
	replaced := make(map[string]struct{})
	for _, info := range listed {
		l := listing{name: info.Name}
		if err := r.fetchListing(ctx, &l); err != nil {
			return 0, err
		}
		packs, n := withoutLost(l.packs, lost, gone)
		if n == 0 && len(packs) == len(l.packs) {
			continue
		}
		if len(packs) > 0 {
			if _, err := r.putListing(ctx, packs); err != nil {
				return 0, err
			}
		}
		replaced[info.Name] = struct{}{}
		forgotten += n
	}
	for name := range replaced {
		err := r.store.RemoveObject(ctx, chunkstore.TypeIndex, name)
		if err != nil && !errors.Is(err, destination.ErrNotFound) {
			return 0, fmt.Errorf("remove index object: %w", err)
		}
	}
	r.refreshing.Lock()
	r.cache.Drop(replaced)
	r.refreshing.Unlock()
	return forgotten, r.Refresh(ctx)
}

// withoutLost leaves out what cannot be read, and counts the chunks left out. A pack that is there stays listed even
// when no chunk of it can be read, so that nobody takes it for one that an interrupted backup left.
func withoutLost(packs []chunkstore.Pack, lost func(chunkstore.Location) bool, gone func(chunkstore.PackID) bool) (kept []chunkstore.Pack, n int) {
	for _, p := range packs {
		if gone(p.ID) {
			n += len(p.Chunks)
			continue
		}
		chunks := p.Chunks[:0]
		for _, c := range p.Chunks {
			if lost(c.Location) {
				n++
				continue
			}
			chunks = append(chunks, c)
		}
		p.Chunks = chunks
		kept = append(kept, p)
	}
	return kept, n
}
