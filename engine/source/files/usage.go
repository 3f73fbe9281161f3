package files

import (
	"context"
	"slices"

	"github.com/cairn-backup/cairn/engine/source"
	"github.com/cairn-backup/cairn/index/tree"
)

// Devices gives the numbers of the devices (st_dev) that the paths are on.
func (s *Source) Devices() ([]uint64, error) {
	var devices []uint64
	for _, p := range s.parts {
		at, err := placeOf(p.path)
		if err != nil {
			return nil, err
		}
		devices = append(devices, at.device)
	}
	slices.Sort(devices)
	return slices.Compact(devices), nil
}

// Count counts the regular files below the paths that are to be backed up, and their bytes. Directories that
// cannot be read are left out.
func (s *Source) Count(ctx context.Context) (files, bytes int64, err error) {
	var e tree.Entry
	d, err := s.Root(ctx, &e)
	if err != nil {
		return 0, 0, err
	}
	err = count(ctx, d, &files, &bytes)
	return files, bytes, err
}

// count goes through d and closes it. Only the directories on the way down are open.
func count(ctx context.Context, d source.Dir, files, bytes *int64) error {
	defer d.Close()
	names, err := d.Names(ctx)
	if err != nil {
		return ctx.Err()
	}
	var e tree.Entry
	for _, name := range names {
		if d.Stat(name, &e) != nil {
			continue
		}
		switch e.Type {
		case tree.File:
			*files++
			*bytes += e.Size
		case tree.Directory:
			if below, err := d.Dir(&e); err == nil {
				if err := count(ctx, below, files, bytes); err != nil {
					return err
				}
			}
		}
	}
	return ctx.Err()
}
