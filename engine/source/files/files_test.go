//go:build linux

package files_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/engine/source"
	"github.com/cairn-backup/cairn/engine/source/files"
	"github.com/cairn-backup/cairn/index/tree"
)

// plant makes a tree: a name that ends in a slash is a directory, others are files with the value as content.
func plant(t *testing.T, dir string, entries map[string]string) {
	t.Helper()
	for name, content := range entries {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// listing gives all paths that a source shows, directories with a trailing slash.
func listing(t *testing.T, s *files.Source) []string {
	t.Helper()
	var root tree.Entry
	d, err := s.Root(t.Context(), &root)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	var walk func(d source.Dir, prefix string)
	walk = func(d source.Dir, prefix string) {
		defer d.Close()
		names, err := d.Names(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSorted(names) {
			t.Errorf("the names in %q are not sorted: %q", prefix, names)
		}
		for _, name := range names {
			var e tree.Entry
			switch err := d.Stat(name, &e); {
			case errors.Is(err, source.ErrSkip):
			case err != nil:
				t.Fatal(err)
			case e.IsDir():
				all = append(all, prefix+name+"/")
				below, err := d.Dir(&e)
				if err != nil {
					t.Fatal(err)
				}
				walk(below, prefix+name+"/")
			default:
				all = append(all, prefix+name)
			}
		}
	}
	walk(d, "")
	return all
}

func source1(t *testing.T, o files.Options, paths ...string) *files.Source {
	t.Helper()
	s, err := files.New(paths, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestExcludesLeaveOutFilesAndWholeDirectories(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{
		"a.o": "", "a.c": "", "keep.o": "", "build/x": "", "src/build/y": "", "src/b.o": "", "src/b.c": "", "top/t": "", "src/top/t": "",
	})
	s := source1(t, files.Options{Excludes: []string{"*.o", "!keep.o", "build/", "/top"}}, dir)
	if diff := cmp.Diff([]string{"a.c", "keep.o", "src/", "src/b.c", "src/top/", "src/top/t"}, listing(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestMarkedDirectoriesKeepTheirMarkerAlone(t *testing.T) {
	dir := t.TempDir()
	const signature = "Signature: 8a477f597d28d172789f06886806bc55\n# a cache\n"
	plant(t, dir, map[string]string{
		"a/.nobackup": "", "a/x": "", "a/sub/y": "", "b/x": "",
		"cache/CACHEDIR.TAG": signature, "cache/x": "", "no cache/CACHEDIR.TAG": "something else", "no cache/x": "",
	})
	s := source1(t, files.Options{ExcludeIfPresent: []string{".nobackup"}, ExcludeCaches: true}, dir)
	want := []string{"a/", "a/.nobackup", "b/", "b/x", "cache/", "cache/CACHEDIR.TAG", "no cache/", "no cache/CACHEDIR.TAG", "no cache/x"}
	if diff := cmp.Diff(want, listing(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestOneFileSystemKeepsMountPointsEmpty(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	dir := t.TempDir()
	plant(t, dir, map[string]string{"mounted/": "", "x": ""})
	at := filepath.Join(dir, "mounted")
	if err := unix.Mount("cairn-test", at, "tmpfs", 0, "size=1M"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
	plant(t, at, map[string]string{"inside": ""})
	if diff := cmp.Diff([]string{"mounted/", "x"}, listing(t, source1(t, files.Options{OneFileSystem: true}, dir))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"mounted/", "mounted/inside", "x"}, listing(t, source1(t, files.Options{}, dir))); diff != "" {
		t.Error(diff)
	}
}

func TestSeveralPathsStandUnderTheirLastElements(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"one/a": "", "two/b": "", "file": "", "x/one/c": ""})
	path := func(name string) string { return filepath.Join(dir, name) }
	if diff := cmp.Diff([]string{"file", "one/", "one/a", "two/", "two/b"}, listing(t, source1(t, files.Options{}, path("two"), path("one"), path("file")))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"file"}, listing(t, source1(t, files.Options{}, path("file")))); diff != "" {
		t.Error(diff)
	}
	if _, err := files.New([]string{path("one"), path("x/one")}, files.Options{}); err == nil {
		t.Error("two paths of one name were accepted")
	}
	if _, err := files.New([]string{path("one"), "/"}, files.Options{}); err == nil {
		t.Error("a path without a name was accepted beside another")
	}
}

func TestExcludesSeePathsBelowSeveralRoots(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"one/a/b": "", "two/a/b": ""})
	s := source1(t, files.Options{Excludes: []string{"/one/a"}}, filepath.Join(dir, "one"), filepath.Join(dir, "two"))
	if diff := cmp.Diff([]string{"one/", "two/", "two/a/", "two/a/b"}, listing(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestPathOnTheCommandLineMayBeASymlink(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"real/a": "content"})
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a"}, listing(t, source1(t, files.Options{}, filepath.Join(dir, "link")))); diff != "" {
		t.Error(diff)
	}
}

func TestXattrsAreGivenRawAndSorted(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"f": "x", "empty": "", "d/": ""})
	want := []tree.Xattr{{Name: "user.a", Value: []byte{0, 255, 10}}, {Name: "user.b", Value: []byte{}}}
	for _, name := range []string{"f", "empty", "d"} {
		for _, x := range slices.Backward(want) {
			if err := unix.Setxattr(filepath.Join(dir, name), x.Name, x.Value, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	d := open(t, dir)
	for _, name := range []string{"f", "empty", "d"} {
		var e tree.Entry
		if err := errors.Join(d.Stat(name, &e), d.Details(&e)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, e.Xattrs, cmp.Comparer(func(a, b []byte) bool { return string(a) == string(b) })); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func open(t *testing.T, dir string) source.Dir {
	t.Helper()
	var root tree.Entry
	d, err := source1(t, files.Options{}, dir).Root(context.Background(), &root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestHolesAreFoundWhereTheyAre(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	const size = 1 << 20
	if _, err := f.WriteAt([]byte("x"), 256<<10); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
	d := open(t, dir)
	var e tree.Entry
	if err := d.Stat("sparse", &e); err != nil {
		t.Fatal(err)
	}
	file, err := d.File(&e)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	start, end, err := file.Data(0, size)
	if err != nil || start != 256<<10 || end <= start || end > 320<<10 {
		t.Errorf("data from %d to %d, %v", start, end, err)
	}
	if start, end, err := file.Data(end, size); err != nil || start != size || end != size {
		t.Errorf("behind it data from %d to %d, %v", start, end, err)
	}
}

func TestSymlinkInPlaceOfAFileIsNotFollowed(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"f": "x", "d/inner": ""})
	d := open(t, dir)
	var f, sub tree.Entry
	if err := errors.Join(d.Stat("f", &f), d.Stat("d", &sub)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"f", "d"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.RemoveAll(path), os.Symlink("/etc", path)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.File(&f); !errors.Is(err, unix.ELOOP) {
		t.Errorf("open the file: %v", err)
	}
	if _, err := d.Dir(&sub); err == nil {
		t.Error("the directory was opened through a symlink")
	}
}

func TestSourceIsNamedAfterTheLastElement(t *testing.T) {
	for want, paths := range map[string][]string{"docs": {"/home/me/docs/"}, "": {"/"}} {
		if got := files.DefaultName(paths); got != want {
			t.Errorf("%q are named %q", paths, got)
		}
	}
	if got := files.DefaultName([]string{"/a", "/b"}); got != "" {
		t.Errorf("two paths are named %q", got)
	}
}

func TestExcludeFileGivesOnePatternALine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "excludes")
	if err := os.WriteFile(path, []byte("*.o\r\n# comment\n\nbuild/\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lines, err := files.ReadExcludeFile(path)
	if diff := cmp.Diff([]string{"*.o", "# comment", "", "build/"}, lines); diff != "" || err != nil {
		t.Errorf("%v, %s", err, diff)
	}
	if _, err := files.ReadExcludeFile(path + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file gives %v", err)
	}
}
