package locator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cairn-backup/cairn/chunkstore"
)

// Snapshot is the cache as it was at one moment, for work that goes through all of it while others fold and merge. Each
// entry has a number, so that what is known of a chunk takes a bit. It holds the runs' files open until Close, and is safe
// for use by many goroutines.
type Snapshot struct {
	runs  []*snapshotRun
	packs []PackRecord
	size  int
}

type snapshotRun struct {
	*run
	base    int      // number of its first entry
	numbers []uint32 // of its packs in the snapshot
}

// Place is one entry of a snapshot.
type Place struct {
	Number int    // of the entry, from 0 to Size
	Pack   uint32 // number of the pack, see Packs
	Offset uint32 // of the frame, as in chunkstore.Location; likewise the others
	Sealed uint32
	Start  uint32
	Length uint32
}

// Snapshot opens the cache's runs a second time. An error may be a *CorruptError.
func (c *Cache) Snapshot(ctx context.Context) (*Snapshot, error) {
	for {
		s, err := c.snapshot()
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return s, err
		}
		if err := c.Reload(ctx); err != nil { // another process merged a run away
			return nil, err
		}
	}
}

func (c *Cache) snapshot() (*Snapshot, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	s := &Snapshot{}
	packNo := make(map[chunkstore.PackID]uint32)
	for _, known := range c.runs {
		r, err := openRun(c.dir, known.name, c.repository)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("take a snapshot of the cache: %w", err)
		}
		sr := &snapshotRun{run: r, base: s.size}
		s.runs = append(s.runs, sr)
		s.size += int(r.entries)
		for _, p := range r.packs {
			no, ok := packNo[p.ID]
			if !ok {
				no = uint32(len(s.packs))
				packNo[p.ID] = no
				s.packs = append(s.packs, p)
			}
			sr.numbers = append(sr.numbers, no)
		}
	}
	return s, nil
}

// Close lets go of the files.
func (s *Snapshot) Close() {
	for _, r := range s.runs {
		r.close()
	}
	s.runs = nil
}

// Size is the number of entries.
func (s *Snapshot) Size() int { return s.size }

// Packs are the packs that entries lie in, by number. Callers must not change them.
func (s *Snapshot) Packs() []PackRecord { return s.packs }

// Location turns a place into where the chunk can be read.
func (s *Snapshot) Location(p Place) chunkstore.Location {
	return chunkstore.Location{Pack: s.packs[p.Pack].ID, Offset: p.Offset, Sealed: p.Sealed, Start: p.Start, Length: p.Length}
}

func (r *snapshotRun) placeOf(n int, b *block, i int) Place {
	e := b.place(i)
	return Place{r.base + n*blockEntries + i, r.numbers[e.pack], e.offset, e.sealed, e.start, e.bytes}
}

// Find appends all places of a chunk to dst[:0]. The error is a *CorruptError.
func (s *Snapshot) Find(id chunkstore.ID, dst []Place) ([]Place, error) {
	dst = dst[:0]
	for _, r := range s.runs {
		_, err := r.places(&id, func(n int, b *block, i int) bool {
			dst = append(dst, r.placeOf(n, b, i))
			return true
		})
		if err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// Chunks calls fn for each chunk, in the order of ids, with all its places, which are valid until fn returns. id is cut
// to what the cache keeps, the rest of it is zero; Find takes it.
func (s *Snapshot) Chunks(ctx context.Context, fn func(id chunkstore.ID, places []Place) error) error {
	cursors := make([]*snapshotCursor, 0, len(s.runs))
	for _, r := range s.runs {
		c := &snapshotCursor{run: r}
		if ok, err := c.load(); err != nil {
			return err
		} else if ok {
			cursors = append(cursors, c)
		}
	}
	var places []Place
	for n := 0; len(cursors) > 0; n++ {
		if n&0xffff == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		least := cursors[0]
		for _, c := range cursors[1:] {
			if compareKeys(&c.at, &least.at) < 0 {
				least = c
			}
		}
		key := least.at.key
		places = places[:0]
		for i := 0; i < len(cursors); {
			c, more, err := cursors[i], true, error(nil)
			for more && c.at.key == key {
				places = append(places, c.run.placeOf(c.n, c.block, c.i))
				if more, err = c.next(); err != nil {
					return err
				}
			}
			if more {
				i++
				continue
			}
			cursors = append(cursors[:i], cursors[i+1:]...)
		}
		var id chunkstore.ID
		copy(id[:], key[:])
		if err := fn(id, places); err != nil {
			return err
		}
	}
	return nil
}

// snapshotCursor goes through a run in the order of ids.
type snapshotCursor struct {
	run   *snapshotRun
	n, i  int // block and place in it
	block *block
	at    entry // its key alone is set
}

func (c *snapshotCursor) load() (bool, error) {
	if c.n == len(c.run.fences) {
		return false, nil
	}
	b, err := c.run.readBlock(c.n)
	if err != nil {
		return false, err
	}
	c.block, c.i = b, 0
	copy(c.at.key[:], b.keys)
	return true, nil
}

func (c *snapshotCursor) next() (bool, error) {
	c.i++
	if c.i < c.block.len() {
		copy(c.at.key[:], c.block.keys[c.i*keySize:])
		return true, nil
	}
	c.n++
	return c.load()
}
