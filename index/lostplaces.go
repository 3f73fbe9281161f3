package index

import (
	"context"
	"fmt"
	"slices"

	"github.com/cairn-backup/cairn/chunkstore"
)

// has tells whether the frame at an offset is lost; of nil nothing is.
func (p *LostPlaces) has(offset uint32) bool {
	if p == nil {
		return false
	}
	if p.Whole {
		return true
	}
	_, ok := slices.BinarySearch(p.Frames, offset)
	return ok
}

// with joins what is lost of one pack.
func (p *LostPlaces) with(q LostPlaces) *LostPlaces {
	if p == nil {
		return &q
	}
	joined := &LostPlaces{Pack: p.Pack, Whole: p.Whole || q.Whole}
	if !joined.Whole {
		joined.Frames = slices.Concat(p.Frames, q.Frames)
		slices.Sort(joined.Frames)
		joined.Frames = slices.Compact(joined.Frames)
	}
	return joined
}

// RecordLost writes down which places cannot be read any more, so that later backups store what lay there afresh where
// the source still has it, which also mends the restore points that refer to it. Readers try these places last. It gives
// the number of packs that were not known to be hurt so.
func (r *Repository) RecordLost(ctx context.Context, lost []LostPlaces) (int, error) {
	if err := r.refreshLedger(ctx); err != nil {
		return 0, err
	}
	known := r.ledger.unusable()
	var news []LostPlaces
	for _, l := range lost {
		old := known.lost[l.Pack]
		slices.Sort(l.Frames)
		l.Frames = slices.Compact(l.Frames)
		isNew := l.Whole && (old == nil || !old.Whole)
		for _, f := range l.Frames {
			isNew = isNew || !old.has(f)
		}
		if isNew && !known.gone.has(l.Pack) {
			news = append(news, l)
		}
	}
	if len(news) == 0 {
		return 0, nil
	}
	name, err := r.randomName()
	if err != nil {
		return 0, err
	}
	e := entryOfLedger{lost: news}
	if err := r.store.PutObject(ctx, chunkstore.TypeLedger, name, encodeLedger(e)); err != nil {
		return 0, fmt.Errorf("write down what is lost: %w", err)
	}
	r.ledger.take(name, e)
	return len(news), nil
}

// best finds the place of a chunk that is best to read: in a pack that is not gone, and not known to be lost if there
// is another. avoid is a place that was tried in vain.
func (r *Repository) best(id chunkstore.ID, avoid chunkstore.Location) (best chunkstore.Location, found bool, err error) {
	bad := r.ledger.unusable()
	if len(bad.gone) == 0 && len(bad.lost) == 0 && avoid == (chunkstore.Location{}) {
		return r.cache.Lookup(id)
	}
	lost := false
	err = r.cache.Places(id, func(loc chunkstore.Location) bool {
		if bad.gone.has(loc.Pack) || loc == avoid {
			return true
		}
		hurt := bad.lostAt(loc.Pack, loc.Offset)
		if !found || lost && !hurt {
			best, found, lost = loc, true, hurt
		}
		return !found || lost
	})
	return best, found, err
}

// Elsewhere finds another place of a chunk after reading it at one has failed: a prune may have moved it since the
// index was read, or a backup stored it again. false when there is none.
func (r *Repository) Elsewhere(ctx context.Context, id chunkstore.ID, failed chunkstore.Location) (chunkstore.Location, bool, error) {
	loc, ok, err := r.best(id, failed)
	if err != nil || ok {
		return loc, ok, err
	}
	if err := r.Refresh(ctx); err != nil {
		return loc, false, err
	}
	return r.best(id, failed)
}
