package engine

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/cairn-backup/cairn/index/tree"
)

// A file that changed in the same tick of the file system's clock in which it was read looks unchanged ever
// after (git calls such files racy). So a file whose last change falls into the time of the previous backup is read
// again: from racyTick before its start, as the file system's clock may lag by a tick, to racySlack after its end.
const (
	racyTick  = 10e6 // nanoseconds: a tick at 100 Hz, the slowest in use
	racySlack = 2e9
)

// unchanged says that old still holds the content of the file.
func (r *run) unchanged(old, now *tree.Entry) bool {
	if r.o.Full || old.Flags != 0 || !sameState(old, now) {
		return false
	}
	return old.Ctime < r.racyFrom || old.Ctime > r.racyTo
}

// sameState compares what shows a change of content. The device is not part of it: its number may change with
// each boot.
func sameState(a, b *tree.Entry) bool {
	return a.Ctime == b.Ctime && a.Mtime == b.Mtime && a.Size == b.Size && a.Inode == b.Inode && a.Type == b.Type
}

// sameOwners compares the rest of what stat(2) gives.
func sameOwners(a, b *tree.Entry) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.User == b.User && a.Group == b.Group &&
		a.Device == b.Device && a.Links == b.Links && a.Rdev == b.Rdev
}

// sameEntry says that e would be stored just as old was.
func sameEntry(e, old *tree.Entry) bool {
	if e == old {
		return true
	}
	return old != nil && e.Name == old.Name && sameState(e, old) && sameOwners(e, old) &&
		e.Flags == old.Flags && e.Target == old.Target && e.Child == old.Child && e.List == old.List &&
		slices.Equal(e.Content, old.Content) &&
		slices.EqualFunc(e.Xattrs, old.Xattrs, func(a, b tree.Xattr) bool {
			return a.Name == b.Name && bytes.Equal(a.Value, b.Value)
		})
}

// done says that one entry of a segment, or the walk over it, is done. Whoever calls it last writes the segment, and
// with the last segment the directory, which may be the last entry of the directory above, and so on up.
func (r *run) done(ctx context.Context, seg *segment) error {
	for {
		if seg.pending.Add(-1) > 0 {
			return nil
		}
		f := seg.f
		ref, whole, err := r.settle(ctx, seg)
		if err != nil {
			return fmt.Errorf("store the directory %q: %w", f.path(), err)
		}
		if !whole {
			return nil
		}
		f.entry.SetChild(ref)
		if f.parent == nil {
			r.finished()
			return nil
		}
		r.countDir()
		seg = f.parent
	}
}

// settle writes what is complete at the head of the directory's queue. whole is true when that was all of it.
func (r *run) settle(ctx context.Context, seg *segment) (ref tree.Ref, whole bool, err error) {
	f := seg.f
	f.mu.Lock()
	defer f.mu.Unlock()
	seg.ready = true
	for len(f.queue) > 0 && f.queue[0].ready {
		head := f.queue[0]
		f.queue[0] = nil
		f.queue = f.queue[1:]
		if f.waiting {
			f.waiting = false
			r.visits.push(f)
		}
		if head.last && f.writer == nil && r.same(head) {
			whole, err := r.reusableDir(ctx, f)
			if whole || err != nil {
				return f.old.ChildRef(), true, err
			}
		}
		if f.writer == nil {
			f.writer = tree.NewWriter(r.session)
		}
		for _, e := range head.entries {
			if e.Name == "" {
				continue
			}
			if err := f.writer.Add(ctx, e); err != nil {
				return ref, false, err
			}
		}
		if head.last {
			ref, err = f.writer.Finish(ctx)
			return ref, err == nil, err
		}
	}
	return ref, false, nil
}

// same says that a directory of one segment is just what it was, so that its stored form need not be made again.
func (r *run) same(seg *segment) bool {
	if seg.f.old == nil || seg.f.oldDir == nil || seg.removed || len(seg.f.names) > 0 {
		return false
	}
	for i, e := range seg.entries {
		if !sameEntry(e, seg.olds[i]) {
			return false
		}
	}
	return true
}

// countDir counts a directory below the root.
func (r *run) countDir() {
	r.counts.dirs.Add(1)
	if p := r.o.Progress; p != nil {
		p.Dirs.Add(1)
	}
}

// countFile counts a file as done.
func (r *run) countFile(e *tree.Entry) {
	r.counts.files.Add(1)
	r.counts.bytes.Add(e.Size)
	if p := r.o.Progress; p != nil {
		p.Files.Add(1)
		p.Bytes.Add(e.Size)
	}
}

// countRead counts a file as done that was not taken over unread.
func (r *run) countRead(e, old *tree.Entry) {
	switch {
	case old == nil:
		r.counts.added.Add(1)
	case sameEntry(e, old):
		r.counts.unchanged.Add(1)
	default:
		r.counts.changed.Add(1)
	}
	r.countFile(e)
}
