//go:build linux

package fs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/index/tree"
)

// random gives bytes that look random but are the same for a seed.
func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	r.Read(b)
	return b
}

func TestEveryKindOfEntryIsShownAsItWas(t *testing.T) {
	s := newShelf(t)
	linked := &tree.Entry{Type: tree.File, Mode: 0o640, UID: 12, GID: 34, Links: 2, Device: 5, Inode: 77, Size: 5, Content: s.put([]byte("hello"), chunkSize)}
	twin := *linked
	dir := folderOf{
		"empty":          "",
		"file":           "some text",
		"with\nnewline":  "n",
		"not\xff\xfeutf": "u",
		"a b":            folderOf{"deeper": folderOf{"x": "1"}, "none": folderOf{}},
		"one":            linked,
		"two":            &twin,
		"link":           &tree.Entry{Type: tree.Symlink, Mode: 0o777, Target: "nowhere/\xff", Mtime: -1},
		"pipe":           &tree.Entry{Type: tree.FIFO, Mode: 0o600},
		"socket":         &tree.Entry{Type: tree.Socket, Mode: 0o600},
		"null":           &tree.Entry{Type: tree.CharDevice, Mode: 0o666, Rdev: unix.Mkdev(1, 3)},
		"disk":           &tree.Entry{Type: tree.BlockDevice, Mode: 0o660, Rdev: unix.Mkdev(259, 70000)},
		"setuid":         &tree.Entry{Type: tree.File, Mode: 0o4755, Mtime: 1},
		"attributes": &tree.Entry{Type: tree.File, Mode: 0o600, Xattrs: []tree.Xattr{
			{Name: "user.empty"}, {Name: "user.note", Value: []byte("a\x00b")}, {Name: "trusted.big", Value: bytes.Repeat([]byte("x"), 4000)}}},
	}
	s.back("docs", "2026-11-20T10:00", dir)
	mnt, _ := serve(t, s, Options{})
	found := walk(t, filepath.Join(mnt, "docs", "2026-11-20T10-00-00Z"))

	if want := 1 + len(dir) + 3; len(found) != want {
		t.Errorf("%d entries, want %d", len(found), want)
	}
	for path, want := range map[string]seen{
		".":             {Mode: syscall.S_IFDIR | 0o750, Links: 2, Mtime: time.Date(2026, 11, 20, 10, 0, 0, 7, time.UTC).UnixNano()},
		"file":          {Mode: syscall.S_IFREG | 0o644, Links: 1, Size: 9, Blocks: 1, Mtime: 1_600_000_000_123_456_789},
		"with\nnewline": {Mode: syscall.S_IFREG | 0o644, Links: 1, Size: 1, Blocks: 1, Mtime: 1_600_000_000_123_456_789},
		"one":           {Mode: syscall.S_IFREG | 0o640, UID: 12, GID: 34, Links: 2, Size: 5, Blocks: 1},
		"link":          {Mode: syscall.S_IFLNK | 0o777, Links: 1, Size: 9, Target: "nowhere/\xff", Mtime: -1},
		"pipe":          {Mode: syscall.S_IFIFO | 0o600, Links: 1},
		"socket":        {Mode: syscall.S_IFSOCK | 0o600, Links: 1},
		"null":          {Mode: syscall.S_IFCHR | 0o666, Links: 1, Rdev: unix.Mkdev(1, 3)},
		"disk":          {Mode: syscall.S_IFBLK | 0o660, Links: 1, Rdev: unix.Mkdev(259, 70000)},
		"setuid":        {Mode: syscall.S_IFREG | 0o4755, Links: 1, Mtime: 1},
	} {
		got := found[path]
		got.Path, got.Inode, got.Sum = "", 0, ""
		if fmt.Sprint(got) != fmt.Sprint(want) && !(path == "link" && strings.HasPrefix(got.Target, "nowhere/")) {
			t.Errorf("%q is\n%+v, want\n%+v", path, got, want)
		}
	}
	if a, b := found["one"], found["two"]; a.Inode != b.Inode || a.Sum != b.Sum {
		t.Errorf("two names of one file: %+v and %+v", a, b)
	}
	if found["one"].Inode == found["file"].Inode {
		t.Error("two files have one inode number")
	}
	x := found["attributes"].Xattrs
	if len(x) != 3 || x["user.empty"] != "" || x["user.note"] != "a\x00b" || len(x["trusted.big"]) != 4000 {
		t.Errorf("extended attributes: %q", x)
	}
	if _, ok := found["not\xff\xfeutf"]; !ok {
		t.Error("a name that is not UTF-8 is missing")
	}
}

func TestNamesOfASourceLeadToItsPoints(t *testing.T) {
	s := newShelf(t)
	s.back("docs", "2026-11-20T10:00", folderOf{"f": "one"})
	s.back("docs", "2026-11-24T10:00", folderOf{"f": "two"})
	s.back("docs", "2026-11-26T10:00", folderOf{"f": "three"})
	s.back("pics", "2026-11-26T11:00", folderOf{"p": "x"})
	mnt, _ := serve(t, s, Options{})

	if got, want := run(t, "ls", "-A", mnt, mnt+"/docs"), mnt+":\ndocs\npics\n\n"+mnt+
		"/docs:\n2026-11-20T10-00-00Z\n2026-11-24T10-00-00Z\n2026-11-26T10-00-00Z\nlatest\n"; got != want {
		t.Errorf("ls shows\n%s, want\n%s", got, want)
	}
	for name, want := range map[string]string{"latest": "2026-11-26T10-00-00Z", "@1d": "2026-11-24T10-00-00Z", "@4d": "2026-11-20T10-00-00Z"} {
		if got := strings.TrimSpace(run(t, "readlink", mnt+"/docs/"+name)); got != want {
			t.Errorf("%s leads to %s, want %s", name, got, want)
		}
	}
	if got := run(t, "cat", mnt+"/docs/@1d/f", mnt+"/docs/latest/f"); got != "twothree" {
		t.Errorf("read %q", got)
	}
	for _, name := range []string{"@100d", "@", "@nonsense", "2026-11-21T10-00-00Z", ".VERSIONS"} {
		if out := fails(t, "ls", mnt+"/docs/"+name); !strings.Contains(out, "No such file") {
			t.Errorf("%s: %s", name, out)
		}
	}
}

func TestVersionsShowsEachStateOnce(t *testing.T) {
	s := newShelf(t)
	s.back("docs", "2026-11-20T10:00", folderOf{"d": folderOf{"f": "one", "gone": "g"}, "same": "s"})
	s.back("docs", "2026-11-21T10:00", folderOf{"d": folderOf{"f": "one", "gone": "g"}, "same": "s", "new": "n"})
	s.back("docs", "2026-11-22T10:00", folderOf{"d": folderOf{"f": "two"}, "same": "s", "new": folderOf{"in": "i"}})
	s.back("docs", "2026-11-23T10:00", folderOf{"d": folderOf{"f": "one"}, "same": "s"})
	mnt, _ := serve(t, s, Options{})

	versions := mnt + "/docs/.versions"
	want := ".\n./d\n./d/f\n./d/f/2026-11-20T10-00-00Z\n./d/f/2026-11-22T10-00-00Z\n./d/gone\n./d/gone/2026-11-20T10-00-00Z\n" +
		"./new\n./new/2026-11-21T10-00-00Z\n./new/in\n./new/in/2026-11-22T10-00-00Z\n./same\n./same/2026-11-20T10-00-00Z\n"
	if got := run(t, "sh", "-c", "cd "+versions+" && find . | LC_ALL=C sort"); got != want {
		t.Errorf("find shows\n%s, want\n%s", got, want)
	}
	if got := run(t, "cat", versions+"/d/f/2026-11-20T10-00-00Z", versions+"/d/f/2026-11-22T10-00-00Z"); got != "onetwo" {
		t.Errorf("read %q", got)
	}
	if out := fails(t, "ls", versions+"/d/nothing"); !strings.Contains(out, "No such file") {
		t.Error(out)
	}
}

func TestNobodySeesInVersionsWhatPointsHide(t *testing.T) {
	s := newShelf(t)
	hidden := &tree.Entry{Type: tree.Directory, Mode: 0o700, UID: 1000, GID: 1000}
	hidden.SetChild(s.save(folderOf{"key": "secret"}))
	s.back("docs", "2026-11-20T10:00", folderOf{"private": hidden, "open": "o"})
	s.points[0].Root = s.rootOf(folderOf{"private": hidden, "open": "o"}, 0o755)
	mnt, _ := serve(t, s, Options{})
	if err := os.Chmod(filepath.Dir(mnt), 0o755); err != nil { // the test's folder is for root alone
		t.Fatal(err)
	}
	if out := fails(t, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "ls", mnt+"/docs/.versions/private"); !strings.Contains(out, "Permission denied") {
		t.Error(out)
	}
	run(t, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "ls", mnt+"/docs/.versions/open")
}

func TestLargeDirectoryIsListedWhole(t *testing.T) {
	s := newShelf(t)
	w := tree.NewWriter(s)
	const entries = 100_000
	content := s.put([]byte("small"), chunkSize)
	for i := range entries {
		e := &tree.Entry{Name: fmt.Sprintf("entry-%07d", i), Type: tree.File, Mode: 0o644, Links: 1, Size: 5, Content: content, Inode: uint64(i + 10)}
		if err := w.Add(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	ref, err := w.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	big := &tree.Entry{Type: tree.Directory, Mode: 0o755}
	big.SetChild(ref)
	s.back("docs", "2026-11-20T10:00", folderOf{"big": big})
	mnt, _ := serve(t, s, Options{})
	for _, how := range []string{"-size", "-name"} { // the second time from the kernel's memory
		out := run(t, "find", mnt+"/docs/latest/big/", "-type", "f", how, map[string]string{"-size": "-2", "-name": "*"}[how], "-printf", "%f\n")
		if got := strings.Count(out, "\n"); got != entries {
			t.Errorf("%d entries, want %d", got, entries)
		}
		if !strings.Contains(out, "entry-0000000\n") || !strings.Contains(out, "entry-0099999\n") {
			t.Error("the first or the last is missing")
		}
	}
	if got := run(t, "cat", mnt+"/docs/latest/big/entry-0054321"); got != "small" {
		t.Errorf("read %q", got)
	}

	const limit = 20_000 // now the kernel is asked to forget in the middle of it
	mnt, m := serve(t, s, Options{}, func(s *server) { s.maxNodes = limit })
	out := run(t, "ls", "-sU", mnt+"/docs/@6d/big/")
	if got := strings.Count(out, "entry-"); got != entries {
		t.Errorf("%d entries, want %d", got, entries)
	}
	deadline := time.Now().Add(2 * time.Minute)
	for n := entries; n > limit; {
		if time.Now().After(deadline) {
			t.Fatalf("%d nodes are still in the table, the limit is %d", n, limit)
		}
		run(t, "ls", mnt+"/docs/latest/big/entry-0054321")
		m.server.table.mu.Lock()
		n = len(m.server.table.nodes)
		m.server.table.mu.Unlock()
	}
}

func TestReadsAtAllOffsetsGiveTheOriginal(t *testing.T) {
	s := newShelf(t)
	content := random(1, 5_000_123)
	clear(content[1_000_000:1_300_000])
	clear(content[4_900_000:])
	original := filepath.Join(t.TempDir(), "original")
	if err := os.WriteFile(original, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s.back("docs", "2026-11-20T10:00", folderOf{"file": content, "few": content[:777]})
	s.back("docs", "2026-11-21T10:00", folderOf{"file": append([]byte("x"), content...), "few": content[:777]})
	mnt, _ := serve(t, s, Options{})
	run(t, "cmp", original, mnt+"/docs/@6d/file")
	seed := rand.Uint64()
	t.Log("seed", seed)

	var readers sync.WaitGroup
	for i, point := range []string{"2026-11-20T10-00-00Z", "2026-11-20T10-00-00Z", "@6d"} {
		readers.Go(func() {
			if out, err := childCommand("compare", original, mnt+"/docs/"+point+"/file", fmt.Sprint(seed+uint64(i))).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	readers.Go(func() {
		if out, err := exec.Command("sh", "-c", "tail -c +2 "+mnt+"/docs/latest/file | cmp - "+original).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	readers.Wait()
}

func TestHolesStayHoles(t *testing.T) {
	s := newShelf(t)
	content := make([]byte, 3_000_000)
	copy(content[1_500_000:], random(2, 10_000))
	long := random(8, 20_000_000)
	for i := 2_000_000; i < len(long); i += 1_000_000 {
		clear(long[i:min(i+950_000, len(long))])
	}
	s.back("docs", "2026-11-20T10:00", folderOf{"long": long, "sparse": content, "hole": &tree.Entry{Type: tree.File, Mode: 0o600, Size: 6 << 30, Content: []tree.Extent{{Length: 6 << 30}}}})
	mnt, _ := serve(t, s, Options{})
	copied := filepath.Join(t.TempDir(), "copy")
	run(t, "cp", "--sparse=auto", mnt+"/docs/latest/sparse", copied)
	got, err := os.ReadFile(copied)
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("the copy differs (%v)", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(copied, &st); err != nil || st.Blocks*512 > 200_000 {
		t.Errorf("the copy takes %d bytes (%v)", st.Blocks*512, err)
	}
	if blocks := walk(t, mnt+"/docs/latest/sparse")["."].Blocks; blocks*512 > 20_000 {
		t.Errorf("the sparse file shows %d blocks", blocks)
	}
	if e, err := tree.Find(t.Context(), s, s.points[0].Root.ID, "long"); err != nil || e.List.IsZero() {
		t.Fatalf("the file has no long content list (%v)", err)
	}
	if got := walk(t, mnt+"/docs/latest/long")["."]; got.Blocks >= got.Size/512 {
		t.Error("a file with a long content list does not look as if it might have holes")
	}
	run(t, "cp", "--sparse=auto", mnt+"/docs/latest/long", copied)
	if err := unix.Stat(copied, &st); err != nil || st.Blocks*512 > 5_000_000 {
		t.Errorf("the copy of a sparse file with a long list takes %d bytes (%v)", st.Blocks*512, err)
	}
	run(t, "cp", "--sparse=auto", mnt+"/docs/latest/hole", copied)
	if err := unix.Stat(copied, &st); err != nil || st.Size != 6<<30 || st.Blocks*512 > 200_000 {
		t.Errorf("the copy of a hole has %d bytes and takes %d (%v)", st.Size, st.Blocks*512, err)
	}
}

// eio is how pread tells of a block that cannot be read.
var eio = fmt.Sprintf("errno%d", syscall.EIO)

func TestDamageGivesEIOForItsRangeAlone(t *testing.T) {
	s := newShelf(t)
	content := random(3, 400_000)
	file := s.entryOf(content)
	short := s.entryOf("complete")
	short.Size, short.Flags = 20_000, tree.Unreadable
	s.back("docs", "2026-11-20T10:00", folderOf{"file": file, "short": short})
	c, err := tree.OpenContent(t.Context(), s, file)
	if err != nil {
		t.Fatal(err)
	}
	piece, err := c.At(t.Context(), 200_000)
	if err != nil {
		t.Fatal(err)
	}
	loc := s.places[piece.ID]
	s.lost[touch{loc.Pack, loc.Offset}] = true
	first, last := int64(-1), int64(0) // of the lost frame's bytes in the file
	for p, err := range c.Pieces(t.Context(), 0) {
		if l := s.places[p.ID]; err == nil && l.Pack == loc.Pack && l.Offset == loc.Offset {
			if first < 0 {
				first = p.Offset
			}
			last = p.End()
		}
	}
	var mu sync.Mutex
	var lines []string
	mnt, _ := serve(t, s, Options{Log: func(line string) { mu.Lock(); lines = append(lines, line); mu.Unlock() }})
	path := mnt + "/docs/latest/file"
	var offsets []int64
	for off := int64(0); off+4096 <= int64(len(content)); off += 4096 {
		offsets = append(offsets, off)
	}
	for i, got := range pread(t, path, 4096, offsets...) {
		off := offsets[i]
		want := fmt.Sprintf("%x", sha256.Sum256(content[off:][:4096]))
		if off < last && off+4096 > first {
			want = eio
		}
		if got != want {
			t.Errorf("bytes from %d on: %s, want %s (damaged are %d to %d)", off, got, want, first, last)
		}
	}
	if out := fails(t, "cat", path); !strings.Contains(out, "Input/output error") {
		t.Error("cat of a damaged file:", out)
	}
	if got := pread(t, mnt+"/docs/latest/short", 8, 8192); got[0] != eio {
		t.Errorf("what is missing of a short file: %s", got)
	}
	mu.Lock()
	defer mu.Unlock()
	named := 0
	for _, line := range lines {
		if strings.Contains(line, loc.Pack.ObjectName()) && strings.Contains(line, "/file") {
			named++
		}
	}
	if named != 1 {
		t.Errorf("the damage was logged %d times: %q", named, lines)
	}
}

func TestDamagedDirectoryListsTheRest(t *testing.T) {
	s := newShelf(t)
	dir := folderOf{}
	for i := range 5000 {
		dir[fmt.Sprintf("%05d-%060d", i, i)] = ""
	}
	p := s.back("docs", "2026-11-20T10:00", folderOf{"big": dir, "ok": "x"})
	big, err := tree.Find(t.Context(), s, p.Root.ID, "big")
	if err != nil {
		t.Fatal(err)
	}
	var lost chunkstore.ID
	before := len(s.nodes)
	for id := range s.nodes { // any leaf of the directory: it holds the name in the middle
		if id != big.Child && bytes.Contains(s.nodes[id], []byte(fmt.Sprintf("%05d-", 2500))) && len(s.nodes[id]) > 20_000 {
			lost = id
		}
	}
	delete(s.nodes, lost)
	if len(s.nodes) == before {
		t.Fatal("no leaf was lost")
	}
	mnt, _ := serve(t, s, Options{})
	out, err := exec.Command("ls", "-U", mnt+"/docs/latest/big").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "error") {
		t.Errorf("ls did not fail: %v", err)
	}
	if n := strings.Count(string(out), "\n"); n < 2000 || !strings.Contains(string(out), "04999-") || !strings.Contains(string(out), "00000-") {
		t.Errorf("ls shows %d lines", n)
	}
	if got := run(t, "cat", mnt+"/docs/latest/ok"); got != "x" {
		t.Errorf("beside the damage: %q", got)
	}
}

func TestWritesAreRefused(t *testing.T) {
	s := newShelf(t)
	s.back("docs", "2026-11-20T10:00", folderOf{"f": "x"})
	mnt, _ := serve(t, s, Options{})
	f := mnt + "/docs/latest/f"
	for _, args := range [][]string{{"touch", f}, {"rm", f}, {"mkdir", mnt + "/new"}, {"mv", f, f + "2"}, {"chmod", "0", f},
		{"ln", f, f + "2"}, {"sh", "-c", "echo >> " + f}, {"setfattr", "-n", "user.a", f}, {"rmdir", mnt + "/docs"}} {
		if out := fails(t, args[0], args[1:]...); !strings.Contains(strings.ToLower(out), "read-only file system") {
			t.Errorf("%q: %s", args, out)
		}
	}
}

// eventually waits until a child's command gives what is wanted.
func eventually(t *testing.T, want string, name string, args ...string) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	var out []byte
	for time.Now().Before(deadline) {
		out, _ = exec.Command(name, args...).Output()
		if string(out) == want {
			return
		}
	}
	t.Fatalf("%s %q still gives %q, want %q", name, args, out, want)
}

func TestPointsComeAndGoWithoutARemount(t *testing.T) {
	t.Parallel() // most of it is waiting
	s := newShelf(t)
	s.back("docs", "2026-11-20T10:00", folderOf{"f": "one"})
	s.back("docs", "2026-11-21T10:00", folderOf{"f": "two"})
	mnt, _ := serve(t, s, Options{Poll: 100 * time.Millisecond})
	if got := run(t, "cat", mnt+"/docs/latest/f", mnt+"/docs/2026-11-20T10-00-00Z/f"); got != "twoone" {
		t.Fatalf("read %q", got)
	}
	s.back("docs", "2026-11-22T10:00", folderOf{"f": "three"})
	s.back("more", "2026-11-22T10:00", folderOf{"g": "more"})
	eventually(t, "three", "cat", mnt+"/docs/latest/f")
	eventually(t, "docs\nmore\n", "ls", mnt)
	s.mu.Lock()
	s.points = s.points[1:3]
	s.mu.Unlock()
	eventually(t, "docs\n", "ls", mnt)
	eventually(t, "2026-11-21T10-00-00Z\n2026-11-22T10-00-00Z\nlatest\n", "ls", mnt+"/docs")
	eventually(t, "", "cat", mnt+"/docs/2026-11-20T10-00-00Z/f")
	if got := run(t, "readlink", mnt+"/docs/latest"); got != "2026-11-22T10-00-00Z\n" {
		t.Errorf("latest leads to %s", got)
	}
}

func TestSpaceIsShown(t *testing.T) {
	s := newShelf(t)
	mnt, _ := serve(t, s, Options{}, func(s *server) {
		s.space = func(context.Context) (int64, int64) { return 100 << 20, 300 << 20 }
	})
	if got := strings.Fields(run(t, "stat", "-f", "-c", "%b %f %a %S %l", mnt)); strings.Join(got, " ") != "102400 76800 76800 4096 255" {
		t.Errorf("statfs gives %q", got)
	}
	if got := run(t, "df", "--output=source,fstype", mnt); !strings.Contains(got, "cairn") || !strings.Contains(got, "fuse.cairn") {
		t.Errorf("df shows %s", got)
	}
}

func TestMountRefusesWhatItCannotUse(t *testing.T) {
	s := newShelf(t)
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mnt, _ := serve(t, s, Options{})
	for _, c := range []struct {
		dir  string
		o    Options
		want error
	}{
		{full, Options{}, ErrNotEmpty},
		{filepath.Join(full, "f"), Options{}, ErrNotDirectory},
		{filepath.Join(full, "none"), Options{}, iofs.ErrNotExist},
		{mnt, Options{}, ErrMounted},
		{t.TempDir(), Options{Device: filepath.Join(full, "none")}, ErrNoDevice},
		{t.TempDir(), Options{Device: filepath.Join(full, "f")}, ErrNoDevice},
	} {
		if m, err := mount(t.Context(), s, s, c.dir, c.o); !errors.Is(err, c.want) || m != nil {
			t.Errorf("mount on %s: %v, want %v", c.dir, err, c.want)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Mount(cancelled, nil, full, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("mount after its end: %v", err)
	}
	if err := Unmount(full); !errors.Is(err, ErrNotMounted) {
		t.Errorf("unmount of a plain folder: %v", err)
	}
	if err := Unmount("/proc"); !errors.Is(err, ErrNotMounted) {
		t.Errorf("unmount of another file system: %v", err)
	}
}

func TestBusyMountIsDetachedAndServesItsReaders(t *testing.T) {
	t.Parallel() // most of it is waiting
	s := newShelf(t)
	s.back("docs", "2026-11-20T10:00", folderOf{"f": "content"})
	mnt, m := serve(t, s, Options{})
	reader := exec.Command("sh", "-c", "exec 3<"+mnt+"/docs/latest/f; echo open; read go; cat <&3")
	in, err := reader.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := reader.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, err := out.Read(buf); err != nil || string(buf[:n]) != "open\n" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if err := Unmount(mnt); err != nil {
		t.Fatal(err)
	}
	if there, err := mountAt(mnt); there != nil || err != nil {
		t.Errorf("still mounted (%v)", err)
	}
	fmt.Fprintln(in, "go")
	if n, err := out.Read(buf); err != nil || string(buf[:n]) != "content" {
		t.Errorf("read %q, %v", buf[:n], err)
	}
	if err := reader.Wait(); err != nil {
		t.Error(err)
	}
	if err := m.Wait(); err != nil {
		t.Error(err)
	}
}

func TestEndOfTheContextUnmounts(t *testing.T) {
	s := newShelf(t)
	s.back("docs", "2026-11-20T10:00", folderOf{"f": "content"})
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	m, err := mount(ctx, s, s, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	m.start(ctx, Options{})
	run(t, "ls", dir+"/docs/latest/f")
	cancel()
	if err := m.Wait(); err != nil {
		t.Error(err)
	}
	if there, err := mountAt(dir); there != nil || err != nil {
		t.Errorf("still mounted (%v)", err)
	}
}

func TestUnescapeOfMountNames(t *testing.T) {
	mounts, err := parseMounts(strings.NewReader("36 35 98:0 /mnt1 /a\\040b\\134c\\012 rw master:1 - fuse.cairn cairn rw\nbroken line\n37 35 0:5 / /x rw - ext4 /dev/sda rw"))
	if err != nil || len(mounts) != 2 || mounts[0] != (mountEntry{"/a b\\c\n", "fuse.cairn", "98:0"}) || mounts[1].ours() {
		t.Errorf("%+v, %v", mounts, err)
	}
}

// acl is an access list in the kernel's raw form: bits of the owner, of user 65534, of the group, of the mask and of others.
func acl(owner, user, group, mask, other byte) []byte {
	list := []byte{2, 0, 0, 0}
	for _, e := range [][2]byte{{1, owner}, {2, user}, {4, group}, {16, mask}, {32, other}} {
		id := []byte{255, 255, 255, 255}
		if e[0] == 2 {
			id = []byte{0xfe, 0xff, 0, 0}
		}
		list = append(append(list, e[0], 0, e[1], 0), id...)
	}
	return list
}

func TestAccessListsAreShownAndKept(t *testing.T) {
	s := newShelf(t)
	file := s.entryOf("for some")
	file.Mode, file.GID = 0o640, 65533
	file.Xattrs = []tree.Xattr{{Name: "system.posix_acl_access", Value: acl(6, 4, 0, 4, 0)}}
	s.back("docs", "2026-11-20T10:00", nil)
	s.points[0].Root = s.rootOf(folderOf{"f": file, "g": "for all"}, 0o755)
	mnt, _ := serve(t, s, Options{})
	if err := os.Chmod(filepath.Dir(mnt), 0o755); err != nil {
		t.Fatal(err)
	}
	f := mnt + "/docs/latest/f"
	if got := run(t, "getfacl", "-n", "-c", "-p", f); !strings.Contains(got, "user:65534:r--") || !strings.Contains(got, "group::---") {
		t.Errorf("getfacl shows %s", got)
	}
	as := func(user, group string) []string {
		return []string{"--reuid=" + user, "--regid=" + group, "--clear-groups", "cat", f}
	}
	if got := run(t, "setpriv", as("65534", "65534")...); got != "for some" {
		t.Errorf("read %q", got)
	}
	// The mode's group bits are the mask here: without the list the group would be let in.
	if out := fails(t, "setpriv", as("65532", "65533")...); !strings.Contains(out, "Permission denied") {
		t.Error(out)
	}
}
