package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cairn-backup/cairn/engine/source"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// visit is a directory on its way into the restore point.
type visit struct {
	parent *segment    // where its entry stands; nil for the root
	entry  *tree.Entry // its own; gets its Child when everything below is stored
	old    *tree.Entry // the same directory in the previous restore point, or nil

	dir    source.Dir   // nil until a walker opens it
	refs   atomic.Int64 // the walk itself, and everything that is still to be opened through dir
	names  []string     // still to be looked at
	after  string       // the last name looked at
	listed bool
	oldDir *tree.Dir

	mu      sync.Mutex
	queue   []*segment // not written yet, in order
	waiting bool       // more names follow when the first segment in the queue is written
	writer  *tree.Writer
}

// segment is a run of a directory's names: most directories have one, and of a very big one no more than two are
// in memory. It is done when every entry in it is.
type segment struct {
	f       *visit
	entries []*tree.Entry // by name; one that has vanished since has an empty name
	olds    []*tree.Entry // the same name in the previous restore point, or nil
	pending atomic.Int64  // entries that are not done, and one for the walker
	removed bool          // the previous restore point has names that are gone
	last    bool
	ready   bool // guarded by f.mu
}

// path gives the directory's path with a leading and a trailing slash.
func (f *visit) path() string {
	var names []string
	for ; f.parent != nil; f = f.parent.f {
		names = append(names, f.entry.Name)
	}
	path := "/"
	if len(names) > 0 {
		size := 1
		for _, n := range names {
			size += len(n) + 1
		}
		b := make([]byte, 0, size)
		for _, n := range slices.Backward(names) {
			b = append(append(b, '/'), n...)
		}
		path = string(append(b, '/'))
	}
	return path
}

// opened and release keep track of what is open, so that a run that ends early closes everything.
func (r *run) opened(f *visit) {
	r.openMu.Lock()
	defer r.openMu.Unlock()
	r.open[f] = struct{}{}
}

func (r *run) release(f *visit) {
	if f.refs.Add(-1) > 0 {
		return
	}
	r.openMu.Lock()
	delete(r.open, f)
	r.openMu.Unlock()
	f.dir.Close() // nothing was written to it
}

// manyOpen says whether a good part of the files that may be open are directories of the source.
func (r *run) manyOpen() bool {
	r.openMu.Lock()
	defer r.openMu.Unlock()
	return len(r.open) >= r.mostOpen
}

func (r *run) closeAll() {
	r.openMu.Lock()
	defer r.openMu.Unlock()
	for f := range r.open {
		f.dir.Close()
	}
	clear(r.open)
}

// compareWith sets the restore point that the walk compares with.
func (r *run) compareWith(p *index.Point, root *tree.Entry) {
	r.old = root
	r.root.old = root
	r.racyFrom = p.Started.UnixNano() - racyTick
	r.racyTo = p.Finished.UnixNano() + racySlack
}

// walker is one of the goroutines that look at directories.
type walker struct {
	r       *run
	job     []item
	bytes   int64
	scratch tree.Entry
	visits  []*visit // found in the segment being looked at
}

// walk is one walker. It hands on what it has gathered when there is nothing more to look at for now: what it
// waits for may depend on it.
func (r *run) walk(ctx context.Context) error {
	w := &walker{r: r}
	for {
		f := r.visits.pop(false)
		if f == nil {
			if err := w.flush(ctx); err != nil {
				return err
			}
			if f = r.visits.pop(true); f == nil {
				return ctx.Err()
			}
		}
		if err := w.scan(ctx, f); err != nil {
			return err
		}
	}
}

// flush hands the gathered small files to the workers.
func (w *walker) flush(ctx context.Context) error {
	if len(w.job) == 0 {
		return nil
	}
	job := w.job
	w.job, w.bytes = nil, 0
	return w.r.send(ctx, task{job: job})
}

// ready opens and lists a directory that was not looked at yet; false when that is not possible, which is a problem of
// this directory alone.
func (w *walker) ready(ctx context.Context, f *visit) (bool, error) {
	r := w.r
	if f.dir == nil {
		d, err := f.parent.f.dir.Dir(f.entry)
		r.release(f.parent.f)
		if err != nil {
			return false, w.closed(ctx, f, err)
		}
		f.dir = d
		f.refs.Store(1)
		r.opened(f)
		if f.names, err = d.Names(ctx); err != nil {
			r.release(f)
			return false, w.closed(ctx, f, err)
		}
	}
	if p := r.o.Progress; p != nil {
		path := f.path()
		p.Current.Store(&path)
	}
	f.listed = true
	if f.old == nil || f.old.Child.IsZero() {
		return true, nil
	}
	var err error
	if f.oldDir, err = tree.OpenDir(ctx, r.repo, f.old.Child); err != nil {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		w.oldDamaged(f, err)
	}
	return true, nil
}

// closed notes a directory that cannot be read and counts it as done; one that has vanished is no problem.
func (w *walker) closed(ctx context.Context, f *visit, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, fs.ErrNotExist):
		f.entry.Name = ""
	case tooManyFiles(err):
		return fmt.Errorf("%w: %w", ErrTooManyFiles, err)
	default:
		f.entry.Flags |= tree.Unreadable
		w.r.problems.add(f.path(), err)
		w.r.countDir()
	}
	return w.r.done(ctx, f.parent)
}

func (w *walker) oldDamaged(f *visit, err error) {
	w.r.warn(fmt.Sprintf("%q in the previous restore point cannot be compared with, so its files are read: %v", f.path(), err))
	w.r.metDamage(f.path(), err)
	f.oldDir = nil
}

// scan looks at the next segment of a directory.
func (w *walker) scan(ctx context.Context, f *visit) error {
	r := w.r
	if !f.listed {
		if ok, err := w.ready(ctx, f); !ok {
			return err
		}
	}
	names := f.names[:min(len(f.names), r.o.segment)]
	f.names = f.names[len(names):]
	seg := &segment{f: f, last: len(f.names) == 0,
		entries: make([]*tree.Entry, 0, len(names)), olds: make([]*tree.Entry, 0, len(names))}
	seg.pending.Store(1)
	f.mu.Lock()
	f.queue = append(f.queue, seg)
	f.mu.Unlock()

	w.visits = w.visits[:0]
	if err := w.compare(ctx, seg, names); err != nil {
		return err
	}
	if seg.last {
		r.release(f)
	} else {
		f.mu.Lock()
		f.waiting = len(f.queue) > 1
		more := !f.waiting
		f.mu.Unlock()
		if more {
			r.visits.push(f)
		}
	}
	r.visits.push(w.visits...)
	clear(w.visits) // or each keeps all that was below it
	if r.manyOpen() {
		// What was gathered keeps its directories open.
		if err := w.flush(ctx); err != nil {
			return err
		}
	}
	return r.done(ctx, seg)
}

// compare goes through the names and, side by side with them, through the previous restore point.
func (w *walker) compare(ctx context.Context, seg *segment, names []string) error {
	f := seg.f
	next := 0
	if f.oldDir != nil {
	leaves:
		for leaf, err := range f.oldDir.Leaves(ctx, f.after) {
			if err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				w.oldDamaged(f, err)
				seg.removed = true
				break
			}
			for i := range leaf {
				old := &leaf[i]
				for next < len(names) && names[next] < old.Name {
					if err := w.look(ctx, seg, names[next], nil); err != nil {
						return err
					}
					next++
				}
				switch {
				case next < len(names) && names[next] == old.Name:
					if err := w.look(ctx, seg, old.Name, old); err != nil {
						return err
					}
					next++
				case next < len(names) || seg.last:
					w.gone(seg, old)
				default:
					break leaves // it belongs to the next segment
				}
			}
		}
	}
	for ; next < len(names); next++ {
		if err := w.look(ctx, seg, names[next], nil); err != nil {
			return err
		}
	}
	if len(names) > 0 {
		f.after = names[len(names)-1]
	}
	return nil
}

// gone counts what the previous restore point has and the source has no more.
func (w *walker) gone(seg *segment, old *tree.Entry) {
	seg.removed = true
	switch old.Type {
	case tree.File:
		w.r.counts.removed.Add(1)
	case tree.Directory:
		w.r.counts.removed.Add(old.Below.Files)
	}
}

// look takes in one entry.
func (w *walker) look(ctx context.Context, seg *segment, name string, old *tree.Entry) error {
	r, f, now := w.r, seg.f, &w.scratch
	if err := f.dir.Stat(name, now); err != nil {
		if old != nil {
			w.gone(seg, old)
		}
		if !errors.Is(err, source.ErrSkip) && !errors.Is(err, fs.ErrNotExist) {
			r.problems.add(f.path()+name, err)
		}
		return nil
	}
	if old != nil && old.Type != now.Type {
		w.gone(seg, old)
		old = nil
	}
	switch now.Type {
	case tree.Directory:
		return w.lookDir(seg, old)
	case tree.File:
		return w.lookFile(ctx, seg, old)
	}
	r.counts.others.Add(1)
	if old != nil && sameState(old, now) && sameOwners(old, now) && !r.o.Full {
		seg.add(old, old)
		return nil
	}
	e := w.keep()
	r.details(f, e)
	seg.add(e, old)
	return nil
}

// keep copies the scratch entry to where it can stay.
func (w *walker) keep() *tree.Entry {
	e := new(tree.Entry)
	*e = w.scratch
	return e
}

func (seg *segment) add(e, old *tree.Entry) {
	seg.entries = append(seg.entries, e)
	seg.olds = append(seg.olds, old)
}

// details adds symlink target and xattrs. Without them the entry is kept, and flagged.
func (r *run) details(f *visit, e *tree.Entry) {
	if err := f.dir.Details(e); err != nil {
		e.Flags |= tree.Unreadable
		r.problems.add(f.path()+e.Name, err)
	}
}

func (w *walker) lookDir(seg *segment, old *tree.Entry) error {
	e := w.keep()
	if old != nil && old.Ctime == e.Ctime && !w.r.o.Full && old.Flags == 0 {
		e.Xattrs = old.Xattrs
	} else {
		w.r.details(seg.f, e)
	}
	seg.f.refs.Add(1)
	seg.pending.Add(1)
	seg.add(e, old)
	w.visits = append(w.visits, &visit{parent: seg, entry: e, old: old})
	return nil
}

func (w *walker) lookFile(ctx context.Context, seg *segment, old *tree.Entry) error {
	r, now := w.r, &w.scratch
	takeOver := old != nil && r.unchanged(old, now)
	if takeOver {
		var err error
		if takeOver, err = r.reusable(ctx, old); err != nil {
			return err
		}
	}
	if takeOver {
		e := old
		if !sameOwners(old, now) {
			e = w.keep()
			e.Xattrs, e.Content, e.List = old.Xattrs, old.Content, old.List
		}
		seg.add(e, old)
		r.counts.unchanged.Add(1)
		r.countFile(e)
		return nil
	}
	e := w.keep()
	seg.add(e, old)
	if e.Size == 0 {
		r.details(seg.f, e)
		r.countRead(e, old)
		return nil
	}
	it := item{seg, e, old}
	seg.f.refs.Add(1)
	seg.pending.Add(1)
	if e.Size > smallFile {
		select {
		case r.bigs <- it:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	w.job = append(w.job, it)
	w.bytes += e.Size
	if w.bytes >= jobBytes || len(w.job) >= jobFiles {
		return w.flush(ctx)
	}
	return nil
}
