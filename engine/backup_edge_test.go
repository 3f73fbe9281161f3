//go:build linux

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/engine/source"
	"github.com/cairn-backup/cairn/engine/source/files"
)

func TestPathDeeperThanTheKernelTakesIsStored(t *testing.T) {
	f := newFarm(t)
	const depth = 60
	name := strings.Repeat("n", 100)
	fd, err := unix.Open(f.dir, unix.O_DIRECTORY, 0)
	for range depth {
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Mkdirat(fd, name, 0o755); err != nil {
			t.Fatal(err)
		}
		below, openErr := unix.Openat(fd, name, unix.O_DIRECTORY, 0)
		unix.Close(fd)
		fd, err = below, openErr
	}
	leaf, err := unix.Openat(fd, "leaf", unix.O_CREAT|unix.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(leaf, []byte("deep down")); err != nil {
		t.Fatal(err)
	}
	unix.Close(leaf)
	unix.Close(fd)
	path := strings.Repeat(name+"/", depth) + "leaf"
	for range 2 {
		p := f.backup(engine.BackupOptions{})
		if got := f.contents(p)[path].Content; got != "deep down" || len(path) <= 4096 {
			t.Errorf("at a depth of %d bytes %q is stored", len(path), got)
		}
	}
}

func TestBigDirectoryIsStoredInSegments(t *testing.T) {
	f := newFarm(t)
	const n, segment = 950, 100
	segments := func(o engine.BackupOptions) engine.BackupOptions { return engine.InSegments(o, segment) }
	for i := range n {
		name := filepath.Join(f.dir, fmt.Sprintf("f%03d", i))
		var err error
		switch {
		case i%100 == 50:
			err = errors.Join(os.Mkdir(name, 0o755), os.WriteFile(filepath.Join(name, "inner"), []byte("x"), 0o600))
		case i%10 == 0:
			err = os.WriteFile(name, []byte(fmt.Sprint(i)), 0o600)
		default:
			err = os.Symlink("x", name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	first := f.backup(segments(engine.BackupOptions{}))
	f.check(first)
	if again := f.backup(segments(engine.BackupOptions{})); again.Root != first.Root || again.Stats.Read != 0 {
		t.Errorf("the root differs though nothing has changed, or %d bytes were read", again.Stats.Read)
	}
	for _, err := range []error{
		os.Remove(filepath.Join(f.dir, "f949")),
		os.Remove(filepath.Join(f.dir, "f399")),
		os.Symlink("y", filepath.Join(f.dir, "a first one")),
		os.Symlink("y", filepath.Join(f.dir, "z last one")),
		os.WriteFile(filepath.Join(f.dir, "f850", "inner"), []byte("y"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	f.check(f.backup(segments(engine.BackupOptions{})))
	f.check(f.backup(segments(engine.BackupOptions{Full: true})))
}

func TestRepositoryWithinTheSourceIsLeftOut(t *testing.T) {
	base := t.TempDir()
	f := newFarmAt(t, base, filepath.Join(base, "backups", "repository"))
	f.write("file", "content")
	result, err := f.try(t.Context(), engine.BackupOptions{}, files.Options{})
	if err != nil {
		t.Fatal(err)
	}
	all := f.contents(result.Point)
	if _, found := all["backups/repository"]; found || all["file"].Content != "content" || all["backups"].Entry.Name == "" {
		t.Errorf("stored are %d entries, the repository among them: %v", len(all), found)
	}
	if !strings.Contains(strings.Join(f.warnings, "\n"), `left out "backups/repository": it is the repository itself`) {
		t.Errorf("warnings: %q", f.warnings)
	}
}

func TestSourceThatIsNothingIsRefused(t *testing.T) {
	f := newFarm(t)
	try := func(dir string) error {
		f.dir = dir
		_, err := f.try(t.Context(), engine.BackupOptions{}, files.Options{})
		return err
	}
	empty := t.TempDir()
	for name, c := range map[string]struct {
		dir  string
		want error
	}{
		"missing":           {filepath.Join(empty, "missing"), os.ErrNotExist},
		"empty":             {empty, source.ErrEmpty},
		"the repository":    {f.where, source.ErrRepository},
		"in the repository": {filepath.Join(f.where, "packs"), source.ErrRepository},
	} {
		if err := os.MkdirAll(filepath.Join(f.where, "packs"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := try(c.dir); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if points, err := f.repo.Points(t.Context()); err != nil || len(points) != 0 {
		t.Errorf("%d restore points, %v", len(points), err)
	}
}

func TestCancelledBackupLeavesNoRestorePointAndItsWorkIsReused(t *testing.T) {
	f := newFarm(t)
	for i := range 40 {
		f.write(fmt.Sprintf("d%02d/file", i), noise(byte(i), 1_000_000))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f.meddle.open = func(path string) error {
		if path == "d38/file" {
			for !f.packStored() { // more than a pack's worth was read: one is on its way
				runtime.Gosched()
			}
			cancel()
		}
		return nil
	}
	if _, err := f.try(ctx, engine.BackupOptions{Workers: 1}, files.Options{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("the cancelled backup says %v", err)
	}
	f.meddle.open = nil
	if points, err := f.repo.Points(t.Context()); err != nil || len(points) != 0 {
		t.Errorf("%d restore points, %v", len(points), err)
	}
	if running, err := f.repo.InProgress(t.Context()); err != nil || len(running) != 0 {
		t.Errorf("in progress: %v, %v", running, err)
	}
	p := f.backup(engine.BackupOptions{})
	f.check(p)
	if p.Stats.Reused == 0 {
		t.Error("nothing of what the cancelled backup had stored was reused")
	}
}

// packStored says that a pack is complete at the destination.
func (f *farm) packStored() bool {
	packs, _ := filepath.Glob(filepath.Join(f.where, "packs", "*", strings.Repeat("?", 32)))
	return len(packs) > 0
}

// smallDisk mounts a tmpfs of so many bytes.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system takes root")
	}
	dir := t.TempDir()
	if err := unix.Mount("cairn-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

func TestFullDiskEndsTheBackupAndHarmsNothing(t *testing.T) {
	f := newFarmAt(t, filepath.Join(t.TempDir(), "source"), filepath.Join(smallDisk(t, 60<<20), "repository"))
	f.write("early", noise(1, 1_000_000))
	first := f.backup(engine.BackupOptions{})
	for i := range 10 {
		f.write(fmt.Sprintf("late%d", i), noise(byte(10+i), 10_000_000))
	}
	var space *engine.SpaceError
	_, err := f.try(t.Context(), engine.BackupOptions{Source: "other"}, files.Options{})
	if !errors.As(err, &space) && !strings.Contains(strings.Join(f.warnings, "\n"), "space may run out") {
		t.Errorf("nobody foresaw it: %v, warnings %q", err, f.warnings)
	}
	_, err = f.try(t.Context(), engine.BackupOptions{IgnoreSpace: true}, files.Options{})
	if !errors.Is(err, syscall.ENOSPC) || !engine.IsSpace(err) {
		t.Fatalf("the backup says %v", err)
	}
	points, err := f.repo.Points(t.Context())
	if err != nil || len(points) != 1 || points[0].Name != first.Name {
		t.Fatalf("restore points %v, %v", points, err)
	}
	f.holds(first, "early", noise(1, 1_000_000))
	for i := range 10 {
		if err := os.Remove(filepath.Join(f.dir, fmt.Sprintf("late%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	f.check(f.backup(engine.BackupOptions{}))
}

func TestBackupThatCannotFitIsRefusedBeforeItBegins(t *testing.T) {
	f := newFarmAt(t, filepath.Join(t.TempDir(), "source"), filepath.Join(smallDisk(t, 8<<20), "repository"))
	f.write("file", noise(1, 40_000_000))
	_, err := f.try(t.Context(), engine.BackupOptions{}, files.Options{})
	var space *engine.SpaceError
	if !errors.As(err, &space) || space.Source != 40_000_000 || space.Needed != 24_000_000 {
		t.Fatalf("the backup says %v", err)
	}
	if packs, _ := filepath.Glob(filepath.Join(f.where, "packs", "*", "*")); len(packs) > 0 {
		t.Errorf("packs were written: %v", packs)
	}
}

func TestClockThatGoesBackIsToldAndTheOrderIsKept(t *testing.T) {
	f := newFarm(t)
	f.write("file", "1")
	first := f.backup(engine.BackupOptions{})
	f.now = f.now.Add(-24 * time.Hour)
	f.write("file", "22")
	second := f.backup(engine.BackupOptions{})
	if !strings.Contains(strings.Join(f.warnings, "\n"), "check the clock") {
		t.Errorf("warnings: %q", f.warnings)
	}
	if second.Sequence <= first.Sequence {
		t.Errorf("sequence number %d after %d", second.Sequence, first.Sequence)
	}
	third := f.backup(engine.BackupOptions{})
	if third.Root != second.Root || third.Stats.Read != 0 {
		t.Error("the third backup was not compared with the second")
	}
}

func TestRepositoryBesideTheSourceIsToldOf(t *testing.T) {
	f := newFarm(t)
	f.write("file", "x")
	f.backup(engine.BackupOptions{})
	if len(f.warnings) != 1 || !strings.Contains(f.warnings[0], "same file system") {
		t.Errorf("warnings: %q", f.warnings)
	}
	apart := newFarmAt(t, filepath.Join(t.TempDir(), "source"), filepath.Join(smallDisk(t, 8<<20), "repository"))
	apart.write("file", "x")
	apart.backup(engine.BackupOptions{})
	if len(apart.warnings) != 0 {
		t.Errorf("warnings: %q", apart.warnings)
	}
}

func TestDamagedPreviousTreeIsReadAfresh(t *testing.T) {
	f := newFarm(t)
	for i := range 20 {
		f.write(fmt.Sprintf("d%d/f", i), noise(byte(i), 2000))
	}
	f.backup(engine.BackupOptions{})
	packs, err := filepath.Glob(filepath.Join(f.where, "packs", "*", "*"))
	if err != nil || len(packs) == 0 {
		t.Fatalf("packs: %v, %v", packs, err)
	}
	for _, p := range packs {
		if err := os.Truncate(p, 0); err != nil {
			t.Fatal(err)
		}
	}
	result, err := f.try(t.Context(), engine.BackupOptions{}, files.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if result.Point.Stats.Files != 20 {
		t.Errorf("%d files", result.Point.Stats.Files)
	}
}
