package chunkstore_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
	"github.com/cairn-backup/cairn/chunkstore/keys"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

var made = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// repository is a store in a directory of its own, with what opens it.
type repository struct {
	*chunkstore.Store
	dir      string
	identity *age.X25519Identity
}

// Identities makes a repository its own unlocker.
func (r *repository) Identities() ([]age.Identity, error) { return []age.Identity{r.identity}, nil }

var _ keys.Unlocker = (*repository)(nil)

// unlocker is what opens the repository: nil when it is not encrypted.
func (r *repository) unlocker() keys.Unlocker {
	if r.Store != nil && r.Config().Plain {
		return nil
	}
	return r
}

// variant is a kind of repository that tests run with.
type variant struct {
	shape stripe.Shape
	plain bool
}

func (v variant) String() string {
	if v.plain {
		return v.shape.String() + " plain"
	}
	return v.shape.String() + " sealed"
}

// eachVariant runs a test in several shapes, with and without encryption.
func eachVariant(t *testing.T, test func(t *testing.T, v variant)) {
	for _, shape := range []stripe.Shape{{Data: 10, Parity: 2}, {Data: 4, Parity: 2}, {Data: 1, Parity: 1}} {
		for _, plain := range []bool{false, true} {
			v := variant{shape, plain}
			t.Run(v.String(), func(t *testing.T) { test(t, v) })
		}
	}
}

func newRepository(t testing.TB, v variant) *repository {
	t.Helper()
	r := &repository{dir: t.TempDir()}
	var err error
	if r.identity, err = age.GenerateX25519Identity(); err != nil {
		t.Fatal(err)
	}
	d, err := local.New(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	r.Store, err = chunkstore.Init(t.Context(), d, chunkstore.InitOptions{
		Shape: v.shape, Plain: v.plain, Recipients: []age.Recipient{r.identity.Recipient()}, Now: made,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Store.Close() })
	return r
}

// reopen opens the repository again, without anything that is remembered of it.
func (r *repository) reopen(t testing.TB) *chunkstore.Store {
	t.Helper()
	s, err := chunkstore.Open(t.Context(), r.destination(t), r.unlocker())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func (r *repository) destination(t testing.TB) *local.Local {
	t.Helper()
	d, err := local.New(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// file is the path of an object.
func (r *repository) file(name string) string { return filepath.Join(r.dir, filepath.FromSlash(name)) }

// edit changes an object's bytes.
func (r *repository) edit(t testing.TB, name string, change func(object []byte) []byte) {
	t.Helper()
	object, err := os.ReadFile(r.file(name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.file(name), change(object), 0o666); err != nil {
		t.Fatal(err)
	}
}

// source makes chunks like those of source trees: contents that compress, or do not.
type source struct {
	r    *rand.Rand
	fast *rand.ChaCha8
}

func newSource(seed uint64) *source {
	fast := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	return &source{rand.New(fast), fast}
}

// text is what compressible chunks are cut from.
var text = sync.OnceValue(func() []byte {
	r := rand.New(rand.NewPCG(1, 1))
	var b bytes.Buffer
	for b.Len() < 256<<10 {
		fmt.Fprintf(&b, "static int field_%d(struct device *dev) { return %d; }\n", r.IntN(500), r.IntN(1<<30))
	}
	return b.Bytes()
})

// chunk makes length bytes, at most 128 KiB if they are text, that no other call makes.
func (s *source) chunk(length int) []byte {
	if length > 128<<10 || length < 8 || s.r.IntN(3) == 0 {
		return s.noise(length)
	}
	at := s.r.IntN(128 << 10)
	chunk := bytes.Clone(text()[at : at+length])
	s.fast.Read(chunk[:8])
	return chunk
}

func (s *source) noise(length int) []byte {
	b := make([]byte, length)
	s.fast.Read(b)
	return b
}

// stored is what a test wrote: contents by id, and the packs that were reported.
type stored struct {
	contents map[chunkstore.ID][]byte
	packs    []chunkstore.Pack
}

func (s *stored) chunks() []chunkstore.Placed {
	var all []chunkstore.Placed
	for _, p := range s.packs {
		all = append(all, p.Chunks...)
	}
	return all
}

// write stores chunks of many lengths, total bytes in all, through several batches at once.
func write(t testing.TB, s *chunkstore.Store, total int, o chunkstore.WriterOptions) *stored {
	t.Helper()
	got := &stored{contents: map[chunkstore.ID][]byte{}}
	if o.PackSize == 0 {
		o.PackSize = 2*total + 256<<10 // all in one pack, and no larger a buffer than that takes
	}
	o.Stored = func(p chunkstore.Pack) error {
		got.packs = append(got.packs, p)
		return nil
	}
	w := s.NewWriter(chunkstore.KindData, o)
	var mu sync.Mutex
	var wg sync.WaitGroup
	const batches = 3
	for i := range batches {
		wg.Go(func() {
			from := newSource(uint64(i))
			b := w.NewBatch()
			for n := 0; n < total/batches; {
				data := from.chunk(1 + from.r.IntN(100<<10))
				n += len(data)
				id := s.ChunkID(data)
				mu.Lock()
				got.contents[id] = data
				mu.Unlock()
				if err := b.Add(context.Background(), id, data); err != nil {
					t.Errorf("add: %v", err)
					return
				}
			}
			if err := b.Flush(context.Background()); err != nil {
				t.Errorf("flush: %v", err)
			}
		})
	}
	wg.Wait()
	if err := w.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	return got
}

// mustReadAll reads every chunk and compares.
func mustReadAll(t testing.TB, s *chunkstore.Store, want *stored) {
	t.Helper()
	for _, c := range want.chunks() {
		data, err := s.Read(t.Context(), c.ID, c.Location, nil)
		if err != nil {
			t.Fatalf("read %v: %v", c.Location, err)
		}
		if !bytes.Equal(data, want.contents[c.ID]) {
			t.Fatalf("read %v: other bytes than were stored", c.Location)
		}
	}
}
