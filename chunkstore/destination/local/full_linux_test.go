package local_test

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
)

// TestAFullDiskIsSaidClearlyAndLeavesNothing fills a small file system. Mounting one takes root.
func TestAFullDiskIsSaidClearlyAndLeavesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a tmpfs takes root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mount a tmpfs: %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	d, err := local.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Create(t.Context(), "packs/aa/1", make([]byte, 100<<10)); err != nil {
		t.Fatal(err)
	}
	if err := d.Create(t.Context(), "packs/aa/2", make([]byte, 4<<20)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write to a full disk: %v, not ENOSPC", err)
	}
	leftover := func(i destination.Info) error { return errors.New("left behind: " + i.Name) }
	if err := d.Leftovers(t.Context(), leftover); err != nil {
		t.Error(err)
	}
	if err := d.Create(t.Context(), "packs/aa/3", make([]byte, 100<<10)); err != nil {
		t.Errorf("there is room again, but: %v", err)
	}
}
