package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/index/locator"
	"github.com/cairn-backup/cairn/index/tree"
)

// reach is what can be reached from trees: a bit for each entry of a snapshot of the cache. A chunk that lies in several
// places has all its bits set. A node whose bit is set has been walked through, or is about to be.
//
// Trees are walked in waves, all of them at once, and each wave in the order of places: every frame that holds nodes is
// opened at most once a wave, and there are as many waves as directories are deep.
type reach struct {
	r    *Repository
	snap *locator.Snapshot
	bits []atomic.Uint64
	bad  unusable // as of the snapshot: where not to read

	mu      sync.Mutex
	missing map[chunkstore.ID]struct{} // reached, but no entry
}

// UnreadableError: a node of a tree cannot be read, so nobody can tell what is in use.
type UnreadableError struct {
	ID  chunkstore.ID
	Err error
}

// Error names the node.
func (e *UnreadableError) Error() string {
	return fmt.Sprintf("a directory of a restore point cannot be read (node %x): %v", e.ID[:8], e.Err)
}

// Unwrap returns the cause.
func (e *UnreadableError) Unwrap() error { return e.Err }

func (r *Repository) newReach(snap *locator.Snapshot, bad unusable) *reach {
	return &reach{r: r, snap: snap, bad: bad, bits: make([]atomic.Uint64, (snap.Size()+63)/64), missing: make(map[chunkstore.ID]struct{})}
}

// set sets the bit of an entry and tells whether it was clear.
func (m *reach) set(n int) bool {
	bit := uint64(1) << (n & 63)
	word := &m.bits[n>>6]
	return word.Load()&bit == 0 && word.Or(bit)&bit == 0
}

func (m *reach) has(n int) bool { return m.bits[n>>6].Load()&(1<<(n&63)) != 0 }

// mark enters a chunk. isNew says that it was not reached before; without places nobody knows where it lies.
func (m *reach) mark(id chunkstore.ID, buf []locator.Place) (places []locator.Place, isNew bool, err error) {
	places, err = m.snap.Find(id, buf)
	if err != nil {
		return places, false, err
	}
	if len(places) == 0 {
		m.mu.Lock()
		defer m.mu.Unlock()
		_, known := m.missing[id]
		m.missing[id] = struct{}{}
		return places, !known, nil
	}
	isNew = m.set(places[0].Number) // decides between two who meet it at once
	for _, p := range places[1:] {
		m.set(p.Number)
	}
	return places, isNew, nil
}

// step is a node that is to be walked through.
type step struct {
	id  chunkstore.ID
	loc chunkstore.Location // the zero value: nobody knows where
}

// enter marks a node and gives the step into it; false when it was reached before.
func (m *reach) enter(id chunkstore.ID, buf *[]locator.Place) (step, bool, error) {
	places, isNew, err := m.mark(id, *buf)
	*buf = places[:0]
	if err != nil || !isNew {
		return step{}, false, err
	}
	s := step{id: id}
	for i, p := range places {
		if loc := m.snap.Location(p); i == 0 || !m.bad.gone.has(loc.Pack) && !m.bad.lostAt(loc.Pack, loc.Offset) {
			s.loc = loc
		}
	}
	return s, true, nil
}

// walk marks all that can be reached from the roots of trees. *UnreadableError when a node cannot be read; with
// lenient, nodes that no index object lists are passed over.
func (m *reach) walk(ctx context.Context, roots []chunkstore.ID, lenient bool) error {
	var wave []step
	var buf []locator.Place
	for _, id := range roots {
		s, isNew, err := m.enter(id, &buf)
		if err != nil {
			return err
		}
		if isNew {
			wave = append(wave, s)
		}
	}
	for len(wave) > 0 {
		next, err := m.wave(ctx, wave, lenient)
		if err != nil {
			return err
		}
		wave = next
	}
	return nil
}

// wave walks through nodes and gives those below them that were not reached before.
func (m *reach) wave(ctx context.Context, steps []step, lenient bool) ([]step, error) {
	slices.SortFunc(steps, func(a, b step) int {
		return cmp.Or(slices.Compare(a.loc.Pack[:], b.loc.Pack[:]), cmp.Compare(a.loc.Offset, b.loc.Offset), cmp.Compare(a.loc.Start, b.loc.Start))
	})
	var mu sync.Mutex
	var next []step
	g, walking := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for len(steps) > 0 && walking.Err() == nil {
		n := 1
		for n < len(steps) && steps[n].loc.Pack == steps[0].loc.Pack {
			n++
		}
		pack := steps[:n]
		steps = steps[n:]
		g.Go(func() error {
			w := packWalk{m: m, lenient: lenient}
			if err := w.walk(walking, pack); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			next = append(next, w.next...)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return next, ctx.Err()
}

// packWalk goes through the nodes of one pack.
type packWalk struct {
	m       *reach
	lenient bool
	next    []step
	buf     []locator.Place
}

func (w *packWalk) walk(ctx context.Context, steps []step) error {
	if steps[0].loc == (chunkstore.Location{}) {
		return w.unknown(ctx, steps)
	}
	var refs []chunkstore.FrameRef
	for _, s := range steps {
		if n := len(refs); n == 0 || refs[n-1].Offset != s.loc.Offset {
			refs = append(refs, chunkstore.FrameRef{Offset: s.loc.Offset, Sealed: s.loc.Sealed})
		}
	}
	store := w.m.r.store
	return store.Frames(ctx, steps[0].loc.Pack, refs, func(ref chunkstore.FrameRef, opened []byte, err error) error {
		for len(steps) > 0 && steps[0].loc.Offset == ref.Offset {
			s := steps[0]
			steps = steps[1:]
			var node []byte
			failed := err
			if failed == nil {
				node, failed = store.Cut(opened, s.id, s.loc)
			}
			if failed != nil {
				if node, failed = w.elsewhere(ctx, s, failed); failed != nil {
					return failed
				}
			}
			if err := w.node(s.id, node); err != nil {
				return err
			}
		}
		return nil
	})
}

// elsewhere reads a node in one of its other places.
func (w *packWalk) elsewhere(ctx context.Context, s step, failed error) ([]byte, error) {
	places, err := w.m.snap.Find(s.id, w.buf)
	w.buf = places[:0]
	if err != nil {
		return nil, err
	}
	for _, p := range places {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if loc := w.m.snap.Location(p); loc != s.loc {
			if node, err := w.m.r.store.Read(ctx, s.id, loc, nil); err == nil {
				return node, nil
			}
		}
	}
	return nil, &UnreadableError{ID: s.id, Err: failed}
}

// unknown deals with nodes that have no place.
func (w *packWalk) unknown(ctx context.Context, steps []step) error {
	if w.lenient || len(steps) == 0 {
		return ctx.Err()
	}
	return &UnreadableError{ID: steps[0].id, Err: &MissingError{ID: steps[0].id}}
}

// node marks what one node refers to.
func (w *packWalk) node(id chunkstore.ID, node []byte) error {
	var failed error
	err := tree.References(node, func(id chunkstore.ID, isNode bool) {
		if failed != nil {
			return
		}
		if !isNode {
			w.buf, _, failed = w.m.mark(id, w.buf)
			return
		}
		s, isNew, err := w.m.enter(id, &w.buf)
		if failed = err; err == nil && isNew {
			w.next = append(w.next, s)
		}
	})
	if err != nil && errors.Is(err, tree.ErrCorrupt) {
		return &UnreadableError{ID: id, Err: err}
	}
	return errors.Join(err, failed)
}

// carry gives what is reached as bits of another snapshot, a later one. Nothing may be missing: what was, may be there by
// now without having been walked through.
func (m *reach) carry(ctx context.Context, snap *locator.Snapshot, bad unusable) (*reach, error) {
	to := m.r.newReach(snap, bad)
	var buf []locator.Place
	err := snap.Chunks(ctx, func(id chunkstore.ID, places []locator.Place) error {
		var err error
		if buf, err = m.snap.Find(id, buf); err != nil {
			return err
		}
		for _, old := range buf {
			if m.has(old.Number) {
				for _, p := range places {
					to.set(p.Number)
				}
				break
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return to, nil
}
