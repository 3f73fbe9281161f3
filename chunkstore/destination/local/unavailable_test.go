package local

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cairn-backup/cairn/chunkstore/destination"
)

// Internal, because root may read everything and a test must not use up the file handles of its process.
func TestOnlyWhatSaysNothingOfTheObjectIsUnavailable(t *testing.T) {
	for err, want := range map[syscall.Errno]bool{
		syscall.EMFILE: true, syscall.ENFILE: true, syscall.ENOMEM: true, syscall.EACCES: true, syscall.EPERM: true,
		syscall.EIO: false, syscall.ENOENT: false,
	} {
		got := readError("packs/aa/1", &fs.PathError{Op: "open", Path: "/r/packs/aa/1", Err: err})
		if errors.Is(got, destination.ErrUnavailable) != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}

func TestOnlyFoldersThatCannotHoldObjectsAreSkippedUnread(t *testing.T) {
	l := &Local{dir: "/r"}
	for name, want := range map[string]bool{".": true, "packs": true, "packs/5a": true, "lost+found": false, ".Trash-0": false} {
		if got := l.canHold(filepath.Join(l.dir, name)); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
