//go:build linux

package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/index/tree"
)

// overwrite writes noise over a part of the repository's largest object.
func (f *restoreFixture) overwrite(t *testing.T, from, to float64) {
	t.Helper()
	var largest string
	var size int64
	err := filepath.WalkDir(filepath.Join(f.dir, "packs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if info, err := d.Info(); err == nil && info.Size() > size {
			largest, size = path, info.Size()
		}
		return nil
	})
	if err != nil || size == 0 {
		t.Fatalf("no pack found: %v", err)
	}
	file, err := os.OpenFile(largest, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	begin, end := int64(from*float64(size)), int64(to*float64(size))
	if _, err := file.WriteAt(noisy(int(end-begin), 666), begin); err != nil {
		t.Fatal(err)
	}
}

// damaged makes a restore point of files that fill some frames, with one file that lies in many.
func damaged(t *testing.T, from, to float64) (target string, want map[string][]byte, problems []string) {
	f := newRestoreFixture(t, false)
	want = make(map[string][]byte)
	plan := make(map[string]planned)
	for i := range 60 {
		name := fmt.Sprintf("file-%02d", i)
		want[name] = noisy(100<<10, uint64(i+1))
	}
	want["big"] = noisy(5<<20, 1000)
	for name, data := range want {
		plan[name] = planned{Entry: tree.Entry{Type: tree.File, Mode: 0o644}, data: data}
	}
	point := f.save(t, directory(plan))
	f.overwrite(t, from, to)
	target = t.TempDir()
	_, problems = restore(t, f, point, "/", target, engine.RestoreOptions{})
	return target, want, problems
}

func TestDamageWithinTheParityIsNotSeenByARestore(t *testing.T) {
	target, want, problems := damaged(t, 0.3, 0.42)
	if len(problems) > 0 {
		t.Errorf("problems %q", problems)
	}
	for name, data := range want {
		if got, err := os.ReadFile(filepath.Join(target, name)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s is not what was backed up (%v)", name, err)
		}
	}
}

func TestDamageBeyondTheParityIsNamedAndTheRestIsRestored(t *testing.T) {
	target, want, problems := damaged(t, 0.2, 0.6)
	named := make(map[string]bool)
	for _, p := range problems {
		named[p[1:bytes.IndexByte([]byte(p), ':')]] = true
	}
	var whole int
	for name, data := range want {
		got, err := os.ReadFile(filepath.Join(target, name))
		if err != nil || len(got) != len(data) {
			t.Errorf("%s has %d bytes, want %d (%v)", name, len(got), len(data), err)
		}
		if equal := bytes.Equal(got, data); equal == named[name] {
			t.Errorf("%s: equal %v, named as a problem %v", name, equal, named[name])
		} else if equal {
			whole++
		}
	}
	if whole < 10 || len(problems) < 10 || !named["big"] {
		t.Errorf("%d files whole, %d problems: the damage was to hit some and leave others", whole, len(problems))
	}
}

func TestFullDiskEndsTheRestoreAndLeavesNoPartOfAFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small file system to fill")
	}
	f := newRestoreFixture(t, false)
	plan := make(map[string]planned)
	for i := range 20 {
		plan[fmt.Sprintf("small-%d", i)] = planned{Entry: tree.Entry{Type: tree.File, Mode: 0o644}, data: noisy(300<<10, uint64(i+1))}
	}
	plan["big"] = planned{Entry: tree.Entry{Type: tree.File, Mode: 0o644}, data: noisy(6<<20, 99)}
	point := f.save(t, directory(plan))
	target := t.TempDir()
	if err := unix.Mount("tmpfs", target, "tmpfs", 0, "size=3m"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(target, 0); err != nil {
			t.Error(err)
		}
	}()
	_, err := engine.Restore(context.Background(), f.repo, point, "/", target, engine.RestoreOptions{
		Problem: func(path string, err error) {
			t.Errorf("problem of %s: %v; a full disk is none of one file", path, err)
		},
	})
	if !errors.Is(err, unix.ENOSPC) || !errors.Is(err, engine.ErrTarget) {
		t.Fatalf("error %v, want that no space is left", err)
	}
	for name, data := range onDisk(t, target) {
		if data != string(plan[name].data) {
			t.Errorf("%s is there with %d bytes and is not whole", name, len(data))
		}
	}
}
