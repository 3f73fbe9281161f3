package stripe

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// ErrMissing is what Shards and ReaderAt return (wrapped or not) when there is nothing to read at all: a shard whose object is
// gone. It saves looking for readable cells one by one, which is what any other error makes the reader do.
var ErrMissing = errors.New("shard is missing")

// ErrUnavailable is what Shards and ReaderAt return (wrapped or not) when a read fails for a reason that says nothing of the
// object: no right to read it, no file handle left. It is no erasure: whatever meets it ends with it, so that nothing is called
// damaged, let alone mended, that is not.
var ErrUnavailable = errors.New("cannot be read now")

// ErrNoCell is returned by [Probe] when not one cell of the object is intact: it is foreign, of another object, or lost.
var ErrNoCell = errors.New("no intact cell")

// ReaderAt reads an object. It returns fewer bytes than asked for with io.EOF where the object ends. It is called by as many
// goroutines as the Reader is.
type ReaderAt interface {
	ReadAt(ctx context.Context, p []byte, off int64) (int, error)
}

// Shards reads ranges of single shards: all of p, or an error. An error is an erasure, which parity may heal, unless it is
// ErrUnavailable or the context has ended. It is called by as many goroutines as the Reader is.
type Shards interface {
	ReadShard(ctx context.Context, shard int, p []byte, off int64) error
}

// OneObject gives the shards of an object that holds them all, one after the other.
func OneObject(r ReaderAt, l Layout) Shards { return oneObject{r, l.Rows() * CellSize} }

type oneObject struct {
	r         ReaderAt
	shardSize int64
}

func (o oneObject) ReadShard(ctx context.Context, shard int, p []byte, off int64) error {
	n, err := o.r.ReadAt(ctx, p, int64(shard)*o.shardSize+off)
	if n < len(p) && err == nil {
		err = io.ErrUnexpectedEOF
	}
	if n == len(p) {
		err = nil
	}
	return err
}

// load reads len(buf)/CellSize cells from number on and sets read for those that came, which says nothing about their being
// intact. A range with an error is halved until the cells that cannot be read stand alone. The only errors are the
// context's and ErrUnavailable.
func (r *Reader) load(ctx context.Context, number int64, buf []byte, read []bool) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for len(buf) > 0 {
		n := int64(len(buf) / CellSize)
		if !r.isWhole {
			n = min(n, r.rows-number%r.rows)
		}
		if err := r.loadRun(ctx, number, buf[:n*CellSize], read[:n]); err != nil {
			return err
		}
		number, buf, read = number+n, buf[n*CellSize:], read[n:]
	}
	return nil
}

// loadRun is load for cells that one request can read.
func (r *Reader) loadRun(ctx context.Context, number int64, buf []byte, read []bool) error {
	n, err := r.request(ctx, number, buf)
	for i := range read[:n/CellSize] {
		read[i] = true
	}
	if n == len(buf) {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	got := n / CellSize
	number, buf, read = number+int64(got), buf[got*CellSize:], read[got:]
	clear(read)
	clear(buf)
	if len(read) == 1 || errors.Is(err, ErrMissing) || r.isWhole && errors.Is(err, io.EOF) {
		return nil
	}
	half := (len(read) + 1) / 2
	if err := r.loadRun(ctx, number, buf[:half*CellSize], read[:half]); err != nil {
		return err
	}
	return r.loadRun(ctx, number+int64(half), buf[half*CellSize:], read[half:])
}

// request makes one read and returns how many bytes at the start of buf it filled.
func (r *Reader) request(ctx context.Context, number int64, buf []byte) (int, error) {
	if r.isWhole {
		return r.whole.ReadAt(ctx, buf, number*CellSize)
	}
	if err := r.shards.ReadShard(ctx, int(number/r.rows), buf, number%r.rows*CellSize); err != nil {
		return 0, err
	}
	return len(buf), nil
}

// Probe finds the layout of an object of size bytes that holds all shards, from the head of any intact cell: it tries the first
// and the last, some in between, then all. A layout that gives another size than the object has is only taken when no cell
// says otherwise among those it tried; then the object is truncated or has something appended, which [Reader] can deal with. It
// returns ErrNoCell when there is none, and ErrUnavailable or the context's error when those end it.
//
// The layout is as trustworthy as a checksum without a key: allocate for what is asked for, not for all of Length.
func Probe(ctx context.Context, r ReaderAt, size int64, seed uint64) (Layout, error) {
	p := probe{r: r, seed: seed, size: size, shard: wholeObject}
	return p.find(ctx)
}

// ProbeShard is Probe for an object that holds one shard alone.
func ProbeShard(ctx context.Context, r ReaderAt, size int64, shard int, seed uint64) (Layout, error) {
	p := probe{r: r, seed: seed, size: size, shard: int64(shard)}
	return p.find(ctx)
}

// probeCells is how many cells a search through the whole object reads at a time.
const probeCells = 64

// wholeObject stands in the place of a shard's number when there is no shard alone.
const wholeObject = -1

type probe struct {
	r      ReaderAt
	seed   uint64
	size   int64 // of the object, bytes
	shard  int64
	buf    []byte
	layout Layout // the best so far
	found  bool
}

func (p *probe) find(ctx context.Context) (Layout, error) {
	cells := p.size / CellSize
	for _, part := range []int64{0, 8, 4, 2, 6, 1, 3, 5, 7} {
		if cells == 0 {
			break
		}
		if err := p.try(ctx, (cells-1)*part/8, 1); err != nil {
			return Layout{}, err
		}
		if p.found && p.fits(p.layout) {
			return p.layout, nil
		}
	}
	for at := int64(0); at < cells && !p.found; at += probeCells {
		if err := p.try(ctx, at, min(probeCells, cells-at)); err != nil {
			return Layout{}, err
		}
	}
	if !p.found {
		return Layout{}, fmt.Errorf("read the geometry of %d cells: %w", cells, ErrNoCell)
	}
	return p.layout, nil
}

// fits tells whether an object of this layout has just the size that the object has.
func (p *probe) fits(l Layout) bool {
	if p.shard == wholeObject {
		return l.Size() == p.size
	}
	return l.Rows()*CellSize == p.size
}

// try looks at n cells from position at on for an intact one. Its layout is kept when it is the first or fits the object's size.
func (p *probe) try(ctx context.Context, at, n int64) error {
	if int64(len(p.buf)) < n*CellSize {
		p.buf = make([]byte, n*CellSize)
	}
	got, err := p.r.ReadAt(ctx, p.buf[:n*CellSize], at*CellSize)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	for i := range int64(got / CellSize) {
		cell := p.buf[i*CellSize : (i+1)*CellSize]
		l, ok := layoutOf(cell)
		if !ok {
			continue
		}
		first, end := int64(0), l.cells() // numbers of the cells that the object has
		if p.shard != wholeObject {
			first, end = p.shard*l.Rows(), (p.shard+1)*l.Rows()
		}
		if number := first + at + i; number >= end || number >= l.cells() || !newStamp(l, p.seed).good(cell, number) {
			continue
		}
		if !p.found || p.fits(l) {
			p.found, p.layout = true, l
		}
		return nil
	}
	return nil
}
