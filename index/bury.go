package index

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/index/locator"
)

// removers is how many objects are removed at once: each waits for a disk.
const removers = 8

// barredFor is how long after its end a barred session is remembered. It is safe to forget it at any time: a backup
// that comes back later reads the ledger.
const barredFor = 30 * 24 * time.Hour

// Condemn makes a tombstone for packs: from now on no backup that commits relies on them. They are deleted by Bury.
func (p *Pruner) Condemn(ctx context.Context, packs []chunkstore.PackID) error {
	if len(packs) == 0 {
		return nil
	}
	name, err := p.r.randomName()
	if err != nil {
		return err
	}
	sorted := slices.Clone(packs)
	slices.SortFunc(sorted, func(a, b chunkstore.PackID) int { return slices.Compare(a[:], b[:]) })
	if err := p.r.store.PutObject(ctx, chunkstore.TypeTombstone, name, encodeIDs(sorted)); err != nil {
		return fmt.Errorf("write tombstone: %w", err)
	}
	_, err = p.mourners(ctx, name)
	return err
}

// mourners gives the sessions that a tombstone waits for: those that were there at some time after it was. They are
// looked up when nobody has yet.
func (p *Pruner) mourners(ctx context.Context, stone string) ([][16]byte, error) {
	for {
		payload, err := p.r.store.GetObject(ctx, chunkstore.TypeTombstone, stone+sessionsSuffix)
		if err == nil {
			ids, err := decodeIDs[[16]byte](payload)
			if err != nil {
				return nil, fmt.Errorf("read tombstones/%s%s: %w", stone, sessionsSuffix, err)
			}
			return ids, nil
		}
		if !errors.Is(err, destination.ErrNotFound) {
			return nil, err
		}
		sessions, err := p.r.sessions(ctx)
		if err != nil {
			return nil, err
		}
		var ids [][16]byte
		for id, m := range sessions {
			var b [16]byte
			if _, err := hex.Decode(b[:], []byte(id)); err == nil && !m.prune {
				ids = append(ids, b)
			}
		}
		slices.SortFunc(ids, func(a, b [16]byte) int { return slices.Compare(a[:], b[:]) })
		err = p.r.store.PutObject(ctx, chunkstore.TypeTombstone, stone+sessionsSuffix, encodeIDs(ids))
		if err != nil && !errors.Is(err, destination.ErrExists) {
			return nil, fmt.Errorf("write which sessions a tombstone waits for: %w", err)
		}
	}
}

// Buried is what became of tombstones.
type Buried struct {
	Removed   int   // packs
	Bytes     int64 // of them
	Reprieved int   // packs that turned out to be needed
	Waiting   int   // tombstones that wait for backups under way
	Index     int   // index objects written afresh
}

// Bury deletes what earlier prunes and this one condemned, as far as no backup that was under way can rely on it any
// more. What cannot go yet goes in a later prune.
func (p *Pruner) Bury(ctx context.Context) (*Buried, error) {
	done := &Buried{}
	stones, err := p.r.tombstones(ctx)
	if err != nil {
		return done, err
	}
	ready, err := p.ready(ctx, stones)
	if err != nil {
		return done, err
	}
	done.Waiting = len(stones) - len(ready)
	if len(ready) > 0 {
		// From here on: no session relies on what these condemn, and none will, for they see the tombstones.
		v, err := p.look(ctx)
		if err != nil {
			return done, err
		}
		for _, t := range ready {
			if err := p.decide(ctx, v, t); err != nil {
				return done, err
			}
		}
	}
	if err := p.tidyIndex(ctx, done); err != nil {
		return done, err
	}
	for _, t := range ready {
		if err := p.bury(ctx, t, done); err != nil {
			return done, err
		}
	}
	return done, nil
}

// ready gives the tombstones whose sessions have all ended, or are barred.
func (p *Pruner) ready(ctx context.Context, stones []tombstone) ([]tombstone, error) {
	waits := make([][][16]byte, len(stones))
	for i, t := range stones {
		var err error
		if waits[i], err = p.mourners(ctx, t.name); err != nil {
			return nil, err
		}
	}
	sessions, err := p.r.sessions(ctx)
	if err != nil {
		return nil, err
	}
	var ready []tombstone
	for i, t := range stones {
		free := true
		for _, id := range waits[i] {
			m := sessions[hex.EncodeToString(id[:])]
			if m == nil {
				continue
			}
			over, err := p.over(ctx, hex.EncodeToString(id[:]), m)
			if err != nil {
				return nil, err
			}
			if !over {
				free = false
			}
		}
		if free {
			ready = append(ready, t)
		}
	}
	return ready, nil
}

// over tells whether a session need not be waited for: it is barred, or seems dead and gets barred.
func (p *Pruner) over(ctx context.Context, id string, m *lived) (bool, error) {
	if m.expired {
		return true, p.bar(ctx, id)
	}
	if !m.commit {
		return false, nil
	}
	state, _, err := p.r.readCommit(ctx, id)
	if errors.Is(err, destination.ErrNotFound) {
		return false, nil // it ends just now
	}
	return err == nil && state == stateBarred, err
}

// bar takes away from a session that seems dead the right to commit. One that is about to commit keeps it: its tree
// counts as in use then.
func (p *Pruner) bar(ctx context.Context, session string) error {
	err := p.r.store.PutObject(ctx, chunkstore.TypeSession, session+commitSuffix, encodeCommit(stateBarred, chunkstore.ID{}))
	if err != nil && !errors.Is(err, destination.ErrExists) {
		return fmt.Errorf("bar a session that seems dead: %w", err)
	}
	return nil
}

// decide enters in the ledger which packs of a tombstone go. Whoever is first decides, for everybody.
func (p *Pruner) decide(ctx context.Context, v *view, t tombstone) error {
	var e entryOfLedger
	for _, id := range t.packs {
		u := v.packs[id]
		switch {
		case v.needed.has(id):
			continue
		case u == nil && !v.bad.gone.has(id):
			// It was not listed: deleted when a prune was interrupted, or merely missed.
			_, err := destination.Stat(ctx, p.r.store.Destination(), id.ObjectName())
			if err == nil {
				continue
			}
			if !errors.Is(err, destination.ErrNotFound) {
				return fmt.Errorf("look for a condemned pack: %w", err)
			}
		case u != nil && !u.Listed:
			free, err := p.free(ctx, id)
			if err != nil {
				return err
			}
			if !free {
				continue
			}
		}
		e.gone = append(e.gone, id)
	}
	err := p.r.store.PutObject(ctx, chunkstore.TypeLedger, t.name, encodeLedger(e))
	if errors.Is(err, destination.ErrExists) {
		_, err = p.r.readLedger(ctx, t.name)
		return err
	}
	if err != nil {
		return fmt.Errorf("enter in the ledger what is deleted: %w", err)
	}
	p.r.ledger.take(t.name, e)
	return nil
}

// free tells whether nobody needs a pack that no index object lists: it holds nothing that is missing.
func (p *Pruner) free(ctx context.Context, id chunkstore.PackID) (bool, error) {
	if len(p.reach.missing) == 0 {
		return true, nil
	}
	table, err := p.r.store.Table(ctx, id)
	if err != nil {
		return false, ctx.Err() // it may hold what is missing, for all we know
	}
	for i := range table.Chunks {
		if _, ok := p.reach.missing[table.Chunks[i].ID]; ok {
			return false, nil
		}
	}
	return true, nil
}

// bury removes the packs that a tombstone's decision names, and then the tombstone.
func (p *Pruner) bury(ctx context.Context, t tombstone, done *Buried) error {
	decision, err := p.r.readLedger(ctx, t.name)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	g, removing := errgroup.WithContext(ctx)
	g.SetLimit(removers)
	for _, id := range decision.gone {
		g.Go(func() error {
			info, err := destination.Stat(removing, p.r.store.Destination(), id.ObjectName())
			if err == nil {
				err = p.r.store.Destination().Remove(removing, id.ObjectName())
			}
			switch {
			case errors.Is(err, destination.ErrNotFound): // another prune was faster
			case err != nil:
				return fmt.Errorf("remove pack %s: %w", id, err)
			default:
				mu.Lock()
				defer mu.Unlock()
				done.Removed++
				done.Bytes += info.Size
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	done.Reprieved += max(0, len(t.packs)-len(decision.gone))
	for _, name := range []string{t.name + sessionsSuffix, t.name} {
		err := p.r.store.RemoveObject(ctx, chunkstore.TypeTombstone, name)
		if err != nil && !errors.Is(err, destination.ErrNotFound) {
			return fmt.Errorf("remove a tombstone that is done with: %w", err)
		}
	}
	return nil
}

// tidyIndex writes those index objects afresh that list packs which are gone, many into one. The order: the ledger says
// that the old ones were replaced, the new ones are there, the old ones go.
func (p *Pruner) tidyIndex(ctx context.Context, done *Buried) error {
	r := p.r
	gone := r.ledger.unusable().gone
	if !slices.ContainsFunc(r.cache.Packs(), func(rec locator.PackRecord) bool { return gone.has(rec.ID) }) {
		return nil
	}
	listed, err := r.store.ListObjects(ctx, chunkstore.TypeIndex)
	if err != nil {
		return fmt.Errorf("list index objects: %w", err)
	}
	listed = slices.DeleteFunc(listed, func(info destination.Info) bool { return !isRandomName(info.Name) })
	t := &tidying{r: r, gone: gone}
	for part := range slices.Chunk(listed, fetchers) {
		read := make([]listing, len(part))
		g, fetch := errgroup.WithContext(ctx)
		for i := range part {
			read[i].name = part[i].Name
			g.Go(func() error { return r.fetchListing(fetch, &read[i]) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
		for i := range read {
			t.take(&read[i])
		}
		if t.chunks >= objectChunks {
			if err := t.write(ctx); err != nil {
				return err
			}
		}
	}
	if err := t.write(ctx); err != nil {
		return err
	}
	done.Index = t.written
	if t.written == 0 {
		return nil
	}
	return r.Refresh(ctx)
}

// tidying collects what is left of index objects.
type tidying struct {
	r       *Repository
	gone    packSet
	old     []string
	packs   []chunkstore.Pack
	chunks  int
	written int
}

func (t *tidying) take(l *listing) {
	if !slices.ContainsFunc(l.packs, func(p chunkstore.Pack) bool { return t.gone.has(p.ID) }) {
		return
	}
	t.old = append(t.old, l.name)
	for _, p := range l.packs {
		if !t.gone.has(p.ID) {
			t.packs = append(t.packs, p)
			t.chunks += len(p.Chunks)
		}
	}
}

func (t *tidying) write(ctx context.Context) error {
	if len(t.old) == 0 {
		return nil
	}
	e := entryOfLedger{}
	for _, name := range t.old {
		var b [16]byte
		_, _ = hex.Decode(b[:], []byte(name)) // a name of ours
		e.replaced = append(e.replaced, b)
	}
	name, err := t.r.randomName()
	if err != nil {
		return err
	}
	if err := t.r.store.PutObject(ctx, chunkstore.TypeLedger, name, encodeLedger(e)); err != nil {
		return fmt.Errorf("enter in the ledger which index objects are written afresh: %w", err)
	}
	t.r.ledger.take(name, e)
	if len(t.packs) > 0 {
		if _, err := t.r.putListing(ctx, t.packs); err != nil {
			return err
		}
	}
	g, removing := errgroup.WithContext(ctx)
	g.SetLimit(removers)
	for _, name := range t.old {
		g.Go(func() error {
			err := t.r.store.RemoveObject(removing, chunkstore.TypeIndex, name)
			if err != nil && !errors.Is(err, destination.ErrNotFound) {
				return fmt.Errorf("remove an index object that was written afresh: %w", err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	t.written += len(t.old)
	t.old, t.packs, t.chunks = nil, nil, 0
	return nil
}
