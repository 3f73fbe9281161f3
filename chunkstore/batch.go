package chunkstore

import (
	"context"
	"fmt"

	"github.com/cairn-backup/cairn/chunkstore/frame"
)

// frameRoom is what a buffer takes beyond a frame of the usual size, so that sealing in place fits, bytes.
const frameRoom = 4 << 10

// frameTarget is how much a frame holds before it is compressed, bytes. A chunk that would lead beyond it begins the
// next frame. A tree of source code takes 1.4 % less room in frames of 1.5 MiB than in those of 1 MiB, and 2.1 % less
// in those of 2 MiB; but a random read opens a whole frame.
const frameTarget = 7 << 18

// Batch collects the chunks of one goroutine, so that neighbours come to lie in one frame, in the order of Add. Full
// frames are compressed in the background while there is a core for that, and by the caller otherwise.
type Batch struct {
	w       *Writer
	buf     *[]byte // contents of the frame that fills
	ids     []ID
	lengths []uint32
	last    *sealing // the frame before, on its way into the pack
}

// sealing is one frame on its way. err may be read once done is closed.
type sealing struct {
	done chan struct{}
	err  error
}

// NewBatch begins a batch. A batch that is not flushed to the end leaves its last frame unwritten.
func (w *Writer) NewBatch() *Batch { return &Batch{w: w} }

// Add takes one chunk; the data is copied. Its place is known once the writer reports the pack.
// An error is the writer's or the context's end, and final for the batch.
func (b *Batch) Add(ctx context.Context, id ID, data []byte) error {
	if len(data) > frame.MaxPlain {
		return fmt.Errorf("a chunk of %d bytes is longer than a frame can be (%d)", len(data), frame.MaxPlain)
	}
	if b.buf != nil && len(*b.buf)+len(data) > frameTarget && len(b.ids) > 0 {
		if err := b.seal(ctx); err != nil {
			return err
		}
	}
	if b.buf == nil {
		b.buf = b.w.buffers.Get().(*[]byte)
		if cap(*b.buf) < frameTarget {
			*b.buf = make([]byte, 0, frameTarget+frameRoom)
		}
		*b.buf = (*b.buf)[:0]
	}
	*b.buf = append(*b.buf, data...)
	b.ids = append(b.ids, id)
	b.lengths = append(b.lengths, uint32(len(data)))
	if len(*b.buf) >= frameTarget || len(b.ids) >= maxPackChunks {
		return b.seal(ctx)
	}
	return nil
}

// Flush seals what the batch still holds and waits until all of it is in a pack. (Durable it is when the writer says
// so.) The batch can be used on.
func (b *Batch) Flush(ctx context.Context) error {
	if len(b.ids) > 0 {
		if err := b.seal(ctx); err != nil {
			return err
		}
	}
	if b.last == nil {
		return nil
	}
	<-b.last.done
	return b.last.err
}

// seal sends the frame on its way: to a goroutine of its own if the writer has a token left, else right here.
func (b *Batch) seal(ctx context.Context) error {
	before := b.last
	if before != nil {
		select {
		case <-before.done:
			if before.err != nil {
				return before.err
			}
		default:
		}
	}
	next := &sealing{done: make(chan struct{})}
	b.last = next
	buf, ids, lengths := b.buf, b.ids, b.lengths
	b.buf = nil
	select {
	case b.w.sealers <- struct{}{}:
		b.ids, b.lengths = make([]ID, 0, len(ids)), make([]uint32, 0, len(lengths))
		go func() {
			defer func() { <-b.w.sealers }()
			next.run(ctx, b.w, before, buf, ids, lengths)
		}()
		return nil
	default:
		next.run(ctx, b.w, before, buf, ids, lengths)
		b.ids, b.lengths = ids[:0], lengths[:0]
		return next.err
	}
}

// run compresses a frame and appends it to the pack once the frame before is there: a batch's frames keep their order.
func (s *sealing) run(ctx context.Context, w *Writer, before *sealing, buf *[]byte, ids []ID, lengths []uint32) {
	defer close(s.done)
	compressed := w.buffers.Get().(*[]byte)
	if cap(*compressed) < len(*buf)+frameRoom {
		*compressed = make([]byte, 0, len(*buf)+frameRoom)
	}
	*compressed = w.store.codec.Compress((*compressed)[:0], *buf)
	w.buffers.Put(buf)
	if before != nil {
		if <-before.done; before.err != nil {
			s.err = before.err
		}
	}
	if s.err == nil {
		s.err = w.append(ctx, *compressed, ids, lengths)
	}
	w.buffers.Put(compressed)
}
