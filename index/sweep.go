package index

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
)

// Swept is what was cleaned up.
type Swept struct {
	Sessions int // that died, and are over now
	Stuck    int // that died while they committed: what they stored is kept, for they might still complete
	Files    int // that interrupted writes left
}

// Sweep cleans up what backups and prunes left that died SessionExpiry ago, by the destination's clock.
func (p *Pruner) Sweep(ctx context.Context) (Swept, error) {
	var done Swept
	sessions, err := p.r.sessions(ctx)
	if err != nil {
		return done, err
	}
	now, err := p.r.destinationNow(ctx)
	if err != nil {
		return done, err
	}
	for id, m := range sessions {
		if !m.expired {
			continue
		}
		if len(m.markers) == 0 && now.Sub(m.modified) <= barredFor {
			continue
		}
		stuck, err := p.sweepSession(ctx, id, m)
		if err != nil {
			return done, err
		}
		if stuck {
			done.Stuck++
		} else {
			done.Sessions++
		}
	}
	lister, ok := p.r.store.Destination().(destination.Leftovers)
	if !ok {
		return done, nil
	}
	var old []string
	err = lister.Leftovers(ctx, func(info destination.Info) error {
		if now.Sub(info.Modified) > SessionExpiry {
			old = append(old, info.Name)
		}
		return nil
	})
	if err != nil {
		return done, fmt.Errorf("list what interrupted writes left: %w", err)
	}
	for _, name := range old {
		err := p.r.store.Destination().Remove(ctx, name)
		if err != nil && !errors.Is(err, destination.ErrNotFound) {
			return done, fmt.Errorf("remove what an interrupted write left: %w", err)
		}
		done.Files++
	}
	return done, nil
}

// sweepSession bars a session that died and removes its markers, or, when that was done long ago, the bar. stuck says
// that it must stay.
func (p *Pruner) sweepSession(ctx context.Context, id string, m *lived) (stuck bool, err error) {
	names := m.markers
	if !m.prune {
		if err := p.bar(ctx, id); err != nil {
			return false, err
		}
		state, _, err := p.r.readCommit(ctx, id)
		switch {
		case errors.Is(err, destination.ErrNotFound): // it ended just now
			return false, nil
		case err != nil:
			return false, err
		case state == stateCommitting:
			return true, nil
		}
		if len(m.markers) == 0 {
			names = []string{id + commitSuffix}
		}
	}
	for _, name := range names {
		err := p.r.store.RemoveObject(ctx, chunkstore.TypeSession, name)
		if err != nil && !errors.Is(err, destination.ErrNotFound) {
			return false, fmt.Errorf("remove the marker of a session that died: %w", err)
		}
	}
	return false, nil
}

// Copied is what Copy did.
type Copied struct {
	Packs []chunkstore.PackID // whose chunks in use lie elsewhere now
	Bytes int64               // read
	Bad   []error             // packs that stay as they are, because not all of what is in use of them can be read
}

// Copy stores what is in use of packs afresh, so that they can be condemned. Every chunk is compared with its id on the
// way. What lies in doomed, which is to be condemned too, does not count as stored. It follows a Survey, and may be called
// once. tell is called with the bytes read, from several goroutines.
func (p *Pruner) Copy(ctx context.Context, packs, doomed []chunkstore.PackID, workers int, tell func(int64)) (*Copied, error) {
	bad := *p.s.bad.Load()
	condemned := make(packSet)
	for id := range bad.condemned {
		condemned.add(id)
	}
	condemned.add(packs...)
	condemned.add(doomed...)
	bad.condemned = condemned
	p.s.bad.Store(&bad) // so that these packs do not count as having what is in them

	results := make([]error, len(packs))
	var read atomic.Int64
	var failed atomic.Bool
	var g errgroup.Group // without a context of its own: what is stored is on its way beyond the end of the group
	g.SetLimit(max(1, workers))
	for i, id := range packs {
		g.Go(func() error {
			if failed.Load() {
				return nil
			}
			n, err := p.copyPack(ctx, id)
			read.Add(n)
			tell(n)
			var damage *chunkstore.DamageError
			if errors.As(err, &damage) && ctx.Err() == nil {
				results[i] = fmt.Errorf("pack %s stays as it is: %w", id, err)
				return nil
			}
			failed.Store(failed.Load() || err != nil)
			return err
		})
	}
	err := errors.Join(g.Wait(), p.s.flush(ctx))
	if err == nil && p.s.claimed.Load() != p.s.placed.Load() {
		err = errors.New("not all that was copied has become durable")
	}
	if err != nil {
		return nil, fmt.Errorf("copy what is in use out of packs that are mostly not: %w", err)
	}
	done := &Copied{Bytes: read.Load()}
	for i, err := range results {
		if err != nil {
			done.Bad = append(done.Bad, err)
		} else {
			done.Packs = append(done.Packs, packs[i])
		}
	}
	return done, nil
}

// copyPack stores the chunks of one pack that are in use and lie nowhere else.
func (p *Pruner) copyPack(ctx context.Context, id chunkstore.PackID) (int64, error) {
	table, err := p.r.store.Table(ctx, id)
	if err != nil {
		return 0, err
	}
	var inUse []chunkstore.Placed
	var refs []chunkstore.FrameRef
	for _, c := range table.Chunks { // by place
		places, err := p.reach.snap.Find(c.ID, nil)
		if err != nil {
			return 0, err
		}
		if len(places) == 0 || !p.reach.has(places[0].Number) {
			continue
		}
		inUse = append(inUse, c)
		if n := len(refs); n == 0 || refs[n-1].Offset != c.Location.Offset {
			refs = append(refs, chunkstore.FrameRef{Offset: c.Location.Offset, Sealed: c.Location.Sealed})
		}
	}
	batch := p.s.NewBatch()
	read := int64(0)
	err = p.r.store.Frames(ctx, id, refs, func(ref chunkstore.FrameRef, opened []byte, err error) error {
		if err != nil {
			return err
		}
		read += int64(len(opened))
		for len(inUse) > 0 && inUse[0].Location.Offset == ref.Offset {
			c := inUse[0]
			inUse = inUse[1:]
			if err := p.copyChunk(ctx, batch, table.Kind, opened, c); err != nil {
				return err
			}
		}
		return nil
	})
	return read, errors.Join(err, batch.Flush(ctx))
}

func (p *Pruner) copyChunk(ctx context.Context, batch *Batch, kind chunkstore.Kind, opened []byte, c chunkstore.Placed) error {
	data, err := p.r.store.Cut(opened, c.ID, c.Location)
	if err != nil {
		return err
	}
	var id chunkstore.ID
	if kind == chunkstore.KindTree {
		id, err = p.s.SaveNode(ctx, data)
	} else {
		id, _, err = batch.Store(ctx, data)
	}
	if err == nil && id != c.ID {
		err = &chunkstore.DamageError{Object: c.Location.Pack.ObjectName(), Offset: int64(c.Location.Offset), Length: int64(c.Location.Sealed),
			Err: fmt.Errorf("%w: chunk %s is not what was stored", chunkstore.ErrDamaged, c.ID)}
	}
	return err
}
