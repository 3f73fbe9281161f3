package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cairn-backup/cairn/chunkstore"
)

// Walk calls fn for the root, with path "", and for everything below it in depth-first order, names sorted
// by their bytes in each directory, a directory before what is in it. Paths are relative, with slashes. fn may
// give fs.SkipDir (on a directory: not into it; else: not the rest of this directory) or fs.SkipAll.
// The first node that cannot be read ends the walk.
func Walk(ctx context.Context, l Loader, root chunkstore.ID, fn func(path string, e *Entry) error) error {
	return WalkDamaged(ctx, l, root, fn, func(_ string, err error) error { return err })
}

// WalkDamaged is Walk that goes on past nodes that cannot be read: lost gets the directory's path and the
// error, and ends the walk by giving an error itself.
func WalkDamaged(ctx context.Context, l Loader, root chunkstore.ID, fn func(path string, e *Entry) error, lost func(path string, err error) error) error {
	w := &walker{ctx: ctx, l: l, fn: fn, lost: lost}
	e, err := Root(ctx, l, root)
	if err != nil {
		err = lost("", err)
	} else if err = fn("", e); err == nil {
		err = w.dir(0, 0, e)
	}
	if errors.Is(err, fs.SkipDir) || errors.Is(err, fs.SkipAll) {
		return nil
	}
	return err
}

type walker struct {
	ctx  context.Context
	l    Loader
	fn   func(string, *Entry) error
	lost func(string, error) error
	path []byte // of where the walk is; one for all levels, for in a deep tree the paths of all levels would not fit
}

// maxDepth is how deep a walk goes: many times what any system lets a source have, and far from the end of the stack.
const maxDepth = 50_000

// dir walks what is in the directory e, which fn has seen. Its path is the first n bytes of w.path.
func (w *walker) dir(n, depth int, e *Entry) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if depth == maxDepth {
		return w.lostNode(n, fmt.Errorf("%w: %d directories in one another", ErrCorrupt, depth))
	}
	d, err := OpenDir(w.ctx, w.l, e.Child)
	if err != nil {
		return w.lostNode(n, err)
	}
	for e, err := range d.Entries(w.ctx, "") {
		if err != nil {
			if err := w.lostNode(n, err); err != nil {
				return err
			}
			continue
		}
		if w.path = w.path[:n]; n > 0 {
			w.path = append(w.path, '/')
		}
		w.path = append(w.path, e.Name...)
		err := w.fn(string(w.path), e)
		if err == nil && e.IsDir() {
			err = w.dir(len(w.path), depth+1, e)
		}
		if errors.Is(err, fs.SkipDir) {
			if e.IsDir() {
				continue
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lostNode reports a node that could not be read, unless that is because the walk was cancelled.
func (w *walker) lostNode(n int, err error) error {
	if cancelled := w.ctx.Err(); cancelled != nil {
		return cancelled
	}
	return w.lost(string(w.path[:n]), err)
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
