package local

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// renameNew renames unless the new name is taken, in one step.
func renameNew(temporary, path string) error {
	err := unix.Renameat2(unix.AT_FDCWD, temporary, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // a file system that does not know the flag
		return linkNew(temporary, path)
	}
	if err != nil {
		return fmt.Errorf("rename to %s: %w", path, err)
	}
	return nil
}
