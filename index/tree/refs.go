package tree

import (
	"context"
	"fmt"

	"github.com/cairn-backup/cairn/chunkstore"
)

// References calls fn for each chunk that a stored node refers to, of whatever kind the node is: isNode tells the nodes
// below it from chunks of files. A chunk may come several times. It is what a walk over all that is in use is made of.
func References(node []byte, fn func(id chunkstore.ID, isNode bool)) error {
	if len(node) == 0 {
		return fmt.Errorf("%w: shorter than its head", ErrCorrupt)
	}
	switch node[0] {
	case kindInner:
		_, children, err := decodeInner(node)
		if err != nil {
			return err
		}
		for i := range children {
			fn(children[i].id, true)
		}
	case kindContentLeaf, kindContentInner:
		n, err := decodeContentNode(node)
		if err != nil {
			return err
		}
		for i := range n.spans {
			fn(n.spans[i].id, true)
		}
		extentReferences(n.extents, fn)
	default:
		entries, err := decodeLeaf(node)
		if err != nil {
			return err
		}
		for i := range entries {
			entries[i].references(fn)
		}
	}
	return nil
}

func (e *Entry) references(fn func(id chunkstore.ID, isNode bool)) {
	if !e.Child.IsZero() {
		fn(e.Child, true)
	}
	if !e.List.IsZero() {
		fn(e.List, true)
	}
	extentReferences(e.Content, fn)
}

func extentReferences(xs []Extent, fn func(id chunkstore.ID, isNode bool)) {
	for i := range xs {
		if !xs[i].Hole() {
			fn(xs[i].ID, false)
		}
	}
}

// EveryNode says whether ok holds for each node of the directory whose root node is id, which d was opened from. The
// directories in it are not looked at.
func (d *Dir) EveryNode(ctx context.Context, id chunkstore.ID, ok func(chunkstore.ID) (bool, error)) (bool, error) {
	if id.IsZero() {
		return true, nil
	}
	return everyNode(ctx, d.l, id, d.level, d.children, ok)
}

func everyNode(ctx context.Context, l Loader, id chunkstore.ID, level int, children []child, ok func(chunkstore.ID) (bool, error)) (bool, error) {
	if whole, err := ok(id); !whole || err != nil {
		return false, err
	}
	for i := range children {
		k := &children[i]
		var below []child
		at := level - 1
		if level > 1 {
			var err error
			if at, below, err = loadInner(ctx, l, k.id, level); err != nil {
				return false, err
			}
		}
		if whole, err := everyNode(ctx, l, k.id, at, below, ok); !whole || err != nil {
			return false, err
		}
	}
	return true, nil
}

// EveryChunk says whether ok holds for each chunk that the content of e consists of, nodes of its list included.
func EveryChunk(ctx context.Context, l Loader, e *Entry, ok func(chunkstore.ID) (bool, error)) (bool, error) {
	for i := range e.Content {
		if e.Content[i].Hole() {
			continue
		}
		if whole, err := ok(e.Content[i].ID); !whole || err != nil {
			return false, err
		}
	}
	if e.List.IsZero() {
		return true, nil
	}
	return everyContent(ctx, l, e.List, ok)
}

func everyContent(ctx context.Context, l Loader, id chunkstore.ID, ok func(chunkstore.ID) (bool, error)) (bool, error) {
	if whole, err := ok(id); !whole || err != nil {
		return false, err
	}
	n, err := loadContent(ctx, l, id)
	if err != nil {
		return false, err
	}
	for i := range n.spans {
		if whole, err := everyContent(ctx, l, n.spans[i].id, ok); !whole || err != nil {
			return false, err
		}
	}
	for i := range n.extents {
		if n.extents[i].Hole() {
			continue
		}
		if whole, err := ok(n.extents[i].ID); !whole || err != nil {
			return false, err
		}
	}
	return true, nil
}
