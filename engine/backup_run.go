package engine

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// Bounds of the pipeline. What lies in its queues is at most about taskQueue*jobBytes of small files that are not
// read yet (names and metadata only) and bigBuffers*pieceSize bytes of big files.
const (
	smallFile   = 1 << 20 // bytes; a bigger file is cut into pieces that several workers store
	jobBytes    = 8 << 20 // bytes of neighbouring small files that one worker takes at once
	jobFiles    = 2048    // files, likewise
	taskQueue   = 4       // jobs and pieces waiting for a worker
	bigQueue    = 16      // big files waiting for a reader
	bigReaders  = 2       // big files read at once
	bigBuffers  = 8
	slabSize    = 2 << 20 // bytes of a big file that one worker takes at once
	segmentSize = 4096    // names of a directory that are looked at and held at once
	walkers     = 2       // directories looked at at once
)

// run is one backup: a pipeline of walkers, which list directories and compare them with the previous restore
// point; readers of big files, which cut them into pieces; and workers, which read runs of small files and store them
// and the pieces. Whoever finishes the last entry of a directory stores the directory.
type run struct {
	repo             *index.Repository
	session          *index.Session
	o                BackupOptions
	root             *visit
	old              *tree.Entry // root of the previous restore point; nil when there is none
	racyFrom, racyTo int64       // nanoseconds: files changed in this time are read again, see unchanged

	visits   stack
	tasks    chan task
	bigs     chan item
	buffers  chan []byte
	links    links
	problems problems
	counts   counts

	openMu   sync.Mutex
	open     map[*visit]struct{}
	mostOpen int // from which on directories are not kept open to gather more files
	warnMu   sync.Mutex
}

// counts become the statistics of the restore point.
type counts struct {
	files, dirs, others, bytes, read   atomic.Int64
	added, changed, unchanged, removed atomic.Int64
}

func newRun(repo *index.Repository, o BackupOptions) *run {
	r := &run{
		repo: repo, o: o,
		tasks:   make(chan task, taskQueue),
		bigs:    make(chan item, bigQueue),
		buffers: make(chan []byte, bigBuffers),
		open:    make(map[*visit]struct{}),

		mostOpen: max(4, descriptors()/8),
	}
	r.visits.init()
	r.problems.tell = o.Problem
	r.problems.progress = o.Progress
	for range bigBuffers {
		r.buffers <- nil // made when first used
	}
	return r
}

func (r *run) warn(message string) {
	r.warnMu.Lock()
	defer r.warnMu.Unlock()
	if r.o.Warn != nil {
		r.o.Warn(message)
	}
}

// pipeline stores everything below the root and sets the root's entry. cancel ends ctx, which must stay alive
// until the commit: what was handed to the repository is still on its way there when the pipeline is done.
func (r *run) pipeline(ctx context.Context, cancel context.CancelFunc) error {
	var g errgroup.Group
	start := func(stage func(context.Context) error) {
		g.Go(func() error {
			err := stage(ctx)
			if err != nil {
				cancel()
			}
			return err
		})
	}
	stop := context.AfterFunc(ctx, r.visits.close)
	defer stop()
	r.visits.push(r.root)
	for range walkers {
		start(r.walk)
	}
	for range bigReaders {
		start(r.readBigs)
	}
	for range r.o.Workers {
		start(r.work)
	}
	return g.Wait()
}

// finished is called once the root is stored: nothing is on its way any more, so nobody sends.
func (r *run) finished() {
	r.visits.close()
	close(r.bigs)
	close(r.tasks)
}

// send hands a task to the workers.
func (r *run) send(ctx context.Context, t task) error {
	select {
	case r.tasks <- t:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// task is either a run of small files or a piece of a big one.
type task struct {
	job  []item
	slab *slab
}

// item is a file to be read. Its entry belongs to whoever reads it until the item is done.
type item struct {
	seg *segment
	e   *tree.Entry
	old *tree.Entry // the same name in the previous restore point, or nil
}

func (it item) path() string { return it.seg.f.path() + it.e.Name }

// work is one worker.
func (r *run) work(ctx context.Context) error {
	w := newStorer(r)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case t, ok := <-r.tasks:
			switch {
			case !ok:
				return w.batch.Flush(ctx)
			case t.slab != nil:
				if err := w.storeSlab(ctx, t.slab); err != nil {
					return err
				}
			default:
				if err := w.readJob(ctx, t.job); err != nil {
					return err
				}
			}
		}
	}
}

// stack holds the directories that are to be looked at. The one pushed last comes first, so that the walk goes
// depth first, neighbours follow each other, and few directories are open at once.
type stack struct {
	mu      sync.Mutex
	changed *sync.Cond
	items   []*visit
	closed  bool
}

func (s *stack) init() { s.changed = sync.NewCond(&s.mu) }

// push puts the first of the folders on top.
func (s *stack) push(visits ...*visit) {
	s.mu.Lock()
	for i := len(visits) - 1; i >= 0; i-- {
		s.items = append(s.items, visits[i])
	}
	s.mu.Unlock()
	s.changed.Broadcast()
}

// pop takes the topmost directory. With wait it waits for one; nil means that there is none now, or will be none.
func (s *stack) pop(wait bool) *visit {
	s.mu.Lock()
	defer s.mu.Unlock()
	for wait && len(s.items) == 0 && !s.closed {
		s.changed.Wait()
	}
	if len(s.items) == 0 || s.closed {
		return nil
	}
	last := len(s.items) - 1
	f := s.items[last]
	s.items[last] = nil
	s.items = s.items[:last]
	return f
}

func (s *stack) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.changed.Broadcast()
}

// problems collects what could not be read.
type problems struct {
	tell     func(path string, err error)
	progress *Progress

	mu   sync.Mutex
	n    int64
	kept []index.Problem
}

func (p *problems) add(path string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	if len(p.kept) < index.MaxProblems {
		p.kept = append(p.kept, index.Problem{Path: path, Message: message(err)})
	}
	if p.progress != nil {
		p.progress.Errors.Add(1)
	}
	if p.tell != nil {
		p.tell(path, err)
	}
}

func (p *problems) count() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

func (p *problems) first() []index.Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kept
}

// message is the cause alone: the path stands beside it.
func message(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

// stats gives what the restore point records.
func (r *run) stats() index.Stats {
	s := r.session.Stats()
	return index.Stats{
		Files: r.counts.files.Load(), Dirs: r.counts.dirs.Load(), Others: r.counts.others.Load(),
		Bytes: r.counts.bytes.Load(), Read: r.counts.read.Load(),
		New: r.counts.added.Load(), Changed: r.counts.changed.Load(),
		Unchanged: r.counts.unchanged.Load(), Removed: r.counts.removed.Load(),
		Chunks: s.Chunks, Added: s.Added, AddedStored: s.AddedStored, Reused: s.Reused,
		Errors: r.problems.count(),
	}
}
