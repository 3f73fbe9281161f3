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
	"time"

	"github.com/cairn-backup/cairn/chunkstore"
)

const (
	lockName   = "lock"
	lockPause  = 20 * time.Millisecond // between two tries to get the lock
	inProgress = ".in-progress"
	smallRun   = 1 << 15 // entries up to which a run is merged whatever its neighbours are: a few milliseconds
)

// Fold takes in the chunks that the named index objects list. objects that list nothing count as covered too. A
// *CorruptError names a run that was to be merged and is damaged.
func (c *Cache) Fold(ctx context.Context, objects []string, packs []chunkstore.Pack) error {
	entries, records := collect(packs)
	c.change.Lock()
	defer c.change.Unlock()
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.reload(ctx); err != nil {
		return err
	}
	for _, name := range c.stale {
		c.remove(name)
	}
	merged := mergeable(c.runs, int64(len(entries)))
	sources := []*source{{entries: entries}}
	tables := [][]PackRecord{records}
	covers := slices.Clone(objects)
	for _, r := range merged {
		sources = append(sources, &source{run: r})
		tables = append(tables, r.packs)
		covers = append(covers, r.covers...)
	}
	slices.Sort(covers)
	covers = slices.Compact(covers)
	name := runName(covers)
	if err := c.write(ctx, name, sources, tables, covers); err != nil {
		return err
	}
	made, err := openRun(c.dir, name, c.repository)
	if err != nil {
		return err
	}
	runs := []*run{made}
	for _, r := range c.runs {
		if !slices.Contains(merged, r) && r.name != name {
			runs = append(runs, r)
		}
	}
	slices.SortStableFunc(runs, func(a, b *run) int { return int(min(max(b.entries-a.entries, -1), 1)) })
	for _, r := range merged {
		if r.name != name {
			c.remove(r.name)
		}
	}
	c.replace(runs)
	return nil
}

// mergeable returns the runs to merge with n new entries: from the smallest up, while a run is at most twice what is
// being merged already. An entry is so written again only when what it is merged into grows by half: a logarithmic number
// of times.
func mergeable(runs []*run, n int64) []*run {
	first := len(runs)
	for first > 0 {
		r := runs[first-1]
		if r.entries > 2*n && r.entries+n > smallRun {
			break
		}
		n += r.entries
		first--
	}
	return slices.Clone(runs[first:])
}

// write makes the file of a run from sources, whose packs are numbered by tables.
func (c *Cache) write(ctx context.Context, name string, sources []*source, tables [][]PackRecord, covers []string) error {
	path := filepath.Join(c.dir, name+inProgress)
	b, err := newBuilder(path)
	if err != nil {
		return err
	}
	for i, s := range sources {
		s.numbers = b.addPacks(tables[i])
	}
	err = b.merge(sources, ctx.Err)
	if err == nil {
		err = b.finish(c.repository, covers)
	}
	if err == nil {
		err = rename(path, filepath.Join(c.dir, name))
	}
	if err != nil {
		b.abort()
		_ = os.Remove(path)
		return err
	}
	return nil
}

// lock takes the lock of those who write to the folder, and removes what a writer that died has left there.
func (c *Cache) lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(c.dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock cache folder: %w", err)
	}
	if err := waitLock(ctx, f); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock cache folder: %w", err)
	}
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("list cache folder: %w", err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), inProgress) {
			c.remove(e.Name())
		}
	}
	return func() { f.Close() }, nil
}

func waitLock(ctx context.Context, f *os.File) error {
	pause := time.NewTicker(lockPause)
	defer pause.Stop()
	for {
		ok, err := tryLock(f)
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pause.C:
		}
	}
}

// Usable tells whether the folder can be written to, by taking its lock and putting it back.
func (c *Cache) Usable(ctx context.Context) error {
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	unlock()
	return nil
}

// IsCorrupt returns the *CorruptError in err, or nil.
func IsCorrupt(err error) *CorruptError {
	var corrupt *CorruptError
	if errors.As(err, &corrupt) && !errors.Is(err, fs.ErrNotExist) {
		return corrupt
	}
	return nil
}
