//go:build linux

package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/engine/source"
	"github.com/cairn-backup/cairn/engine/source/files"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// farm is a directory to be backed up and a repository beside it.
type farm struct {
	t        testing.TB
	dir      string // the source
	where    string // the repository
	repo     *index.Repository
	now      time.Time // goes on by a minute with each backup; long before any file's times
	meddle   meddler
	warnings []string
	problems map[string]error
}

func newFarm(t testing.TB) *farm {
	base := t.TempDir()
	return newFarmAt(t, filepath.Join(base, "source"), filepath.Join(base, "repository"))
}

func newFarmAt(t testing.TB, dir, where string) *farm {
	t.Helper()
	f := &farm{t: t, dir: dir, where: where, now: time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC), problems: make(map[string]error)}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := local.New(where)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.NewChaCha8([32]byte{1})
	store, err := chunkstore.Init(t.Context(), d, chunkstore.InitOptions{Plain: true, Now: f.now})
	if err != nil {
		t.Fatal(err)
	}
	f.repo, err = index.Open(t.Context(), store, index.Options{CacheDir: t.TempDir(), Now: func() time.Time { return f.now }, Random: random, Host: "farm"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.repo.Close(); store.Close() })
	return f
}

// write makes a file and the directories above it.
func (f *farm) write(name, content string) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f *farm) try(ctx context.Context, o engine.BackupOptions, fo files.Options) (*engine.BackupResult, error) {
	f.t.Helper()
	f.now = f.now.Add(time.Minute)
	f.warnings, f.problems = nil, make(map[string]error)
	fo.Avoid = []string{f.where}
	fo.Warn = func(m string) { f.warnings = append(f.warnings, m) }
	src, err := files.New([]string{f.dir}, fo)
	if err != nil {
		f.t.Fatal(err)
	}
	if o.Source == "" {
		o.Source = "farm"
	}
	o.Now = func() time.Time { return f.now }
	o.Warn = fo.Warn
	o.Problem = func(path string, err error) { f.problems[path] = err }
	f.meddle.Source = src
	return engine.Backup(ctx, f.repo, &f.meddle, o)
}

func (f *farm) backup(o engine.BackupOptions) *index.Point {
	f.t.Helper()
	result, err := f.try(f.t.Context(), o, files.Options{})
	if err != nil {
		f.t.Fatalf("backup: %v", err)
	}
	if int(result.Problems) != len(f.problems) {
		f.t.Fatalf("the result counts %d problems, told were %v", result.Problems, f.problems)
	}
	return result.Point
}

// stored is what a restore point holds of one entry.
type stored struct {
	Entry   tree.Entry
	Content string // a digest of the bytes would do, but this shows more
	Holes   int64  // bytes
}

// contents reads a whole restore point, the root under "".
func (f *farm) contents(p *index.Point) map[string]stored {
	f.t.Helper()
	ctx := f.t.Context()
	all := make(map[string]stored)
	err := tree.Walk(ctx, f.repo, p.Root.ID, func(path string, e *tree.Entry) error {
		s := stored{Entry: *e}
		if e.Type == tree.File {
			var content bytes.Buffer
			for x, err := range tree.Extents(ctx, f.repo, e) {
				if err != nil {
					return err
				}
				if x.Hole() {
					s.Holes += x.Length
					content.Write(make([]byte, x.Length))
					continue
				}
				data, err := f.repo.ReadChunk(ctx, x.ID, nil)
				if err != nil {
					return err
				}
				if int64(len(data)) != x.Length {
					return fmt.Errorf("%s: a chunk has %d bytes, its extent says %d", path, len(data), x.Length)
				}
				content.Write(data)
			}
			s.Content = content.String()
		}
		all[strings.TrimPrefix(path, "/")] = s
		return nil
	})
	if err != nil {
		f.t.Fatalf("read restore point %s: %v", p.Name, err)
	}
	return all
}

// check compares a restore point with the directory as it is.
func (f *farm) check(p *index.Point) {
	f.t.Helper()
	all := f.contents(p)
	count := 0
	err := filepath.WalkDir(f.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		count++
		rel, _ := filepath.Rel(f.dir, path)
		if rel == "." {
			rel = ""
		}
		got, ok := all[rel]
		if !ok {
			f.t.Errorf("%q is not in the restore point", rel)
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		e := got.Entry
		if e.Mode != st.Mode&0o7777 || e.UID != st.Uid || e.GID != st.Gid || e.Mtime != st.Mtim.Nano() || e.Inode != st.Ino {
			f.t.Errorf("%q is stored with other metadata: %+v", rel, e)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			want, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if e.Type != tree.File || e.Size != st.Size || got.Content != string(want) {
				f.t.Errorf("%q is stored as a %v of %d bytes with other content", rel, e.Type, e.Size)
			}
		case unix.S_IFDIR:
			if e.Type != tree.Directory {
				f.t.Errorf("%q is stored as a %v", rel, e.Type)
			}
		case unix.S_IFLNK:
			if target, err := os.Readlink(path); err != nil || e.Type != tree.Symlink || e.Target != target {
				f.t.Errorf("%q is stored as a %v to %q: %v", rel, e.Type, e.Target, err)
			}
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	if len(all) != count {
		f.t.Errorf("the restore point has %d entries, the directory %d", len(all), count)
	}
}

// meddler is a source whose files a test can spoil: the hooks get the path, without a leading slash.
type meddler struct {
	source.Source
	open func(path string) error            // before a directory or file is opened
	read func(path string, off int64) error // after bytes from off were read, and before it is told
}

func (m *meddler) Root(ctx context.Context, e *tree.Entry) (source.Dir, error) {
	d, err := m.Source.Root(ctx, e)
	if err != nil {
		return nil, err
	}
	return &meddledDir{d, m, ""}, nil
}

func (m *meddler) Devices() ([]uint64, error) { return m.Source.(*files.Source).Devices() }
func (m *meddler) Used() (int64, error)       { return 0, errors.New("unknown") }
func (m *meddler) Count(ctx context.Context) (int64, int64, error) {
	return m.Source.(*files.Source).Count(ctx)
}

type sourceDir = source.Dir // embedded under its own name it would hide the method Dir

type meddledDir struct {
	sourceDir
	m    *meddler
	path string
}

func (d *meddledDir) Dir(e *tree.Entry) (source.Dir, error) {
	path := d.path + e.Name
	if d.m.open != nil {
		if err := d.m.open(path); err != nil {
			return nil, err
		}
	}
	below, err := d.sourceDir.Dir(e)
	if err != nil {
		return nil, err
	}
	return &meddledDir{below, d.m, path + "/"}, nil
}

func (d *meddledDir) File(e *tree.Entry) (source.File, error) {
	path := d.path + e.Name
	if d.m.open != nil {
		if err := d.m.open(path); err != nil {
			return nil, err
		}
	}
	f, err := d.sourceDir.File(e)
	if err != nil {
		return nil, err
	}
	return &meddledFile{f, d.m, path}, nil
}

type meddledFile struct {
	source.File
	m    *meddler
	path string
}

func (f *meddledFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	if f.m.read != nil {
		if meddled := f.m.read(f.path, off); meddled != nil {
			return n / 2, meddled
		}
	}
	return n, err
}

// noise is content that does not compress.
func noise(seed byte, n int) string {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return string(b)
}

func TestFirstBackupHoldsEveryEntry(t *testing.T) {
	f := newFarm(t)
	f.write("a.txt", "hello")
	f.write("empty", "")
	f.write("deep/er/and/deeper/b.txt", strings.Repeat("b", 100_000))
	f.write("noise", noise(1, 900_000))
	f.write("big", noise(2, 7_000_000))
	f.write("new\nline \xff\xfe", "x")
	for _, err := range []error{
		os.Mkdir(filepath.Join(f.dir, "nothing in it"), 0o700),
		os.Symlink("a.txt", filepath.Join(f.dir, "link")),
		os.Symlink(strings.Repeat("nowhere/", 100), filepath.Join(f.dir, "dangling")),
		unix.Mkfifo(filepath.Join(f.dir, "fifo"), 0o640),
		os.Chmod(filepath.Join(f.dir, "a.txt"), 0o4751|fs.ModeSetuid),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var progress engine.Progress
	p := f.backup(engine.BackupOptions{Progress: &progress})
	f.check(p)
	if p.Kind != index.Full || p.Source != "farm" || p.Stats.Files != 6 || p.Stats.New != 6 || p.Stats.Others != 3 || p.Stats.Dirs != 5 {
		t.Errorf("the restore point says %+v", p)
	}
	if p.Stats.Read != p.Stats.Bytes || progress.Bytes.Load() != p.Stats.Bytes || progress.Files.Load() != 6 {
		t.Errorf("read %d of %d bytes, progress says %d", p.Stats.Read, p.Stats.Bytes, progress.Bytes.Load())
	}
}

func TestUnchangedFilesAreNotReadAgain(t *testing.T) {
	f := newFarm(t)
	for i := range 50 {
		f.write(fmt.Sprintf("d%d/f%d", i%7, i), noise(byte(i), i*1000))
	}
	first := f.backup(engine.BackupOptions{})
	f.meddle.open = func(path string) error {
		if strings.Contains(path, "f") {
			t.Errorf("%s was opened", path)
		}
		return nil
	}
	second := f.backup(engine.BackupOptions{})
	if second.Root != first.Root || second.Stats.Read != 0 || second.Stats.Unchanged != 50 || second.Kind != index.Incremental {
		t.Errorf("root %v after %v, %+v", second.Root, first.Root, second.Stats)
	}
	if second.Stats.Added != 0 {
		t.Errorf("%d bytes were added for nothing", second.Stats.Added)
	}
}

func TestFullReadsEverythingAgain(t *testing.T) {
	f := newFarm(t)
	f.write("d/a", noise(1, 300_000))
	f.write("b", noise(2, 3_000_000))
	first := f.backup(engine.BackupOptions{})
	second := f.backup(engine.BackupOptions{Full: true})
	if second.Root != first.Root || second.Stats.Read != 3_300_000 || second.Kind != index.Full || second.Stats.Reused < 3_300_000 {
		t.Errorf("root %v after %v, %+v", second.Root, first.Root, second.Stats)
	}
}

func TestEveryKindOfChangeIsSeen(t *testing.T) {
	f := newFarm(t)
	path := func(name string) string { return filepath.Join(f.dir, name) }
	for _, name := range []string{"same", "grown", "sly", "mode", "gone", "replaced", "became a directory", "d/inner", "e/x", "xattr"} {
		f.write(name, name)
	}
	first := f.backup(engine.BackupOptions{})
	info, err := os.Stat(path("sly"))
	if err != nil {
		t.Fatal(err)
	}
	f.write("grown", "grown and grown")
	f.write("sly", "SLY")
	f.write("new/new", "new")
	f.write("d/inner", "INNER")
	f.write(".other", "replaced")
	for _, err := range []error{
		os.Chtimes(path("sly"), info.ModTime(), info.ModTime()), // size and mtime tell nothing
		os.Chmod(path("mode"), 0o600),
		os.Remove(path("gone")),
		os.Rename(path(".other"), path("replaced")),
		os.Remove(path("became a directory")),
		os.Mkdir(path("became a directory"), 0o755),
		unix.Setxattr(path("xattr"), "user.colour", []byte("blue"), 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	second := f.backup(engine.BackupOptions{})
	f.check(second)
	if s := second.Stats; s.Unchanged != 2 || s.New != 1 || s.Removed != 2 || s.Changed != 6 {
		t.Errorf("statistics %+v", s)
	}
	want := []tree.Xattr{{Name: "user.colour", Value: []byte("blue")}}
	if diff := cmp.Diff(want, f.contents(second)["xattr"].Entry.Xattrs); diff != "" {
		t.Error(diff)
	}
	f.holds(first, "sly", "sly")
}

// holds says that an older restore point still holds what it held.
func (f *farm) holds(p *index.Point, name, content string) {
	f.t.Helper()
	if got := f.contents(p)[name].Content; got != content {
		f.t.Errorf("%s of %s holds %q", name, p.Name, got)
	}
}

func TestIncrementalGivesTheSameTreeAsFull(t *testing.T) {
	seed := uint64(42)
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	f := newFarm(t)
	f.write("first", "first")
	for round := range 12 {
		for range 15 {
			name := fmt.Sprintf("d%d/e%d/f%d", random.IntN(3), random.IntN(3), random.IntN(6))
			path := filepath.Join(f.dir, name)
			switch random.IntN(6) {
			case 0:
				os.RemoveAll(path)
			case 1:
				os.RemoveAll(filepath.Dir(path))
			case 2:
				os.Chmod(path, fs.FileMode(0o600+random.IntN(0o200)))
			case 3:
				os.RemoveAll(path)
				os.MkdirAll(filepath.Dir(path), 0o755)
				os.Link(filepath.Join(f.dir, "first"), path)
			default:
				os.RemoveAll(path)
				f.write(name, noise(byte(random.IntN(5)), random.IntN(40_000)))
			}
		}
		incremental := f.backup(engine.BackupOptions{})
		full := f.backup(engine.BackupOptions{Full: true, Source: "other"})
		if incremental.Root != full.Root {
			t.Fatalf("round %d: incremental gives %v, full %v", round, incremental.Root, full.Root)
		}
		f.check(incremental)
	}
}

func TestFileChangedInTheTickOfItsBackupIsReadAgain(t *testing.T) {
	f := newFarm(t)
	f.write("racy", "before")
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(f.dir, "racy"), &st); err != nil {
		t.Fatal(err)
	}
	f.now = time.Unix(0, st.Ctim.Nano()).Add(-time.Minute)
	f.backup(engine.BackupOptions{})
	again := f.backup(engine.BackupOptions{})
	if again.Stats.Read != 6 {
		t.Errorf("%d bytes were read, the file has 6", again.Stats.Read)
	}
	third := f.backup(engine.BackupOptions{})
	if third.Stats.Read != 0 {
		t.Errorf("%d bytes were read for the third time", third.Stats.Read)
	}
}

func TestUnreadableFilesAndDirectoriesAreReportedAndTheRestIsStored(t *testing.T) {
	f := newFarm(t)
	f.write("fine", "fine")
	f.write("secret", "secret")
	f.write("closed/inner", "inner")
	f.write("broken", noise(1, 200_000))
	f.write("big broken", noise(2, 9_000_000))
	f.meddle.open = func(path string) error {
		if path == "secret" || path == "closed" {
			return &fs.PathError{Op: "open", Path: path, Err: unix.EACCES}
		}
		return nil
	}
	f.meddle.read = func(path string, off int64) error {
		if path == "broken" || path == "big broken" && off > 3_000_000 {
			return unix.EIO
		}
		return nil
	}
	p := f.backup(engine.BackupOptions{})
	var paths []string
	for path := range f.problems {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	if diff := cmp.Diff([]string{"/big broken", "/broken", "/closed/", "/secret"}, paths); diff != "" {
		t.Errorf("problems: %s", diff)
	}
	if p.Stats.Errors != 4 || len(p.Problems) != 4 {
		t.Errorf("the restore point counts %d problems and lists %v", p.Stats.Errors, p.Problems)
	}
	all := f.contents(p)
	if all["fine"].Content != "fine" {
		t.Error("the readable file is not stored")
	}
	for _, name := range []string{"secret", "closed", "broken", "big broken"} {
		if all[name].Entry.Flags != tree.Unreadable {
			t.Errorf("%s has flags %d", name, all[name].Entry.Flags)
		}
	}
	if got := all["broken"].Content; got != noise(1, 200_000)[:100_000] {
		t.Errorf("of the broken file %d bytes are stored", len(got))
	}
	if got := all["big broken"].Content; len(got) < 3_000_000 || !strings.HasPrefix(noise(2, 9_000_000), got) {
		t.Errorf("of the big broken file %d bytes are stored", len(got))
	}
	f.meddle.open, f.meddle.read = nil, nil
	f.check(f.backup(engine.BackupOptions{}))
}

func TestFileThatChangesWhileItIsReadIsReadAgain(t *testing.T) {
	for name, size := range map[string]int{"small": 5000, "big": 5_000_000, "grows big": 900_000} {
		t.Run(name, func(t *testing.T) {
			f := newFarm(t)
			f.write("file", noise(1, size))
			f.write("other", "other")
			var once sync.Once
			f.meddle.read = func(path string, off int64) error {
				if path == "file" {
					once.Do(func() { f.write("file", noise(2, size+300_000)) })
				}
				return nil
			}
			p := f.backup(engine.BackupOptions{})
			f.check(p)
			if len(f.problems) != 0 || f.contents(p)["file"].Entry.Flags != 0 {
				t.Errorf("problems %v, flags %d", f.problems, f.contents(p)["file"].Entry.Flags)
			}
		})
	}
}

func TestFileThatKeepsChangingIsStoredAndMarked(t *testing.T) {
	for name, size := range map[string]int{"small": 5000, "big": 5_000_000} {
		t.Run(name, func(t *testing.T) {
			f := newFarm(t)
			f.write("file", noise(1, size))
			grown := 0
			f.meddle.read = func(string, int64) error {
				grown += 10
				f.write("file", noise(1, size+grown))
				return nil
			}
			p := f.backup(engine.BackupOptions{})
			got := f.contents(p)["file"]
			if got.Entry.Flags != tree.Changed || len(f.problems) != 1 || p.Stats.Errors != 1 {
				t.Errorf("flags %d, problems %v", got.Entry.Flags, f.problems)
			}
			if int64(len(got.Content)) != got.Entry.Size || !strings.HasPrefix(noise(1, size+grown), got.Content) {
				t.Errorf("%d bytes are stored, the entry says %d", len(got.Content), got.Entry.Size)
			}
			f.meddle.read = nil
			f.check(f.backup(engine.BackupOptions{}))
		})
	}
}

func TestWhatVanishesDuringTheBackupIsNoProblem(t *testing.T) {
	f := newFarm(t)
	for _, name := range []string{"small", "stays", "dir/x", "dir2/y"} {
		f.write(name, name)
	}
	f.write("big", noise(1, 3_000_000))
	f.meddle.open = func(path string) error {
		if path == "small" || path == "big" || path == "dir" {
			return os.RemoveAll(filepath.Join(f.dir, path))
		}
		return nil
	}
	all := f.contents(f.backup(engine.BackupOptions{}))
	delete(all, "")
	if diff := cmp.Diff([]string{"dir2", "dir2/y", "stays"}, slices.Sorted(maps.Keys(all))); diff != "" {
		t.Errorf("stored: %s", diff)
	}
	if len(f.problems) != 0 {
		t.Errorf("problems %v", f.problems)
	}
}

func TestHolesUseNoChunks(t *testing.T) {
	f := newFarm(t)
	make := func(name string, size int64, data map[int64]string) {
		file, err := os.Create(filepath.Join(f.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if err := file.Truncate(size); err != nil {
			t.Fatal(err)
		}
		for off, s := range data {
			if _, err := file.WriteAt([]byte(s), off); err != nil {
				t.Fatal(err)
			}
		}
	}
	make("small", 500_000, map[int64]string{100_000: "in the middle"})
	make("big", 50_000_000, map[int64]string{20_000_000: noise(1, 3_000_000), 49_999_990: "at the end"})
	make("all", 10_000_000, nil)
	make("little", 8192, map[int64]string{0: "x"})
	f.write("zeros", strings.Repeat("\x00", 200_000)) // zeros that are there are no hole
	p := f.backup(engine.BackupOptions{})
	f.check(p)
	all := f.contents(p)
	for name, least := range map[string]int64{"small": 490_000, "big": 46_900_000, "all": 10_000_000, "little": 4096, "zeros": 0} {
		if got := all[name].Holes; got < least || name == "zeros" && got > 0 {
			t.Errorf("%s has %d bytes of holes", name, got)
		}
	}
	if p.Stats.Added > 3_500_000 {
		t.Errorf("%d bytes were added", p.Stats.Added)
	}
}

func TestHardLinksAreReadOnce(t *testing.T) {
	f := newFarm(t)
	f.write("a", noise(1, 40_000))
	f.write("d/b", noise(2, 2_000_000))
	for _, err := range []error{
		os.Link(filepath.Join(f.dir, "a"), filepath.Join(f.dir, "a2")),
		os.Link(filepath.Join(f.dir, "a"), filepath.Join(f.dir, "d/a3")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	p := f.backup(engine.BackupOptions{Workers: 1})
	f.check(p)
	if p.Stats.Read != 2_040_000 {
		t.Errorf("%d bytes were read", p.Stats.Read)
	}
	all := f.contents(p)
	if a, b := all["a"].Entry, all["d/a3"].Entry; a.Inode != b.Inode || a.Device != b.Device || b.Links != 3 {
		t.Errorf("the names do not show as one file: %+v, %+v", a, b)
	}
}
