//go:build linux

package engine_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/index/tree"
)

// dice makes the same choices for the same seed.
type dice struct{ c counter }

func (d *dice) roll(n int) int {
	var p [2]byte
	_, _ = d.c.Read(p[:])
	return (int(p[0])<<8 | int(p[1])) % n
}

// grow plans a random tree and writes into want what onDisk is to find.
func (d *dice) grow(want map[string]string, prefix string, depth int) map[string]planned {
	plan := make(map[string]planned)
	for range d.roll(12) {
		name := fmt.Sprintf("%c%d", 'a'+d.roll(6), d.roll(3))
		if _, taken := plan[name]; taken {
			continue
		}
		path := prefix + name
		switch kind := d.roll(10); {
		case kind < 3 && depth < 4:
			want[path] = "dir/"
			plan[name] = directory(d.grow(want, path+"/", depth+1))
		case kind == 3:
			want[path] = "-> " + name
			plan[name] = planned{Entry: tree.Entry{Type: tree.Symlink, Target: name}}
		case kind == 4: // one of three files with several names
			p := plainFile(fmt.Sprintf("linked %d", d.roll(3)))
			p.Device, p.Inode, p.Links = 1, uint64(len(p.data))+uint64(p.data[len(p.data)-1]), uint32(2+d.roll(4))
			want[path] = string(p.data)
			plan[name] = p
		case kind == 5 && d.roll(4) == 0:
			p := plainFile("")
			p.data = noisy(4<<20+d.roll(9000), uint64(d.roll(3)))
			clear(p.data[1<<20 : 1<<20+d.roll(2<<20)])
			want[path] = string(p.data)
			plan[name] = p
		default:
			p := plainFile(string(noisy(d.roll(50)*d.roll(3000), uint64(d.roll(5)))))
			want[path] = string(p.data)
			plan[name] = p
		}
	}
	return plan
}

// clutter puts random things where the restore will write, but no directory where a file is to be.
func (d *dice) clutter(t *testing.T, target string, want map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		path := filepath.Join(target, name)
		if d.roll(3) > 0 || os.MkdirAll(filepath.Dir(path), 0o700) != nil {
			continue // a parent may be clutter itself
		}
		var err error
		switch d.roll(3) {
		case 0:
			err = os.WriteFile(path, []byte("clutter"), 0o600)
		case 1:
			err = os.Symlink("/nowhere", path)
		case 2:
			err = unix.Mkfifo(path, 0o600)
		}
		if err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
}

func TestAnyTreeComesBackAlsoOverClutter(t *testing.T) {
	f := newRestoreFixture(t, false)
	for seed := range uint64(8) {
		d := &dice{counter{at: seed}}
		want := make(map[string]string)
		point := f.save(t, directory(d.grow(want, "", 0)))
		for _, cluttered := range []bool{false, true} {
			target := t.TempDir()
			if cluttered {
				d.clutter(t, target, want)
			}
			result, problems := restore(t, f, point, "/", target, engine.RestoreOptions{Overwrite: cluttered, Workers: 1 + d.roll(5)})
			if diff := cmp.Diff(want, onDisk(t, target), cmp.Comparer(sameText)); diff != "" || len(problems) > 0 {
				t.Fatalf("seed %d, cluttered %v: differs (-want +got):\n%s\nproblems %q", seed, cluttered, diff, problems)
			}
			if got := result.Files + result.Others + result.Dirs - 1; got != int64(len(want)) {
				t.Errorf("seed %d: %d entries counted, want %d", seed, got, len(want))
			}
		}
	}
}

// sameText keeps long noise out of the differences' computation.
func sameText(a, b string) bool { return a == b }

func TestPathsOfManyLevelsComeBack(t *testing.T) {
	f := newRestoreFixture(t, false)
	const depth = 700
	level := directory(map[string]planned{"bottom": plainFile("deep down")})
	for range depth {
		level = directory(map[string]planned{"level": level, "file": plainFile("on the way")})
	}
	point := f.save(t, level)
	target := t.TempDir()
	result, problems := restore(t, f, point, "/", target, engine.RestoreOptions{})
	if len(problems) > 0 || result.Dirs != depth+1 || result.Files != depth+1 {
		t.Fatalf("result %+v, problems %.300q", result, problems)
	}
	fd, err := unix.Open(target, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	for range depth {
		if err != nil {
			t.Fatal(err)
		}
		var next int
		next, err = unix.Openat(fd, "level", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		unix.Close(fd)
		fd = next
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstatat(fd, "bottom", &st, 0); err != nil || st.Size != int64(len("deep down")) || st.Mtim.Nsec != 123456789 {
		t.Errorf("at the bottom: size %d, time %v (%v)", st.Size, st.Mtim, err)
	}
	if err := unix.Fstat(fd, &st); err != nil || st.Mtim.Nsec != 987654321 {
		t.Errorf("directory at the bottom: time %v (%v)", st.Mtim, err)
	}
}
