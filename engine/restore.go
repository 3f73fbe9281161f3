package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// RestoreOptions tune a restore. The zero value restores everything exactly and replaces nothing.
type RestoreOptions struct {
	// Overwrite lets restored entries replace what stands in their way. A file is replaced only once its
	// restored content is whole; a directory is never replaced by something else, it stays with all that is in it.
	Overwrite bool
	// Devices says what becomes of device nodes.
	Devices Devices
	// Workers is the number of goroutines that read and write files; zero means one a processor, at least 2.
	Workers int
	// Progress, when not nil, is counted up while the restore runs.
	Progress *Progress
	// Problem, when not nil, is told of each entry that could not be restored entirely, one call at a time.
	// The path is the one inside the restore point, starting with "/".
	Problem func(path string, err error)
	// Warn, when not nil, is told of what is worth knowing but is no problem, such as owners that only root may set.
	Warn func(message string)
}

// Devices says what a restore does with device nodes. One that is made as root gives whoever may open it the machine's
// disks or memory, wherever it stands, and the tree decides on its owner and mode.
type Devices int

// What becomes of device nodes.
const (
	DevicesReported Devices = iota // they are left out, and each is a problem: ErrDeviceLeftOut
	DevicesMade                    // they are made
	DevicesSkipped                 // they are left out, which is noted
)

// ErrDeviceLeftOut is the problem of a device node that was not asked for.
var ErrDeviceLeftOut = errors.New("device node left out: devices are made only on demand")

// RestoreResult says what a restore did.
type RestoreResult struct {
	Files    int64 // regular files written, further names of hard-linked ones included
	Dirs     int64 // directories made or found
	Others   int64 // symlinks, FIFOs, sockets and devices
	Bytes    int64 // bytes of file content written, holes excluded
	Problems int64 // entries that could not be restored entirely: reported, not fatal
}

// InTheWayError says which entries already exist where the restore would write. Nothing has been written.
type InTheWayError struct {
	Target string
	Paths  []string // the first few, relative to the target
	Count  int64    // all of them
}

func (e *InTheWayError) Error() string {
	list := make([]string, len(e.Paths))
	for i, p := range e.Paths {
		list[i] = fmt.Sprintf("%q", p)
	}
	text := strings.Join(list, ", ")
	if more := e.Count - int64(len(e.Paths)); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("restore into %s: already there: %s", e.Target, text)
}

// LostRangeError is the problem of a file that was restored but for some ranges, which read as zeros.
type LostRangeError struct {
	Ranges []LostRange // ascending, at most maxLostRanges of them
	Bytes  int64       // of all lost ranges together
	Err    error       // what stood in the way of the first
}

// LostRange is a part of a file, in bytes.
type LostRange struct{ Offset, Length int64 }

// maxLostRanges bounds how many lost ranges of one file are remembered; Bytes counts them all.
const maxLostRanges = 64

func (e *LostRangeError) Error() string {
	text := fmt.Sprintf("%d bytes lost", e.Bytes)
	for i, r := range e.Ranges {
		if i == 3 {
			text += ", ..."
			break
		}
		text += fmt.Sprintf(", %d at offset %d", r.Length, r.Offset)
	}
	return fmt.Sprintf("%s: %v", text, e.Err)
}

func (e *LostRangeError) Unwrap() error { return e.Err }

func (e *LostRangeError) sort() {
	slices.SortFunc(e.Ranges, func(a, b LostRange) int { return cmp.Compare(a.Offset, b.Offset) })
}

// ErrTarget is in the errors that end a restore because the target cannot be written any more: it is full or read-only.
var ErrTarget = errors.New("the target cannot be written")

// errUnreadable is the problem of a file whose content the backup could not read.
var errUnreadable = errors.New("its content could not be read when it was backed up")

// Restore writes what path names in the restore point into the directory target, which is made when missing. A path that is
// a directory ("/" for everything) becomes the target itself; any other path becomes an entry of that name in it.
//
// A directory that was there before and held something keeps its own attributes unless Overwrite is set. Entries that
// cannot be restored entirely are reported and the rest goes on; ranges of files that are damaged beyond repair read as zeros. An
// error means that the restore stopped: *[InTheWayError] before anything was written, a full disk, or a cancelled context.
func Restore(ctx context.Context, repo *index.Repository, point *index.Point, path, target string, o RestoreOptions) (*RestoreResult, error) {
	r := &restorer{repo: repo, options: o, plain: repo.Store().Config().Plain}
	top, err := r.find(ctx, point, path)
	if err != nil {
		return nil, err
	}
	p, err := openPlace(target, o.Overwrite)
	if err != nil {
		if endsRestore(err) {
			err = fmt.Errorf("%w: %w", ErrTarget, err)
		}
		return nil, fmt.Errorf("restore into %s: %w", target, err)
	}
	defer p.close()
	r.place = p
	if err := r.checkFree(ctx, top, target); err != nil {
		return nil, err
	}
	err = r.run(ctx, top)
	for _, note := range p.notes.list() {
		if o.Warn != nil {
			o.Warn(note)
		}
	}
	if err != nil {
		return r.result(), fmt.Errorf("restore into %s: %w", target, err)
	}
	return r.result(), nil
}

// restorer is one running restore. The planner goroutine walks the tree, makes directories and cuts the files into
// jobs; workers carry the jobs out; the closer makes hard links once the files of a window stand.
type restorer struct {
	repo    *index.Repository
	options RestoreOptions
	plain   bool // no encryption: a chunk is checked against its id
	place   *place
	jobs    chan job

	files, dirs, others, bytes, problems atomic.Int64

	reporting sync.Mutex             // held while Problem or Warn is called
	links     map[linkKey]*linkGroup // planner only
}

// top is what a restore starts from.
type top struct {
	dir   *tree.Entry // the directory that becomes the target; nil when entry is set
	entry *tree.Entry // the one entry that is put into the target
	path  string      // of dir or entry in the restore point, "" for the root
}

func (r *restorer) find(ctx context.Context, point *index.Point, path string) (top, error) {
	clean := strings.Trim(path, "/")
	e, err := tree.Find(ctx, r.repo, point.Root.ID, clean)
	if err != nil {
		return top{}, fmt.Errorf("restore %s of %s@%s: %w", "/"+clean, point.Source, point.Name, err)
	}
	if clean != "" {
		clean = "/" + clean
	}
	if e.Type == tree.Directory {
		return top{dir: e, path: clean}, nil
	}
	return top{entry: e, path: clean}, nil
}

func (r *restorer) run(ctx context.Context, t top) error {
	workers := r.options.Workers
	if workers <= 0 {
		workers = max(2, runtime.GOMAXPROCS(0))
	}
	r.jobs = make(chan job, 2*workers)
	r.links = make(map[linkKey]*linkGroup)
	windows := make(chan *window, 1)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(windows)
		defer close(r.jobs)
		return r.plan(ctx, t, windows)
	})
	for range workers {
		group.Go(func() error { return r.work(ctx) })
	}
	group.Go(func() error { return r.closeWindows(ctx, windows) })
	return group.Wait()
}

func (r *restorer) result() *RestoreResult {
	return &RestoreResult{
		Files: r.files.Load(), Dirs: r.dirs.Load(), Others: r.others.Load(),
		Bytes: r.bytes.Load(), Problems: r.problems.Load(),
	}
}

// problem reports an entry that could not be restored entirely. It returns an error, which ends the restore, when
// going on would be pointless: the target is full or gone, or the context has ended.
func (r *restorer) problem(ctx context.Context, f *folder, name string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if endsRestore(err) {
		return fmt.Errorf("%s: %w: %w", f.pathOf(name), ErrTarget, err)
	}
	r.problems.Add(1)
	r.reporting.Lock()
	defer r.reporting.Unlock()
	if r.options.Progress != nil {
		r.options.Progress.Errors.Add(1)
	}
	if r.options.Problem != nil {
		r.options.Problem(f.pathOf(name), err)
	}
	return nil
}

func (r *restorer) warn(message string) {
	r.reporting.Lock()
	defer r.reporting.Unlock()
	if r.options.Warn != nil {
		r.options.Warn(message)
	}
}

// maxListed bounds how many entries an InTheWayError names.
const maxListed = 20

// checkFree finds what stands in the way before anything is written. Its cost grows with what the target holds,
// not with the restore point.
func (r *restorer) checkFree(ctx context.Context, t top, target string) error {
	if r.options.Overwrite || r.place.fresh() {
		return nil
	}
	found := &InTheWayError{Target: target}
	add := func(path string) {
		found.Count++
		if len(found.Paths) < maxListed {
			found.Paths = append(found.Paths, path)
		}
	}
	if t.entry != nil {
		exists, _, err := r.place.look(r.place.root, t.entry.Name)
		if err != nil {
			return err
		}
		if exists {
			add(t.entry.Name)
		}
	} else if err := r.checkFolder(ctx, r.place.root, t.dir, "", add); err != nil {
		return fmt.Errorf("look into %s: %w", target, err)
	}
	if found.Count > 0 {
		return found
	}
	return nil
}

func (r *restorer) checkFolder(ctx context.Context, f *folder, e *tree.Entry, path string, add func(string)) error {
	dir, err := tree.OpenDir(ctx, r.repo, e.Child)
	if err != nil {
		// The restore itself reports a directory that cannot be read.
		return ctx.Err()
	}
	return r.place.names(f, func(name string) error {
		wanted, err := dir.Lookup(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return ctx.Err()
		}
		exists, isDir, err := r.place.look(f, name)
		switch {
		case err != nil:
			return err
		case !exists:
			return nil
		case !isDir || wanted.Type != tree.Directory:
			add(path + name)
			return nil
		}
		return r.checkFolder(ctx, newFolder(f, name, nil), wanted, path+name+"/", add)
	})
}
