package tree

import (
	"encoding/binary"
	"fmt"

	"github.com/cairn-backup/cairn/chunkstore"
)

// child is what an inner node of a directory says of a node below it.
type child struct {
	first  string // name of its first entry
	id     chunkstore.ID
	totals Totals
}

// encodeInner appends an inner node to b:
//
//	kind u8 = 2, version u8
//	level      1 above leaves
//	n          number of children, in order
//	n x {first name length, first name, id [32], sums: entries, files, dirs, bytes}
func encodeInner(b []byte, level int, children []child) []byte {
	b = append(b, kindInner, version)
	b = binary.AppendUvarint(b, uint64(level))
	b = binary.AppendUvarint(b, uint64(len(children)))
	for i := range children {
		b = appendBlob(b, children[i].first)
		b = append(b, children[i].id[:]...)
		b = appendTotals(b, children[i].totals)
	}
	return b
}

func decodeInner(node []byte) (level int, children []child, err error) {
	c := &cursor{p: node}
	kind, err := c.open()
	if err != nil {
		return 0, nil, err
	}
	if kind != kindInner {
		return 0, nil, fmt.Errorf("%w: kind %d where a directory's inner node belongs", ErrCorrupt, kind)
	}
	level = int(min(c.uvarint(), maxLevel+1))
	children = make([]child, c.items(37, maxItems))
	last := ""
	for i := range children {
		k := child{first: string(c.blob()), id: c.id(), totals: c.totals()}
		if k.first <= last {
			c.fail()
		}
		children[i], last = k, k.first
	}
	if err := c.end(); err != nil {
		return 0, nil, err
	}
	if level < 1 || level > maxLevel || len(children) == 0 {
		return 0, nil, fmt.Errorf("%w: level %d with %d children", ErrCorrupt, level, len(children))
	}
	return level, children, nil
}

// span is what an inner node of a content list says of a node below it.
type span struct {
	id     chunkstore.ID
	length int64 // bytes of the file
}

// encodeSpans appends an inner node of a content list to b:
//
//	kind u8 = 4, version u8
//	level      1 above leaves
//	n          number of children, in order
//	n x {length in bytes of the file, id [32]}
func encodeSpans(b []byte, level int, spans []span) []byte {
	b = append(b, kindContentInner, version)
	b = binary.AppendUvarint(b, uint64(level))
	b = binary.AppendUvarint(b, uint64(len(spans)))
	for i := range spans {
		b = binary.AppendUvarint(b, uint64(spans[i].length))
		b = append(b, spans[i].id[:]...)
	}
	return b
}

// encodeExtents appends a leaf of a content list to b:
//
//	kind u8 = 3, version u8
//	n          number of extents, in order
//	n x {length*2 + hole, id [32] unless a hole}
func encodeExtents(b []byte, xs []Extent) []byte {
	b = append(b, kindContentLeaf, version)
	b = binary.AppendUvarint(b, uint64(len(xs)))
	for _, x := range xs {
		if x.Hole() {
			b = binary.AppendUvarint(b, uint64(x.Length)<<1|1)
			continue
		}
		b = binary.AppendUvarint(b, uint64(x.Length)<<1)
		b = append(b, x.ID[:]...)
	}
	return b
}

// contentNode is a decoded node of a content list: extents when level is 0, spans above.
type contentNode struct {
	level   int
	extents []Extent
	spans   []span
	ends    []int64 // of each extent or span, counted from the node's first byte
}

func (n *contentNode) length() int64 {
	if len(n.ends) == 0 {
		return 0
	}
	return n.ends[len(n.ends)-1]
}

func decodeContentNode(node []byte) (*contentNode, error) {
	c := &cursor{p: node}
	kind, err := c.open()
	if err != nil {
		return nil, err
	}
	n := &contentNode{}
	switch kind {
	case kindContentLeaf:
		n.extents = make([]Extent, c.items(1, maxItems))
		decodeExtents(c, n.extents)
		n.ends = extentEnds(n.extents)
	case kindContentInner:
		n.level = int(min(c.uvarint(), maxLevel+1))
		n.spans = make([]span, c.items(33, maxItems))
		n.ends = make([]int64, len(n.spans))
		sum := int64(0)
		for i := range n.spans {
			s := span{length: c.size(), id: c.id()}
			if sum += s.length; s.length == 0 || sum < 0 {
				c.fail()
			}
			n.spans[i], n.ends[i] = s, sum
		}
		if n.level < 1 || n.level > maxLevel || len(n.spans) == 0 {
			c.fail()
		}
	default:
		return nil, fmt.Errorf("%w: kind %d where a content list belongs", ErrCorrupt, kind)
	}
	if err := c.end(); err != nil {
		return nil, err
	}
	return n, nil
}

func extentEnds(xs []Extent) []int64 {
	ends := make([]int64, len(xs))
	sum := int64(0)
	for i := range xs {
		sum += xs[i].Length
		ends[i] = sum
	}
	return ends
}
