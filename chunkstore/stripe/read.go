package stripe

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// Range is a range of payload bytes.
type Range struct{ Offset, Length int64 }

// LostError says which of the payload bytes asked for are damaged beyond parity.
type LostError struct {
	Offset, Length int64   // from the first lost byte to behind the last, in the payload
	Ranges         []Range // exactly what is lost: ascending, neighbours merged
}

func (e *LostError) Error() string {
	if len(e.Ranges) > 1 {
		return fmt.Sprintf("damaged beyond parity in %d ranges of %d bytes from %d", len(e.Ranges), e.Length, e.Offset)
	}
	return fmt.Sprintf("%d bytes from %d are damaged beyond parity", e.Length, e.Offset)
}

// Reader reads one object. It is safe for many goroutines.
type Reader struct {
	shards  Shards
	whole   ReaderAt // used when isWhole: all shards in one object, so one request may run over several of them
	isWhole bool
	layout  Layout
	rows    int64
	stamp   stamp
	healed  atomic.Int64
}

// NewReader reads the stripe of layout l whose cells were built with seed. The layout is one that [Probe] found or that
// [Layout.Check] accepts.
func NewReader(s Shards, l Layout, seed uint64) *Reader {
	r := &Reader{shards: s, layout: l, rows: l.Rows(), stamp: newStamp(l, seed)}
	if one, ok := s.(oneObject); ok {
		r.whole, r.isWhole = one.r, true
	}
	return r
}

// Healed counts the cells rebuilt so far.
func (r *Reader) Healed() int64 { return r.healed.Load() }

// window is a range of cells in memory, by number.
type window struct {
	first int64
	buf   []byte
	read  []bool // the cell could be read
	good  []bool // and is intact, or rebuilt
}

func (w *window) cell(i int) []byte { return w.buf[i*CellSize : (i+1)*CellSize] }

// readWindow is the most cells that one request asks for: 2 MiB.
const readWindow = 512

// windows keeps windows of a few sizes; one belongs to the call that took it until that call puts it back.
var windows [3]sync.Pool

var windowCells = [len(windows)]int{32, 128, readWindow}

// takeWindow returns a window of n cells, at most readWindow, and what to call when done with it.
func takeWindow(first int64, n int) (*window, func()) {
	class := 0
	for windowCells[class] < n {
		class++
	}
	w, _ := windows[class].Get().(*window)
	if w == nil {
		size := windowCells[class]
		w = &window{buf: make([]byte, size*CellSize), read: make([]bool, size), good: make([]bool, size)}
	}
	full := *w
	w.first, w.buf, w.read, w.good = first, w.buf[:n*CellSize], w.read[:n], w.good[:n]
	clear(w.read)
	clear(w.good)
	return w, func() { *w = full; windows[class].Put(w) }
}

// ReadAt fills p with the payload from off on. As long as nothing is damaged that takes one range read for every 2 MiB (one for
// each shard it touches when shards are objects of their own), and parity is never touched. Bad cells are rebuilt from their rows
// on the fly. What is beyond parity is zero in p and named by a *LostError; all else of p is right then. A range outside the
// payload is an error, and so is the end of the context.
func (r *Reader) ReadAt(ctx context.Context, p []byte, off int64) error {
	if off < 0 || off > r.layout.Length || int64(len(p)) > r.layout.Length-off {
		return fmt.Errorf("read %d bytes at %d of a payload of %d bytes", len(p), off, r.layout.Length)
	}
	var lost lostRanges
	for len(p) > 0 {
		first, skip := off/ContentSize, int(off%ContentSize)
		n := min(len(p), readWindow*ContentSize-skip)
		if err := r.readWindow(ctx, p[:n], first, skip, &lost); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return lost.err()
}

// readWindow fills p with the payload from byte skip of the cell first on.
func (r *Reader) readWindow(ctx context.Context, p []byte, first int64, skip int, lost *lostRanges) error {
	w, put := takeWindow(first, (skip+len(p)+ContentSize-1)/ContentSize)
	defer put()
	if err := r.load(ctx, first, w.buf, w.read); err != nil {
		return err
	}
	// Checked and copied cell by cell, while it is in the first-level cache.
	bad := 0
	for i := range w.good {
		if w.good[i] = w.read[i] && r.stamp.good(w.cell(i), first+int64(i)); !w.good[i] {
			bad++
			continue
		}
		copyContent(p, w.cell(i), i, skip)
	}
	if bad == 0 {
		return nil
	}
	damaged := slices.Clone(w.good)
	if err := r.heal(ctx, w); err != nil {
		return err
	}
	for i := range w.good {
		switch {
		case damaged[i]: // was good before
		case w.good[i]:
			copyContent(p, w.cell(i), i, skip)
		default:
			from, to := contentRange(i, skip, len(p))
			clear(p[from:to])
			lost.add(first*ContentSize+int64(skip)+int64(from), int64(to-from))
		}
	}
	return nil
}

// contentRange is where the content of cell i goes in an output of length bytes that starts at byte skip of cell 0.
func contentRange(i, skip, length int) (from, to int) {
	from = i*ContentSize - skip
	return max(from, 0), min(from+ContentSize, length)
}

func copyContent(p, cell []byte, i, skip int) {
	from, to := contentRange(i, skip, len(p))
	copy(p[from:to], cell[HeadSize+from-(i*ContentSize-skip):])
}

// lostRanges collects lost payload ranges.
type lostRanges []Range

// add joins a range to the last one when it follows it.
func (l *lostRanges) add(off, length int64) {
	if n := len(*l); n > 0 && (*l)[n-1].Offset+(*l)[n-1].Length == off {
		(*l)[n-1].Length += length
		return
	}
	*l = append(*l, Range{off, length})
}

func (l lostRanges) err() error {
	if len(l) == 0 {
		return nil
	}
	last := l[len(l)-1]
	return &LostError{Offset: l[0].Offset, Length: last.Offset + last.Length - l[0].Offset, Ranges: l}
}

// sorted puts the ranges into ascending order and merges neighbours.
func (l lostRanges) sorted() []Range {
	slices.SortFunc(l, func(a, b Range) int { return int(min(1, max(-1, a.Offset-b.Offset))) })
	var merged lostRanges
	for _, r := range l {
		merged.add(r.Offset, r.Length)
	}
	return merged
}
