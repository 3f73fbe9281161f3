package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/cairn-backup/cairn/chunkstore/frame"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

// Sizes of packs as objects, parity included, bytes. A pack is a little smaller or, by a frame, larger.
const (
	dataPackSize = 32 << 20
	treePackSize = 4 << 20
)

// packsInWriting is how many packs are on their way to the destination while the next one fills: two hide the time
// that a sync takes, at 34 MiB of memory each.
const packsInWriting = 2

// ErrClosed: the writer was closed or aborted.
var ErrClosed = errors.New("the writer is closed")

// WriterOptions say how a Writer works.
type WriterOptions struct {
	// Stored is called with each pack once it is durable, by one goroutine at a time, in no particular order. An
	// error fails the writer. It must not call the writer.
	Stored   func(Pack) error
	Random   io.Reader // for pack ids; nil: the store's
	PackSize int       // of the object, bytes; 0: 32 MiB for data, 4 MiB for trees
}

// Writer fills packs of one kind with the frames of its batches and writes them in the background. Batches may be
// used by as many goroutines as there are batches. It must end with Close or Abort.
type Writer struct {
	store  *Store
	kind   Kind
	stored func(Pack) error
	random io.Reader
	target int // payload bytes at which a pack is written

	ctx    context.Context // of the writes in the background
	cancel context.CancelCauseFunc

	lock     chan struct{} // holds one token while current and failure are touched; a channel, so that waiting can be cancelled
	current  *filling
	failure  error
	writing  map[*filling]struct{}
	builders chan *stripe.Builder // free ones; nil stands for one not made yet
	sealers  chan struct{}        // tokens of the goroutines that compress for batches

	reports sync.Mutex // one Stored at a time
	buffers sync.Pool  // of *[]byte: contents of frames, compressed or not
}

// filling is a pack that takes frames, or is being written.
type filling struct {
	id      PackID
	key     *frame.Key
	builder *stripe.Builder
	frames  []framed
	chunks  []Placed
	done    chan struct{} // closed when it is durable and reported, or failed
}

// NewWriter starts a writer of packs of one kind.
func (s *Store) NewWriter(kind Kind, o WriterOptions) *Writer {
	if o.Random == nil {
		o.Random = s.random
	}
	size := o.PackSize
	if size <= 0 {
		size = dataPackSize
		if kind == KindTree {
			size = treePackSize
		}
	}
	shape := s.config.Shape
	target := size / (shape.Data + shape.Parity) * shape.Data / stripe.CellSize * stripe.ContentSize
	w := &Writer{
		store: s, kind: kind, stored: o.Stored, random: o.Random,
		target: min(max(target, 4*stripe.ContentSize), maxPackPayload/2),
		lock:   make(chan struct{}, 1), writing: map[*filling]struct{}{},
		builders: make(chan *stripe.Builder, 1+packsInWriting),
		sealers:  make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
	for range cap(w.builders) {
		w.builders <- nil
	}
	w.buffers.New = func() any { return new([]byte) }
	w.ctx, w.cancel = context.WithCancelCause(context.Background())
	return w
}

// acquire takes the lock, or returns why not: the context's end, or the writer's failure.
func (w *Writer) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case w.lock <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if w.failure != nil {
		<-w.lock
		return w.failure
	}
	return nil
}

func (w *Writer) release() { <-w.lock }

// fail keeps the first failure. The lock must not be held.
func (w *Writer) fail(err error) {
	w.lock <- struct{}{}
	if w.failure == nil {
		w.failure = err
	}
	<-w.lock
}

// append puts one compressed frame into the current pack, and overwrites it. The seal needs the frame's place, so it is made under the
// lock: at several GB/s that is a small part of what compressing took.
func (w *Writer) append(ctx context.Context, compressed []byte, ids []ID, lengths []uint32) error {
	if err := w.acquire(ctx); err != nil {
		return err
	}
	defer w.release()
	if w.current == nil {
		next, err := w.begin(ctx)
		if err != nil {
			return err
		}
		w.current = next
	}
	p := w.current
	at := Location{Pack: p.id, Offset: uint32(p.builder.Len())}
	sealed := w.store.codec.Finish(compressed[:0], compressed, p.key, frame.Place{Offset: at.Offset})
	p.builder.Append(sealed)
	at.Sealed = uint32(len(sealed))
	p.frames = append(p.frames, framed{sealed: at.Sealed, chunks: len(ids)})
	for i, id := range ids {
		at.Length = lengths[i]
		p.chunks = append(p.chunks, Placed{ID: id, Location: at})
		at.Start += at.Length
	}
	if p.builder.Len() >= w.target || len(p.chunks) >= maxPackChunks {
		w.rotate()
	}
	return nil
}

// begin starts a pack in a free builder, and waits for one if need be: that is where a fast source meets a slow
// destination.
func (w *Writer) begin(ctx context.Context) (*filling, error) {
	p := &filling{done: make(chan struct{})}
	if _, err := io.ReadFull(w.random, p.id[:]); err != nil {
		return nil, fmt.Errorf("draw a pack's id: %w", err)
	}
	var err error
	if p.key, err = w.store.packKey(p.id); err != nil {
		return nil, fmt.Errorf("make the key of a pack: %w", err)
	}
	select {
	case p.builder = <-w.builders:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-w.ctx.Done():
		return nil, context.Cause(w.ctx)
	}
	if p.builder == nil {
		p.builder = stripe.NewBuilder(w.capacity())
	}
	p.builder.Reset()
	p.builder.Append(appendPackHead(nil, p.id, w.kind, w.store.config.Plain))
	return p, nil
}

// capacity is what an object of this writer takes, in bytes: one frame and a table more than the target.
func (w *Writer) capacity() int {
	l := stripe.Layout{Shape: w.store.config.Shape, Length: int64(w.target) + frameTarget + frameTarget/2}
	return int(l.Size())
}

// rotate hands the current pack to the background. The lock must be held.
func (w *Writer) rotate() {
	p := w.current
	w.current = nil
	w.writing[p] = struct{}{}
	go func() {
		err := w.write(p)
		if err != nil {
			w.cancel(err) // no other pack needs to be written any more
		}
		builder := p.builder
		p.builder = nil
		w.builders <- builder // before the lock: who holds it may be waiting for a builder
		w.lock <- struct{}{}
		if err != nil && w.failure == nil {
			w.failure = err
		}
		delete(w.writing, p)
		<-w.lock
		close(p.done)
	}()
}

// write completes a pack, makes it durable and reports it.
func (w *Writer) write(p *filling) error {
	s := w.store
	table := appendTable(nil, w.kind, p.frames, p.chunks)
	offset := p.builder.Len()
	sealed := s.codec.Seal(nil, table, p.key, frame.Place{Offset: uint32(offset)})
	p.builder.Append(sealed)
	p.builder.Append(appendPackTrailer(nil, p.id, offset, len(sealed)))
	name := p.id.ObjectName()
	object := p.builder.Finish(s.config.Shape, s.seed(name))
	if err := s.dest.Create(w.ctx, name, object); err != nil {
		return fmt.Errorf("write pack %s: %w", p.id, err)
	}
	if w.stored == nil {
		return nil
	}
	w.reports.Lock()
	defer w.reports.Unlock()
	return w.stored(Pack{ID: p.id, Kind: w.kind, Size: int64(len(object)), Chunks: p.chunks})
}

// Flush writes the pack that is being filled and waits until every pack begun so far is durable and reported. Frames
// that batches still hold are not part of it: flush those first.
func (w *Writer) Flush(ctx context.Context) error {
	if err := w.acquire(ctx); err != nil {
		return err
	}
	if w.current != nil {
		w.rotate()
	}
	waiting := make([]*filling, 0, len(w.writing))
	for p := range w.writing {
		waiting = append(waiting, p)
	}
	w.release()
	for _, p := range waiting {
		select {
		case <-p.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := w.acquire(ctx); err != nil {
		return err
	}
	w.release()
	return nil
}

// Close flushes and ends the writer. Nothing runs in the background after it, whatever it returns; what could not be
// made durable was not reported.
func (w *Writer) Close(ctx context.Context) error {
	err := w.Flush(ctx)
	w.end()
	return err
}

// Abort ends the writer and drops what is not durable yet. It is harmless after Close.
func (w *Writer) Abort() { w.end() }

// end fails whoever comes later, stops the writes that run and waits for them.
func (w *Writer) end() {
	w.cancel(ErrClosed)
	w.fail(ErrClosed)
	for {
		w.lock <- struct{}{}
		var p *filling
		for p = range w.writing {
			break
		}
		w.current = nil
		<-w.lock
		if p == nil {
			break
		}
		<-p.done
	}
	for range cap(w.sealers) { // the goroutines that compress end too
		w.sealers <- struct{}{}
	}
	for range cap(w.sealers) {
		<-w.sealers
	}
}
