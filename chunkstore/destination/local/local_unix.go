//go:build unix

package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/chunkstore/destination"
)

var (
	_ destination.Spacer  = (*Local)(nil)
	_ destination.Devicer = (*Local)(nil)
)

// umask is the process's, read once before anything else runs: reading it means setting it.
var umask = func() os.FileMode {
	old := syscall.Umask(0o077)
	syscall.Umask(old)
	return os.FileMode(old)
}()

// isUnlinked tells whether an open file has no name any more.
func isUnlinked(f *os.File) bool {
	info, err := f.Stat()
	if err != nil {
		return false // closed meanwhile: the reader finds out
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && s.Nlink == 0
}

// descriptors is how many files the process may have open.
func descriptors() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return int(min(limit.Cur, 1<<20))
}

// Free tells the file system's free and total bytes: free for this user, so reserved blocks count only for root.
func (l *Local) Free(ctx context.Context) (free, total int64, err error) {
	var s unix.Statfs_t
	if err := l.nearest(func(path string) error { return unix.Statfs(path, &s) }); err != nil {
		return 0, 0, fmt.Errorf("read the free space of %s: %w", l.dir, err)
	}
	block := int64(s.Bsize)
	return int64(s.Bavail) * block, int64(s.Blocks) * block, nil
}

// Device tells the device that the directory is on, or will be.
func (l *Local) Device() (uint64, error) {
	var s unix.Stat_t
	if err := l.nearest(func(path string) error { return unix.Stat(path, &s) }); err != nil {
		return 0, fmt.Errorf("find the device of %s: %w", l.dir, err)
	}
	return uint64(s.Dev), nil
}

// nearest calls ask for the directory, or for the nearest parent that exists.
func (l *Local) nearest(ask func(path string) error) error {
	for path := l.dir; ; path = filepath.Dir(path) {
		err := ask(path)
		if !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
			return err
		}
	}
}

// syncFolder makes the names in a folder durable. A file system that cannot sync folders orders them itself.
func syncFolder(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer f.Close()
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}
