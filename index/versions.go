package index

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/index/tree"
)

// Version is one distinct state of a path, over one or more restore points that follow each other.
type Version struct {
	Entry  *tree.Entry // as the newest of the points has it
	Points []*Point    // that hold it, the newest first; never empty
}

// Versions returns the distinct states of a path over all restore points of a source, the newest first. States differ
// when type, size, content or link target do; of directories, when anything below does. Points that cannot be read are
// told in the error, beside the versions that can be; a path that no point has gives none.
func (r *Repository) Versions(ctx context.Context, source, path string) ([]Version, error) {
	points, err := r.Points(ctx)
	errs := []error{err}
	var versions []Version
	var at chunkstore.ID // root of the tree that the last version was found in
	follows := false     // the point before had the path
	for _, p := range slices.Backward(points) {
		if p.Source != source {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if follows && p.Root.ID == at {
			last := &versions[len(versions)-1]
			last.Points = append(last.Points, p)
			continue
		}
		e, err := tree.Find(ctx, r, p.Root.ID, path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			follows = false
			continue
		case err != nil:
			errs = append(errs, fmt.Errorf("%s@%s: %w", source, p.Name, err))
			continue
		}
		at = p.Root.ID
		if follows && tree.SameContent(versions[len(versions)-1].Entry, e) {
			last := &versions[len(versions)-1]
			last.Points = append(last.Points, p)
			continue
		}
		follows = true
		versions = append(versions, Version{Entry: e, Points: []*Point{p}})
	}
	return versions, errors.Join(errs...)
}
