package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/cairn-backup/cairn/chunkstore/chunker"
	"github.com/cairn-backup/cairn/engine/source"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// attempts is how often a file that changes while it is read is read before it is stored as it is, and marked.
const attempts = 3

// errChanging is the problem of a file that changed during each attempt.
var errChanging = errors.New("it kept changing while it was read: its content may mix several states")

// storer reads small files and stores chunks. Its batch keeps the chunks of neighbours together.
type storer struct {
	r       *run
	batch   *index.Batch
	chunker *chunker.Chunker
	buf     []byte // one small file
	runs    []extent
	extents []tree.Extent
	now     tree.Entry
}

// extent is a run of a file's bytes that is either data or a hole.
type extent struct {
	length int64
	hole   bool
}

func newStorer(r *run) *storer {
	return &storer{r: r, batch: r.session.NewBatch(), chunker: r.repo.Store().Chunker(), buf: make([]byte, smallFile)}
}

// readJob reads and stores a run of small files.
func (w *storer) readJob(ctx context.Context, job []item) error {
	for _, it := range job {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.readFile(ctx, it); err != nil {
			return err
		}
	}
	return nil
}

// readFile reads and stores one small file. The error is one of the repository: one of the file is a problem.
func (w *storer) readFile(ctx context.Context, it item) error {
	r := w.r
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
	var data []byte
	for attempt := 1; ; attempt++ {
		if it.e.Size > int64(len(w.buf)) {
			// It has grown since it was looked at: it is read as a big file is, here and now.
			return r.readBig(ctx, f, it, w.storeSlab)
		}
		var stable bool
		data, stable, err = w.readOnce(f, it.e)
		if err != nil || stable {
			break
		}
		if attempt == attempts {
			it.e.Flags |= tree.Changed
			it.e.Size = int64(len(data))
			err = errChanging
			break
		}
		name := it.e.Name
		*it.e = w.now
		it.e.Name = name
	}
	if storing := w.storeSmall(ctx, it.e, data); storing != nil {
		return storing
	}
	return r.fileDone(ctx, it, err)
}

// readOnce reads the file as long as e says it is, and then its metadata to w.now. stable says that the file is as e
// says it is before and after. With an error data is what could be read.
func (w *storer) readOnce(f source.File, e *tree.Entry) (data []byte, stable bool, err error) {
	n, err := f.ReadAt(w.buf[:e.Size], 0)
	w.r.countBytes(int64(n))
	data = w.buf[:n]
	w.runs = w.runs[:0]
	if err != nil && !errors.Is(err, io.EOF) {
		return data, false, err
	}
	if mayHaveHoles(data) {
		if w.runs, err = appendRuns(w.runs, f, 0, int64(n)); err != nil {
			return data, false, err
		}
	}
	detailsErr := f.Details(e)
	if err := f.Stat(&w.now); err != nil {
		return data, false, err
	}
	if w.now.Type != tree.File {
		return nil, false, fmt.Errorf("it was replaced by a %s", w.now.Type)
	}
	w.now.Xattrs = e.Xattrs
	return data, sameState(&w.now, e) && int64(n) == e.Size, detailsErr
}

// mayHaveHoles says that some block of the data begins with zeros: only then are the file's holes looked up. The
// smallest block in use is 512 bytes.
func mayHaveHoles(data []byte) bool {
	for off := 0; off+8 <= len(data); off += 512 {
		if binary.LittleEndian.Uint64(data[off:]) == 0 {
			return true
		}
	}
	return false
}

// appendRuns asks for the holes between off and size.
func appendRuns(runs []extent, f source.File, off, size int64) ([]extent, error) {
	for off < size {
		start, end, err := f.Data(off, size)
		if err != nil {
			return runs, err
		}
		if start < off || end < start || start < size && end == start {
			return runs, fmt.Errorf("the system tells of data from %d to %d where it was asked from %d", start, end, off)
		}
		if start > off {
			runs = append(runs, extent{start - off, true})
		}
		if end > start {
			runs = append(runs, extent{end - start, false})
		}
		off = end
	}
	return runs, nil
}

// storeSmall stores the content of a small file, of which w.runs are the holes, if it has any, and lists it in e.
func (w *storer) storeSmall(ctx context.Context, e *tree.Entry, data []byte) error {
	w.extents = w.extents[:0]
	if len(w.runs) == 0 {
		w.runs = append(w.runs, extent{int64(len(data)), false})
	}
	for _, run := range w.runs {
		if run.hole {
			w.extents = append(w.extents, tree.Extent{Length: run.length})
		} else if err := w.storeData(ctx, data[:run.length]); err != nil {
			return err
		}
		data = data[run.length:]
	}
	e.Content = append([]tree.Extent(nil), w.extents...)
	return nil
}

// storeData cuts and stores bytes that end where a file or a run of its data ends.
func (w *storer) storeData(ctx context.Context, data []byte) error {
	for len(data) > 0 {
		n := w.chunker.Cut(data)
		if err := w.storeChunk(ctx, data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// storeChunk stores one chunk and appends it to w.extents.
func (w *storer) storeChunk(ctx context.Context, chunk []byte) error {
	id, added, err := w.batch.Store(ctx, chunk)
	if err != nil {
		return err
	}
	if p := w.r.o.Progress; p != nil && added {
		p.Added.Add(int64(len(chunk)))
	}
	w.extents = append(w.extents, tree.Extent{ID: id, Length: int64(len(chunk))})
	return nil
}

func (r *run) countBytes(n int64) {
	r.counts.read.Add(n)
	if p := r.o.Progress; p != nil {
		p.Read.Add(n)
	}
}

// fileDone ends the work on a file. err is what was wrong with it, if anything.
func (r *run) fileDone(ctx context.Context, it item, err error) error {
	switch {
	case err == nil:
		r.links.add(it.e)
	case ctx.Err() != nil:
		return ctx.Err()
	case tooManyFiles(err):
		return fmt.Errorf("%s: %w: %w", it.path(), ErrTooManyFiles, err)
	case errors.Is(err, fs.ErrNotExist) && len(it.e.Content) == 0:
		it.e.Name = "" // deleted since it was listed: no problem
		return r.done(ctx, it.seg)
	default:
		if !errors.Is(err, errChanging) {
			it.e.Flags |= tree.Unreadable
		}
		r.problems.add(it.path(), err)
	}
	r.countRead(it.e, it.old)
	return r.done(ctx, it.seg)
}

// links remembers the content of files with several names, so that each is read once. It forgets a file when all
// its names were met, and takes no more than linksMax files.
type links struct {
	mu    sync.Mutex
	files map[[2]uint64]*linked
}

const linksMax = 1 << 16

type linked struct {
	entry tree.Entry
	left  uint32 // names not met yet
}

// find gives e the content that another name of the same file has been stored with.
func (l *links) find(e *tree.Entry) bool {
	if e.Links < 2 || e.Inode == 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := [2]uint64{e.Device, e.Inode}
	known := l.files[key]
	if known == nil || !sameState(&known.entry, e) {
		return false
	}
	e.Content, e.List, e.Xattrs = known.entry.Content, known.entry.List, known.entry.Xattrs
	return true
}

// add remembers e, or counts one more of its names as met.
func (l *links) add(e *tree.Entry) {
	if e.Links < 2 || e.Inode == 0 || e.Flags != 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := [2]uint64{e.Device, e.Inode}
	known := l.files[key]
	switch {
	case known == nil && len(l.files) < linksMax:
		if l.files == nil {
			l.files = make(map[[2]uint64]*linked)
		}
		l.files[key] = &linked{*e, e.Links - 1}
	case known == nil:
	case known.left > 1:
		known.left--
	default:
		delete(l.files, key)
	}
}
