package engine

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// heldFrames is how many opened frames a worker keeps, each in a buffer of its own that it uses again.
const heldFrames = 6

// worker carries out jobs.
type worker struct {
	*restorer
	frames [heldFrames]heldFrame
	clock  uint64
}

type heldFrame struct {
	place  piece
	opened []byte // owned by the worker, valid until the frame is dropped
	err    error  // why it could not be opened; kept, so that a lost frame is tried once and not for each file in it
	used   uint64 // clock of the last use; zero: nothing held
}

// work takes every job until there are none, so that no window waits for ever, but does none after the end of ctx.
func (r *restorer) work(ctx context.Context) error {
	w := &worker{restorer: r}
	var failed error
	for j := range r.jobs {
		if failed == nil {
			failed = ctx.Err()
		}
		if j.big != nil {
			failed = cmp.Or(failed, w.writePart(ctx, j, failed == nil))
			j.big.window.open.Done()
			continue
		}
		for _, f := range j.files {
			if failed == nil {
				failed = w.writeFile(ctx, f)
			}
		}
		j.files[0].window.open.Done()
	}
	return failed
}

// bytes gives the piece's bytes, valid until the next call but heldFrames-1.
func (w *worker) bytes(ctx context.Context, p *piece) ([]byte, error) {
	if p.Sealed == 0 {
		return nil, &index.MissingError{ID: p.id}
	}
	opened, err := w.open(ctx, p)
	if err != nil {
		return nil, err
	}
	if uint64(p.Start)+uint64(p.Length) > uint64(len(opened)) {
		return nil, fmt.Errorf("chunk %s: its frame is too short: %w", p.id, chunkstore.ErrDamaged)
	}
	data := opened[p.Start : p.Start+p.Length]
	if w.plain && w.repo.Store().ChunkID(data) != p.id {
		return nil, fmt.Errorf("chunk %s: other bytes lie in its place: %w", p.id, chunkstore.ErrDamaged)
	}
	return data, nil
}

func (w *worker) open(ctx context.Context, p *piece) ([]byte, error) {
	w.clock++
	oldest := &w.frames[0]
	for i := range w.frames {
		f := &w.frames[i]
		if f.used > 0 && f.place.sameFrame(p) {
			f.used = w.clock
			return f.opened, f.err
		}
		if f.used < oldest.used {
			oldest = f
		}
	}
	opened, err := w.repo.Store().OpenFrame(ctx, p.Pack, chunkstore.FrameRef{Offset: p.Offset, Sealed: p.Sealed}, oldest.opened[:0])
	if err != nil {
		opened = oldest.opened
		err = fmt.Errorf("read chunk %s: %w", p.id, err)
	}
	*oldest = heldFrame{place: *p, opened: opened, err: err, used: w.clock}
	if ctx.Err() != nil {
		oldest.used = 0
	}
	return opened, err
}

// writeFile restores one entry that is not a directory, content included.
func (w *worker) writeFile(ctx context.Context, f *file) error {
	e := f.entry
	if e.Type != tree.File {
		made, err := w.makeOther(f.folder, e)
		if err != nil {
			return cmp.Or(w.problem(ctx, f.folder, e.Name, err), w.leave(ctx, f.folder))
		}
		if made {
			w.count(e, 0)
		}
		return w.leave(ctx, f.folder)
	}
	out, err := w.place.create(f.folder, e, false)
	if err != nil {
		return cmp.Or(w.problem(ctx, f.folder, e.Name, err), w.leave(ctx, f.folder))
	}
	var lost losses
	var written int64
	var failed error
	for i := range f.pieces {
		n, err := w.copyPiece(ctx, out, e, &f.pieces[i], &lost)
		if err != nil {
			failed = err
			break
		}
		written += n
	}
	return w.finishFile(ctx, f.folder, e, out, written, &lost, failed)
}

// makeOther makes a symlink, FIFO, socket or, if they are wanted, device node; false when it was left out on purpose.
func (w *worker) makeOther(f *folder, e *tree.Entry) (made bool, err error) {
	if e.Type == tree.CharDevice || e.Type == tree.BlockDevice {
		switch w.options.Devices {
		case DevicesMade:
		case DevicesSkipped:
			w.place.notes.add("devices", "%d device nodes were left out")
			return false, nil
		default:
			return false, ErrDeviceLeftOut
		}
	}
	return true, w.place.makeOther(f, e)
}

// copyPiece writes one piece to its place. A piece that cannot be read is added to lost; the error is one of the target.
func (w *worker) copyPiece(ctx context.Context, out *output, e *tree.Entry, p *piece, lost *losses) (int64, error) {
	data, err := w.bytes(ctx, p)
	if err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if tooManyFiles(err) {
			return 0, fmt.Errorf("%w: %w", ErrTooManyFiles, err)
		}
		return w.moved(ctx, out, e, p, lost, err)
	}
	if err := out.writeAt(data, p.offset); err != nil {
		return 0, fmt.Errorf("write: %w", err)
	}
	if w.options.Progress != nil {
		w.options.Progress.Bytes.Add(int64(len(data)))
		w.options.Progress.Read.Add(int64(len(data)))
	}
	return int64(len(data)), nil
}

// finishFile gives a written file its length and attributes, or takes it away when writing failed, and reports
// what is to be reported. It is called exactly once for each output.
func (w *worker) finishFile(ctx context.Context, f *folder, e *tree.Entry, out *output, written int64, lost *losses, failed error) error {
	problem := failed
	if problem == nil {
		problem = lost.error()
	}
	if problem == nil && e.Flags&tree.Unreadable != 0 {
		problem = errUnreadable
	}
	switch {
	case failed != nil:
		out.discard()
	case problem != nil && out.replaces():
		out.discard()
		problem = fmt.Errorf("the existing file was kept: %w", problem)
	default:
		if err := out.finish(e); err != nil {
			problem = cmp.Or(problem, err)
		}
		w.count(e, written)
	}
	if problem == nil && e.Flags&tree.Changed != 0 {
		w.warn(fmt.Sprintf("%s changed while it was backed up: its content may mix two states", f.pathOf(e.Name)))
	}
	return cmp.Or(w.problem(ctx, f, e.Name, problem), w.leave(ctx, f))
}

// losses collects the ranges of a file that could not be read.
type losses struct {
	mu   sync.Mutex
	lost LostRangeError
}

func (l *losses) add(offset, length int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost.Bytes += length
	if l.lost.Err == nil {
		l.lost.Err = err
	}
	if n := len(l.lost.Ranges); n > 0 && l.lost.Ranges[n-1].Offset+l.lost.Ranges[n-1].Length == offset {
		l.lost.Ranges[n-1].Length += length
	} else if n < maxLostRanges {
		l.lost.Ranges = append(l.lost.Ranges, LostRange{offset, length})
	}
}

func (l *losses) error() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost.Bytes == 0 {
		return nil
	}
	l.lost.sort()
	return &l.lost
}

// bigWrite is a big file that several workers write.
type bigWrite struct {
	folder  *folder
	entry   *tree.Entry
	out     *output
	window  *window
	parts   atomic.Int64 // jobs not done, plus one until all are planned
	written atomic.Int64
	lost    losses
	failing sync.Mutex
	failed  error // the first error of the target
}

func (b *bigWrite) fail(err error) {
	b.failing.Lock()
	defer b.failing.Unlock()
	if b.failed == nil {
		b.failed = err
	}
}

func (b *bigWrite) failure() error {
	b.failing.Lock()
	defer b.failing.Unlock()
	return b.failed
}

// addBig makes a big file and sends its parts as they are found in the content list, which may be long itself.
func (p *planner) addBig(ctx context.Context, f *folder, e *tree.Entry) error {
	out, err := p.place.create(f, e, true)
	if err != nil {
		return cmp.Or(p.problem(ctx, f, e.Name, err), p.leave(ctx, f))
	}
	b := &bigWrite{folder: f, entry: e, out: out, window: p.window}
	b.parts.Store(1)
	failed := p.sendParts(ctx, b)
	if failed != nil {
		b.fail(failed)
	}
	w := worker{restorer: p.restorer}
	return cmp.Or(w.finishPart(ctx, b), ctx.Err())
}

func (p *planner) sendParts(ctx context.Context, b *bigWrite) error {
	var part []piece
	var offset, size int64
	flush := func() error {
		b.parts.Add(1)
		if err := p.send(ctx, b.window, job{big: b, part: part}); err != nil {
			b.parts.Add(-1)
			return err
		}
		part, size = nil, 0
		return nil
	}
	for x, err := range tree.Extents(ctx, p.repo, b.entry) {
		if err != nil {
			// The rest of the list is lost with the node that held it.
			b.lost.add(offset, b.entry.Size-offset, err)
			break
		}
		if !x.Hole() {
			before := len(part)
			grown, err := p.addPiece(part, x, offset)
			if err != nil {
				return err
			}
			if size >= bigPart && before > 0 && len(grown) > before && !grown[before].sameFrame(&grown[before-1]) {
				next := grown[before]
				part = grown[:before:before]
				if err := flush(); err != nil {
					return err
				}
				grown = []piece{next}
			}
			part = grown
			size += x.Length
		}
		offset += x.Length
	}
	if len(part) > 0 {
		return flush()
	}
	return ctx.Err()
}

// writePart writes a part of a big file, unless it is not wanted any more, and finishes the file after the last.
func (w *worker) writePart(ctx context.Context, j job, wanted bool) error {
	b := j.big
	if !wanted {
		b.fail(context.Canceled)
	}
	for i := range j.part {
		if b.failure() != nil {
			break
		}
		n, err := w.copyPiece(ctx, b.out, b.entry, &j.part[i], &b.lost)
		if err != nil {
			b.fail(err)
			break
		}
		b.written.Add(n)
	}
	return w.finishPart(ctx, b)
}

func (w *worker) finishPart(ctx context.Context, b *bigWrite) error {
	if b.parts.Add(-1) > 0 {
		return nil
	}
	return w.finishFile(ctx, b.folder, b.entry, b.out, b.written.Load(), &b.lost, b.failure())
}
