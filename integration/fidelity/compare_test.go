//go:build linux

package fidelity

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// small makes a tree of one entry of each kind.
func small(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o644))
	must(os.Link(filepath.Join(dir, "file"), filepath.Join(dir, "link")))
	must(os.WriteFile(filepath.Join(dir, "lone"), []byte("content"), 0o644))
	must(os.WriteFile(filepath.Join(dir, "lone2"), []byte("content"), 0o644))
	must(os.Symlink("file", filepath.Join(dir, "symlink")))
	must(os.Mkdir(filepath.Join(dir, "dir"), 0o755))
	must(os.WriteFile(filepath.Join(dir, "dir", "inside"), nil, 0o644))
	must(unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	must(os.WriteFile(filepath.Join(dir, "sparse"), []byte("x"), 0o644))
	must(os.Truncate(filepath.Join(dir, "sparse"), 8<<20))
	for _, name := range []string{"file", "lone", "lone2", "symlink", "dir/inside", "dir", "fifo", "sparse", "."} {
		ts := unix.NsecToTimespec(1700000000123456789)
		must(unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(dir, name), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
	}
	return dir
}

func TestComparerFindsNothingInEqualTrees(t *testing.T) {
	found, err := Compare(small(t), small(t), Options{Links: true})
	if err != nil || len(found) > 0 {
		t.Fatalf("found %v, error %v", found, err)
	}
}

func TestComparerSeesEachKindOfDifference(t *testing.T) {
	keepTime := func(path string, change func() error) error {
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if err := change(); err != nil {
			return err
		}
		return os.Chtimes(path, time.Time{}, info.ModTime())
	}
	for name, c := range map[string]struct {
		change func(dir string) error
		want   string
	}{
		"missing":    {func(d string) error { return os.Remove(d + "/dir/inside") }, "is missing"},
		"additional": {func(d string) error { return os.WriteFile(d+"/more", nil, 0o644) }, "not in the first tree"},
		"one byte": {func(d string) error {
			return keepTime(d+"/file", func() error { return os.WriteFile(d+"/file", []byte("cOntent"), 0) })
		}, "differs from byte 1"},
		"length":        {func(d string) error { return keepTime(d+"/file", func() error { return os.Truncate(d+"/file", 6) }) }, "size is 6, not 7"},
		"mode":          {func(d string) error { return os.Chmod(d+"/file", 0o640) }, "mode is 0640"},
		"mode of a dir": {func(d string) error { return os.Chmod(d+"/dir", 0o750) }, "mode is 0750"},
		"one ns":        {func(d string) error { return os.Chtimes(d+"/dir", time.Time{}, time.Unix(1700000000, 123456788)) }, "modification time"},
		"target":        {func(d string) error { os.Remove(d + "/symlink"); return os.Symlink("lone", d+"/symlink") }, `points to "lone"`},
		"type":          {func(d string) error { os.Remove(d + "/fifo"); return os.WriteFile(d+"/fifo", nil, 0o600) }, "type is"},
		"attribute":     {func(d string) error { return unix.Setxattr(d+"/file", "user.more", []byte("x"), 0) }, "attribute user.more"},
		"filled hole": {func(d string) error {
			return keepTime(d+"/sparse", func() error { return os.WriteFile(d+"/sparse", append([]byte("x"), make([]byte, 8<<20-1)...), 0) })
		}, "holes are gone"},
		"broken link": {func(d string) error {
			return keepTime(d+"/link", func() error { os.Remove(d + "/link"); return os.WriteFile(d+"/link", []byte("content"), 0o644) })
		}, "link"},
		"joined files": {func(d string) error { os.Remove(d + "/lone2"); return os.Link(d+"/lone", d+"/lone2") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := small(t), small(t)
			if err := c.change(b); err != nil {
				t.Fatal(err)
			}
			found, err := Compare(a, b, Options{Links: name == "broken link"})
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			for _, d := range found {
				text.WriteString(d.String() + "\n")
			}
			if len(found) == 0 || !strings.Contains(text.String(), c.want) {
				t.Errorf("found %v, want one with %q", found, c.want)
			}
		})
	}
}

// The comparer and the tree must agree with a program that is trusted: what cp -a copies is equal.
func TestTreeCopiedByCpIsEqual(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "source")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	built, err := Build(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("not made here: %q", built.Omitted)
	target := filepath.Join(t.TempDir(), "copy")
	copyTree(t, dir, target)
	found, err := Compare(dir, target, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range found {
		t.Error(d)
	}
}

// copyTree copies a tree by cp -a; "deep" in pieces, because cp names files by whole paths, which the system limits to 4,096 bytes.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	script := `mkdir "$2" && cd "$1" && for name in * .[!.]*; do [ "$name" = deep ] || [ ! -e "$name" ] || cp -a -- "$name" "$2/" || exit 1; done && ` +
		`chmod --reference=. "$2" && chown --reference=. "$2" && touch -r . "$2"`
	if out, err := exec.Command("sh", "-c", script, "sh", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp -a: %v\n%s", err, out)
	}
	copyDeep(t, from, to)
	if out, err := exec.Command("touch", "-r", from, to).CombinedOutput(); err != nil {
		t.Fatalf("touch: %v\n%s", err, out)
	}
}

// copyDeep copies "deep" level by level, from inside: cp itself cannot name what lies further down than 4,096 bytes.
func copyDeep(t *testing.T, from, to string) {
	t.Helper()
	level := strings.Repeat("deep", 50)
	// The lower half is short enough for cp when both ends are reached by steps.
	steps := strings.Repeat("cd "+level+"; ", 13)
	half := `set -e; cd "$2"; mkdir deep; cd deep; ` + strings.Repeat("mkdir "+level+"; cd "+level+"; ", 13) + `
exec 3<.; cd "$1/deep"; ` + steps + `cp -a -- ./. /proc/self/fd/3/`
	if out, err := exec.Command("sh", "-c", half, "sh", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp -a of the lower half: %v\n%s", err, out)
	}
	upper := `set -e; from=$1/deep; to=$2/deep
fix() { if [ "$3" -gt 0 ]; then fix "$1/` + level + `" "$2/` + level + `" $(($3 - 1)); fi; cp -a "$1/file" "$2/file"; touch -r "$1" "$2"; chmod --reference="$1" "$2"; }
fix "$from" "$to" 12`
	if out, err := exec.Command("sh", "-c", upper, "sh", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp -a of the upper half: %v\n%s", err, out)
	}
}
