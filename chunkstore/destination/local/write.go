package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cairn-backup/cairn/chunkstore/destination"
)

// slice is how much goes into one write: a cancelled context stops within so much.
const slice = 8 << 20

// Create writes an object under a temporary name, and names it once it is durable.
func (l *Local) Create(ctx context.Context, name string, body []byte) error {
	return l.store(ctx, name, body, func(temporary, path string) error {
		err := renameNew(temporary, path)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s: %w", name, destination.ErrExists)
		}
		return err
	})
}

// Replace writes an object under a temporary name, and gives it the place of the old one once it is durable.
func (l *Local) Replace(ctx context.Context, name string, body []byte) error {
	return l.store(ctx, name, body, func(temporary, path string) error {
		l.files.drop(path)
		if err := os.Rename(temporary, path); err != nil {
			return err
		}
		l.files.drop(path) // a read may have opened the old one again
		return nil
	})
}

// store writes body to a temporary file beside its final name, syncs it, calls publish, and syncs the folder. On an
// error nothing is left behind.
func (l *Local) store(ctx context.Context, name string, body []byte, publish func(temporary, path string) error) error {
	path, err := l.path(name)
	if err != nil {
		return err
	}
	folder := filepath.Dir(path)
	if err := l.makeFolder(folder); err != nil {
		return writeError(name, len(body), err)
	}
	err = l.write(ctx, path, body, publish)
	if errors.Is(err, fs.ErrNotExist) {
		// Somebody cleaned up: the process was suspended for so long that its file passed for one of the dead.
		l.folders.Clear()
		if err = l.makeFolder(folder); err == nil {
			err = l.write(ctx, path, body, publish)
		}
	}
	if err != nil {
		return writeError(name, len(body), err)
	}
	if err := syncFolder(folder); err != nil {
		return writeError(name, len(body), err)
	}
	return nil
}

// write is store without the folder.
func (l *Local) write(ctx context.Context, path string, body []byte, publish func(temporary, path string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+destination.InProgress+"-*")
	if err != nil {
		return err
	}
	temporary := f.Name()
	err = fill(ctx, f, body)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = publish(temporary, path)
	}
	if err != nil {
		os.Remove(temporary)
	}
	return err
}

// fill writes and syncs. CreateTemp made the file for its owner alone; whom else a repository is open to, the umask
// says, as for any new file.
func fill(ctx context.Context, f *os.File, body []byte) error {
	for len(body) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(slice, len(body))
		if _, err := f.Write(body[:n]); err != nil {
			return err
		}
		body = body[n:]
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := f.Chmod(0o666 &^ umask); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return f.Sync()
}

// writeError says what a person can do where the cause alone does not.
func writeError(name string, size int, err error) error {
	if errors.Is(err, destination.ErrExists) || errors.Is(err, context.Canceled) {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("write %s (%d bytes): the destination is full: %w", name, size, err)
	}
	return fmt.Errorf("write %s: %w", name, err)
}

// makeFolder makes a folder with its parents, and syncs what each was made in: or else a crash could lose the folder
// of a durable object. One that is there already may have been made by a process that died before it could sync, so it
// is synced too, once in the life of this process.
func (l *Local) makeFolder(folder string) error {
	if _, durable := l.folders.Load(folder); durable {
		return nil
	}
	err := os.Mkdir(folder, 0o777)
	isTop := folder == l.dir || filepath.Dir(folder) == folder
	switch {
	case errors.Is(err, fs.ErrNotExist) && filepath.Dir(folder) != folder:
		if err := l.makeFolder(filepath.Dir(folder)); err != nil {
			return err
		}
		return l.makeFolder(folder)
	case err != nil && !errors.Is(err, fs.ErrExist):
		return err
	case err == nil || !isTop && strings.HasPrefix(folder, l.dir):
		if err := syncFolder(filepath.Dir(folder)); err != nil {
			return err
		}
	}
	if parent := filepath.Dir(folder); !isTop && strings.HasPrefix(parent, l.dir) {
		if err := l.makeFolder(parent); err != nil {
			return err
		}
	}
	l.folders.Store(folder, struct{}{})
	return nil
}

// linkNew names a file by a second link, which never takes another's place, and drops the first name.
func linkNew(temporary, path string) error {
	err := os.Link(temporary, path)
	if err == nil {
		return os.Remove(temporary)
	}
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	// A file system without links (FAT, some network shares). Between the look and the rename another process
	// may create the same name: names that two processes can choose (records) are then decided by the last.
	if _, stat := os.Lstat(path); stat == nil {
		return fs.ErrExist
	}
	return os.Rename(temporary, path)
}
