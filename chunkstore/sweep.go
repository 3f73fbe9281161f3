package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cairn-backup/cairn/chunkstore/destination"
)

// Sweep removes what interrupted writes left at the destination, if it is older than age by the destination's own
// clock: a write that is still under way is younger than a day on any medium worth writing to. It returns how many
// files and bytes that were. A destination that keeps no leftovers, or has no clock, has nothing to sweep.
func (s *Store) Sweep(ctx context.Context, age time.Duration) (files int, bytes int64, err error) {
	l, ok := s.dest.(destination.Leftovers)
	clock, timed := s.dest.(destination.Clock)
	if !ok || !timed {
		return 0, 0, nil
	}
	now, err := clock.Now(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("sweep leftovers: %w", err)
	}
	err = l.Leftovers(ctx, func(i destination.Info) error {
		if now.Sub(i.Modified) < age {
			return nil
		}
		err := s.dest.Remove(ctx, i.Name)
		if errors.Is(err, destination.ErrNotFound) {
			return nil // finished or swept meanwhile
		}
		if err == nil {
			files, bytes = files+1, bytes+i.Size
		}
		return err
	})
	if err != nil {
		return files, bytes, fmt.Errorf("sweep leftovers: %w", err)
	}
	return files, bytes, nil
}
