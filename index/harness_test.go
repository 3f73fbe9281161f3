package index

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
	"github.com/cairn-backup/cairn/index/tree"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a repository in a folder, with a clock that a test sets.
type fixture struct {
	testing.TB
	dir   string // of the repository
	cache string
	dest  *faulty
	store *chunkstore.Store
	repo  *Repository

	mu     sync.Mutex
	now    time.Time
	warned []error
}

// faulty is a destination in which a test can make creations fail.
type faulty struct {
	*local.Local
	mu     sync.Mutex
	create func(name string) error
	change func(name string) error  // creations and removals
	aged   map[string]time.Duration // folders whose objects seem older than they are
}

// Create fails as the test wants.
func (d *faulty) Create(ctx context.Context, name string, body []byte) error {
	d.mu.Lock()
	hooks := []func(string) error{d.create, d.change}
	d.mu.Unlock()
	for _, hook := range hooks {
		if hook == nil {
			continue
		}
		if err := hook(name); err != nil {
			return err
		}
	}
	return d.Local.Create(ctx, name, body)
}

// Remove fails as the test wants.
func (d *faulty) Remove(ctx context.Context, name string) error {
	d.mu.Lock()
	hook := d.change
	d.mu.Unlock()
	if hook != nil {
		if err := hook(name); err != nil {
			return err
		}
	}
	return d.Local.Remove(ctx, name)
}

// List makes objects seem old.
func (d *faulty) List(ctx context.Context, prefix string, fn func(destination.Info) error) error {
	return d.Local.List(ctx, prefix, func(i destination.Info) error {
		folder, _, _ := strings.Cut(i.Name, "/")
		d.mu.Lock()
		i.Modified = i.Modified.Add(-d.aged[folder])
		d.mu.Unlock()
		return fn(i)
	})
}

func (d *faulty) onChange(hook func(name string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.change = hook
}

// age makes the objects of a folder seem older than they are, those to come included.
func (f *fixture) age(folder string, by time.Duration) {
	f.dest.mu.Lock()
	defer f.dest.mu.Unlock()
	if f.dest.aged == nil {
		f.dest.aged = make(map[string]time.Duration)
	}
	f.dest.aged[folder] = by
}

func (d *faulty) onCreate(hook func(name string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.create = hook
}

var _ destination.Destination = (*faulty)(nil)

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{TB: t, dir: filepath.Join(t.TempDir(), "repo"), cache: t.TempDir(), now: time.Date(2026, 11, 23, 21, 5, 0, 0, time.UTC)}
	d, err := local.New(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	f.dest = &faulty{Local: d}
	f.store, err = chunkstore.Init(context.Background(), f.dest, chunkstore.InitOptions{
		Plain: true, Now: f.now, Shape: stripe.Shape{Data: 4, Parity: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.repo = f.open(f.cache)
	return f
}

// open opens the repository with a cache folder.
func (f *fixture) open(cache string) *Repository {
	f.Helper()
	r, err := Open(context.Background(), f.store, Options{
		CacheDir: cache, Now: f.clock, Random: rand.Reader, Host: "host", Warn: f.warn,
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := r.Close(); err != nil {
			f.Error(err)
		}
	})
	return r
}

func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fixture) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func (f *fixture) warn(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.warned = append(f.warned, err)
}

func (f *fixture) warnings() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.warned
}

func (f *fixture) check(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) begin(r *Repository, source string) *Session {
	f.Helper()
	s, err := r.Begin(context.Background(), SessionOptions{Source: source})
	f.check(err)
	f.Cleanup(func() { _ = s.Abort(context.Background()) })
	return s
}

// put stores chunks in a batch of their own and returns their ids and how many were new.
func (f *fixture) put(s *Session, chunks ...string) (ids []chunkstore.ID, added int) {
	f.Helper()
	b := s.NewBatch()
	for _, c := range chunks {
		id, isNew, err := b.Store(context.Background(), []byte(c))
		f.check(err)
		ids = append(ids, id)
		if isNew {
			added++
		}
	}
	f.check(b.Flush(context.Background()))
	return ids, added
}

// backup takes a restore point of one directory with one file for each name and content.
func (f *fixture) backup(r *Repository, source string, files ...string) *Point {
	f.Helper()
	s := f.begin(r, source)
	p, err := s.Commit(context.Background(), &Point{Root: f.tree(s, files...)})
	f.check(err)
	return p
}

// tree stores a directory; files are names and contents in turn, sorted.
func (f *fixture) tree(s *Session, files ...string) tree.Ref {
	f.Helper()
	w := tree.NewWriter(s)
	for i := 0; i < len(files); i += 2 {
		ids, _ := f.put(s, files[i+1])
		size := int64(len(files[i+1]))
		e := &tree.Entry{Name: files[i], Type: tree.File, Mode: 0o644, Links: 1, Size: size, Content: []tree.Extent{{ID: ids[0], Length: size}}}
		f.check(w.Add(context.Background(), e))
	}
	ref, err := w.Finish(context.Background())
	f.check(err)
	return ref
}

// expectChunks fails unless r gives each content back by its id.
func (f *fixture) expectChunks(r *Repository, chunks ...string) {
	f.Helper()
	for _, want := range chunks {
		got, err := r.ReadChunk(context.Background(), f.store.ChunkID([]byte(want)), nil)
		if err != nil || string(got) != want {
			f.Fatalf("chunk %.20q: got %.20q, %v", want, got, err)
		}
	}
}

// objects returns the paths of all files below a folder of the repository.
func (f *fixture) objects(folder string) []string {
	f.Helper()
	var paths []string
	err := filepath.WalkDir(filepath.Join(f.dir, folder), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			paths = append(paths, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	f.check(err)
	return paths
}

// overwrite puts zeros over a whole file.
func (f *fixture) overwrite(path string) {
	f.Helper()
	info, err := os.Stat(path)
	f.check(err)
	f.check(os.Chmod(path, 0o600))
	f.check(os.WriteFile(path, make([]byte, info.Size()), 0o600))
}
