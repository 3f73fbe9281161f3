//go:build linux

package fs

import (
	"context"
	"errors"

	"github.com/cairn-backup/cairn/chunkstore"
)

// mover finds another place of a chunk when reading it at one has failed.
type mover interface {
	Elsewhere(ctx context.Context, id chunkstore.ID, failed chunkstore.Location) (chunkstore.Location, bool, error)
}

// moved gives another place of a chunk that could not be read where the index, as this mount knows it, says that it is:
// a prune may have moved it since, or a backup stored it again because it was lost.
func (v *view) moved(ctx context.Context, id chunkstore.ID, loc chunkstore.Location, failed error) (chunkstore.Location, bool) {
	var damage *chunkstore.DamageError
	m, ok := v.repo.(mover)
	if !ok || !errors.As(failed, &damage) || ctx.Err() != nil {
		return loc, false
	}
	other, found, err := m.Elsewhere(ctx, id, loc)
	return other, found && err == nil
}
