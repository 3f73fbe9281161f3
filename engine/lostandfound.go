package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// LostTree is the tree of a backup that no restore point refers to: the point was forgotten, or its record was lost, or
// the backup was interrupted just before its end.
type LostTree struct {
	ID       chunkstore.ID
	Pack     chunkstore.PackID // that holds its root
	Stored   time.Time         // when that pack was written, by the destination's clock
	Modified time.Time         // of the topmost directory, as the source had it
	Totals   tree.Totals
}

// LostOptions tune the search for lost trees.
type LostOptions struct {
	// Progress, when not nil, is counted up: Files and TotalFiles in packs.
	Progress *Progress
	// Problem, when not nil, is told of packs that cannot be read, by their names.
	Problem func(object string, err error)
}

// LostAndFound looks through all packs of trees for roots that no restore point refers to, and gives them by the time
// they were stored, the oldest first. Each pack is read once. A backup that is about to end may show up too.
func LostAndFound(ctx context.Context, repo *index.Repository, o LostOptions) ([]LostTree, error) {
	s := &lostSearch{store: repo.Store(), o: o, found: map[chunkstore.ID]LostTree{}}
	if s.o.Progress == nil {
		s.o.Progress = &Progress{}
	}
	s.o.Progress.SetPhase("list")
	packs, err := s.list(ctx, repo)
	if err != nil {
		return nil, err
	}
	s.o.Progress.TotalFiles.Store(int64(len(packs)))
	s.o.Progress.SetPhase("search")
	for _, p := range packs {
		if err := s.pack(ctx, p); err != nil {
			return nil, err
		}
		s.o.Progress.Files.Add(1)
	}
	// The restore points are asked for last, so that a backup that ends meanwhile is not taken for a lost one.
	points, err := repo.Points(ctx)
	if points == nil {
		return nil, fmt.Errorf("read the restore points: %w", err)
	}
	for _, p := range points {
		delete(s.found, p.Root.ID)
	}
	lost := make([]LostTree, 0, len(s.found))
	for _, t := range s.found {
		lost = append(lost, t)
	}
	slices.SortFunc(lost, func(a, b LostTree) int {
		return cmp.Or(a.Stored.Compare(b.Stored), strings.Compare(a.ID.String(), b.ID.String()))
	})
	return lost, nil
}

// treePack is a pack to be searched.
type treePack struct {
	id     chunkstore.PackID
	stored time.Time
}

type lostSearch struct {
	store *chunkstore.Store
	o     LostOptions
	found map[chunkstore.ID]LostTree
}

// list finds the packs of trees. What the index does not list must be asked itself.
func (s *lostSearch) list(ctx context.Context, repo *index.Repository) ([]treePack, error) {
	indexed, err := repo.IndexedPacks(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the packs that the index knows: %w", err)
	}
	data := make(map[chunkstore.PackID]bool)
	for _, p := range indexed {
		data[p.ID] = p.Kind == chunkstore.KindData
	}
	var packs []treePack
	err = s.store.Objects(ctx, func(info destination.Info, _ bool) error {
		if id, ok := chunkstore.ParsePackID(info.Name); ok && !data[id] {
			packs = append(packs, treePack{id: id, stored: info.Modified})
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list the packs: %w", err)
	}
	return packs, nil
}

// pack looks for roots in one pack. A pack that cannot be read, or not all of it, is told of.
func (s *lostSearch) pack(ctx context.Context, p treePack) error {
	table, err := s.store.Table(ctx, p.id)
	if err != nil {
		return s.problem(ctx, p.id, err)
	}
	if table.Kind != chunkstore.KindTree {
		return nil
	}
	chunks := table.Chunks
	var refs []chunkstore.FrameRef
	for _, c := range chunks {
		ref := chunkstore.FrameRef{Offset: c.Location.Offset, Sealed: c.Location.Sealed}
		if len(refs) == 0 || refs[len(refs)-1] != ref {
			refs = append(refs, ref)
		}
	}
	return s.store.Frames(ctx, p.id, refs, func(ref chunkstore.FrameRef, opened []byte, err error) error {
		n := slices.IndexFunc(chunks, func(c chunkstore.Placed) bool { return c.Location.Offset != ref.Offset })
		if n < 0 {
			n = len(chunks)
		}
		own := chunks[:n]
		chunks = chunks[n:]
		if err != nil {
			return s.problem(ctx, p.id, err)
		}
		for _, c := range own {
			if end := uint64(c.Location.Start) + uint64(c.Location.Length); end <= uint64(len(opened)) {
				s.node(ctx, p, c.ID, opened[c.Location.Start:end])
			}
		}
		return nil
	})
}

// node takes in a node if it is the root of a tree.
func (s *lostSearch) node(ctx context.Context, p treePack, id chunkstore.ID, node []byte) {
	if !tree.IsRoot(node) {
		return
	}
	if old, ok := s.found[id]; ok && !old.Stored.After(p.stored) {
		return
	}
	root, err := tree.Root(ctx, oneNode(slices.Clone(node)), id)
	if err != nil {
		return // some other kind of node that happens to begin alike: chunks are what they were stored as
	}
	s.found[id] = LostTree{ID: id, Pack: p.id, Stored: p.stored, Modified: time.Unix(0, root.Mtime).UTC(), Totals: root.Below}
}

func (s *lostSearch) problem(ctx context.Context, id chunkstore.PackID, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, chunkstore.ErrMissing) {
		return nil // removed since it was listed
	}
	s.o.Progress.Errors.Add(1)
	if s.o.Problem != nil {
		s.o.Problem(id.ObjectName(), err)
	}
	return nil
}

// oneNode is a loader of a single node.
type oneNode []byte

// LoadNode gives the node.
func (n oneNode) LoadNode(context.Context, chunkstore.ID) ([]byte, error) { return n, nil }

// AdoptOptions say under which name a lost tree comes back.
type AdoptOptions struct {
	// Source is the name. Required.
	Source string
	// User and PID are told to whoever asks what is in progress.
	User string
	PID  int
	// Progress, when not nil, is counted up.
	Progress *Progress
	// Problem, when not nil, is told of each entry of which something is lost, by its path in the tree.
	Problem func(path string, err error)
}

// adoptedKind stands in a record's configuration in place of the kind of the source.
const adoptedKind = "adopted"

// adopted tells whether a restore point was made from a lost tree. When its backup began nobody knows any more, so
// that no other can rely on its times.
func adopted(p *index.Point) bool { return p.Config["kind"] == adoptedKind }

// Adopt makes a restore point of a lost tree, named by when the tree was stored. All of it is looked for first: what
// a prune is about to delete is stored afresh, and what is gone is told as problems, counted in the point's
// statistics. A tree whose top is gone cannot be adopted.
func Adopt(ctx context.Context, repo *index.Repository, lost LostTree, o AdoptOptions) (*BackupResult, error) {
	if o.Progress == nil {
		o.Progress = &Progress{}
	}
	root, err := tree.Root(ctx, repo, lost.ID)
	if err == nil {
		_, err = tree.OpenDir(ctx, repo, root.Child)
	}
	if err != nil {
		return nil, fmt.Errorf("read the top of tree %s: %w", lost.ID, err)
	}
	s, err := repo.Begin(ctx, index.SessionOptions{Source: o.Source, User: o.User, PID: o.PID})
	if err != nil {
		return nil, fmt.Errorf("begin to adopt tree %s: %w", lost.ID, err)
	}
	a := &adoption{repo: repo, session: s, o: o}
	p, err := a.run(ctx, lost)
	for tries := 1; tries < adoptTries && errors.As(err, new(*index.CondemnedError)); tries++ {
		p, err = a.run(ctx, lost) // a prune came in between
	}
	if err != nil {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("adopt tree %s: %w", lost.ID, err), s.Abort(ending))
	}
	return &BackupResult{Point: p, Problems: a.errors}, nil
}

// adoptTries is how often a tree is looked through at most because a prune condemned some of it meanwhile.
const adoptTries = 5

// adoption is one run of Adopt.
type adoption struct {
	repo     *index.Repository
	session  *index.Session
	batch    *index.Batch
	o        AdoptOptions
	errors   int64
	problems []index.Problem
}

func (a *adoption) run(ctx context.Context, lost LostTree) (*index.Point, error) {
	a.batch, a.errors, a.problems = a.session.NewBatch(), 0, nil
	a.o.Progress.SetPhase("look for all of it")
	a.o.Progress.TotalFiles.Store(lost.Totals.Files)
	a.o.Progress.TotalBytes.Store(lost.Totals.Bytes)
	stats := index.Stats{}
	err := tree.WalkDamaged(ctx, a, lost.ID, func(path string, e *tree.Entry) error {
		switch {
		case e.Type == tree.File:
			stats.Files++
			stats.Bytes += e.Size
			return a.file(ctx, path, e)
		case e.IsDir() && path != "":
			stats.Dirs++
		case !e.IsDir():
			stats.Others++
		}
		return nil
	}, func(path string, err error) error {
		a.problem(path, fmt.Errorf("entries are lost: %w", err))
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := a.batch.Flush(ctx); err != nil {
		return nil, err
	}
	a.o.Progress.SetPhase("commit")
	stats.Errors = a.errors
	return a.session.Commit(ctx, &index.Point{
		Source: a.o.Source, User: a.o.User, Started: lost.Stored.UTC(), Finished: lost.Stored.UTC(), Zone: "UTC",
		Root: tree.Ref{ID: lost.ID, Totals: lost.Totals}, Stats: stats, Problems: a.problems,
		Config: map[string]string{"kind": adoptedKind},
	})
}

// LoadNode reads a node, and has the session keep it.
func (a *adoption) LoadNode(ctx context.Context, id chunkstore.ID) ([]byte, error) {
	node, err := a.repo.LoadNode(ctx, id)
	if err != nil {
		return nil, err
	}
	if _, err := a.session.SaveNode(ctx, node); err != nil {
		return nil, err
	}
	return node, nil
}

// file has the session keep all chunks of a file.
func (a *adoption) file(ctx context.Context, path string, e *tree.Entry) error {
	var first error
	for x, err := range tree.Extents(ctx, a, e) {
		if err == nil && !x.Hole() {
			err = a.chunk(ctx, x.ID)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if first == nil {
			first = err
		}
	}
	if first != nil {
		a.problem(path, fmt.Errorf("bytes are lost: %w", first))
	}
	a.o.Progress.Files.Add(1)
	a.o.Progress.Bytes.Add(e.Size)
	return nil
}

func (a *adoption) chunk(ctx context.Context, id chunkstore.ID) error {
	known, err := a.session.Has(id)
	if known || err != nil {
		return err
	}
	data, err := a.repo.ReadChunk(ctx, id, nil)
	if err != nil {
		return err
	}
	_, _, err = a.batch.Store(ctx, data)
	return err
}

func (a *adoption) problem(path string, err error) {
	path = "/" + path
	a.errors++
	a.o.Progress.Errors.Add(1)
	if len(a.problems) < index.MaxProblems {
		a.problems = append(a.problems, index.Problem{Path: path, Message: err.Error()})
	}
	if a.o.Problem != nil {
		a.o.Problem(path, err)
	}
}
