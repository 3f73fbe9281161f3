package index

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
)

// Forget drops restore points. What they alone refer to stays until a prune.
//
// choose gets the restore points there are, with the marks in force, and gives those to forget. It is called again
// when somebody else changed marks at the same time, so that a point that was pinned meanwhile, or has become the last of
// its source, can be left out; its error ends the call, with nothing forgotten.
//
// The points are forgotten, all at once, when the log of marks says so; then their records are removed. If that is
// interrupted, the next call removes the rest. The result holds the points that are gone for certain, those that an
// earlier call had left included, also when there is an error. *MarksError, and nothing is forgotten, when pins may be
// unknown; *RollbackError likewise when this host has seen a newer state of them than there is.
func (r *Repository) Forget(ctx context.Context, choose func(points []*Point) ([]*Point, error)) ([]*Point, error) {
	if _, err := r.listMarks(ctx); err != nil {
		return nil, err
	}
	if err := r.seen.marksRolledBack(); err != nil {
		return nil, fmt.Errorf("forget restore points: pins may be lost: %w", err)
	}
	var going []*Point // as of the last edit, their records to be removed
	err := r.change(ctx, false, func(m *marks, recorded []*Point) error {
		chosen, err := choose(m.apply(recorded))
		if err != nil {
			return err
		}
		before := len(m.going)
		for _, p := range chosen {
			if id := identityOf(p); !slices.Contains(m.going, id) {
				m.forget(id)
			}
		}
		going = going[:0]
		for _, p := range recorded {
			if slices.Contains(m.going, identityOf(p)) {
				going = append(going, p)
			}
		}
		if len(m.going) == before {
			return errNoChange
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("forget restore points: %w", err)
	}
	for i, p := range going {
		err := r.store.RemoveObject(ctx, chunkstore.TypePoint, recordName(p.Sequence))
		if err != nil && !errors.Is(err, destination.ErrNotFound) {
			return going[:i], fmt.Errorf("remove restore point %s of %s: %w", p.Name, p.Source, err)
		}
	}
	return going, nil
}

// RemovePoint forgets one restore point, whatever it is marked with.
func (r *Repository) RemovePoint(ctx context.Context, p *Point) error {
	_, err := r.Forget(ctx, func(points []*Point) ([]*Point, error) {
		id := identityOf(p)
		return slices.DeleteFunc(slices.Clone(points), func(q *Point) bool { return identityOf(q) != id }), nil
	})
	return err
}

// lastNumber is the highest sequence number that is known to have been given, to points that are gone too. It must be
// asked for after the records were listed: a point that was not among them any more is in the log by then.
func (r *Repository) lastNumber(ctx context.Context) (uint64, error) {
	m, _, err := r.loadMarks(ctx)
	if m == nil {
		return 0, err
	}
	if err != nil {
		r.o.Warn(err)
	}
	return max(m.forgotten.last(), r.seen.last()), nil
}

// ownNumber tells, of a record that was just created, whether its number is its own, and removes it otherwise. A listing
// that was old when it was used may have led to the number of a point that has come and been forgotten since.
func (r *Repository) ownNumber(ctx context.Context, p *Point) (bool, error) {
	m, _, err := r.loadMarks(ctx)
	if m == nil {
		r.o.Warn(err)
		return true, nil // the record is there: the backup is complete
	}
	if !m.forgotten.contain(p.Sequence) {
		r.seen.pointIs(p.Sequence, p)
		return true, nil
	}
	if slices.Contains(m.going, identityOf(p)) {
		return true, nil // it was complete, and somebody forgot it at once
	}
	err = r.store.RemoveObject(ctx, chunkstore.TypePoint, recordName(p.Sequence))
	if errors.Is(err, destination.ErrNotFound) {
		return true, nil // likewise
	}
	return false, err
}
