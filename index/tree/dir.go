package tree

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"sort"
	"strings"
	"sync/atomic"

	"github.com/cairn-backup/cairn/chunkstore"
)

// Dir reads one directory. It may be used by many goroutines at once. It keeps its root node and the leaf
// last looked into.
type Dir struct {
	l        Loader
	level    int     // of the root node; 0 for a leaf
	children []child // of an inner root
	entries  []Entry // of a leaf
	totals   Totals
	last     atomic.Pointer[leaf]
}

// leaf is a decoded leaf of a directory of several.
type leaf struct {
	id      chunkstore.ID
	entries []Entry
}

// OpenDir opens the directory whose root node is id (Entry.Child), or the topmost one of a tree (the id SaveRoot
// gave). A zero id, which the entry of a directory has that could not be read, opens as an empty directory.
func OpenDir(ctx context.Context, l Loader, id chunkstore.ID) (*Dir, error) {
	if id == (chunkstore.ID{}) {
		return &Dir{l: l}, nil
	}
	raw, err := l.LoadNode(ctx, id)
	if err != nil {
		return nil, &NodeError{id, err}
	}
	if len(raw) > 0 && raw[0] == kindRoot {
		root, err := decodeLeaf(raw)
		if err == nil && !root[0].IsDir() {
			err = fmt.Errorf("%w: the root is a %s", ErrCorrupt, root[0].Type)
		}
		if err != nil {
			return nil, &NodeError{id, err}
		}
		if id = root[0].Child; id == (chunkstore.ID{}) {
			return &Dir{l: l}, nil
		}
		if raw, err = l.LoadNode(ctx, id); err != nil {
			return nil, &NodeError{id, err}
		}
	}
	d, err := decodeDir(raw)
	if err != nil {
		return nil, &NodeError{id, err}
	}
	d.l = l
	return d, nil
}

func decodeDir(raw []byte) (*Dir, error) {
	if len(raw) > 0 && raw[0] == kindInner {
		d := &Dir{}
		var err error
		if d.level, d.children, err = decodeInner(raw); err != nil {
			return nil, err
		}
		for i := range d.children {
			d.totals.add(d.children[i].totals)
		}
		return d, nil
	}
	entries, err := decodeDirLeaf(raw)
	if err != nil {
		return nil, err
	}
	d := &Dir{entries: entries}
	for i := range entries {
		d.totals.add(entries[i].totals())
	}
	return d, nil
}

func decodeDirLeaf(raw []byte) ([]Entry, error) {
	if len(raw) > 0 && raw[0] == kindRoot {
		return nil, fmt.Errorf("%w: a tree's root inside a tree", ErrCorrupt)
	}
	return decodeLeaf(raw)
}

// Totals are the sums below the directory.
func (d *Dir) Totals() Totals { return d.totals }

// Lookup finds an entry by its name; fs.ErrNotExist when there is none.
func (d *Dir) Lookup(ctx context.Context, name string) (*Entry, error) {
	entries, children, level := d.entries, d.children, d.level
	for level > 0 {
		i := childFor(children, name)
		if i < 0 {
			return nil, fs.ErrNotExist
		}
		var err error
		if level == 1 {
			entries, err = d.leaf(ctx, children[i].id)
			level = 0
		} else {
			level, children, err = loadInner(ctx, d.l, children[i].id, level)
		}
		if err != nil {
			return nil, err
		}
	}
	i := sort.Search(len(entries), func(i int) bool { return entries[i].Name >= name })
	if i == len(entries) || entries[i].Name != name {
		return nil, fs.ErrNotExist
	}
	return &entries[i], nil
}

// childFor gives the child that a name belongs to, -1 when it is before all.
func childFor(children []child, name string) int {
	return sort.Search(len(children), func(i int) bool { return children[i].first > name }) - 1
}

// leaf loads a leaf, or gives it again when it was the last one.
func (d *Dir) leaf(ctx context.Context, id chunkstore.ID) ([]Entry, error) {
	if last := d.last.Load(); last != nil && last.id == id {
		return last.entries, nil
	}
	entries, err := loadLeaf(ctx, d.l, id)
	if err == nil {
		d.last.Store(&leaf{id, entries})
	}
	return entries, err
}

func loadLeaf(ctx context.Context, l Loader, id chunkstore.ID) ([]Entry, error) {
	raw, err := l.LoadNode(ctx, id)
	if err != nil {
		return nil, &NodeError{id, err}
	}
	entries, err := decodeDirLeaf(raw)
	if err != nil {
		return nil, &NodeError{id, err}
	}
	return entries, nil
}

// loadInner loads a node that stands below one of level above, itself not a leaf.
func loadInner(ctx context.Context, l Loader, id chunkstore.ID, above int) (int, []child, error) {
	raw, err := l.LoadNode(ctx, id)
	if err != nil {
		return 0, nil, &NodeError{id, err}
	}
	level, children, err := decodeInner(raw)
	if err == nil && level != above-1 {
		err = fmt.Errorf("%w: level %d below level %d", ErrCorrupt, level, above)
	}
	if err != nil {
		return 0, nil, &NodeError{id, err}
	}
	return level, children, nil
}

// Entries gives the entries in order, beginning with the first whose name is greater than after. A leaf that
// cannot be read gives one error; a caller that goes on gets what follows it.
func (d *Dir) Entries(ctx context.Context, after string) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		for entries, err := range d.Leaves(ctx, after) {
			if err != nil {
				if !yield(nil, err) {
					return
				}
				continue
			}
			for i := range entries {
				if !yield(&entries[i], nil) {
					return
				}
			}
		}
	}
}

// Leaves is Entries a leaf at a time: slices of decoded entries, shared and not to be modified.
func (d *Dir) Leaves(ctx context.Context, after string) iter.Seq2[[]Entry, error] {
	return func(yield func([]Entry, error) bool) {
		d.walkLeaves(ctx, after, func(id chunkstore.ID, err error) bool {
			entries := d.entries
			if err == nil && d.level > 0 {
				entries, err = loadLeaf(ctx, d.l, id)
			}
			if err != nil {
				return yield(nil, err)
			}
			if after != "" {
				from := sort.Search(len(entries), func(i int) bool { return entries[i].Name > after })
				entries = entries[from:]
			}
			return len(entries) == 0 || yield(entries, nil)
		})
	}
}

// walkLeaves gives the ids of the leaves in order, from the one in which after belongs; an inner node that
// cannot be read gives an error in their place. A directory of one leaf gives a zero id.
func (d *Dir) walkLeaves(ctx context.Context, after string, fn func(id chunkstore.ID, err error) bool) {
	if d.level == 0 {
		fn(chunkstore.ID{}, nil)
		return
	}
	d.walkInner(ctx, d.level, d.children, after, fn)
}

func (d *Dir) walkInner(ctx context.Context, level int, children []child, after string, fn func(chunkstore.ID, error) bool) bool {
	from := 0
	if after != "" {
		from = max(0, childFor(children, after))
	}
	for _, k := range children[from:] {
		if level == 1 {
			if !fn(k.id, nil) {
				return false
			}
			continue
		}
		below, grandchildren, err := loadInner(ctx, d.l, k.id, level)
		if err != nil {
			if !fn(chunkstore.ID{}, err) {
				return false
			}
			continue
		}
		if !d.walkInner(ctx, below, grandchildren, after, fn) {
			return false
		}
	}
	return true
}

// IsRoot tells of the bytes of a node whether it is what SaveRoot stores: the top of a whole tree.
func IsRoot(node []byte) bool { return len(node) > 0 && node[0] == kindRoot }

// Root gives the entry of a tree's topmost directory, with an empty name. id is what SaveRoot gave; for a
// plain directory node it is an entry with no more than Type, Child and Below set.
func Root(ctx context.Context, l Loader, id chunkstore.ID) (*Entry, error) {
	if id == (chunkstore.ID{}) {
		return &Entry{Type: Directory, Mode: 0o755}, nil
	}
	raw, err := l.LoadNode(ctx, id)
	if err != nil {
		return nil, &NodeError{id, err}
	}
	if len(raw) > 0 && raw[0] == kindRoot {
		root, err := decodeLeaf(raw)
		if err == nil && !root[0].IsDir() {
			err = fmt.Errorf("%w: the root is a %s", ErrCorrupt, root[0].Type)
		}
		if err != nil {
			return nil, &NodeError{id, err}
		}
		return &root[0], nil
	}
	d, err := decodeDir(raw)
	if err != nil {
		return nil, &NodeError{id, err}
	}
	return &Entry{Type: Directory, Mode: 0o755, Child: id, Below: d.totals}, nil
}

// Find goes down from root along a slash-separated path; "", "/" and "." are the root itself. The error is an
// *fs.PathError with fs.ErrNotExist when a name is not there.
func Find(ctx context.Context, l Loader, root chunkstore.ID, path string) (*Entry, error) {
	e, err := Root(ctx, l, root)
	if err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." {
			continue
		}
		if !e.IsDir() {
			return nil, &fs.PathError{Op: "find", Path: path, Err: fs.ErrNotExist}
		}
		d, err := OpenDir(ctx, l, e.Child)
		if err != nil {
			return nil, &fs.PathError{Op: "find", Path: path, Err: err}
		}
		if e, err = d.Lookup(ctx, name); err != nil {
			return nil, &fs.PathError{Op: "find", Path: path, Err: err}
		}
	}
	return e, nil
}
