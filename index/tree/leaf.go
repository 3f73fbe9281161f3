package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/cairn-backup/cairn/chunkstore"
)

// A leaf (and a root, which has one nameless entry) is stored by columns, so that a decoder runs in tight
// loops and the compressor sees like beside like. All numbers are varints (base 128, least significant first),
// "delta" ones zigzag differences from the entry before (0 before the first), wrapping at 64 bits:
//
//	kind u8, version u8
//	n                              number of entries
//	n x name length, names         rising strictly by their bytes
//	n x u8                         type in the low four bits, flags in the high four
//	d, d x {mode, uid, gid, user length, user, group length, group}
//	n x index                      into those d
//	n x size                       bytes
//	n x mtime delta                nanoseconds
//	n x ctime delta
//	n x device delta
//	n x inode delta
//	n x links
//	d, d x {k, k x {name length, name, value length, value}}
//	n x index + 1                  into those d, 0 for none; absent when d is 0
//	n x per type:
//	  symlink     target length, target
//	  device      rdev
//	  directory   child id [32], sums below: entries, files, dirs, bytes
//	  file        form: 0 no content
//	                    1 one chunk of size bytes: id [32]
//	                    2 a list: id [32] of its root node
//	                    2+k (k >= 1) k x {length*2 + hole, id [32] unless a hole}
const entryWidth = 10 // bytes an entry takes at least

// Bounds of what a leaf may hold, checked when it is written.
const (
	maxName   = 4 << 10 // bytes
	maxTarget = 1 << 20
	maxXattrs = 4 << 20 // names and values of one entry
)

// Bounds of what a node may list, checked when it is read: some times what a Writer ever puts into one, so that a hostile
// node cannot take up memory far beyond its own size.
const (
	maxItems      = 16 << 10  // entries, children or extents
	maxXattrCount = 128 << 10 // of all entries of a leaf, each set counted once
	maxEntryXattr = 64 << 10  // of one entry
)

// attrs is what entries of a directory mostly share.
type attrs struct {
	mode, uid, gid uint32
	user, group    string
}

// encoder keeps what encoding a leaf needs besides the output, for the next leaf.
type encoder struct {
	attrIndex  map[attrs]int
	xattrIndex map[string]int
	index      []int
	dict, set  []byte
}

// encodeLeaf appends the leaf (or root) that holds the entries, which have been checked, to b.
func (c *encoder) encodeLeaf(b []byte, kind byte, entries []Entry) []byte {
	b = append(b, kind, version)
	b = binary.AppendUvarint(b, uint64(len(entries)))
	for i := range entries {
		b = binary.AppendUvarint(b, uint64(len(entries[i].Name)))
	}
	for i := range entries {
		b = append(b, entries[i].Name...)
	}
	for i := range entries {
		b = append(b, byte(entries[i].Type)|entries[i].Flags<<4)
	}
	b = c.encodeAttrs(b, entries)
	for i := range entries {
		b = binary.AppendUvarint(b, uint64(entries[i].Size))
	}
	b = encodeDeltas(b, entries, func(e *Entry) int64 { return e.Mtime })
	b = encodeDeltas(b, entries, func(e *Entry) int64 { return e.Ctime })
	b = encodeDeltas(b, entries, func(e *Entry) int64 { return int64(e.Device) })
	b = encodeDeltas(b, entries, func(e *Entry) int64 { return int64(e.Inode) })
	for i := range entries {
		b = binary.AppendUvarint(b, uint64(entries[i].Links))
	}
	b = c.encodeXattrs(b, entries)
	for i := range entries {
		b = encodeByType(b, &entries[i])
	}
	return b
}

func (c *encoder) encodeAttrs(b []byte, entries []Entry) []byte {
	if c.attrIndex == nil {
		c.attrIndex = map[attrs]int{}
	}
	clear(c.attrIndex)
	c.index, c.dict = c.index[:0], c.dict[:0]
	for i := range entries {
		e := &entries[i]
		a := attrs{e.Mode, e.UID, e.GID, e.User, e.Group}
		at, ok := c.attrIndex[a]
		if !ok {
			at = len(c.attrIndex)
			c.attrIndex[a] = at
			c.dict = binary.AppendUvarint(c.dict, uint64(a.mode))
			c.dict = binary.AppendUvarint(c.dict, uint64(a.uid))
			c.dict = binary.AppendUvarint(c.dict, uint64(a.gid))
			c.dict = appendBlob(c.dict, a.user)
			c.dict = appendBlob(c.dict, a.group)
		}
		c.index = append(c.index, at)
	}
	b = binary.AppendUvarint(b, uint64(len(c.attrIndex)))
	b = append(b, c.dict...)
	for _, at := range c.index {
		b = binary.AppendUvarint(b, uint64(at))
	}
	return b
}

func (c *encoder) encodeXattrs(b []byte, entries []Entry) []byte {
	if c.xattrIndex == nil {
		c.xattrIndex = map[string]int{}
	}
	clear(c.xattrIndex)
	c.index, c.dict = c.index[:0], c.dict[:0]
	for i := range entries {
		xs := entries[i].Xattrs
		if len(xs) == 0 {
			c.index = append(c.index, 0)
			continue
		}
		c.set = binary.AppendUvarint(c.set[:0], uint64(len(xs)))
		for _, x := range xs {
			c.set = appendBlob(c.set, x.Name)
			c.set = appendBlob(c.set, x.Value)
		}
		at, ok := c.xattrIndex[string(c.set)]
		if !ok {
			at = len(c.xattrIndex)
			c.xattrIndex[string(c.set)] = at
			c.dict = append(c.dict, c.set...)
		}
		c.index = append(c.index, at+1)
	}
	b = binary.AppendUvarint(b, uint64(len(c.xattrIndex)))
	b = append(b, c.dict...)
	if len(c.xattrIndex) > 0 {
		for _, at := range c.index {
			b = binary.AppendUvarint(b, uint64(at))
		}
	}
	return b
}

func encodeDeltas(b []byte, entries []Entry, of func(*Entry) int64) []byte {
	var last int64
	for i := range entries {
		v := of(&entries[i])
		b = appendSvarint(b, v-last)
		last = v
	}
	return b
}

func encodeByType(b []byte, e *Entry) []byte {
	switch e.Type {
	case Symlink:
		return appendBlob(b, e.Target)
	case CharDevice, BlockDevice:
		return binary.AppendUvarint(b, e.Rdev)
	case Directory:
		return appendTotals(append(b, e.Child[:]...), e.Below)
	case File:
		return encodeContent(b, e)
	}
	return b
}

func encodeContent(b []byte, e *Entry) []byte {
	switch {
	case e.List != chunkstore.ID{}:
		return append(append(b, 2), e.List[:]...)
	case len(e.Content) == 0:
		return append(b, 0)
	case len(e.Content) == 1 && e.Content[0].Length == e.Size && !e.Content[0].Hole():
		return append(append(b, 1), e.Content[0].ID[:]...)
	}
	b = binary.AppendUvarint(b, uint64(2+len(e.Content)))
	for _, x := range e.Content {
		if x.Hole() {
			b = binary.AppendUvarint(b, uint64(x.Length)<<1|1)
			continue
		}
		b = binary.AppendUvarint(b, uint64(x.Length)<<1)
		b = append(b, x.ID[:]...)
	}
	return b
}

// decodeLeaf gives the entries of a leaf or root. They share memory with each other, none with node.
func decodeLeaf(node []byte) ([]Entry, error) {
	c := &cursor{p: node}
	kind, err := c.open()
	if err != nil {
		return nil, err
	}
	if kind != kindLeaf && kind != kindRoot {
		return nil, fmt.Errorf("%w: kind %d where a directory's leaf belongs", ErrCorrupt, kind)
	}
	entries := make([]Entry, c.items(entryWidth, maxItems))
	if err := decodeNames(c, entries, kind); err != nil {
		return nil, err
	}
	for i, t := range c.bytes(len(entries)) {
		entries[i].Type, entries[i].Flags = Type(t&15), t>>4
	}
	decodeAttrs(c, entries)
	for i := range entries {
		entries[i].Size = c.size()
	}
	decodeStats(c, entries)
	decodeXattrs(c, entries)
	decodeByType(c, entries)
	if err := c.end(); err != nil {
		return nil, err
	}
	for i := range entries {
		if t := entries[i].Type; t < File || t > BlockDevice {
			return nil, fmt.Errorf("%w: entry of %s", ErrCorrupt, t)
		}
	}
	return entries, nil
}

func decodeNames(c *cursor, entries []Entry, kind byte) error {
	lengths := *c // read twice: once for the sum, once to cut
	total := 0
	for range entries {
		total += c.count(1)
	}
	names := string(c.bytes(total))
	if c.bad {
		return c.end()
	}
	if strings.IndexByte(names, '/') >= 0 || strings.IndexByte(names, 0) >= 0 {
		return fmt.Errorf("%w: a name holds a slash or NUL", ErrCorrupt)
	}
	if kind == kindRoot {
		if len(entries) != 1 || names != "" {
			return fmt.Errorf("%w: a root has one nameless entry", ErrCorrupt)
		}
		return nil
	}
	last := ""
	for i := range entries {
		n := int(lengths.uvarint())
		name := names[:n]
		names = names[n:]
		if name <= last || name == "." || name == ".." {
			return fmt.Errorf("%w: name %q follows %q", ErrCorrupt, name, last)
		}
		entries[i].Name, last = name, name
	}
	return nil
}

func decodeAttrs(c *cursor, entries []Entry) {
	dict := make([]attrs, c.items(5, len(entries)))
	for i := range dict {
		dict[i] = attrs{c.uint32(), c.uint32(), c.uint32(), string(c.blob()), string(c.blob())}
	}
	for i := range entries {
		at := c.uvarint()
		if at >= uint64(len(dict)) {
			c.fail()
			return
		}
		a, e := &dict[at], &entries[i]
		e.Mode, e.UID, e.GID, e.User, e.Group = a.mode, a.uid, a.gid, a.user, a.group
	}
}

func decodeStats(c *cursor, entries []Entry) {
	var v int64
	for i := range entries {
		v += c.svarint()
		entries[i].Mtime = v
	}
	v = 0
	for i := range entries {
		v += c.svarint()
		entries[i].Ctime = v
	}
	v = 0
	for i := range entries {
		v += c.svarint()
		entries[i].Device = uint64(v)
	}
	v = 0
	for i := range entries {
		v += c.svarint()
		entries[i].Inode = uint64(v)
	}
	for i := range entries {
		entries[i].Links = c.uint32()
	}
}

func decodeXattrs(c *cursor, entries []Entry) {
	n := c.items(3, len(entries))
	if n == 0 {
		return
	}
	dict := make([][]Xattr, n)
	left := maxXattrCount
	for i := range dict {
		set := make([]Xattr, c.items(2, min(left, maxEntryXattr)))
		left -= len(set)
		for j := range set {
			set[j] = Xattr{Name: string(c.blob()), Value: append([]byte{}, c.blob()...)}
		}
		dict[i] = set
	}
	for i := range entries {
		switch at := c.uvarint(); {
		case at > uint64(n):
			c.fail()
			return
		case at > 0:
			entries[i].Xattrs = dict[at-1]
		}
	}
}

func decodeByType(c *cursor, entries []Entry) {
	// Each inline extent but a hole takes an id: what is left bounds how many there can be.
	slab := make([]Extent, 0, min(len(entries), len(c.p)/len(chunkstore.ID{})))
	left := maxItems
	for i := range entries {
		switch e := &entries[i]; e.Type {
		case Symlink:
			e.Target = string(c.blob())
		case CharDevice, BlockDevice:
			e.Rdev = c.uvarint()
		case Directory:
			e.Child, e.Below = c.id(), c.totals()
		case File:
			slab = decodeContent(c, e, slab, left)
			left -= len(e.Content)
		}
	}
}

// decodeContent reads a file's content, of at most so many extents, which are cut from slab while that has room.
func decodeContent(c *cursor, e *Entry, slab []Extent, most int) []Extent {
	form := c.uvarint()
	if form == 0 {
		return slab
	}
	if form == 2 {
		if e.List = c.id(); e.List == (chunkstore.ID{}) {
			c.fail()
		}
		return slab
	}
	n := uint64(1)
	if form > 2 {
		n = form - 2
	}
	if n > uint64(min(len(c.p), most)) {
		c.fail()
		return slab
	}
	if cap(slab)-len(slab) < int(n) {
		slab = make([]Extent, 0, max(int(n), 64))
	}
	from := len(slab)
	slab = slab[:from+int(n)]
	e.Content = slab[from:len(slab):len(slab)]
	if form == 1 {
		e.Content[0] = Extent{c.id(), e.Size}
		if e.Content[0].Hole() {
			c.fail()
		}
		return slab
	}
	decodeExtents(c, e.Content)
	return slab
}

// decodeExtents fills xs, each a length that says whether an id follows, and gives their sum.
func decodeExtents(c *cursor, xs []Extent) (sum int64) {
	for i := range xs {
		v := c.uvarint()
		xs[i].Length = int64(v >> 1)
		if v&1 == 0 {
			if xs[i].ID = c.id(); xs[i].Hole() {
				c.fail()
			}
		}
		if sum += xs[i].Length; xs[i].Length == 0 || sum < 0 {
			c.fail()
		}
	}
	return sum
}

// check says why an entry cannot be stored.
func (e *Entry) check() error {
	size := 0
	for _, x := range e.Xattrs {
		size += len(x.Name) + len(x.Value)
	}
	switch {
	case e.Type < File || e.Type > BlockDevice:
		return errors.New("no such type")
	case e.Size < 0:
		return errors.New("negative size")
	case e.Flags > 15:
		return errors.New("unknown flags")
	case len(e.Target) > maxTarget:
		return errors.New("link target too long")
	case len(e.Xattrs) > maxEntryXattr:
		return fmt.Errorf("it has %d extended attributes, more than the %d that are kept", len(e.Xattrs), maxEntryXattr)
	case size > maxXattrs:
		return fmt.Errorf("its extended attributes take %d bytes, more than the %d that are kept", size, maxXattrs)
	}
	if e.Type != File {
		return nil
	}
	sum := int64(0)
	for _, x := range e.Content {
		if sum += x.Length; x.Length <= 0 || sum < 0 {
			return errors.New("extent length out of bounds")
		}
	}
	return nil
}

// checkName says why an entry cannot have this name in a directory.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return errors.New("not a name")
	case len(name) > maxName:
		return errors.New("name too long")
	case strings.IndexByte(name, '/') >= 0 || strings.IndexByte(name, 0) >= 0:
		return errors.New("slash or NUL in name")
	}
	return nil
}

// sizeGuess is about how many bytes the entry takes in a leaf; it decides where leaves end and thus is part
// of what makes equal directories equal nodes.
func (e *Entry) sizeGuess() int {
	n := 32 + len(e.Name) + len(e.Target) + 34*len(e.Content)
	if e.Type == Directory {
		n += 40
	}
	for _, x := range e.Xattrs {
		n += len(x.Name) + len(x.Value)
	}
	return n
}
