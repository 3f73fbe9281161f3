package stripe

import (
	"fmt"
	"strconv"
	"strings"
)

// Sizes of a cell, in bytes. They are part of the format.
const (
	CellSize    = 4096                // a cell on the destination
	HeadSize    = 16                  // its head: checksum and geometry
	ContentSize = CellSize - HeadSize // payload bytes (or parity of them) in a cell
)

// Bounds of a shape and of a layout. They are part of the format.
const (
	MaxData   = 200
	MaxParity = 55
	MaxRows   = 1<<24 - 1
)

// Shape says how many data and parity shards a stripe has: Data is 1 to 200, Parity 0 to 55.
type Shape struct{ Data, Parity int }

// ParseShape reads a shape as people write it, data+parity: "10+2".
func ParseShape(s string) (Shape, error) {
	data, parity, found := strings.Cut(s, "+")
	k, errK := strconv.Atoi(data)
	m, errM := strconv.Atoi(parity)
	if !found || errK != nil || errM != nil {
		return Shape{}, fmt.Errorf("parity %q is not of the form data+parity, such as 10+2", s)
	}
	shape := Shape{Data: k, Parity: m}
	return shape, shape.Check()
}

// String gives the form that ParseShape reads.
func (s Shape) String() string { return strconv.Itoa(s.Data) + "+" + strconv.Itoa(s.Parity) }

// Check reports a shape that is out of bounds.
func (s Shape) Check() error {
	if s.Data < 1 || s.Data > MaxData || s.Parity < 0 || s.Parity > MaxParity {
		return fmt.Errorf("parity %v is out of bounds: 1 to %d data shards and 0 to %d parity shards", s, MaxData, MaxParity)
	}
	return nil
}

// shards is the number of shards of both kinds.
func (s Shape) shards() int { return s.Data + s.Parity }

// ShapeFor narrows a shape for a payload (in bytes) that fills fewer cells than there are data shards: it takes one data shard
// for each cell, so that a small object stays small and has as many parity cells as any row of a large one. A payload of one cell
// or less becomes 1+m, which is m+1 copies. Applying it twice changes nothing.
func ShapeFor(payload int, s Shape) Shape {
	if cells := max(1, (payload+ContentSize-1)/ContentSize); cells < s.Data {
		s.Data = cells
	}
	return s
}

// Layout is the geometry of one object.
type Layout struct {
	Shape  Shape
	Length int64 // payload bytes
}

// Rows is the number of cells in each shard. An empty payload still has one row, so that its object can be told from a missing one.
func (l Layout) Rows() int64 {
	row := int64(l.Shape.Data) * ContentSize
	return max(1, (l.Length+row-1)/row)
}

// Size is the object's size in bytes when all shards lie in one object.
func (l Layout) Size() int64 { return l.cells() * CellSize }

// ShardRange is where a shard lies in the one object, in bytes. A shard in an object of its own is exactly these bytes.
func (l Layout) ShardRange(shard int) (off, length int64) {
	length = l.Rows() * CellSize
	return int64(shard) * length, length
}

// Check reports a layout that no object can have.
func (l Layout) Check() error {
	if err := l.Shape.Check(); err != nil {
		return err
	}
	if l.Length < 0 || l.Rows() > MaxRows {
		return fmt.Errorf("a payload of %d bytes does not fit into one stripe of %v", l.Length, l.Shape)
	}
	return nil
}

// cells counts all cells, parity included.
func (l Layout) cells() int64 { return l.Rows() * int64(l.Shape.shards()) }

// dataCells counts the cells of data shards, those that hold only padding included.
func (l Layout) dataCells() int64 { return l.Rows() * int64(l.Shape.Data) }

// padding is the number of zero bytes that fill the data shards behind the payload.
func (l Layout) padding() int64 { return l.dataCells()*ContentSize - l.Length }
