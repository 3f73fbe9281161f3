package tree

import (
	"encoding/binary"
	"fmt"

	"github.com/cairn-backup/cairn/chunkstore"
)

// cursor reads a node's bytes. After the first value that does not fit it gives zeros and fails for ever.
type cursor struct {
	p   []byte
	bad bool
}

func (c *cursor) uvarint() uint64 {
	if len(c.p) > 0 && c.p[0] < 0x80 {
		v := c.p[0]
		c.p = c.p[1:]
		return uint64(v)
	}
	return c.longUvarint()
}

func (c *cursor) longUvarint() uint64 {
	v, n := binary.Uvarint(c.p)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.p = c.p[n:]
	return v
}

// svarint reads a zigzag number.
func (c *cursor) svarint() int64 {
	u := c.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// size reads a number of bytes or of things that must not be negative as an int64.
func (c *cursor) size() int64 {
	v := c.uvarint()
	if v > 1<<63-1 {
		c.fail()
		return 0
	}
	return int64(v)
}

func (c *cursor) uint32() uint32 {
	v := c.uvarint()
	if v > 1<<32-1 {
		c.fail()
		return 0
	}
	return uint32(v)
}

// count reads how many items follow, each of which takes at least width bytes of what is left.
func (c *cursor) count(width int) int {
	v := c.uvarint()
	if v > uint64(len(c.p)/width) {
		c.fail()
		return 0
	}
	return int(v)
}

// items is count with a bound of its own.
func (c *cursor) items(width, most int) int {
	n := c.count(width)
	if n > most {
		c.fail()
		return 0
	}
	return n
}

// bytes gives the next n bytes, not copied.
func (c *cursor) bytes(n int) []byte {
	if n < 0 || n > len(c.p) {
		c.fail()
		return nil
	}
	b := c.p[:n]
	c.p = c.p[n:]
	return b
}

// blob reads a length and that many bytes, not copied.
func (c *cursor) blob() []byte { return c.bytes(c.count(1)) }

func (c *cursor) id() (id chunkstore.ID) {
	copy(id[:], c.bytes(len(id)))
	return id
}

func (c *cursor) totals() Totals {
	return Totals{Entries: c.size(), Files: c.size(), Dirs: c.size(), Bytes: c.size()}
}

func (c *cursor) fail() { c.p, c.bad = nil, true }

// end says whether everything was read and nothing is left.
func (c *cursor) end() error {
	switch {
	case c.bad:
		return fmt.Errorf("%w: it ends early or a number is out of bounds", ErrCorrupt)
	case len(c.p) > 0:
		return fmt.Errorf("%w: %d bytes too many", ErrCorrupt, len(c.p))
	}
	return nil
}

func appendSvarint(b []byte, v int64) []byte {
	return binary.AppendUvarint(b, uint64(v)<<1^uint64(v>>63))
}

func appendBlob[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTotals(b []byte, t Totals) []byte {
	b = binary.AppendUvarint(b, uint64(t.Entries))
	b = binary.AppendUvarint(b, uint64(t.Files))
	b = binary.AppendUvarint(b, uint64(t.Dirs))
	return binary.AppendUvarint(b, uint64(t.Bytes))
}

// The first byte of a node is its kind, the second the version of its form.
const (
	kindLeaf         = 1 // entries of a directory
	kindInner        = 2 // first names and ids of leaves or inner nodes
	kindContentLeaf  = 3 // extents of a file
	kindContentInner = 4 // lengths and ids of content leaves or inner nodes
	kindRoot         = 5 // one entry: the topmost directory of a tree

	version = 1

	maxLevel = 16 // of inner nodes; with at least two children each it is never reached
)

// open reads a node's two first bytes and gives its kind.
func (c *cursor) open() (kind byte, err error) {
	h := c.bytes(2)
	if h == nil {
		return 0, fmt.Errorf("%w: shorter than its head", ErrCorrupt)
	}
	if h[1] != version {
		return 0, fmt.Errorf("%w: version %d, known is %d", ErrCorrupt, h[1], version)
	}
	return h[0], nil
}
