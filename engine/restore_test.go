//go:build linux

package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// planned is an entry of a restore point that a test writes by hand; data and sub are its content.
type planned struct {
	tree.Entry
	data []byte
	sub  map[string]planned
}

func plainFile(data string) planned {
	return planned{Entry: tree.Entry{Type: tree.File, Mode: 0o644, Mtime: 1700000000123456789}, data: []byte(data)}
}

func directory(sub map[string]planned) planned {
	return planned{Entry: tree.Entry{Type: tree.Directory, Mode: 0o755, Mtime: 1600000000987654321}, sub: sub}
}

// restoreFixture is a repository in a temporary directory.
type restoreFixture struct {
	repo  *index.Repository
	store *chunkstore.Store
	dir   string
	clock time.Time
}

func newRestoreFixture(t testing.TB, plain bool) *restoreFixture {
	t.Helper()
	ctx := context.Background()
	dir := t.TempDir()
	d, err := local.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	random := &counter{}
	f := &restoreFixture{dir: dir, clock: time.Date(2026, 11, 23, 21, 5, 0, 0, time.UTC)}
	o := chunkstore.InitOptions{Plain: plain, Random: random, Now: f.clock}
	if !plain {
		identity, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		o.Recipients = []age.Recipient{identity.Recipient()}
	}
	f.store, err = chunkstore.Init(ctx, d, o)
	if err != nil {
		t.Fatal(err)
	}
	f.repo, err = index.Open(ctx, f.store, index.Options{CacheDir: t.TempDir(), Now: func() time.Time { return f.clock }, Random: random, Host: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.repo.Close(); f.store.Close() })
	return f
}

// counter is a source of bytes that are different each time and the same in each run.
type counter struct {
	mu sync.Mutex
	at uint64
}

func (c *counter) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range p {
		c.at = c.at*6364136223846793005 + 1442695040888963407
		p[i] = byte(c.at >> 56)
	}
	return len(p), nil
}

// save makes a restore point of what is planned.
func (f *restoreFixture) save(t testing.TB, root planned) *index.Point {
	t.Helper()
	ctx := context.Background()
	session, err := f.repo.Begin(ctx, index.SessionOptions{Source: "test"})
	if err != nil {
		t.Fatal(err)
	}
	batch := session.NewBatch()
	f.saveEntry(t, session, batch, &root)
	if err := batch.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	ref, err := tree.SaveRoot(ctx, session, &root.Entry)
	if err != nil {
		t.Fatal(err)
	}
	point, err := session.Commit(ctx, &index.Point{Source: "test", Kind: index.Full, Started: f.clock, Finished: f.clock, Root: ref})
	if err != nil {
		t.Fatal(err)
	}
	return point
}

func (f *restoreFixture) saveEntry(t testing.TB, session *index.Session, batch *index.Batch, p *planned) {
	t.Helper()
	ctx := context.Background()
	p.UID, p.GID = uint32(os.Getuid()), uint32(os.Getgid())
	if p.Type == tree.File && p.Content == nil {
		content := tree.NewContentWriter(session)
		for data := p.data; len(data) > 0; {
			n := f.store.Chunker().Cut(data)
			extent := tree.Extent{Length: int64(n)}
			if !bytes.Equal(data[:n], make([]byte, n)) {
				id, _, err := batch.Store(ctx, data[:n])
				if err != nil {
					t.Fatal(err)
				}
				extent.ID = id
			}
			if err := content.Add(ctx, extent); err != nil {
				t.Fatal(err)
			}
			data = data[n:]
		}
		if err := content.Finish(ctx, &p.Entry); err != nil {
			t.Fatal(err)
		}
		p.Size = int64(len(p.data))
	}
	if p.Type != tree.Directory {
		return
	}
	w := tree.NewWriter(session)
	for _, name := range slices.Sorted(maps.Keys(p.sub)) {
		sub := p.sub[name]
		sub.Name = name
		f.saveEntry(t, session, batch, &sub)
		if err := w.Add(ctx, &sub.Entry); err != nil {
			t.Fatal(err)
		}
	}
	ref, err := w.Finish(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p.SetChild(ref)
}

// onDisk gives what lies in a directory: a file's content, "-> target" for a symlink, "dir/" for a directory.
func onDisk(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		switch {
		case info.IsDir():
			all[name] = "dir/"
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(path)
			all[name] = "-> " + target
			return err
		default:
			data, err := os.ReadFile(path)
			all[name] = string(data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func restore(t testing.TB, f *restoreFixture, point *index.Point, path, target string, o engine.RestoreOptions) (*engine.RestoreResult, []string) {
	t.Helper()
	var problems []string
	o.Problem = func(path string, err error) { problems = append(problems, fmt.Sprintf("%s: %v", path, err)) }
	result, err := engine.Restore(context.Background(), f.repo, point, path, target, o)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(problems)
	return result, problems
}

var sampleTree = directory(map[string]planned{
	"a":     plainFile("alpha"),
	"empty": plainFile(""),
	"sub": directory(map[string]planned{
		"b":    plainFile("beta"),
		"link": {Entry: tree.Entry{Type: tree.Symlink, Target: "../a"}},
		"more": directory(map[string]planned{"c": plainFile("gamma")}),
	}),
})

func TestRestoreGivesBackEveryEntry(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain=%v", plain), func(t *testing.T) { restoresEveryEntry(t, plain) })
	}
}

func restoresEveryEntry(t *testing.T, plain bool) {
	f := newRestoreFixture(t, plain)
	point := f.save(t, sampleTree)
	target := filepath.Join(t.TempDir(), "made", "by restore")
	result, problems := restore(t, f, point, "/", target, engine.RestoreOptions{})
	want := map[string]string{"a": "alpha", "empty": "", "sub": "dir/", "sub/b": "beta", "sub/link": "-> ../a", "sub/more": "dir/", "sub/more/c": "gamma"}
	if diff := cmp.Diff(want, onDisk(t, target)); diff != "" || len(problems) > 0 {
		t.Errorf("differs (-want +got):\n%s\nproblems %v", diff, problems)
	}
	if *result != (engine.RestoreResult{Files: 4, Dirs: 3, Others: 1, Bytes: 14}) {
		t.Errorf("result %+v", *result)
	}
	for name, mtime := range map[string]int64{".": 1600000000987654321, "sub": 1600000000987654321, "sub/b": 1700000000123456789} {
		info, err := os.Stat(filepath.Join(target, name))
		if err != nil || info.ModTime().UnixNano() != mtime {
			t.Errorf("%s: time %v, want %d (%v)", name, info.ModTime(), mtime, err)
		}
	}
}

func TestRestoreOfAPathGivesThatPartAlone(t *testing.T) {
	f := newRestoreFixture(t, false)
	point := f.save(t, sampleTree)
	dir := t.TempDir()
	restore(t, f, point, "/sub/more", filepath.Join(dir, "directory"), engine.RestoreOptions{})
	restore(t, f, point, "sub/b", filepath.Join(dir, "file"), engine.RestoreOptions{})
	want := map[string]string{"directory": "dir/", "directory/c": "gamma", "file": "dir/", "file/b": "beta"}
	if diff := cmp.Diff(want, onDisk(t, dir)); diff != "" {
		t.Error(diff)
	}
	if _, err := engine.Restore(context.Background(), f.repo, point, "/sub/nothing", filepath.Join(dir, "no"), engine.RestoreOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want one that says that it does not exist", err)
	}
}

func TestRestoreOverwritesNothingUnlessTold(t *testing.T) {
	f := newRestoreFixture(t, false)
	point := f.save(t, sampleTree)
	target := t.TempDir()
	for name, data := range map[string]string{"a": "mine", "other": "mine too"} {
		if err := os.WriteFile(filepath.Join(target, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(target, "sub", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	before := onDisk(t, target)
	_, err := engine.Restore(context.Background(), f.repo, point, "/", target, engine.RestoreOptions{})
	var inTheWay *engine.InTheWayError
	if !errors.As(err, &inTheWay) {
		t.Fatalf("error %v, want an InTheWayError", err)
	}
	slices.Sort(inTheWay.Paths)
	if diff := cmp.Diff([]string{"a", "sub/b"}, inTheWay.Paths); diff != "" || inTheWay.Count != 2 {
		t.Errorf("in the way: %s", diff)
	}
	if diff := cmp.Diff(before, onDisk(t, target)); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}

	_, problems := restore(t, f, point, "/", target, engine.RestoreOptions{Overwrite: true})
	if len(problems) != 1 || !strings.Contains(problems[0], "/sub/b: create: a directory has that name") {
		t.Errorf("problems %q, want one: a directory is never replaced", problems)
	}
	want := map[string]string{"a": "alpha", "other": "mine too", "empty": "", "sub": "dir/", "sub/b": "dir/", "sub/link": "-> ../a", "sub/more": "dir/", "sub/more/c": "gamma"}
	if diff := cmp.Diff(want, onDisk(t, target)); diff != "" {
		t.Error(diff)
	}
}

func TestRestoreIntoADirectoryWithOtherThingsMerges(t *testing.T) {
	f := newRestoreFixture(t, false)
	point := f.save(t, sampleTree)
	target := t.TempDir()
	if err := os.MkdirAll(filepath.Join(target, "sub"), 0o750); err != nil {
		t.Fatal(err)
	}
	restore(t, f, point, "/", target, engine.RestoreOptions{})
	info, err := os.Stat(filepath.Join(target, "sub"))
	if err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("mode of a directory that was there is %v (%v), want it kept", info.Mode(), err)
	}
}

func TestRestoreNeverFollowsASymlinkOutOfTheTarget(t *testing.T) {
	f := newRestoreFixture(t, false)
	point := f.save(t, sampleTree)
	outside := t.TempDir()
	for _, overwrite := range []bool{false, true} {
		target := t.TempDir()
		if err := os.Symlink(outside, filepath.Join(target, "sub")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(outside, "a"), filepath.Join(target, "a")); err != nil {
			t.Fatal(err)
		}
		_, err := engine.Restore(context.Background(), f.repo, point, "/", target, engine.RestoreOptions{Overwrite: overwrite})
		if overwrite != (err == nil) {
			t.Errorf("overwrite %v: error %v", overwrite, err)
		}
		if got := onDisk(t, outside); len(got) > 0 {
			t.Fatalf("overwrite %v: written outside: %v", overwrite, got)
		}
		if overwrite && onDisk(t, target)["sub/more/c"] != "gamma" {
			t.Errorf("the symlink was not replaced by the directory: %v", onDisk(t, target))
		}
	}
}

func TestNamesThatLeaveTheTargetAreRefused(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a/b", "/", "x\x00y"} {
		if engine.CheckName(name) == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

func TestDefaultACLOfTheTargetDoesNotReachWhatIsRestored(t *testing.T) {
	f := newRestoreFixture(t, false)
	point := f.save(t, sampleTree)
	target := t.TempDir()
	// user::rwx user:1234:rwx group::r-x mask::rwx other::---
	acl := []byte{2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 7, 0, 210, 4, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255, 16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255}
	if err := unix.Setxattr(target, "system.posix_acl_default", acl, 0); err != nil {
		t.Logf("this file system has no ACLs (%v): nothing to inherit", err)
		return
	}
	if err := os.WriteFile(filepath.Join(target, "there"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	restore(t, f, point, "/", target, engine.RestoreOptions{})
	for name, mode := range map[string]os.FileMode{"a": 0o644, "sub": 0o755, "sub/b": 0o644, "sub/more": 0o755, "sub/more/c": 0o644} {
		path := filepath.Join(target, name)
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, error %v, want %v", name, info.Mode(), err, mode)
		}
		if n, err := unix.Getxattr(path, "system.posix_acl_access", nil); err == nil {
			t.Errorf("%s: has an ACL of %d bytes", name, n)
		}
	}
}

func TestHardLinksAreJoinedAgainAndReusedInodesAreNot(t *testing.T) {
	f := newRestoreFixture(t, false)
	linked := func(data string) planned {
		p := plainFile(data)
		p.Device, p.Inode, p.Links = 1, 77, 3
		return p
	}
	point := f.save(t, directory(map[string]planned{
		"1": linked("same"), "2": directory(map[string]planned{"3": linked("same")}), "4": linked("another file with that number"), "5": linked("same"),
	}))
	target := t.TempDir()
	restore(t, f, point, "/", target, engine.RestoreOptions{})
	ino := func(name string) uint64 {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(target, name), &st); err != nil {
			t.Fatal(err)
		}
		return st.Ino
	}
	if ino("1") != ino("2/3") || ino("1") != ino("5") {
		t.Error("names of one file were restored as several files")
	}
	if ino("4") == ino("1") || onDisk(t, target)["4"] != "another file with that number" {
		t.Error("two files were joined")
	}
}

// noisy gives bytes that do not compress.
func noisy(n int, seed uint64) []byte {
	p := make([]byte, n)
	(&counter{at: seed}).Read(p)
	return p
}

func TestBigFilesAndHolesComeBack(t *testing.T) {
	f := newRestoreFixture(t, false)
	withHole := noisy(9<<20, 5)
	clear(withHole[2<<20 : 7<<20])
	files := map[string][]byte{"big": noisy(23<<20+17, 3), "holes": withHole, "hole only": make([]byte, 6<<20), "repeated": bytes.Repeat(noisy(1<<20, 4), 12)}
	plan := make(map[string]planned)
	for name, data := range files {
		plan[name] = planned{Entry: tree.Entry{Type: tree.File, Mode: 0o600}, data: data}
	}
	point := f.save(t, directory(plan))
	target := t.TempDir()
	_, problems := restore(t, f, point, "/", target, engine.RestoreOptions{Workers: 4})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for name, data := range files {
		got, err := os.ReadFile(filepath.Join(target, name))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes differ from %d (%v)", name, len(got), len(data), err)
		}
	}
	for name, most := range map[string]int64{"hole only": 0, "holes": 5 << 20} {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(target, name), &st); err != nil || st.Blocks*512 > most {
			t.Errorf("%s takes %d bytes of the disk, want at most %d (%v)", name, st.Blocks*512, most, err)
		}
	}
}

func TestLostChunksAreNamedAndTheRestIsRestored(t *testing.T) {
	f := newRestoreFixture(t, false)
	lost := func(size int64, content ...tree.Extent) planned {
		return planned{Entry: tree.Entry{Type: tree.File, Mode: 0o644, Size: size, Content: content}}
	}
	nowhere := chunkstore.ID{1, 2, 3}
	unread := plainFile("")
	unread.Flags, unread.Content = tree.Unreadable, []tree.Extent{}
	point := f.save(t, directory(map[string]planned{
		"whole": plainFile("whole"), "lost": lost(100, tree.Extent{ID: nowhere, Length: 60}, tree.Extent{Length: 40}),
		"big": lost(12<<20, tree.Extent{Length: 6 << 20}, tree.Extent{ID: nowhere, Length: 64 << 10}, tree.Extent{Length: 6<<20 - 64<<10}), "unread": unread,
	}))
	target := t.TempDir()
	result, problems := restore(t, f, point, "/", target, engine.RestoreOptions{})
	if result.Problems != 3 || len(problems) != 3 || onDisk(t, target)["whole"] != "whole" {
		t.Fatalf("result %+v, problems %q", result, problems)
	}
	for i, want := range []string{"/big: 65536 bytes lost, 65536 at offset 6291456", "/lost: 60 bytes lost, 60 at offset 0", "/unread: its content could not be read"} {
		if !strings.HasPrefix(problems[i], want) {
			t.Errorf("problem %q, want %q", problems[i], want)
		}
	}
	if err := os.WriteFile(filepath.Join(target, "lost"), []byte("an older, good copy"), 0o644); err != nil {
		t.Fatal(err)
	}
	restore(t, f, point, "/lost", target, engine.RestoreOptions{Overwrite: true})
	if got := onDisk(t, target); got["lost"] != "an older, good copy" || len(got) != 4 {
		t.Errorf("a good file was replaced by a damaged one, or a temporary one stayed: %.100q", got)
	}
}

func TestCancelledRestoreLeavesNoPartOfAFile(t *testing.T) {
	f := newRestoreFixture(t, false)
	plan := make(map[string]planned)
	for i := range 20 {
		plan[fmt.Sprint(i)] = planned{Entry: tree.Entry{Type: tree.File, Mode: 0o600}, data: noisy(5<<20, uint64(i%3))}
	}
	changed := plan["0"]
	changed.Flags = tree.Changed
	plan["0"] = changed
	point := f.save(t, directory(plan))
	target := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	// The warning about the changed file comes in the middle of the restore.
	_, err := engine.Restore(ctx, f.repo, point, "/", target, engine.RestoreOptions{Warn: func(string) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want that it was cancelled", err)
	}
	for name, data := range onDisk(t, target) {
		if data != string(plan[name].data) {
			t.Errorf("%s is there with %d bytes and is not whole", name, len(data))
		}
	}
}

func TestManySmallFilesComeBackFromManyWorkers(t *testing.T) {
	f := newRestoreFixture(t, false)
	plan := make(map[string]planned)
	for d := range 20 {
		sub := make(map[string]planned)
		for i := range 250 {
			sub[fmt.Sprintf("file-%d", i)] = plainFile(strings.Repeat(fmt.Sprintf("%d/%d ", d, i), (d*i)%200))
		}
		plan[fmt.Sprintf("dir-%d", d)] = directory(sub)
	}
	point := f.save(t, directory(plan))
	target := t.TempDir()
	result, problems := restore(t, f, point, "/", target, engine.RestoreOptions{Workers: 8})
	if result.Files != 5000 || result.Dirs != 21 || len(problems) > 0 {
		t.Fatalf("result %+v, problems %q", result, problems)
	}
	got := onDisk(t, target)
	for d := range 20 {
		for i := range 250 {
			name := fmt.Sprintf("dir-%d/file-%d", d, i)
			if want := string(plan[fmt.Sprintf("dir-%d", d)].sub[fmt.Sprintf("file-%d", i)].data); got[name] != want {
				t.Fatalf("%s holds %.40q, want %.40q", name, got[name], want)
			}
		}
	}
}
