package locator

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/FastFilter/xorfilter"
	"github.com/cespare/xxhash/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/cairn-backup/cairn/chunkstore"
)

// The layout of a run; see the package's comment.
const (
	runPrefix = "run-"
	runSuffix = ".bolt"

	format        = 2 // 1 kept one place of each chunk
	sumSize       = 8
	blockEntries  = 1820 // with its checksum and head, 8 bytes short of 64 KiB
	blockHead     = 8
	placeSize     = 20
	filterBlocks  = 64
	filterHead    = 24
	packsPerValue = 2048
	packSize      = 32
	openTimeout   = 10 * time.Second // for bbolt's lock, which nobody ever holds exclusively on a finished run
)

var (
	bucketRun     = []byte("run")
	bucketPacks   = []byte("packs")
	bucketBlocks  = []byte("blocks")
	bucketFilters = []byte("filters")
	keyHead       = []byte("head")
	keyFences     = []byte("fences")
	keyCovers     = []byte("covers")

	errSum    = errors.New("checksum does not match")
	errLayout = errors.New("not a run of this format")
)

// run is one file of sorted entries, mapped for reading.
type run struct {
	name    string
	size    int64 // of the file, bytes
	entries int64
	covers  []string // names of index objects, sorted
	packs   []PackRecord
	fences  []uint64

	blocks  []atomic.Pointer[block]
	filters []atomic.Pointer[filter]

	load sync.Mutex // a bbolt transaction is of one goroutine at a time
	db   *bbolt.DB
	tx   *bbolt.Tx
}

// block is a mapped block: count ids of 16 bytes, then as many places of 20.
type block struct {
	keys, places []byte
}

func (b *block) len() int { return len(b.keys) / keySize }

// filter is a mapped binary fuse filter.
type filter = xorfilter.BinaryFuse[uint8]

// sum is the checksum that stands before each value.
func sum(bucket, key, value []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	d.Write(bucket)
	d.Write(key)
	d.Write(value)
	return d.Sum64()
}

func numberKey(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

// guard calls fn and turns into an error what bbolt and the kernel do on a damaged file: panics of failed assertions,
// and faults on pages of the mapping that the file does not have.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("damaged: %v", p)
		}
	}()
	return fn()
}

// openRun opens a run of the repository. The error is fs.ErrNotExist, a *CorruptError, or one of the folder.
func openRun(dir, name string, repository [16]byte) (*run, error) {
	path := filepath.Join(dir, name)
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	r := &run{name: name, size: info.Size()}
	err = guard(func() error {
		if r.size == 0 {
			return errLayout
		}
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: openTimeout})
		if err != nil {
			return err
		}
		r.db = db
		if r.tx, err = db.Begin(false); err != nil {
			return err
		}
		return r.readHead(repository)
	})
	if err != nil {
		r.close()
		var errno syscall.Errno
		if errors.As(err, &errno) || errors.Is(err, bolterrors.ErrTimeout) {
			return nil, fmt.Errorf("open cache: %w", err) // of the system: says nothing about what is in the file
		}
		return nil, &CorruptError{File: name, Err: err}
	}
	return r, nil
}

func (r *run) close() {
	// A damaged file can make bbolt panic here too; there is nothing to lose in it.
	_ = guard(func() error {
		if r.tx != nil {
			_ = r.tx.Rollback()
		}
		if r.db != nil {
			_ = r.db.Close()
		}
		return nil
	})
}

// memory is what look-ups keep in use once they have touched all of the run, bytes. A filter that none has needed yet is
// counted with what filters of its size usually take.
func (r *run) memory() int64 {
	n := int64(len(r.fences))*8 + int64(len(r.packs))*int64(unsafe.Sizeof(PackRecord{}))
	n += int64(len(r.blocks)) * int64(8+unsafe.Sizeof(block{}))
	n += int64(len(r.filters)) * int64(8+unsafe.Sizeof(filter{}))
	for i := range r.filters {
		if f := r.filters[i].Load(); f != nil {
			n += int64(len(f.Fingerprints))
		} else {
			n += filterBlocks * blockEntries * 115 / 100
		}
	}
	return n
}

// get returns a mapped value, checked. It lives as long as the run.
func (r *run) get(bucket, key []byte) ([]byte, error) {
	b := r.tx.Bucket(bucket)
	if b == nil {
		return nil, errLayout
	}
	v := b.Get(key)
	if len(v) < sumSize {
		return nil, fmt.Errorf("%s %x: %w", bucket, key, errLayout)
	}
	body := v[sumSize:len(v):len(v)]
	if binary.LittleEndian.Uint64(v) != sum(bucket, key, body) {
		return nil, fmt.Errorf("%s %x: %w", bucket, key, errSum)
	}
	return body, nil
}

// loadBlock returns block n, mapping it at first use.
func (r *run) loadBlock(n int) (*block, error) {
	if b := r.blocks[n].Load(); b != nil {
		return b, nil
	}
	b, err := r.readBlock(n)
	if err == nil {
		r.blocks[n].Store(b)
	}
	return b, err
}

// readBlock maps block n and checks it.
func (r *run) readBlock(n int) (b *block, err error) {
	r.load.Lock()
	defer r.load.Unlock()
	err = guard(func() error {
		v, err := r.get(bucketBlocks, numberKey(n))
		if err != nil {
			return err
		}
		b, err = decodeBlock(v, len(r.packs))
		return err
	})
	if err != nil {
		return nil, &CorruptError{File: r.name, Err: err}
	}
	return b, nil
}

// loadFilter returns filter n, mapping it at first use.
func (r *run) loadFilter(n int) (f *filter, err error) {
	if f := r.filters[n].Load(); f != nil {
		return f, nil
	}
	r.load.Lock()
	defer r.load.Unlock()
	err = guard(func() error {
		v, err := r.get(bucketFilters, numberKey(n))
		if err != nil {
			return err
		}
		f, err = decodeFilter(v)
		return err
	})
	if err != nil {
		return nil, &CorruptError{File: r.name, Err: err}
	}
	r.filters[n].Store(f)
	return f, nil
}

// lookup finds the place of an id.
func (r *run) lookup(id *chunkstore.ID) (chunkstore.Location, bool, error) {
	hi := prefix(id[:])
	n := findBlock(r.fences, hi)
	for ; n >= 0; n-- {
		f, err := r.loadFilter(n / filterBlocks)
		if err != nil {
			return chunkstore.Location{}, false, err
		}
		if f.Contains(filterKey(id[:])) {
			b, err := r.loadBlock(n)
			if err != nil {
				return chunkstore.Location{}, false, err
			}
			if i, ok := b.find(id); ok {
				return r.location(b, i), true, nil
			}
		}
		if r.fences[n] != hi {
			break // else ids that begin alike may lie before this block's first
		}
	}
	return chunkstore.Location{}, false, nil
}

func (r *run) location(b *block, i int) chunkstore.Location {
	e := b.place(i)
	return chunkstore.Location{Pack: r.packs[e.pack].ID, Offset: e.offset, Sealed: e.sealed, Start: e.start, Length: e.bytes}
}

func (b *block) place(i int) entry {
	p := b.places[i*placeSize : (i+1)*placeSize]
	return entry{
		pack:   binary.LittleEndian.Uint32(p),
		offset: binary.LittleEndian.Uint32(p[4:]),
		sealed: binary.LittleEndian.Uint32(p[8:]),
		start:  binary.LittleEndian.Uint32(p[12:]),
		bytes:  binary.LittleEndian.Uint32(p[16:]),
	}
}

// findBlock returns the last block whose fence is not above hi, or -1. Fences are near where uniform ids put them, so
// it begins there and widens the range until hi is in it.
func findBlock(fences []uint64, hi uint64) int {
	guess, _ := bits.Mul64(hi, uint64(len(fences)))
	lo, up := bracket(len(fences), int(guess), func(i int) bool { return fences[i] <= hi })
	for lo < up { // the first fence above hi
		m := int(uint(lo+up) >> 1)
		if fences[m] <= hi {
			lo = m + 1
		} else {
			up = m
		}
	}
	return lo - 1
}

// find returns the place of an id in the block.
func (b *block) find(id *chunkstore.ID) (int, bool) {
	n := b.len()
	hi, low := prefix(id[:]), binary.BigEndian.Uint64(id[8:])
	first, last := prefix(b.keys), prefix(b.keys[(n-1)*keySize:])
	if hi < first || hi > last {
		return 0, false
	}
	guess := 0
	if span := last - first; span > 0 {
		guess = int(float64(hi-first) / float64(span) * float64(n-1))
	}
	below := func(i int) bool {
		k := b.keys[i*keySize : i*keySize+keySize]
		p := binary.BigEndian.Uint64(k)
		return p < hi || p == hi && binary.BigEndian.Uint64(k[8:]) < low
	}
	lo, up := bracket(n, guess, below)
	for lo < up { // the first id not below
		m := int(uint(lo+up) >> 1)
		if below(m) {
			lo = m + 1
		} else {
			up = m
		}
	}
	if lo == n {
		return 0, false
	}
	k := b.keys[lo*keySize : lo*keySize+keySize]
	return lo, binary.BigEndian.Uint64(k) == hi && binary.BigEndian.Uint64(k[8:]) == low
}

// bracket returns a range lo <= x <= up around guess that holds the first of n places for which below, which is true up
// to a place and false from there, is false. It doubles its steps away from guess.
func bracket(n, guess int, below func(int) bool) (lo, up int) {
	guess = min(max(guess, 0), n-1)
	if n == 0 {
		return 0, 0
	}
	if below(guess) {
		lo = guess + 1
		for step := 4; ; step *= 2 {
			up = guess + step
			if up >= n {
				return lo, n
			}
			if !below(up) {
				return lo, up
			}
			lo = up + 1
		}
	}
	up = guess
	for step := 4; ; step *= 2 {
		lo = guess - step
		if lo < 0 {
			return 0, up
		}
		if below(lo) {
			return lo + 1, up
		}
		up = lo
	}
}
