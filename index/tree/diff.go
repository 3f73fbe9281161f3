package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cairn-backup/cairn/chunkstore"
)

// ChangeKind says how an entry differs between two trees.
type ChangeKind uint8

// The kinds of changes.
const (
	Added ChangeKind = iota + 1
	Removed
	Modified // type, content, link target or device number differ
	Metadata // only mode, owner, mtime or xattrs differ
)

// String gives the kind in one word, as it stands in JSON output.
func (k ChangeKind) String() string {
	switch k {
	case Added:
		return "added"
	case Removed:
		return "removed"
	case Modified:
		return "modified"
	case Metadata:
		return "metadata"
	}
	return fmt.Sprintf("change %d", uint8(k))
}

// Change is one difference. Old is nil for Added, New for Removed.
type Change struct {
	Path     string
	Kind     ChangeKind
	Old, New *Entry
}

// Diff gives what changed from tree a to tree b, in the order of Walk; nodes that both trees share are not
// read. What no restore brings back (ctime, device, inode and link count of the source) is not compared.
// A directory that became something else, or the other way round, is Modified, and what is in it is Removed or Added.
// fn may give fs.SkipAll to end the comparison.
func Diff(ctx context.Context, l Loader, a, b chunkstore.ID, fn func(Change) error) error {
	if a == b {
		return nil
	}
	old, err := Root(ctx, l, a)
	if err != nil {
		return err
	}
	cur, err := Root(ctx, l, b)
	if err != nil {
		return err
	}
	err = (&differ{ctx, l, fn}).both("", old, cur)
	if errors.Is(err, fs.SkipAll) {
		return nil
	}
	return err
}

type differ struct {
	ctx context.Context
	l   Loader
	fn  func(Change) error
}

// both compares two entries of one path.
func (d *differ) both(path string, old, cur *Entry) error {
	kind := Compare(old, cur)
	if kind != 0 {
		if err := d.fn(Change{path, kind, old, cur}); err != nil {
			return err
		}
	}
	switch {
	case old.IsDir() && cur.IsDir():
		if old.Child == cur.Child {
			return nil
		}
		return d.dirs(path, old, cur)
	case old.IsDir():
		return d.below(path, old, Removed)
	case cur.IsDir():
		return d.below(path, cur, Added)
	}
	return nil
}

// dirs merges two sorted directories.
func (d *differ) dirs(path string, old, cur *Entry) error {
	a, err := openCursor(d.ctx, d.l, old)
	if err != nil {
		return fmt.Errorf("compare %q: %w", path, err)
	}
	b, err := openCursor(d.ctx, d.l, cur)
	if err != nil {
		return fmt.Errorf("compare %q: %w", path, err)
	}
	for {
		a.skipShared(b)
		x, err := a.entry()
		if err != nil {
			return fmt.Errorf("compare %q: %w", path, err)
		}
		y, err := b.entry()
		if err != nil {
			return fmt.Errorf("compare %q: %w", path, err)
		}
		switch {
		case x == nil && y == nil:
			return nil
		case y == nil || x != nil && x.Name < y.Name:
			err = d.one(join(path, x.Name), x, Removed)
			a.at++
		case x == nil || y.Name < x.Name:
			err = d.one(join(path, y.Name), y, Added)
			b.at++
		default:
			err = d.both(join(path, x.Name), x, y)
			a.at++
			b.at++
		}
		if err != nil {
			return err
		}
	}
}

// one reports an entry that is in one tree alone, with all that is below it.
func (d *differ) one(path string, e *Entry, kind ChangeKind) error {
	c := Change{Path: path, Kind: kind, New: e}
	if kind == Removed {
		c.Old, c.New = e, nil
	}
	if err := d.fn(c); err != nil {
		return err
	}
	if e.IsDir() {
		return d.below(path, e, kind)
	}
	return nil
}

func (d *differ) below(path string, e *Entry, kind ChangeKind) error {
	w := &walker{ctx: d.ctx, l: d.l, path: []byte(path), fn: func(path string, e *Entry) error {
		if kind == Removed {
			return d.fn(Change{path, kind, e, nil})
		}
		return d.fn(Change{path, kind, nil, e})
	}, lost: func(path string, err error) error { return fmt.Errorf("compare %q: %w", path, err) }}
	return w.dir(len(path), 0, e)
}

// Compare says how cur differs from old, names and what is below directories aside: 0 when it does not.
func Compare(old, cur *Entry) ChangeKind {
	switch {
	case old.Type != cur.Type, old.Target != cur.Target, old.Rdev != cur.Rdev:
		return Modified
	case old.Type == File && (old.Size != cur.Size || old.List != cur.List || !slices.Equal(old.Content, cur.Content)):
		return Modified
	case old.Mode != cur.Mode, old.UID != cur.UID, old.GID != cur.GID, old.User != cur.User, old.Group != cur.Group,
		old.Mtime != cur.Mtime, old.Flags != cur.Flags:
		return Metadata
	case !slices.EqualFunc(old.Xattrs, cur.Xattrs, func(x, y Xattr) bool { return x.Name == y.Name && bytes.Equal(x.Value, y.Value) }):
		return Metadata
	}
	return 0
}

// dirCursor goes through a directory leaf by leaf and can leave out leaves it shares with another.
type dirCursor struct {
	ctx  context.Context
	d    *Dir
	ids  []chunkstore.ID // of leaves not yet loaded; a directory of one leaf has none
	leaf []Entry
	at   int // in leaf
}

func openCursor(ctx context.Context, l Loader, e *Entry) (*dirCursor, error) {
	d, err := OpenDir(ctx, l, e.Child)
	if err != nil {
		return nil, err
	}
	c := &dirCursor{ctx: ctx, d: d, leaf: d.entries}
	if d.level == 0 {
		return c, nil
	}
	d.walkLeaves(ctx, "", func(id chunkstore.ID, e error) bool {
		c.ids = append(c.ids, id)
		err = e
		return err == nil
	})
	return c, err
}

// skipShared leaves out the leaves that both cursors are about to load.
func (c *dirCursor) skipShared(o *dirCursor) {
	for c.at == len(c.leaf) && o.at == len(o.leaf) && len(c.ids) > 0 && len(o.ids) > 0 && c.ids[0] == o.ids[0] {
		c.ids, o.ids = c.ids[1:], o.ids[1:]
	}
}

// entry gives the entry the cursor is at, nil at the end.
func (c *dirCursor) entry() (*Entry, error) {
	for c.at == len(c.leaf) {
		if len(c.ids) == 0 {
			return nil, nil
		}
		leaf, err := loadLeaf(c.ctx, c.d.l, c.ids[0])
		if err != nil {
			return nil, err
		}
		c.leaf, c.at, c.ids = leaf, 0, c.ids[1:]
	}
	return &c.leaf[c.at], nil
}
