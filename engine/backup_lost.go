package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-backup/cairn/chunkstore"
)

// A chunk that the index lists is not stored again, so a backup over a damaged repository makes restore points that need
// what is lost. It cannot look at every byte, but what it meets, and packs that are gone, it makes a problem of the
// restore point: such a backup must not pass for a good one.

// metDamage takes damage of the repository that the backup came upon at a path.
func (r *run) metDamage(path string, err error) {
	var damage *chunkstore.DamageError
	if errors.As(err, &damage) {
		r.problems.add(path, fmt.Errorf("the repository is damaged, and what did not change may be lost with it "+
			"(cairn repair --index, then cairn backup --full, stores it again): %w", err))
	}
}

// checkPacks looks whether every pack that the index lists is there.
func (r *run) checkPacks(ctx context.Context) error {
	gone, err := r.gonePacks(ctx)
	if err != nil || len(gone) == 0 {
		return err
	}
	// Another process may have taken them away, and out of the index before.
	if err := r.repo.Refresh(ctx); err != nil {
		return err
	}
	if gone, err = r.gonePacks(ctx); err != nil || len(gone) == 0 {
		return err
	}
	r.metDamage("/", fmt.Errorf("%d packs are gone: %w", len(gone),
		&chunkstore.DamageError{Object: gone[0].ObjectName(), Err: chunkstore.ErrMissing}))
	return nil
}

// gonePacks returns the packs that the index lists and that are not there.
func (r *run) gonePacks(ctx context.Context) ([]chunkstore.PackID, error) {
	indexed, err := r.repo.IndexedPacks(ctx)
	if err != nil || len(indexed) == 0 {
		return nil, err
	}
	there := make(map[chunkstore.PackID]struct{}, len(indexed))
	err = r.repo.Store().Packs(ctx, func(p chunkstore.PackInfo) error {
		there[p.ID] = struct{}{}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var gone []chunkstore.PackID
	for _, p := range indexed {
		if _, ok := there[p.ID]; !ok {
			gone = append(gone, p.ID)
		}
	}
	return gone, nil
}
