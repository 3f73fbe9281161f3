//go:build linux

package fs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// holdings is what the tree needs of the index.
type holdings interface {
	tree.Loader
	// Points also brings the index up to date when there are new ones.
	Points(ctx context.Context) ([]*index.Point, error)
	Locate(id chunkstore.ID) (chunkstore.Location, bool, error)
}

// frames is what the tree needs of the store. What Frame gives is shared and must not be modified.
type frames interface {
	Frame(ctx context.Context, pack chunkstore.PackID, offset, sealed uint32) ([]byte, error)
	FrameCached(pack chunkstore.PackID, offset uint32) ([]byte, bool)
	Table(ctx context.Context, id chunkstore.PackID) (chunkstore.Pack, error)
	Cut(opened []byte, id chunkstore.ID, loc chunkstore.Location) ([]byte, error)
}

var (
	_ holdings = (*index.Repository)(nil)
	_ frames   = (*chunkstore.Store)(nil)
)

// view is what all nodes share: the repository, which restore points there are, and what was opened lately.
type view struct {
	ctx   context.Context // of the mount
	repo  holdings
	store frames
	now   func() time.Time
	log   func(string)

	points    atomic.Pointer[catalog]
	stale     atomic.Bool // a second has gone by since the last look
	refreshMu sync.Mutex
	changed   func(old, now *catalog) // told after a change; nil before there is a kernel to tell

	roots sync.Map // sequence number -> *tree.Entry, the topmost directory
	dirs  *recent[chunkstore.ID, *tree.Dir]
	files *recent[*tree.Entry, *tree.Content]
	ahead *ahead

	reportMu sync.Mutex
	reported map[string]bool
}

func newView(repo holdings, store frames, o Options) *view {
	v := &view{repo: repo, store: store, now: o.Now, log: o.Log, reported: map[string]bool{},
		dirs: newRecent[chunkstore.ID, *tree.Dir](64), files: newRecent[*tree.Entry, *tree.Content](64)}
	if v.log == nil {
		v.log = func(string) {}
	}
	v.points.Store(newCatalog(nil))
	return v
}

// catalog is which restore points there were at one look. It is not changed afterwards.
type catalog struct {
	names   []string // of the sources, sorted
	sources map[string]*history
	changed time.Time // when the newest point was finished
}

// history is the restore points of one source, at least one unless the source is unknown.
type history struct {
	points []*index.Point // by sequence
	byName map[string]*index.Point
}

func newCatalog(points []*index.Point) *catalog {
	c := &catalog{sources: map[string]*history{}}
	for _, p := range points {
		if !showable(p.Source) || !showable(p.Name) {
			continue
		}
		h := c.sources[p.Source]
		if h == nil {
			h = &history{byName: map[string]*index.Point{}}
			c.sources[p.Source] = h
			c.names = append(c.names, p.Source)
		}
		h.points = append(h.points, p)
		h.byName[p.Name] = p
		if p.Finished.After(c.changed) {
			c.changed = p.Finished
		}
	}
	slices.Sort(c.names)
	for _, h := range c.sources {
		slices.SortFunc(h.points, func(a, b *index.Point) int { return int(int64(a.Sequence) - int64(b.Sequence)) })
	}
	return c
}

// showable says whether a name can stand in a directory.
func showable(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 255 && !strings.ContainsAny(name, "/\x00")
}

// history gives the restore points of a source; an empty one when there are none.
func (c *catalog) history(source string) *history {
	if h := c.sources[source]; h != nil {
		return h
	}
	return &history{}
}

func (h *history) latest() *index.Point { return h.points[len(h.points)-1] }

func (h *history) changed() time.Time {
	if len(h.points) == 0 {
		return time.Time{}
	}
	return h.latest().Finished
}

// current is the catalog, looked up afresh when a second has gone by.
func (v *view) current(ctx context.Context) *catalog {
	if v.stale.CompareAndSwap(true, false) {
		if err := v.refresh(ctx); err != nil {
			v.report("/", err)
		}
	}
	return v.points.Load()
}

// refresh looks which restore points there are. Points whose records are damaged are left out and told in the error; when no
// list is to be had at all, the last one stays.
func (v *view) refresh(ctx context.Context) error {
	v.refreshMu.Lock()
	defer v.refreshMu.Unlock()
	points, err := v.repo.Points(ctx)
	if err != nil {
		err = fmt.Errorf("list restore points: %w", err)
		if len(points) == 0 {
			return err
		}
	}
	old, now := v.points.Load(), newCatalog(points)
	if same(old, now) {
		return err
	}
	v.points.Store(now)
	for _, h := range old.sources {
		for _, p := range h.points {
			if now.history(p.Source).byName[p.Name] != p {
				v.roots.Delete(p.Sequence)
			}
		}
	}
	if v.changed != nil {
		v.changed(old, now)
	}
	return err
}

// same says whether two catalogs hold the same restore points.
func same(a, b *catalog) bool {
	if !slices.Equal(a.names, b.names) {
		return false
	}
	return !slices.ContainsFunc(a.names, func(name string) bool {
		return !slices.EqualFunc(a.sources[name].points, b.sources[name].points, func(p, q *index.Point) bool {
			return p.Sequence == q.Sequence && p.Name == q.Name
		})
	})
}

// openDir opens a directory by its root node, or gives it again when it was opened lately.
func (v *view) openDir(ctx context.Context, id chunkstore.ID) (*tree.Dir, error) {
	return v.dirs.get(id, func() (*tree.Dir, error) { return tree.OpenDir(ctx, v.repo, id) })
}

// report logs what went wrong with a path, once for each distinct error: one damaged pack meets every reader.
func (v *view) report(path string, err error) {
	key := err.Error()
	v.reportMu.Lock()
	again := v.reported[key]
	if len(v.reported) >= 10000 {
		clear(v.reported)
	}
	v.reported[key] = true
	v.reportMu.Unlock()
	if !again {
		v.log(fmt.Sprintf("%q: %v", path, err))
	}
}
