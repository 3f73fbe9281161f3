//go:build linux

package hostile

import (
	"encoding/binary"

	"github.com/cairn-backup/cairn/chunkstore"
)

// The kinds of nodes and the types of entries, by FORMAT.md and on purpose not from the package under test.
const (
	kindLeaf  = 1
	kindInner = 2
	kindRoot  = 5

	typeFile    = 1
	typeDir     = 2
	typeSymlink = 3
	typeFIFO    = 4
	typeChar    = 6
	typeBlock   = 7
)

// bad is an entry as a hostile writer has it: nothing is checked.
type bad struct {
	name    string
	kind    byte
	mode    uint64
	uid     uint64
	size    uint64
	mtime   int64
	inode   int64
	links   uint64
	target  string        // of a symlink
	rdev    uint64        // of a device
	child   chunkstore.ID // of a directory
	sums    [4]uint64     // of a directory
	content []extent      // of a file
	list    chunkstore.ID // of a file, instead
	xattr   [2]string
}

type extent struct {
	length uint64
	id     chunkstore.ID // zero: a hole
}

// leaf encodes the entries as they come.
func leaf(kind byte, entries ...bad) []byte {
	b := binary.AppendUvarint([]byte{kind, 1}, uint64(len(entries)))
	column := func(of func(e *bad)) {
		for i := range entries {
			of(&entries[i])
		}
	}
	number := func(v uint64) { b = binary.AppendUvarint(b, v) }
	text := func(s string) { number(uint64(len(s))); b = append(b, s...) }
	delta := func(of func(e *bad) int64) {
		last := int64(0)
		column(func(e *bad) { v := of(e) - last; number(uint64(v)<<1 ^ uint64(v>>63)); last = of(e) })
	}
	column(func(e *bad) { number(uint64(len(e.name))) })
	column(func(e *bad) { b = append(b, e.name...) })
	column(func(e *bad) { b = append(b, e.kind) })
	number(uint64(len(entries)))
	column(func(e *bad) { number(e.mode); number(e.uid); number(0); text("root"); text("") })
	for i := range entries {
		number(uint64(i))
	}
	column(func(e *bad) { number(e.size) })
	delta(func(e *bad) int64 { return e.mtime })
	delta(func(e *bad) int64 { return 0 })
	delta(func(e *bad) int64 { return 1 })
	delta(func(e *bad) int64 { return e.inode })
	column(func(e *bad) { number(e.links) })
	var sets [][2]string
	column(func(e *bad) {
		if e.xattr[0] != "" {
			sets = append(sets, e.xattr)
		}
	})
	number(uint64(len(sets)))
	for _, x := range sets {
		number(1)
		text(x[0])
		text(x[1])
	}
	next := uint64(0)
	column(func(e *bad) {
		switch {
		case len(sets) == 0:
		case e.xattr[0] == "":
			number(0)
		default:
			next++
			number(next)
		}
	})
	column(func(e *bad) {
		switch e.kind {
		case typeSymlink:
			text(e.target)
		case typeChar, typeBlock:
			number(e.rdev)
		case typeDir:
			b = append(b, e.child[:]...)
			for _, v := range e.sums {
				number(v)
			}
		case typeFile:
			switch {
			case !e.list.IsZero():
				b = append(append(b, 2), e.list[:]...)
			case len(e.content) == 0:
				b = append(b, 0)
			default:
				number(2 + uint64(len(e.content)))
				for _, x := range e.content {
					if x.id.IsZero() {
						number(x.length<<1 | 1)
						continue
					}
					number(x.length << 1)
					b = append(b, x.id[:]...)
				}
			}
		}
	})
	return b
}

// part is what an inner node says of a node below it.
type part struct {
	first string
	id    chunkstore.ID
}

func inner(level uint64, parts ...part) []byte {
	b := binary.AppendUvarint([]byte{kindInner, 1}, level)
	b = binary.AppendUvarint(b, uint64(len(parts)))
	for _, p := range parts {
		b = append(binary.AppendUvarint(b, uint64(len(p.first))), p.first...)
		b = append(b, p.id[:]...)
		b = append(b, 1, 1, 0, 0)
	}
	return b
}
