package locator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cairn-backup/cairn/chunkstore"
)

// Cache is the folder of runs of one repository on this host. It is safe for use by many goroutines.
type Cache struct {
	dir        string
	repository [16]byte
	warn       func(error)

	change sync.Mutex // held by whatever replaces runs
	mu     sync.RWMutex
	runs   []*run   // the biggest first
	stale  []string // runs in the folder that others cover; under change
	gen    atomic.Uint64
}

// CorruptError: a file of the cache is not what was written. Drop it with [Cache.Discard] and fold again.
type CorruptError struct {
	File string // name in the cache's folder
	Err  error
}

// Error names the file.
func (e *CorruptError) Error() string { return fmt.Sprintf("cache file %s: %v", e.File, e.Err) }

// Unwrap returns the cause.
func (e *CorruptError) Unwrap() error { return e.Err }

// Stats tell how big the cache is.
type Stats struct {
	Runs   int
	Chunks int64 // entries; a chunk that several packs hold may count for each of several runs
	Packs  int
	Disk   int64 // bytes of all runs
	Memory int64 // bytes that look-ups keep in use: filters, fences, packs and tables, all loaded
}

// Open opens the cache of a repository in dir, which it makes. Damaged runs are dropped with a warning. An error means
// that the folder cannot be used.
func Open(dir string, repository [16]byte, warn func(error)) (*Cache, error) {
	if warn == nil {
		warn = func(error) {}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make cache folder: %w", err)
	}
	c := &Cache{dir: dir, repository: repository, warn: warn}
	if err := c.Reload(context.Background()); err != nil {
		return nil, err
	}
	return c, nil
}

// Close lets go of all runs. No method may be in use.
func (c *Cache) Close() error {
	c.change.Lock()
	defer c.change.Unlock()
	c.replace(nil)
	return nil
}

// Lookup tells where a chunk lies. The error is a *CorruptError.
func (c *Cache) Lookup(id chunkstore.ID) (chunkstore.Location, bool, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, r := range c.runs {
		loc, ok, err := r.lookup(&id)
		if err != nil || ok {
			return loc, ok, err
		}
	}
	return chunkstore.Location{}, false, nil
}

// Generation changes whenever the set of runs does, before ids that a Fold brought can be forgotten by who asked for it.
func (c *Cache) Generation() uint64 { return c.gen.Load() }

// Covered returns the names of the index objects that the cache holds the chunks of.
func (c *Cache) Covered() map[string]struct{} {
	c.mu.RLock()
	defer c.mu.RUnlock()
	all := make(map[string]struct{})
	for _, r := range c.runs {
		for _, name := range r.covers {
			all[name] = struct{}{}
		}
	}
	return all
}

// PackRecord is a pack that the cache's entries refer to.
type PackRecord struct {
	ID   chunkstore.PackID
	Kind chunkstore.Kind
	Size int64 // of the object, bytes
}

// Packs returns all packs that entries may lie in, each once, in no particular order.
func (c *Cache) Packs() []PackRecord {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var all []PackRecord
	seen := make(map[chunkstore.PackID]struct{})
	for _, r := range c.runs {
		for _, p := range r.packs {
			if _, ok := seen[p.ID]; !ok {
				seen[p.ID] = struct{}{}
				all = append(all, p)
			}
		}
	}
	return all
}

// Stats tells how big the cache is.
func (c *Cache) Stats() Stats {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var s Stats
	for _, r := range c.runs {
		s.Runs++
		s.Chunks += r.entries
		s.Packs += len(r.packs)
		s.Disk += r.size
		s.Memory += r.memory()
	}
	return s
}

// Reload takes in the runs that other processes wrote and drops those that they merged or dropped.
func (c *Cache) Reload(ctx context.Context) error {
	c.change.Lock()
	defer c.change.Unlock()
	return c.reload(ctx)
}

// reload opens the runs in the folder. Between listing and opening a run may vanish, because a merge replaced it: then
// the folder is listed again. A damaged run stays out; it is removed by whoever writes next.
func (c *Cache) reload(ctx context.Context) error {
	open := make(map[string]*run)
	for _, r := range c.runs {
		open[r.name] = r
	}
	var opened []*run
	for {
		names, err := c.list()
		if err != nil {
			return err
		}
		var runs []*run
		vanished := false
		for _, name := range names {
			r := open[name]
			if r == nil {
				r, err = openRun(c.dir, name, c.repository)
				switch {
				case errors.Is(err, fs.ErrNotExist):
					vanished = true
					continue
				case err != nil:
					c.warn(fmt.Errorf("drop it and make it again from the repository: %w", err))
					c.remove(name)
					continue
				}
				open[name] = r
				opened = append(opened, r)
			}
			runs = append(runs, r)
		}
		if vanished && ctx.Err() == nil {
			continue
		}
		kept := withoutSubsets(runs)
		for _, r := range opened {
			if !slices.Contains(kept, r) {
				r.close()
			}
		}
		c.stale = nil
		for _, r := range runs {
			if !slices.Contains(kept, r) {
				c.stale = append(c.stale, r.name)
			}
		}
		c.replace(kept)
		return ctx.Err()
	}
}

// list returns the names of the runs in the folder.
func (c *Cache) list() ([]string, error) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, fmt.Errorf("list cache folder: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), runPrefix) && strings.HasSuffix(e.Name(), runSuffix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// withoutSubsets returns the runs, the biggest first, without those whose objects other runs cover: what a merge that
// was killed between its rename and its removals leaves.
func withoutSubsets(runs []*run) []*run {
	slices.SortFunc(runs, func(a, b *run) int {
		if len(a.covers) != len(b.covers) {
			return len(b.covers) - len(a.covers)
		}
		return strings.Compare(a.name, b.name)
	})
	covered := make(map[string]struct{})
	kept := runs[:0:0]
	for _, r := range runs {
		more := false
		for _, name := range r.covers {
			if _, ok := covered[name]; !ok {
				covered[name] = struct{}{}
				more = true
			}
		}
		if more {
			kept = append(kept, r)
		}
	}
	slices.SortStableFunc(kept, func(a, b *run) int { return int(min(max(b.entries-a.entries, -1), 1)) })
	return kept
}

// replace makes runs the current ones and closes those that are no longer. change must be held.
func (c *Cache) replace(runs []*run) {
	c.mu.Lock()
	old := c.runs
	c.runs = runs
	c.mu.Unlock()
	c.gen.Add(1)
	for _, r := range old { // nobody can hold one: look-ups happen under mu
		if !slices.Contains(runs, r) {
			r.close()
		}
	}
}

// remove deletes a file of the folder. Who has it mapped keeps it. Where an open file cannot be removed it is left for
// the next writer.
func (c *Cache) remove(name string) {
	if err := os.Remove(filepath.Join(c.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.warn(fmt.Errorf("remove cache file: %w", err))
	}
}

// Discard drops the run that a *CorruptError names; what it covered is then missing from Covered.
func (c *Cache) Discard(corrupt *CorruptError) {
	c.change.Lock()
	defer c.change.Unlock()
	c.drop(func(r *run) bool { return r.name == corrupt.File })
}

// Drop drops the runs that cover any of the named index objects, which the repository no longer has.
func (c *Cache) Drop(objects map[string]struct{}) {
	c.change.Lock()
	defer c.change.Unlock()
	c.drop(func(r *run) bool {
		return slices.ContainsFunc(r.covers, func(name string) bool {
			_, ok := objects[name]
			return ok
		})
	})
}

func (c *Cache) drop(bad func(*run) bool) {
	var kept, dropped []*run
	for _, r := range c.runs {
		if bad(r) {
			dropped = append(dropped, r)
		} else {
			kept = append(kept, r)
		}
	}
	if len(dropped) == 0 {
		return
	}
	for _, r := range dropped {
		c.remove(r.name)
	}
	c.replace(kept)
}
