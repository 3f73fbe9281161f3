package stripe

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// The head of a cell, little endian:
//
//	 0  8  xxHash64 (seed 0) of the whole cell, with seed+number (mod 2^64) standing here while it is computed
//	 8  1  k, data shards
//	 9  1  m, parity shards
//	10  3  rows
//	13  3  padding: zero bytes that fill the data shards behind the payload
//
// The cell's number is not written but part of the checksum: a cell only passes in its own place in its own object. So the eight
// bytes of geometry are the same in all cells, and any one of them gives the whole layout, also of an object that was truncated.

// stamp seals and checks the cells of one object.
type stamp struct {
	seed     uint64
	geometry uint64 // bytes 8 to 16 of every head
}

func newStamp(l Layout, seed uint64) stamp {
	return stamp{seed: seed, geometry: uint64(l.Shape.Data) | uint64(l.Shape.Parity)<<8 | uint64(l.Rows())<<16 | uint64(l.padding())<<40}
}

// layoutOf reads the geometry in the head of a cell, which may be damaged; ok says that it is one that an object can have.
func layoutOf(cell []byte) (l Layout, ok bool) {
	geometry := binary.LittleEndian.Uint64(cell[8:])
	l.Shape = Shape{Data: int(geometry & 0xff), Parity: int(geometry >> 8 & 0xff)}
	rows, padding := int64(geometry>>16&0xffffff), int64(geometry>>40)
	l.Length = rows*int64(l.Shape.Data)*ContentSize - padding
	// The rows follow from the length, so asking for the same ones refuses every second way to write one layout.
	return l, rows > 0 && l.Check() == nil && l.Rows() == rows
}

// seal writes the head of a cell whose content is in place.
func (s stamp) seal(cell []byte, number int64) {
	_ = cell[CellSize-1]
	binary.LittleEndian.PutUint64(cell[8:], s.geometry)
	binary.LittleEndian.PutUint64(cell, s.seed+uint64(number))
	binary.LittleEndian.PutUint64(cell, xxhash.Sum64(cell[:CellSize]))
}

// good tells whether the cell is intact. It writes to the head meanwhile, so the cell must be the caller's own.
func (s stamp) good(cell []byte, number int64) bool {
	_ = cell[CellSize-1]
	if binary.LittleEndian.Uint64(cell[8:]) != s.geometry {
		return false
	}
	sum := binary.LittleEndian.Uint64(cell)
	binary.LittleEndian.PutUint64(cell, s.seed+uint64(number))
	good := xxhash.Sum64(cell[:CellSize]) == sum
	binary.LittleEndian.PutUint64(cell, sum)
	return good
}
