package tree

import (
	"context"
	"fmt"
	"io"
	"iter"
	"sort"
	"sync"

	"github.com/cairn-backup/cairn/chunkstore"
)

// Piece is an extent with its place in the file.
type Piece struct {
	Extent
	Offset int64
}

// End is the offset behind the piece.
func (p Piece) End() int64 { return p.Offset + p.Length }

// contentNodes is how many decoded nodes of a long list a Content keeps: 0.2 MB each at the most.
const contentNodes = 8

// Content is the content list of one file, opened for reading at any offset. It may be used by many
// goroutines at once, and keeps no more than a few nodes of a long list in memory.
type Content struct {
	l    Loader
	root *contentNode

	mu   sync.Mutex
	kept [contentNodes]struct {
		id   chunkstore.ID
		node *contentNode
	}
	next int // of kept, to be replaced
}

// OpenContent opens the content of e.
func OpenContent(ctx context.Context, l Loader, e *Entry) (*Content, error) {
	if e.List == (chunkstore.ID{}) {
		return &Content{root: &contentNode{extents: e.Content, ends: extentEnds(e.Content)}}, nil
	}
	root, err := loadContent(ctx, l, e.List)
	if err != nil {
		return nil, err
	}
	return &Content{l: l, root: root}, nil
}

func loadContent(ctx context.Context, l Loader, id chunkstore.ID) (*contentNode, error) {
	raw, err := l.LoadNode(ctx, id)
	if err != nil {
		return nil, &NodeError{id, err}
	}
	n, err := decodeContentNode(raw)
	if err != nil {
		return nil, &NodeError{id, err}
	}
	return n, nil
}

// Size is the sum of the extents' lengths, in bytes. It is less than the entry's size when content is missing.
func (c *Content) Size() int64 { return c.root.length() }

// At gives the extent that holds the byte at off; io.EOF at the end and behind it.
func (c *Content) At(ctx context.Context, off int64) (Piece, error) {
	leaf, start, err := c.leaf(ctx, off)
	if err != nil {
		return Piece{}, err
	}
	return leaf.piece(leaf.find(off-start), start), nil
}

// find gives the place of the extent or span that holds the node's byte off.
func (n *contentNode) find(off int64) int {
	return sort.Search(len(n.ends), func(i int) bool { return n.ends[i] > off })
}

// piece gives the i-th extent of a leaf that begins at start.
func (n *contentNode) piece(i int, start int64) Piece {
	x := n.extents[i]
	return Piece{x, start + n.ends[i] - x.Length}
}

// leaf finds the leaf that holds off and the offset at which it begins.
func (c *Content) leaf(ctx context.Context, off int64) (n *contentNode, start int64, err error) {
	if off < 0 || off >= c.root.length() {
		return nil, 0, io.EOF
	}
	n = c.root
	for n.level > 0 {
		i := n.find(off - start)
		s := n.spans[i]
		below, err := c.node(ctx, s.id)
		if err != nil {
			return nil, 0, err
		}
		if below.level >= n.level || below.length() != s.length {
			return nil, 0, &NodeError{s.id, fmt.Errorf("%w: not the node its parent describes", ErrCorrupt)}
		}
		start += n.ends[i] - s.length
		n = below
	}
	return n, start, nil
}

// node gives a node of the list, from those kept or loaded.
func (c *Content) node(ctx context.Context, id chunkstore.ID) (*contentNode, error) {
	c.mu.Lock()
	for i := range c.kept {
		if c.kept[i].node != nil && c.kept[i].id == id {
			n := c.kept[i].node
			c.mu.Unlock()
			return n, nil
		}
	}
	c.mu.Unlock()
	n, err := loadContent(ctx, c.l, id)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept[c.next].id, c.kept[c.next].node = id, n
	c.next = (c.next + 1) % contentNodes
	return n, nil
}

// Pieces gives the extents in order from the one that holds off. A part of the list that cannot be read gives
// one error with a Piece that says which bytes of the file it covers; a caller that goes on gets what follows.
func (c *Content) Pieces(ctx context.Context, off int64) iter.Seq2[Piece, error] {
	return func(yield func(Piece, error) bool) {
		c.pieces(ctx, c.root, 0, max(off, 0), yield)
	}
}

func (c *Content) pieces(ctx context.Context, n *contentNode, start, off int64, yield func(Piece, error) bool) bool {
	for i := n.find(off - start); i < len(n.ends); i++ {
		if n.level == 0 {
			if !yield(n.piece(i, start), nil) {
				return false
			}
			continue
		}
		s := n.spans[i]
		from := start + n.ends[i] - s.length
		below, err := c.node(ctx, s.id)
		if err == nil && (below.level >= n.level || below.length() != s.length) {
			err = &NodeError{s.id, fmt.Errorf("%w: not the node its parent describes", ErrCorrupt)}
		}
		if err != nil {
			if !yield(Piece{Extent{Length: s.length}, from}, err) {
				return false
			}
			continue
		}
		if !c.pieces(ctx, below, from, max(off, from), yield) {
			return false
		}
	}
	return true
}

// Extents gives all extents of a file in order.
func Extents(ctx context.Context, l Loader, e *Entry) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		if e.List == (chunkstore.ID{}) {
			for _, x := range e.Content {
				if !yield(x, nil) {
					return
				}
			}
			return
		}
		c, err := OpenContent(ctx, l, e)
		if err != nil {
			yield(Extent{Length: e.Size}, err)
			return
		}
		for p, err := range c.Pieces(ctx, 0) {
			if !yield(p.Extent, err) {
				return
			}
		}
	}
}
