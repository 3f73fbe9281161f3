//go:build linux

package fs

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// real is a repository on disk, as a backup leaves it.
type real struct {
	testing.TB
	dir  string
	repo *index.Repository
	now  time.Time
}

func newReal(t testing.TB, plain bool) *real {
	t.Helper()
	r := &real{TB: t, dir: filepath.Join(t.TempDir(), "repo"), now: time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)}
	d, err := local.New(r.dir)
	r.check(err)
	o := chunkstore.InitOptions{Plain: plain, Shape: stripe.Shape{Data: 4, Parity: 1}, Now: r.now}
	if !plain {
		key, err := age.GenerateX25519Identity()
		r.check(err)
		o.Recipients = []age.Recipient{key.Recipient()}
	}
	store, err := chunkstore.Init(t.Context(), d, o)
	r.check(err)
	r.repo, err = index.Open(t.Context(), store, index.Options{CacheDir: t.TempDir(), Random: rand.Reader,
		Now: func() time.Time { return r.now }, Host: "host", Warn: func(err error) { t.Log("warning:", err) }})
	r.check(err)
	t.Cleanup(func() { r.check(r.repo.Close()) })
	return r
}

func (r *real) check(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// back makes a restore point of files in one directory.
func (r *real) back(source string, files map[string][]byte) *index.Point {
	r.Helper()
	ctx := context.Background()
	s, err := r.repo.Begin(ctx, index.SessionOptions{Source: source})
	r.check(err)
	batch, w := s.NewBatch(), tree.NewWriter(s)
	for _, name := range sortedNames(files) {
		e := &tree.Entry{Name: name, Type: tree.File, Mode: 0o644, Links: 1, Size: int64(len(files[name]))}
		for rest := files[name]; len(rest) > 0; {
			n := r.repo.Store().Chunker().Cut(rest)
			id, _, err := batch.Store(ctx, rest[:n])
			r.check(err)
			e.Content = append(e.Content, tree.Extent{ID: id, Length: int64(n)})
			rest = rest[n:]
		}
		r.check(w.Add(ctx, e))
	}
	r.check(batch.Flush(ctx))
	ref, err := w.Finish(ctx)
	r.check(err)
	root := &tree.Entry{Type: tree.Directory, Mode: 0o755}
	root.SetChild(ref)
	ref, err = tree.SaveRoot(ctx, s, root)
	r.check(err)
	p, err := s.Commit(ctx, &index.Point{Source: source, Started: r.now, Finished: r.now, Root: ref, Kind: index.Full})
	r.check(err)
	return p
}

func sortedNames(files map[string][]byte) []string {
	dir := folderOf{}
	for name := range files {
		dir[name] = ""
	}
	return namesOf(dir)
}

// mount mounts the repository; the lines it logs are given by the function.
func (r *real) mount() (string, func() []string) {
	r.Helper()
	var mu sync.Mutex
	var lines []string
	dir := r.TempDir()
	m, err := Mount(context.Background(), r.repo, dir, Options{Now: func() time.Time { return r.now }, Poll: 100 * time.Millisecond, CacheBytes: 8 << 20,
		Log: func(line string) { mu.Lock(); lines = append(lines, line); mu.Unlock() }})
	r.check(err)
	r.Cleanup(func() { r.check(m.Unmount()) })
	return dir, func() []string { mu.Lock(); defer mu.Unlock(); return append([]string(nil), lines...) }
}

// dataPack gives the object that holds the chunk at an offset of a file, and the chunk's place.
func (r *real) dataPack(p *index.Point, name string, off int64) (string, chunkstore.Location) {
	r.Helper()
	e, err := tree.Find(r.Context(), r.repo, p.Root.ID, name)
	r.check(err)
	c, err := tree.OpenContent(r.Context(), r.repo, e)
	r.check(err)
	piece, err := c.At(r.Context(), off)
	r.check(err)
	loc, ok, err := r.repo.Locate(piece.ID)
	r.check(err)
	if !ok {
		r.Fatal("the chunk is not in the index")
	}
	return filepath.Join(r.dir, loc.Pack.ObjectName()), loc
}

// scribble overwrites a range of an object.
func (r *real) scribble(path string, off, size int64) {
	r.Helper()
	r.check(os.Chmod(path, 0o600))
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	r.check(err)
	_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, int(size)), off)
	r.check(err)
	r.check(f.Close())
}

func TestRepositoryOnDiskReadsBackThroughTheMount(t *testing.T) {
	t.Parallel() // half of it is waiting
	for _, plain := range []bool{false, true} {
		r := newReal(t, plain)
		files := map[string][]byte{"big": random(4, 9<<20), "empty": nil, "small": []byte("small")}
		for i := range 300 {
			files[fmt.Sprintf("s%03d", i)] = random(uint64(5+i), 20_000)
		}
		first := r.back("docs", files)
		mnt, lines := r.mount()
		point := mnt + "/docs/" + first.Name
		found := walk(t, point)
		for name, content := range files {
			if want := fmt.Sprintf("%x", sha256.Sum256(content)); found[name].Sum != want {
				t.Errorf("plain %v: %q reads as %+v, want %s", plain, name, found[name], want)
			}
		}
		original := filepath.Join(t.TempDir(), "big")
		r.check(os.WriteFile(original, files["big"], 0o600))
		runChild(t, "compare", original, point+"/big", "1")

		r.now = r.now.AddDate(0, 0, 1)
		second := r.back("docs", map[string][]byte{"new": []byte("new")})
		eventually(t, second.Name+"\n", "readlink", mnt+"/docs/latest")
		if got := run(t, "cat", mnt+"/docs/latest/new"); got != "new" {
			t.Errorf("read %q", got)
		}
		r.check(r.repo.RemovePoint(t.Context(), first))
		eventually(t, second.Name+"\nlatest\n", "ls", mnt+"/docs")
		if used := strings.Fields(run(t, "df", "--output=used", "-B1M", mnt)); used[1] == "0" {
			t.Errorf("df shows %q", used)
		}
		if l := lines(); len(l) > 0 {
			t.Errorf("logged %q", l)
		}
	}
}

func TestDamageWithinParityIsInvisibleInTheMount(t *testing.T) {
	r := newReal(t, false)
	content := random(6, 6<<20)
	p := r.back("docs", map[string][]byte{"f": content})
	pack, _ := r.dataPack(p, "f", 3<<20)
	info, err := os.Stat(pack)
	r.check(err)
	r.scribble(pack, info.Size()/3, info.Size()/6) // less than one of five shards
	mnt, lines := r.mount()
	if got := walk(t, mnt+"/docs/latest/f")["."].Sum; got != fmt.Sprintf("%x", sha256.Sum256(content)) {
		t.Errorf("it reads as %s", got)
	}
	if l := lines(); len(l) > 0 {
		t.Errorf("logged %q", l)
	}
}

func TestDamageBeyondParityIsEIOWhereItIs(t *testing.T) {
	r := newReal(t, false)
	content := random(7, 6<<20)
	p := r.back("docs", map[string][]byte{"f": content})
	pack, loc := r.dataPack(p, "f", 3<<20)
	info, err := os.Stat(pack)
	r.check(err)
	shard := info.Size() / 5
	at := int64(loc.Offset) / stripe.ContentSize * stripe.CellSize
	r.scribble(pack, at+stripe.CellSize, 3*stripe.CellSize) // three rows of the chunk's frame, and the same in another shard
	r.scribble(pack, (at+stripe.CellSize+shard)%info.Size(), 3*stripe.CellSize)
	mnt, lines := r.mount()
	f := mnt + "/docs/latest/f"
	offsets := []int64{3 << 20}
	for off := int64(0); off < int64(len(content)); off += 256 << 10 {
		offsets = append(offsets, off)
	}
	read, lost := 0, 0
	for i, got := range pread(t, f, 4096, offsets...) {
		off := offsets[i]
		if i == 0 && got != eio {
			t.Errorf("the damaged block reads as %s", got)
		}
		switch got {
		case fmt.Sprintf("%x", sha256.Sum256(content[off:][:4096])):
			read++
		case eio:
			lost++
		default:
			t.Errorf("at %d it reads as %s", off, got)
		}
	}
	if read < 10 || lost == 0 || lost > 12 {
		t.Errorf("of the blocks looked at %d read right and %d not at all", read, lost)
	}
	if l := lines(); len(l) == 0 || !strings.Contains(strings.Join(l, "\n"), loc.Pack.ObjectName()) {
		t.Errorf("logged %q", l)
	}
}
