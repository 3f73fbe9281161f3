//go:build linux

package faultdisk_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cairn-backup/cairn/chunkstore/destination/local"
	"github.com/cairn-backup/cairn/integration/faultdisk"
)

// writeFile writes a file the way a careful program does, or without one of the syncs.
func writeFile(t *testing.T, dir, name, content string, syncFile, syncFolder bool) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, name+".new"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
	if syncFile {
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Close(), os.Rename(filepath.Join(dir, name+".new"), filepath.Join(dir, name))); err != nil {
		t.Fatal(err)
	}
	if syncFolder {
		d, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func mount(t *testing.T, d *faultdisk.Disk) string {
	t.Helper()
	dir := t.TempDir()
	unmount, err := d.Mount(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmount() })
	return dir
}

func TestOnlyWhatWasSyncedSurvives(t *testing.T) {
	d := faultdisk.Record(faultdisk.Image{Files: map[string][]byte{"old": []byte("old")}})
	dir := mount(t, d)
	writeFile(t, dir, "safe", "content", true, true)
	writeFile(t, dir, "nameless", "content", true, false)
	log := d.Log()
	lost := log.Crash(len(log.Calls), faultdisk.Lost, nil).Files
	if len(lost) != 2 || string(lost["safe"]) != "content" || string(lost["old"]) != "old" {
		t.Errorf("after the loss of all that was not synced: %q", lost)
	}
	kept := log.Crash(len(log.Calls), faultdisk.Kept, nil).Files
	if len(kept) != 3 || string(kept["nameless"]) != "content" {
		t.Errorf("after the death of the process: %q", kept)
	}
}

func TestAFileThatWasNotSyncedIsTorn(t *testing.T) {
	d := faultdisk.Record(faultdisk.Image{})
	dir := mount(t, d)
	writeFile(t, dir, "torn", string(make([]byte, 100))+"content", false, true)
	log := d.Log()
	for loss, want := range map[faultdisk.Loss]string{faultdisk.Lost: "", faultdisk.Empty: string(make([]byte, 107))} {
		if got := string(log.Crash(len(log.Calls), loss, nil).Files["torn"]); got != want {
			t.Errorf("%s: %q", loss, got)
		}
	}
	versions := map[string]bool{}
	for seed := range uint64(50) {
		versions[string(log.Crash(len(log.Calls), faultdisk.Torn, rand.New(rand.NewPCG(seed, 0))).Files["torn"])] = true
	}
	if len(versions) < 3 {
		t.Errorf("50 torn versions are only %d different ones", len(versions))
	}
}

func TestADiskFailsWhenItIsToldTo(t *testing.T) {
	d := faultdisk.New(faultdisk.Image{Files: map[string][]byte{"a": make([]byte, 1000)}})
	dir := mount(t, d)
	d.Break(func(c faultdisk.Call) syscall.Errno {
		if c.Op == faultdisk.Get {
			return syscall.EIO
		}
		return 0
	})
	if _, err := os.ReadFile(filepath.Join(dir, "a")); !errors.Is(err, syscall.EIO) {
		t.Errorf("read a broken disk: %v", err)
	}
	d.Break(nil)
	if got, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || len(got) != 1000 {
		t.Errorf("read a mended disk: %d bytes, %v", len(got), err)
	}
	d.Limit(2000)
	if err := os.WriteFile(filepath.Join(dir, "b"), make([]byte, 1001), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write to a full disk: %v", err)
	}
	if err := errors.Join(os.Remove(filepath.Join(dir, "b")), os.WriteFile(filepath.Join(dir, "c"), make([]byte, 1000), 0o600)); err != nil {
		t.Errorf("write what fits: %v", err)
	}
}

func TestAnObjectIsDurableInAFolderThatADeadProcessMade(t *testing.T) {
	disk := faultdisk.Record(faultdisk.Image{})
	dir := mount(t, disk)
	if err := os.MkdirAll(filepath.Join(dir, "repo", "packs", "aa"), 0o755); err != nil { // and nothing is synced
		t.Fatal(err)
	}
	if root, err := os.Open(dir); err != nil || root.Sync() != nil || root.Close() != nil {
		t.Fatal("sync what the repository lies in")
	}
	d, err := local.New(filepath.Join(dir, "repo"))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Create(t.Context(), "packs/aa/1", []byte("pack")); err != nil {
		t.Fatal(err)
	}
	log := disk.Log()
	if got := log.Crash(len(log.Calls), faultdisk.Lost, nil).Files; string(got["repo/packs/aa/1"]) != "pack" {
		t.Errorf("Create had returned, and the disk holds %q", got)
	}
}
