package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cairn-backup/cairn/chunkstore/chunker"
	"github.com/cairn-backup/cairn/engine/source"
	"github.com/cairn-backup/cairn/index/tree"
)

// slab is a part of a big file: whole chunks, or a hole.
type slab struct {
	big  *bigRead
	n    int    // number in the file
	buf  []byte // where data lies; goes back to the run's buffers, unless nil
	data []byte
	cuts []int // lengths of the chunks in data
	hole int64 // bytes
}

// bigRead is one attempt at a big file: its pieces are stored in any order and listed in the right one.
type bigRead struct {
	r  *run
	it item
	e  tree.Entry // as it will be stored

	mu        sync.Mutex
	content   *tree.ContentWriter
	next      int                   // the piece to be listed next
	waiting   map[int][]tree.Extent // pieces that are stored, but not listed
	total     int                   // pieces; -1 until all are cut
	problem   error
	abandoned bool // the file has changed: another attempt takes its place
}

// readBigs is one reader of big files.
func (r *run) readBigs(ctx context.Context) error {
	emit := func(ctx context.Context, p *slab) error { return r.send(ctx, task{slab: p}) }
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case it, ok := <-r.bigs:
			if !ok {
				return nil
			}
			if err := r.openBig(ctx, it, emit); err != nil {
				return err
			}
		}
	}
}

func (r *run) openBig(ctx context.Context, it item, emit func(context.Context, *slab) error) error {
	if r.links.find(it.e) {
		r.release(it.seg.f)
		return r.fileDone(ctx, it, nil)
	}
	f, err := it.seg.f.dir.File(it.e)
	r.release(it.seg.f)
	if err != nil {
		return r.fileDone(ctx, it, err)
	}
	defer f.Close()
	return r.readBig(ctx, f, it, emit)
}

// readBig cuts a file into pieces and hands them to emit. The file is done when the last of them is stored.
func (r *run) readBig(ctx context.Context, f source.File, it item, emit func(context.Context, *slab) error) error {
	e := *it.e
	for attempt := 1; ; attempt++ {
		b := &bigRead{r: r, it: it, total: -1, content: tree.NewContentWriter(r.session), waiting: make(map[int][]tree.Extent)}
		c := cutter{b: b, f: f, emit: emit, chunker: r.repo.Store().Chunker()}
		reading := c.cut(ctx, e.Size)
		if c.failed != nil {
			return c.failed
		}
		detailsErr := f.Details(&e)
		var now tree.Entry
		if err := f.Stat(&now); err != nil && reading == nil {
			reading = err
		}
		if reading == nil && now.Type != tree.File {
			reading = fmt.Errorf("it was replaced by a %s", now.Type)
		}
		stable := sameState(&now, &e) && c.off == e.Size
		if reading == nil && !stable && attempt < attempts {
			b.abandon()
			now.Name = e.Name
			e = now
			continue
		}
		if reading == nil && !stable {
			reading = errChanging
			e.Flags |= tree.Changed
			e.Size = c.off
		}
		return b.end(ctx, e, c.pieces, errors.Join(reading, detailsErr))
	}
}

// cutter reads a file from its beginning to its end and cuts it.
type cutter struct {
	b       *bigRead
	f       source.File
	emit    func(context.Context, *slab) error
	chunker *chunker.Chunker
	off     int64
	pieces  int
	carry   []byte // read, but behind the last cut
	failed  error  // not of the file, but of the backup
}

// cut goes through the runs of data and holes. The error is one of the file.
func (c *cutter) cut(ctx context.Context, size int64) error {
	for c.off < size {
		start, end, err := c.f.Data(c.off, size)
		if err != nil {
			return err
		}
		if start < c.off || end < start || start < size && end == start {
			return fmt.Errorf("the system tells of data from %d to %d where it was asked from %d", start, end, c.off)
		}
		if start > c.off {
			if !c.send(ctx, &slab{hole: start - c.off}) {
				return nil
			}
			c.off = start
		}
		if done, err := c.cutRun(ctx, end); err != nil || !done {
			return err
		}
	}
	return nil
}

func (c *cutter) send(ctx context.Context, p *slab) bool {
	p.big, p.n = c.b, c.pieces
	c.pieces++
	c.failed = c.emit(ctx, p)
	return c.failed == nil
}

// cutRun cuts the data from c.off to end, which is the end of the file or of a run of data: the last chunk ends
// there too. done is false when the file ended early or the backup did.
func (c *cutter) cutRun(ctx context.Context, end int64) (done bool, err error) {
	c.carry = c.carry[:0]
	for c.off < end || len(c.carry) > 0 {
		buf, ok := c.b.r.buffer(ctx)
		if !ok {
			c.failed = ctx.Err()
			return false, nil
		}
		n := copy(buf, c.carry)
		want := min(int64(len(buf)-n), end-c.off)
		got, reading := c.f.ReadAt(buf[n:n+int(want)], c.off)
		c.off += int64(got)
		c.b.r.countBytes(int64(got))
		last := c.off == end || reading != nil
		data := buf[:n+got]
		p := &slab{buf: buf}
		cut := 0
		for cut < len(data) && (last || len(data)-cut >= c.chunker.Params().Max) {
			n := c.chunker.Cut(data[cut:])
			p.cuts = append(p.cuts, n)
			cut += n
		}
		p.data = data[:cut]
		c.carry = append(c.carry[:0], data[cut:]...)
		if !c.send(ctx, p) {
			return false, nil
		}
		if reading != nil && !errors.Is(reading, io.EOF) {
			return false, reading
		}
		if reading != nil && c.off < end {
			return false, nil
		}
	}
	return true, nil
}

// buffer waits for one of the run's buffers.
func (r *run) buffer(ctx context.Context) ([]byte, bool) {
	select {
	case buf := <-r.buffers:
		if buf == nil {
			buf = make([]byte, slabSize+r.repo.Store().Chunker().Params().Max)
		}
		return buf, true
	case <-ctx.Done():
		return nil, false
	}
}

// storeSlab stores the chunks of a piece and lists them when their turn has come.
func (w *storer) storeSlab(ctx context.Context, p *slab) error {
	defer func() {
		if p.buf != nil {
			w.r.buffers <- p.buf // never waits: there is room for all
		}
	}()
	if p.big.isAbandoned() {
		return nil
	}
	w.extents = w.extents[:0]
	if p.hole > 0 {
		w.extents = append(w.extents, tree.Extent{Length: p.hole})
	}
	data := p.data
	for _, n := range p.cuts {
		if err := w.storeChunk(ctx, data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return p.big.stored(ctx, p.n, w.extents)
}

func (b *bigRead) isAbandoned() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.abandoned
}

func (b *bigRead) abandon() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.abandoned = true
}

// stored lists what has come in its turn. extents are not kept.
func (b *bigRead) stored(ctx context.Context, n int, extents []tree.Extent) error {
	b.mu.Lock()
	if n != b.next {
		b.waiting[n] = append([]tree.Extent(nil), extents...)
		b.mu.Unlock()
		return nil
	}
	for ok := true; ok; {
		for _, x := range extents {
			if err := b.content.Add(ctx, x); err != nil {
				b.mu.Unlock()
				return err
			}
		}
		b.next++
		extents, ok = b.waiting[b.next]
		delete(b.waiting, b.next)
	}
	whole := b.next == b.total
	b.mu.Unlock()
	if whole {
		return b.finish(ctx)
	}
	return nil
}

// end says how the file is to be stored and that there are no more pieces.
func (b *bigRead) end(ctx context.Context, e tree.Entry, pieces int, problem error) error {
	b.mu.Lock()
	b.e, b.total, b.problem = e, pieces, problem
	whole := b.next == b.total
	b.mu.Unlock()
	if whole {
		return b.finish(ctx)
	}
	return nil
}

func (b *bigRead) finish(ctx context.Context) error {
	if err := b.content.Finish(ctx, &b.e); err != nil {
		return err
	}
	*b.it.e = b.e
	return b.r.fileDone(ctx, b.it, b.problem)
}
