package engine

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/index/tree"
)

// Bounds of what the planner holds in memory and hands to one worker at a time.
const (
	windowFiles  = 8192     // files that are sorted by their place in the packs before they are written
	windowPieces = 4 * 8192 // and pieces of content, together
	bigFile      = 4 << 20  // bytes: a file from this size on is written by several workers, and never waits for a window
	bigPart      = 4 << 20  // bytes of a big file in one job, rounded up to a whole frame
	runBytes     = 1 << 20  // content of small files in one job, rounded up to a whole frame
	runFiles     = 128      // files in one job; rounded up to a whole frame, but
	runMost      = 1024     // not beyond this, should one frame hold the content of very many files
)

// folder is one directory of the target. It is finished, which sets its attributes, once everything in it stands.
type folder struct {
	parent  *folder
	name    string
	entry   *tree.Entry  // attributes to give it; nil: it keeps those it has
	pending atomic.Int32 // entries in it that are not finished, plus one until all of them are planned
	handle  folderHandle // guarded by the place
}

func newFolder(parent *folder, name string, e *tree.Entry) *folder {
	f := &folder{parent: parent, name: name, entry: e}
	f.handle.init()
	f.pending.Store(1)
	return f
}

// pathOf gives the path of an entry of the folder inside the restore point. The root folder's name is its path, "" for "/".
func (f *folder) pathOf(name string) string {
	parts := []string{name}
	for ; f != nil; f = f.parent {
		parts = append(parts, f.name)
	}
	slices.Reverse(parts)
	path := strings.Join(parts, "/")
	if path == "" {
		return "/"
	}
	return strings.TrimSuffix(path, "/")
}

// piece is a part of a file that lies in one stretch of one frame; Sealed is zero when the chunk is nowhere.
type piece struct {
	chunkstore.Location
	offset int64 // in the file
	id     chunkstore.ID
}

// sameFrame says whether the piece can be read together with an earlier one.
func (p *piece) sameFrame(q *piece) bool {
	return p.Pack == q.Pack && p.Offset == q.Offset && p.Sealed == q.Sealed
}

// file is one entry, not a directory, on its way to the target.
type file struct {
	folder *folder
	entry  *tree.Entry
	pieces []piece // of a small file
	window *window
}

// job is what one worker does in one go: files whose content lies together, or a part of a big file.
type job struct {
	files []*file
	big   *bigWrite
	part  []piece
}

// window is a group of files that are written in the order of their places, not of their names.
type window struct {
	files  []*file
	pieces int
	links  []link
	open   sync.WaitGroup // jobs not done
}

// linkKey tells the files of a source apart.
type linkKey struct{ device, inode uint64 }

// linkGroup is a file with several names: the first is written, the others are linked to it.
type linkGroup struct {
	folder *folder
	entry  *tree.Entry
	left   uint32 // names of the source not met yet
}

// link is a further name of a file.
type link struct {
	group  *linkGroup
	folder *folder
	entry  *tree.Entry
}

// planner walks the tree for a restorer.
type planner struct {
	*restorer
	windows chan<- *window
	window  *window
}

// plan walks the tree, makes the directories and sends jobs. It never holds more than one window, and one directory
// reader a level of depth.
func (r *restorer) plan(ctx context.Context, t top, windows chan<- *window) error {
	p := &planner{restorer: r, windows: windows, window: &window{}}
	root := r.place.root
	root.name = t.path
	if p := r.options.Progress; p != nil {
		p.SetPhase("restore")
		if t.dir != nil {
			p.TotalFiles.Store(t.dir.Below.Files)
			p.TotalBytes.Store(t.dir.Below.Bytes)
		} else {
			p.TotalFiles.Store(1)
			p.TotalBytes.Store(t.entry.Size)
		}
	}
	if t.entry != nil {
		root.name = strings.TrimSuffix(strings.TrimSuffix(t.path, t.entry.Name), "/")
		if err := p.addEntry(ctx, root, t.entry); err != nil {
			return err
		}
	} else {
		if r.place.fresh() || r.options.Overwrite {
			root.entry = t.dir
		}
		r.dirs.Add(1)
		if err := p.walk(ctx, root, t.dir); err != nil {
			return err
		}
	}
	if err := p.dispatch(ctx); err != nil {
		return err
	}
	// Names outside the restored part may leave groups unfinished; their folders were kept open for them.
	for _, g := range r.links {
		if err := r.leave(ctx, g.folder); err != nil {
			return err
		}
	}
	return r.leave(ctx, root)
}

// walk goes depth-first without recursion: the depth of a tree is bounded by nothing but the source.
func (p *planner) walk(ctx context.Context, root *folder, e *tree.Entry) error {
	var levels []*level
	defer func() {
		for _, l := range levels {
			l.stop()
		}
	}()
	l, err := p.enter(ctx, root, e)
	if l == nil || err != nil {
		return err
	}
	for levels = append(levels, l); len(levels) > 0; {
		l := levels[len(levels)-1]
		e, err := p.next(ctx, l)
		if err != nil {
			return err
		}
		if e == nil {
			l.stop()
			levels = levels[:len(levels)-1]
			if l.folder != root {
				err = p.leave(ctx, l.folder)
			}
		} else if e.Type != tree.Directory {
			err = p.addEntry(ctx, l.folder, e)
		} else if l, err = p.addFolder(ctx, l.folder, e); l != nil {
			levels = append(levels, l)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// level is a directory on the way from the root to where the walk is.
type level struct {
	folder *folder
	leaf   []tree.Entry // entries read and not taken yet
	next   func() ([]tree.Entry, error, bool)
	stop   func()
}

// enter begins to read a directory; nil when it cannot be read, which has been reported then.
func (p *planner) enter(ctx context.Context, f *folder, e *tree.Entry) (*level, error) {
	if e.Child.IsZero() {
		return nil, p.problem(ctx, f, "", errUnreadable)
	}
	dir, err := tree.OpenDir(ctx, p.repo, e.Child)
	if err != nil {
		return nil, p.problem(ctx, f, "", fmt.Errorf("its entries cannot be read: %w", err))
	}
	next, stop := iter.Pull2(dir.Leaves(ctx, ""))
	return &level{folder: f, next: next, stop: stop}, nil
}

// next gives the next entry of a level; nil at its end.
func (p *planner) next(ctx context.Context, l *level) (*tree.Entry, error) {
	for len(l.leaf) == 0 {
		leaf, err, ok := l.next()
		if !ok {
			return nil, ctx.Err()
		}
		if err != nil {
			if err := p.problem(ctx, l.folder, "", fmt.Errorf("some of its entries cannot be read: %w", err)); err != nil {
				return nil, err
			}
			continue
		}
		l.leaf = leaf
	}
	e := &l.leaf[0]
	l.leaf = l.leaf[1:]
	return e, nil
}

// addFolder makes a directory and begins to read it; nil when there is nothing to read in it.
func (p *planner) addFolder(ctx context.Context, parent *folder, e *tree.Entry) (*level, error) {
	if err := checkName(e.Name); err != nil {
		return nil, p.problem(ctx, parent, "", err)
	}
	sub := newFolder(parent, e.Name, e)
	found, err := p.place.makeFolder(sub)
	if err != nil {
		return nil, p.problem(ctx, parent, e.Name, fmt.Errorf("make directory, and nothing below it: %w", err))
	}
	if found && !p.options.Overwrite {
		sub.entry = nil
	}
	parent.pending.Add(1)
	p.dirs.Add(1)
	if p.options.Progress != nil {
		p.options.Progress.Dirs.Add(1)
	}
	l, err := p.enter(ctx, sub, e)
	if l == nil && err == nil {
		err = p.leave(ctx, sub)
	}
	return l, err
}

// addEntry takes an entry that is not a directory.
func (p *planner) addEntry(ctx context.Context, f *folder, e *tree.Entry) error {
	if err := checkName(e.Name); err != nil {
		return p.problem(ctx, f, "", err)
	}
	f.pending.Add(1)
	if e.Links > 1 && p.addLink(f, e) {
		return nil
	}
	if e.Type == tree.File && (e.Size >= bigFile || !e.List.IsZero()) {
		return p.addBig(ctx, f, e)
	}
	file := &file{folder: f, entry: e, window: p.window}
	if e.Type == tree.File {
		pieces, err := p.locate(ctx, e)
		if err != nil {
			return err
		}
		file.pieces = pieces
	}
	p.window.files = append(p.window.files, file)
	p.window.pieces += len(file.pieces)
	if len(p.window.files) >= windowFiles || p.window.pieces >= windowPieces {
		return p.dispatch(ctx)
	}
	return nil
}

// addLink says whether e is a further name of a file met before. The first name's folder is kept unfinished
// until the last name has been met, so that it can be opened whatever its mode will be.
func (p *planner) addLink(f *folder, e *tree.Entry) bool {
	key := linkKey{e.Device, e.Inode}
	group := p.links[key]
	if group == nil {
		f.pending.Add(1)
		p.links[key] = &linkGroup{folder: f, entry: e, left: e.Links - 1}
		return false
	}
	if !sameFile(group.entry, e) {
		return false // the source's inode number was used again while it was read
	}
	group.folder.pending.Add(1) // for this link
	p.window.links = append(p.window.links, link{group, f, e})
	if group.left--; group.left == 0 {
		delete(p.links, key)
		group.folder.pending.Add(-1) // cannot be the last: the link holds it too
	}
	return true
}

func sameFile(a, b *tree.Entry) bool {
	return a.Type == b.Type && a.Size == b.Size && a.Mtime == b.Mtime && a.Rdev == b.Rdev && a.Target == b.Target &&
		a.List == b.List && slices.Equal(a.Content, b.Content)
}

// locate finds where the content of a small file lies, joining chunks that are neighbours in a frame.
func (p *planner) locate(ctx context.Context, e *tree.Entry) ([]piece, error) {
	var pieces []piece
	var offset int64
	for _, x := range e.Content {
		var err error
		if !x.Hole() {
			if pieces, err = p.addPiece(pieces, x, offset); err != nil {
				return nil, err
			}
		}
		offset += x.Length
	}
	return pieces, ctx.Err()
}

func (p *planner) addPiece(pieces []piece, x tree.Extent, offset int64) ([]piece, error) {
	loc, known, err := p.repo.Locate(x.ID)
	if err != nil {
		return nil, fmt.Errorf("look up chunk %s: %w", x.ID, err)
	}
	if !known {
		loc = chunkstore.Location{Length: uint32(x.Length)}
	} else if int64(loc.Length) != x.Length {
		// A place of another length cannot be this chunk: treat it as missing rather than write over the neighbours.
		loc = chunkstore.Location{Length: uint32(x.Length)}
	}
	next := piece{Location: loc, offset: offset, id: x.ID}
	if n := len(pieces); n > 0 && known && !p.plain {
		last := &pieces[n-1]
		if last.sameFrame(&next) && last.Start+last.Length == loc.Start && last.offset+int64(last.Length) == offset {
			last.Length += loc.Length
			return pieces, nil
		}
	}
	return append(pieces, next), nil
}

// dispatch sorts the window's files by place, cuts them into jobs and begins the next window.
func (p *planner) dispatch(ctx context.Context) error {
	w := p.window
	p.window = &window{}
	// Packs are taken in the order in which the walk met them, which is mostly the order in which they were written.
	rank := make(map[chunkstore.PackID]int)
	for _, f := range w.files {
		if len(f.pieces) > 0 {
			if _, met := rank[f.pieces[0].Pack]; !met {
				rank[f.pieces[0].Pack] = len(rank)
			}
		}
	}
	slices.SortStableFunc(w.files, func(a, b *file) int {
		if len(a.pieces) == 0 || len(b.pieces) == 0 {
			return cmp.Compare(len(a.pieces), len(b.pieces)) // files without content first
		}
		x, y := &a.pieces[0], &b.pieces[0]
		return cmp.Or(cmp.Compare(rank[x.Pack], rank[y.Pack]), cmp.Compare(x.Offset, y.Offset), cmp.Compare(x.Start, y.Start))
	})
	for rest := w.files; len(rest) > 0; {
		n := cutRun(rest)
		if err := p.send(ctx, w, job{files: rest[:n:n]}); err != nil {
			return err
		}
		rest = rest[n:]
	}
	w.files = nil
	select {
	case p.windows <- w:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// cutRun says how many of the sorted files make the next job: it ends where a frame does.
func cutRun(files []*file) int {
	var bytes int64
	for i, f := range files {
		if i > 0 && (i >= runFiles || bytes >= runBytes) {
			if i >= runMost || len(f.pieces) == 0 || len(files[i-1].pieces) == 0 {
				return i
			}
			before := files[i-1].pieces
			if !f.pieces[0].sameFrame(&before[len(before)-1]) {
				return i
			}
		}
		for j := range f.pieces {
			bytes += int64(f.pieces[j].Length)
		}
	}
	return len(files)
}

// send gives a job to the workers. Files of one job may be several; the window waits for the job as a whole.
func (p *planner) send(ctx context.Context, w *window, j job) error {
	w.open.Add(1)
	for _, f := range j.files {
		f.window = w
	}
	select {
	case p.jobs <- j:
		return nil
	case <-ctx.Done():
		w.open.Done()
		return ctx.Err()
	}
}

// closeWindows makes the hard links of each window once its files, and those of all windows before, stand.
func (r *restorer) closeWindows(ctx context.Context, windows <-chan *window) error {
	for w := range windows {
		w.open.Wait() // also ends when the restore is cancelled: workers take every job, then without doing it
		for _, l := range w.links {
			if err := r.makeLink(ctx, l); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

func (r *restorer) makeLink(ctx context.Context, l link) error {
	err := r.place.link(l.group.folder, l.group.entry.Name, l.folder, l.entry.Name)
	if err != nil {
		err = r.problem(ctx, l.folder, l.entry.Name, fmt.Errorf("link to %q: %w", l.group.folder.pathOf(l.group.entry.Name), err))
	} else {
		r.count(l.entry, 0)
	}
	return cmp.Or(err, r.leave(ctx, l.folder), r.leave(ctx, l.group.folder))
}

// count adds a finished entry to the result. written is the content written, in bytes.
func (r *restorer) count(e *tree.Entry, written int64) {
	if e.Type != tree.File {
		r.others.Add(1)
		return
	}
	r.files.Add(1)
	r.bytes.Add(written)
	if p := r.options.Progress; p != nil {
		p.Files.Add(1)
		p.Bytes.Add(e.Size - written) // copyPiece counted what was written; the rest is holes
	}
}

// leave says that one entry of f is finished; the last one finishes f, and so on upwards.
func (r *restorer) leave(ctx context.Context, f *folder) error {
	for ; f != nil && f.pending.Add(-1) == 0; f = f.parent {
		if err := r.problem(ctx, f, "", r.place.finishFolder(f)); err != nil {
			return err
		}
	}
	return nil
}

// checkName refuses names that would leave the directory. No backup writes such a name.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("entry %q: not a valid name", name)
	}
	return nil
}
