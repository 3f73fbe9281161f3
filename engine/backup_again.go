package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-backup/cairn/engine/source"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// maxPasses is how often a backup goes over its source because prunes come in between. A pass reads no more than what
// was condemned since the last.
const maxPasses = 5

// reusable tells whether the content of an entry of the previous restore point can be taken over: all of it lies where
// nobody is about to delete it and nothing is known to be lost.
func (r *run) reusable(ctx context.Context, old *tree.Entry) (bool, error) {
	ok, err := tree.EveryChunk(ctx, r.repo, old, r.session.Has)
	return unlessUnreadable(ctx, ok, err)
}

// reusableDir tells the same of the nodes that a directory is stored in.
func (r *run) reusableDir(ctx context.Context, f *visit) (bool, error) {
	ok, err := f.oldDir.EveryNode(ctx, f.old.Child, r.session.Has)
	return unlessUnreadable(ctx, ok, err)
}

// unlessUnreadable turns the error of a node that cannot be read into a no.
func unlessUnreadable(ctx context.Context, ok bool, err error) (bool, error) {
	var node *tree.NodeError
	if errors.As(err, &node) && ctx.Err() == nil {
		return false, nil
	}
	return ok, err
}

// again prepares another pass over the source after a prune came in between, or gives back the error when that is not
// what it says.
func (r *run) again(ctx context.Context, src source.Source, cause error, pass int) (*run, error) {
	var condemned *index.CondemnedError
	barred := errors.Is(cause, index.ErrBarred)
	if pass == maxPasses || ctx.Err() != nil || !barred && !errors.As(cause, &condemned) {
		return nil, cause
	}
	next := newRun(r.repo, r.o)
	next.session = r.session
	if barred {
		if err := next.begin(ctx); err != nil {
			return nil, errors.Join(err, cause)
		}
		r.session = next.session // the one to abort should the rest fail
	}
	if err := next.openSource(ctx, src); err != nil {
		return nil, fmt.Errorf("go over the source again, because %w: %w", cause, err)
	}
	if _, err := next.findPrevious(ctx, r.o.Now()); err != nil {
		next.closeAll()
		return nil, err
	}
	return next, nil
}
