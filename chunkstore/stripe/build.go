package stripe

import (
	"fmt"
	"slices"
)

// Builder collects a payload directly in the cells of the object it will become, so that building needs one buffer and no second
// copy. It is used by one goroutine at a time.
type Builder struct {
	buf    []byte // whole cells; heads hold garbage until Finish
	length int    // payload bytes
}

// NewBuilder reserves room for an object of capacity bytes, parity included ([Layout.Size]). It grows when that is too little, at
// the cost of a copy.
func NewBuilder(capacity int) *Builder { return &Builder{buf: make([]byte, 0, capacity)} }

// Append adds to the payload. It copies p.
func (b *Builder) Append(p []byte) {
	cells := (b.length + len(p) + ContentSize - 1) / ContentSize
	b.resize(cells * CellSize)
	for len(p) > 0 {
		cell, at := b.length/ContentSize, b.length%ContentSize
		n := copy(b.buf[cell*CellSize+HeadSize+at:(cell+1)*CellSize], p)
		b.length += n
		p = p[n:]
	}
}

// resize sets the length of the buffer; what it gains holds whatever it held before.
func (b *Builder) resize(n int) {
	if n > cap(b.buf) {
		b.buf = slices.Grow(b.buf, n-len(b.buf))
	}
	b.buf = b.buf[:n]
}

// Len is the number of payload bytes so far.
func (b *Builder) Len() int { return b.length }

// Reset empties the builder and takes its buffer back: what Finish returned must no longer be in use.
func (b *Builder) Reset() { b.buf, b.length = b.buf[:0], 0 }

// Finish adds parity and heads and returns the whole object, in the shape that [ShapeFor] gives. Nothing may be appended after it.
// The bytes belong to the builder until Reset. It panics when the shape is out of bounds ([Shape.Check]) or the payload too long
// for any object ([MaxRows]), which is the caller's mistake and never an input's.
func (b *Builder) Finish(shape Shape, seed uint64) []byte {
	l := Layout{Shape: ShapeFor(b.length, shape), Length: int64(b.length)}
	if err := l.Check(); err != nil {
		panic(fmt.Sprintf("stripe: %v", err))
	}
	used := len(b.buf)
	b.resize(int(l.Size()))
	b.pad(used, int(l.dataCells()*CellSize))
	encode(b.buf, l, newStamp(l, seed))
	return b.buf
}

// pad zeroes what lies behind the payload: in its last cell, and in the cells up to the end of the data shards.
func (b *Builder) pad(used, end int) {
	if rest := b.length % ContentSize; rest > 0 {
		clear(b.buf[used-ContentSize+rest : used])
	}
	clear(b.buf[used:end])
}

// encodeWindow is how many bytes of object are encoded and sealed at a time: few enough to stay in a core's own cache between both.
const encodeWindow = 512 << 10

// encode fills the parity shards and all heads of an object whose data cells hold their content.
func encode(object []byte, l Layout, stamp stamp) {
	rows, shards := int(l.Rows()), make([][]byte, l.Shape.shards())
	step := windowRows(l, encodeWindow)
	for row := 0; row < rows; row += step {
		n := min(step, rows-row)
		for s := range shards {
			at := (s*rows + row) * CellSize
			shards[s] = object[at : at+n*CellSize]
		}
		if l.Shape.Parity > 0 {
			mustEncode(l.Shape, shards)
		}
		for s, shard := range shards {
			for i := range n {
				stamp.seal(shard[i*CellSize:(i+1)*CellSize], int64(s*rows+row+i))
			}
		}
	}
}

// windowRows is how many rows of all shards fit into size bytes: at least one, at most all.
func windowRows(l Layout, size int) int {
	return int(min(max(1, int64(size/(l.Shape.shards()*CellSize))), l.Rows()))
}

// mustEncode computes the parity shards. The code only refuses shards whose number or sizes differ from what they must be.
func mustEncode(s Shape, shards [][]byte) {
	if err := codeOf(s).Encode(shards); err != nil {
		panic(fmt.Sprintf("stripe: encode %v: %v", s, err))
	}
}

// Encode builds the object of one payload; see [Builder.Finish].
func Encode(payload []byte, shape Shape, seed uint64) []byte {
	shape = ShapeFor(len(payload), shape)
	b := NewBuilder(int(Layout{Shape: shape, Length: int64(len(payload))}.Size()))
	b.Append(payload)
	return b.Finish(shape, seed)
}
