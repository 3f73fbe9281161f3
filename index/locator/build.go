package locator

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"

	"github.com/FastFilter/xorfilter"
	"github.com/cespare/xxhash/v2"
	"go.etcd.io/bbolt"

	"github.com/cairn-backup/cairn/chunkstore"
)

// commitBlocks is how many blocks a transaction of bbolt, which keeps them all in memory, writes at once: 4 MiB.
const commitBlocks = 64

// builder writes a run from entries in order.
type builder struct {
	run    run // what its head will say
	packNo map[chunkstore.PackID]uint32

	block []entry // of the block that is being filled
	last  [keySize]byte
	any   bool
	packs []uint32 // that have a place for the last key

	keys []uint64 // of the filter that is being filled
	fuse xorfilter.BinaryFuseBuilder

	db      *bbolt.DB
	tx      *bbolt.Tx
	written int      // blocks in this transaction
	buffers [][]byte // values of this transaction: bbolt refers to them until it commits
	free    [][]byte // buffers of earlier ones
}

// newBuilder begins a run in a new file.
func newBuilder(path string) (*builder, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, NoGrowSync: true, NoFreelistSync: true, Timeout: openTimeout})
	if err != nil {
		return nil, fmt.Errorf("make cache file: %w", err)
	}
	db.AllocSize = 1 << 20
	b := &builder{packNo: make(map[chunkstore.PackID]uint32), db: db, block: make([]entry, 0, blockEntries)}
	if b.tx, err = db.Begin(true); err != nil {
		b.abort()
		return nil, fmt.Errorf("make cache file: %w", err)
	}
	for _, name := range [][]byte{bucketRun, bucketPacks, bucketBlocks, bucketFilters} {
		if _, err := b.tx.CreateBucket(name); err != nil {
			b.abort()
			return nil, fmt.Errorf("make cache file: %w", err)
		}
	}
	return b, nil
}

// abort closes the file, which is of no use then.
func (b *builder) abort() {
	if b.tx != nil {
		_ = b.tx.Rollback()
	}
	_ = b.db.Close()
}

// addPacks takes in the packs that entries of one source are numbered by, and returns their numbers in the run.
func (b *builder) addPacks(packs []PackRecord) []uint32 {
	numbers := make([]uint32, len(packs))
	for i, p := range packs {
		no, ok := b.packNo[p.ID]
		if !ok {
			no = uint32(len(b.run.packs))
			b.packNo[p.ID] = no
			b.run.packs = append(b.run.packs, p)
		}
		numbers[i] = no
	}
	return numbers
}

// add takes the next entry, whose key must not be below the one before. Of places for one key in one pack the first
// stays; a chunk that lies in several packs has an entry for each.
func (b *builder) add(e *entry) error {
	if b.any && e.key == b.last {
		if slices.Contains(b.packs, e.pack) {
			return nil
		}
	} else {
		b.packs = b.packs[:0]
	}
	b.last, b.any = e.key, true
	b.packs = append(b.packs, e.pack)
	b.block = append(b.block, *e)
	if len(b.block) == blockEntries {
		return b.endBlock()
	}
	return nil
}

func (b *builder) endBlock() error {
	n := len(b.run.fences)
	b.run.fences = append(b.run.fences, prefix(b.block[0].key[:]))
	b.run.entries += int64(len(b.block))
	for i := range b.block {
		k := filterKey(b.block[i].key[:])
		if m := len(b.keys); m > 0 && b.keys[m-1] == k {
			continue // another place of the same chunk: a filter is built of distinct keys
		}
		b.keys = append(b.keys, k)
	}
	v := encodeBlock(b.buffer(), b.block)
	b.block = b.block[:0]
	if err := b.put(bucketBlocks, numberKey(n), v); err != nil {
		return err
	}
	if n%filterBlocks == filterBlocks-1 {
		if err := b.endFilter(); err != nil {
			return err
		}
	}
	if b.written++; b.written == commitBlocks {
		return b.commit()
	}
	return nil
}

func (b *builder) endFilter() error {
	f, err := xorfilter.BuildBinaryFuse[uint8](&b.fuse, b.keys)
	if err != nil {
		return fmt.Errorf("build filter: %w", err)
	}
	b.keys = b.keys[:0]
	n := (len(b.run.fences) - 1) / filterBlocks
	return b.put(bucketFilters, numberKey(n), encodeFilter(b.buffer(), &f))
}

// buffer returns an empty buffer with room for a checksum at its beginning, which put takes.
func (b *builder) buffer() []byte {
	if n := len(b.free); n > 0 {
		buf := b.free[n-1]
		b.free = b.free[:n-1]
		return buf
	}
	return make([]byte, sumSize, sumSize+blockHead+blockEntries*(keySize+placeSize))
}

// put stores a value from buffer.
func (b *builder) put(bucket, key, v []byte) error {
	binary.LittleEndian.PutUint64(v, sum(bucket, key, v[sumSize:]))
	b.buffers = append(b.buffers, v[:sumSize])
	to := b.tx.Bucket(bucket)
	to.FillPercent = 1 // keys come in order
	if err := to.Put(key, v); err != nil {
		return fmt.Errorf("write cache file: %w", err)
	}
	return nil
}

func (b *builder) commit() error {
	tx := b.tx
	b.tx = nil
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("write cache file: %w", err)
	}
	b.free, b.buffers, b.written = append(b.free, b.buffers...), nil, 0
	var err error
	if b.tx, err = b.db.Begin(true); err != nil {
		return fmt.Errorf("write cache file: %w", err)
	}
	return nil
}

// finish ends the run, which covers the named index objects, and closes the file.
func (b *builder) finish(repository [16]byte, covers []string) error {
	if len(b.block) > 0 {
		if err := b.endBlock(); err != nil {
			return err
		}
	}
	if len(b.keys) > 0 {
		if err := b.endFilter(); err != nil {
			return err
		}
	}
	b.run.covers = covers
	for n, packs := 0, b.run.packs; len(packs) > 0; n++ {
		part := packs[:min(packsPerValue, len(packs))]
		packs = packs[len(part):]
		if err := b.put(bucketPacks, numberKey(n), append(b.buffer(), encodePacks(part)...)); err != nil {
			return err
		}
	}
	for _, v := range []struct{ key, body []byte }{
		{keyFences, encodeFences(b.run.fences)},
		{keyCovers, encodeCovers(covers)},
		{keyHead, encodeHead(&b.run, repository)},
	} {
		if err := b.put(bucketRun, v.key, append(b.buffer(), v.body...)); err != nil {
			return err
		}
	}
	if err := b.commit(); err != nil {
		return err
	}
	_ = b.tx.Rollback()
	b.tx = nil
	if err := b.db.Close(); err != nil {
		return fmt.Errorf("write cache file: %w", err)
	}
	return nil
}

// runName names a run after what it covers, so that the same run made twice has one name.
func runName(covers []string) string {
	return fmt.Sprintf("%s%016x%s", runPrefix, xxhash.Sum64(encodeCovers(covers)), runSuffix)
}

// source gives the entries of one part of a merge in order.
type source struct {
	numbers []uint32 // of its packs in the run that is built
	entries []entry  // a part, decoded
	run     *run     // the rest comes from its blocks; nil when there is none
	block   int      // that comes next
}

// head returns the next entry; nil at the end.
func (s *source) head() (*entry, error) {
	if len(s.entries) == 0 {
		if s.run == nil || s.block == len(s.run.fences) {
			return nil, nil
		}
		b, err := s.run.readBlock(s.block)
		if err != nil {
			return nil, err
		}
		s.block++
		s.entries = s.entries[:0:cap(s.entries)]
		s.entries = b.decode(make([]entry, 0, b.len()))
	}
	return &s.entries[0], nil
}

func (b *block) decode(dst []entry) []entry {
	for i := range b.len() {
		e := b.place(i)
		copy(e.key[:], b.keys[i*keySize:])
		dst = append(dst, e)
	}
	return dst
}

// merge writes the entries of all sources in order.
func (b *builder) merge(sources []*source, canceled func() error) error {
	for n := 0; len(sources) > 0; n++ {
		if n&0xffff == 0 {
			if err := canceled(); err != nil {
				return err
			}
		}
		var least *source
		var first *entry
		for i := 0; i < len(sources); i++ {
			e, err := sources[i].head()
			if err != nil {
				return err
			}
			if e == nil {
				sources = slices.Delete(sources, i, i+1)
				i--
				continue
			}
			if first == nil || lessKey(e, first) {
				least, first = sources[i], e
			}
		}
		if first == nil {
			return nil
		}
		e := *first
		least.entries = least.entries[1:]
		e.pack = least.numbers[e.pack]
		if err := b.add(&e); err != nil {
			return err
		}
	}
	return nil
}

func lessKey(a, b *entry) bool {
	x, y := prefix(a.key[:]), prefix(b.key[:])
	if x != y {
		return x < y
	}
	return binary.BigEndian.Uint64(a.key[8:]) < binary.BigEndian.Uint64(b.key[8:])
}

// rename puts a finished file in place.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("put cache file in place: %w", err)
	}
	return nil
}
