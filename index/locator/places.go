package locator

import (
	"github.com/cairn-backup/cairn/chunkstore"
)

// Places calls fn for every place of a chunk that the cache knows, until fn returns false. Most chunks have one; a chunk
// that a prune has copied, or that was stored afresh because it was lost, has several. The error is a *CorruptError.
// fn must not call the cache.
func (c *Cache) Places(id chunkstore.ID, fn func(chunkstore.Location) bool) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, r := range c.runs {
		more, err := r.places(&id, func(_ int, b *block, i int) bool { return fn(r.location(b, i)) })
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// places calls fn for each entry of an id, until fn returns false; more is false then.
func (r *run) places(id *chunkstore.ID, fn func(n int, b *block, i int) bool) (more bool, err error) {
	hi := prefix(id[:])
	for n := findBlock(r.fences, hi); n >= 0; n-- {
		f, err := r.loadFilter(n / filterBlocks)
		if err != nil {
			return false, err
		}
		if f.Contains(filterKey(id[:])) {
			b, err := r.loadBlock(n)
			if err != nil {
				return false, err
			}
			for i, ok := b.find(id); ok; {
				if !fn(n, b, i) {
					return false, nil
				}
				i++
				ok = i < b.len() && [keySize]byte(b.keys[i*keySize:]) == [keySize]byte(id[:])
			}
		}
		if r.fences[n] != hi {
			break // else ids that begin alike may lie before this block's first
		}
	}
	return true, nil
}
