package tree

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"github.com/cairn-backup/cairn/chunkstore"
)

// Where nodes end. From nodeMin on, the hash of each name (or the id of each chunk) may end the node, with a
// chance that gives nodeMax/1.5 on average; nodeMax ends it anyway. What was inserted far away does not matter
// then, so that the nodes of a changed directory are mostly those of before. Sizes are sums of sizeGuess.
const (
	nodeMin  = 32 << 10
	nodeMax  = 96 << 10
	cutScale = 32 << 10 // one cut in so many bytes
)

// inlineExtents is how many extents an entry may have in its leaf: a file of 16 MiB or so.
const inlineExtents = 256

const (
	childSize  = 40 // of a child besides its first name
	extentSize = 36
)

// cuts says whether a node may end after an item of the given size, by a hash of the item alone.
func cuts(hash uint64, size int) bool { return hash%cutScale < uint64(size) }

// Writer stores the entries of one directory. It keeps no more than one leaf and one inner node a level in
// memory. After Finish it can be used for another directory; it serves one goroutine.
type Writer struct {
	s       Saver
	enc     encoder
	buf     []byte
	entries []Entry
	size    int
	last    string
	count   int64
	levels  []level // levels[0] collects leaves
}

// level collects the nodes that the next inner node of a level will name.
type level struct {
	children []child
	size     int
	flushed  bool // a node of this level has been stored already
}

// NewWriter makes a Writer for one directory.
func NewWriter(s Saver) *Writer { return &Writer{s: s} }

// Add takes the next entry; names must rise strictly in the order of their bytes. The entry is copied, the
// slices in it are kept until the leaf is written and must not be changed. A content list too long for a
// leaf is stored on its own and e.List set in the stored entry.
func (w *Writer) Add(ctx context.Context, e *Entry) error {
	if err := checkName(e.Name); err != nil {
		return fmt.Errorf("store entry %q: %w", e.Name, err)
	}
	if err := e.check(); err != nil {
		return fmt.Errorf("store entry %q: %w", e.Name, err)
	}
	if w.count > 0 && e.Name <= w.last {
		return fmt.Errorf("store entry %q: it comes after %q, names must rise", e.Name, w.last)
	}
	stored := *e
	if err := spill(ctx, w.s, &stored); err != nil {
		return fmt.Errorf("store entry %q: %w", e.Name, err)
	}
	size := stored.sizeGuess()
	if len(w.entries) > 0 && w.size+size > nodeMax {
		if err := w.flushLeaf(ctx); err != nil {
			return err
		}
	}
	w.entries = append(w.entries, stored)
	w.size += size
	w.last = e.Name
	w.count++
	if w.size >= nodeMin && cuts(xxhash.Sum64String(e.Name), size) {
		return w.flushLeaf(ctx)
	}
	return nil
}

// Finish stores what is left and gives the directory's Ref. An empty directory has a node too.
func (w *Writer) Finish(ctx context.Context) (Ref, error) {
	if len(w.entries) > 0 || w.count == 0 {
		if err := w.flushLeaf(ctx); err != nil {
			return Ref{}, err
		}
	}
	for at := 0; ; at++ {
		l := &w.levels[at]
		if len(l.children) == 1 && !l.flushed {
			root := l.children[0]
			w.reset()
			return Ref{ID: root.id, Totals: root.totals}, nil
		}
		if len(l.children) > 0 {
			if err := w.flushInner(ctx, at); err != nil {
				return Ref{}, err
			}
		}
	}
}

func (w *Writer) reset() {
	clear(w.entries)
	w.entries, w.levels = w.entries[:0], w.levels[:0]
	w.size, w.count, w.last = 0, 0, ""
}

func (w *Writer) flushLeaf(ctx context.Context) error {
	w.buf = w.enc.encodeLeaf(w.buf[:0], kindLeaf, w.entries)
	k := child{}
	if len(w.entries) > 0 {
		k.first = w.entries[0].Name
	}
	for i := range w.entries {
		k.totals.add(w.entries[i].totals())
	}
	clear(w.entries)
	w.entries, w.size = w.entries[:0], 0
	return w.save(ctx, 0, k)
}

func (w *Writer) flushInner(ctx context.Context, at int) error {
	l := &w.levels[at]
	w.buf = encodeInner(w.buf[:0], at+1, l.children)
	k := child{first: l.children[0].first}
	for i := range l.children {
		k.totals.add(l.children[i].totals)
	}
	clear(l.children)
	l.children, l.size, l.flushed = l.children[:0], 0, true
	return w.save(ctx, at+1, k)
}

// save stores the node in w.buf and has the level at collect it.
func (w *Writer) save(ctx context.Context, at int, k child) (err error) {
	if k.id, err = w.s.SaveNode(ctx, w.buf); err != nil {
		return fmt.Errorf("store directory node: %w", err)
	}
	if at == len(w.levels) {
		w.levels = append(w.levels, level{})
	}
	l := &w.levels[at]
	size := childSize + len(k.first)
	l.children = append(l.children, k)
	l.size += size
	if l.size >= nodeMax || l.size >= nodeMin && cuts(xxhash.Sum64String(k.first), size) {
		return w.flushInner(ctx, at)
	}
	return nil
}

// SaveRoot ends a tree: it stores the entry of the topmost directory, whose Child has been set and whose
// name is dropped, so that its mode, times, owner and xattrs are kept too. The Ref it gives is that of the whole
// tree: Find, Walk, Diff and OpenDir all take it. Its sums are those below the directory.
func SaveRoot(ctx context.Context, s Saver, e *Entry) (Ref, error) {
	stored := *e
	stored.Name = ""
	if err := stored.check(); err != nil {
		return Ref{}, fmt.Errorf("store root directory: %w", err)
	}
	if !stored.IsDir() {
		return Ref{}, fmt.Errorf("store root directory: it is a %s", e.Type)
	}
	var enc encoder
	id, err := s.SaveNode(ctx, enc.encodeLeaf(nil, kindRoot, []Entry{stored}))
	if err != nil {
		return Ref{}, fmt.Errorf("store root directory: %w", err)
	}
	return Ref{ID: id, Totals: e.Below}, nil
}

// spill stores a long content list on its own.
func spill(ctx context.Context, s Saver, e *Entry) error {
	if len(e.Content) <= inlineExtents {
		return nil
	}
	w := NewContentWriter(s)
	for _, x := range e.Content {
		if err := w.Add(ctx, x); err != nil {
			return err
		}
	}
	return w.Finish(ctx, e)
}

// ContentWriter builds the content of one file whose extents come one by one, in bounded memory.
type ContentWriter struct {
	s       Saver
	buf     []byte
	extents []Extent
	levels  []spans // levels[0] collects leaves
	total   int64
	stored  bool // a leaf has been stored already
}

type spans struct {
	spans   []span
	flushed bool
}

// NewContentWriter makes a ContentWriter for one file.
func NewContentWriter(s Saver) *ContentWriter { return &ContentWriter{s: s} }

// Add takes the next extent. Neighbouring holes are joined, an empty extent is left out.
func (w *ContentWriter) Add(ctx context.Context, x Extent) error {
	if x.Length == 0 {
		return nil
	}
	if w.total += x.Length; x.Length < 0 || w.total < 0 {
		return errors.New("extent length out of bounds")
	}
	if n := len(w.extents); n > 0 && x.Hole() && w.extents[n-1].Hole() {
		w.extents[n-1].Length += x.Length
		return nil
	}
	w.extents = append(w.extents, x)
	n := len(w.extents) * extentSize
	if n >= nodeMax || n >= nodeMin && !x.Hole() && cuts(binary.LittleEndian.Uint64(x.ID[:]), extentSize) {
		return w.flushLeaf(ctx)
	}
	return nil
}

// Finish sets e.Content or e.List; the writer can be used for the next file then.
func (w *ContentWriter) Finish(ctx context.Context, e *Entry) error {
	defer func() { w.extents, w.levels, w.total, w.stored = nil, w.levels[:0], 0, false }()
	e.Content, e.List = nil, chunkstore.ID{}
	if !w.stored && len(w.extents) <= inlineExtents {
		e.Content = w.extents
		return nil
	}
	if len(w.extents) > 0 {
		if err := w.flushLeaf(ctx); err != nil {
			return err
		}
	}
	for at := 0; ; at++ {
		l := &w.levels[at]
		if len(l.spans) == 1 && !l.flushed {
			e.List = l.spans[0].id
			return nil
		}
		if len(l.spans) > 0 {
			if err := w.flushInner(ctx, at); err != nil {
				return err
			}
		}
	}
}

func (w *ContentWriter) flushLeaf(ctx context.Context) error {
	w.buf = encodeExtents(w.buf[:0], w.extents)
	var s span
	for _, x := range w.extents {
		s.length += x.Length
	}
	w.extents, w.stored = w.extents[:0], true
	return w.save(ctx, 0, s)
}

func (w *ContentWriter) flushInner(ctx context.Context, at int) error {
	l := &w.levels[at]
	w.buf = encodeSpans(w.buf[:0], at+1, l.spans)
	var s span
	for _, k := range l.spans {
		s.length += k.length
	}
	l.spans, l.flushed = l.spans[:0], true
	return w.save(ctx, at+1, s)
}

func (w *ContentWriter) save(ctx context.Context, at int, s span) (err error) {
	if s.id, err = w.s.SaveNode(ctx, w.buf); err != nil {
		return fmt.Errorf("store content list: %w", err)
	}
	if at == len(w.levels) {
		w.levels = append(w.levels, spans{})
	}
	l := &w.levels[at]
	l.spans = append(l.spans, s)
	n := len(l.spans) * childSize
	if n >= nodeMax || n >= nodeMin && cuts(binary.LittleEndian.Uint64(s.id[:]), childSize) {
		return w.flushInner(ctx, at)
	}
	return nil
}
