package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/engine/source"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// BackupOptions tune a backup. What is in it is chosen where the source is made (package engine/source/files).
type BackupOptions struct {
	// Source is the name under which the restore points stand. Required.
	Source string
	// Full reads every file again, whatever its times say.
	Full bool
	// Tags are kept in the restore point.
	Tags []string
	// Pinned keeps every retention policy from dropping the restore point.
	Pinned bool
	// Task is the task that this backup is a run of; empty for a one-time backup.
	Task string
	// User and PID are told to whoever asks what is in progress. Both may be empty.
	User string
	PID  int
	// IgnoreSpace goes on when less space is free than the backup is likely to need.
	IgnoreSpace bool
	// Now tells the time. Required.
	Now func() time.Time
	// Progress, when not nil, is counted up while the backup runs.
	Progress *Progress
	// Warn, when not nil, is told of what the user should know but need not stop for.
	Warn func(message string)
	// Problem, when not nil, is told of each entry that could not be read, or not consistently. Paths are
	// those in the restore point, with a leading "/". Warn and Problem may be called from several goroutines, one at a time.
	Problem func(path string, err error)
	// Workers is the number of goroutines that read, compress and store; zero means one a processor, at least 2.
	Workers int

	segment int // names of a directory in one segment; zero means segmentSize
}

// BackupResult says what a backup did.
type BackupResult struct {
	Point    *index.Point
	Previous *index.Point // the restore point that was built on; nil for the first of a source
	// Problems counts the entries that were not stored entirely and consistently; the caller exits with 3 when it is not 0.
	Problems int64
}

// abortTime is how long a backup that failed or was cancelled may take to list what it has stored already.
const abortTime = 20 * time.Second

// Backup makes a restore point of src. Until it returns without an error nothing of it is listed anywhere; when
// it is cancelled or fails, what was stored already is found and used by the next one.
func Backup(ctx context.Context, repo *index.Repository, src source.Source, o BackupOptions) (*BackupResult, error) {
	if o.Source == "" || o.Now == nil {
		return nil, errors.New("a backup needs the name of its source and a clock")
	}
	if o.Workers <= 0 {
		o.Workers = max(2, runtime.NumCPU())
	}
	if o.segment <= 0 {
		o.segment = segmentSize
	}
	r := newRun(repo, o)
	started := o.Now()
	o.Progress.SetPhase("prepare")
	if err := r.openSource(ctx, src); err != nil {
		return nil, err
	}
	defer func() { r.closeAll() }()
	previous, err := r.findPrevious(ctx, started)
	if err != nil {
		return nil, err
	}
	if err := r.checkPlace(ctx, src, previous); err != nil {
		return nil, err
	}
	if err := r.begin(ctx); err != nil {
		return nil, err
	}
	for pass := 1; ; pass++ {
		point, err := r.makePoint(ctx, src.Describe(), started)
		if err == nil {
			return &BackupResult{Point: point, Previous: previous, Problems: r.problems.count()}, nil
		}
		next, err := r.again(ctx, src, err, pass)
		if err != nil {
			r.abort(ctx)
			return nil, fmt.Errorf("back up %s: %w", o.Source, err)
		}
		r.closeAll()
		r = next
	}
}

func (r *run) begin(ctx context.Context) error {
	s, err := r.repo.Begin(ctx, index.SessionOptions{Source: r.o.Source, User: r.o.User, PID: r.o.PID})
	if err != nil {
		return fmt.Errorf("begin the backup of %s: %w", r.o.Source, err)
	}
	r.session = s
	return nil
}

// abort ends the session also when ctx has been cancelled: what is stored gets listed for the next backup.
func (r *run) abort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
	defer cancel()
	if err := r.session.Abort(ctx); err != nil {
		r.warn("what this backup had stored could not be listed for the next one: " + err.Error())
	}
}

// openSource opens the root and looks whether there is anything to back up.
func (r *run) openSource(ctx context.Context, src source.Source) error {
	root := &visit{entry: new(tree.Entry)}
	d, err := src.Root(ctx, root.entry)
	if err != nil {
		return err
	}
	root.dir = d
	root.refs.Store(1)
	r.opened(root)
	if root.names, err = d.Names(ctx); err == nil && len(root.names) == 0 {
		err = source.ErrEmpty
	}
	if err != nil {
		r.closeAll()
		return fmt.Errorf("%s: %w", strings.Join(src.Describe().Paths, ", "), err)
	}
	r.root = root
	return nil
}

// findPrevious finds the newest restore point of the same source and makes it what the walk compares with. One that
// was adopted will not do: when its backup read the files is not known, so a change in that very moment may hide.
func (r *run) findPrevious(ctx context.Context, now time.Time) (*index.Point, error) {
	points, err := r.repo.Points(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r.warn("some restore points cannot be read: " + err.Error())
	}
	r.checkClock(points, now)
	var newest *index.Point
	for _, p := range points {
		if p.Source == r.o.Source && !adopted(p) && (newest == nil || p.Sequence > newest.Sequence) {
			newest = p
		}
	}
	if newest == nil {
		return nil, nil
	}
	old, err := tree.Root(ctx, r.repo, newest.Root.ID)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r.warn(fmt.Sprintf("restore point %s cannot be compared with, so everything is read: %v", newest.Name, err))
		r.metDamage("/", err)
		return newest, nil
	}
	r.compareWith(newest, old)
	if r.o.Progress != nil {
		r.o.Progress.TotalFiles.Store(newest.Stats.Files)
		r.o.Progress.TotalBytes.Store(newest.Stats.Bytes)
	}
	return newest, nil
}

// makePoint runs the pipeline and commits what came out of it.
func (r *run) makePoint(ctx context.Context, d source.Description, started time.Time) (*index.Point, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.o.Progress.SetPhase("backup")
	if err := r.checkPacks(ctx); err != nil {
		return nil, err
	}
	if err := r.pipeline(ctx, cancel); err != nil {
		return nil, err
	}
	r.o.Progress.SetPhase("commit")
	ref, err := tree.SaveRoot(ctx, r.session, r.root.entry)
	if err != nil {
		return nil, fmt.Errorf("store the root: %w", err)
	}
	zone, offset := started.Zone()
	p := &index.Point{
		Source: r.o.Source, Task: r.o.Task, User: r.o.User, Kind: index.Incremental,
		Started: started.UTC(), Zone: zone, Offset: offset,
		Paths: d.Paths, Root: ref, Tags: r.o.Tags, Pinned: r.o.Pinned,
		Config: map[string]string{"kind": d.Kind},
	}
	if d.Settings != "" {
		p.Config["settings"] = d.Settings
	}
	if r.o.Full || r.old == nil {
		p.Kind = index.Full
	}
	p.Problems = r.problems.first()
	p.Stats = r.stats()
	p.Finished = r.o.Now().UTC()
	return r.session.Commit(ctx, p)
}
