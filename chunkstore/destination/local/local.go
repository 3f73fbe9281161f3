package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cairn-backup/cairn/chunkstore/destination"
)

// Local is a directory that holds objects. It is safe for concurrent use, by many processes too.
type Local struct {
	dir   string // absolute
	files *files

	folders sync.Map // paths whose names this process knows to be durable
}

var (
	_ destination.Destination = (*Local)(nil)
	_ destination.Stater      = (*Local)(nil)
	_ destination.Replacer    = (*Local)(nil)
	_ destination.Clock       = (*Local)(nil)
	_ destination.Leftovers   = (*Local)(nil)
	_ destination.Directory   = (*Local)(nil)
	_ io.Closer               = (*Local)(nil)
)

// New returns the destination in dir, which need not exist yet: the first Create makes it. The error is of a dir that
// cannot be made absolute, or that is something else than a directory.
func New(dir string) (*Local, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the absolute path of %q: %w", dir, err)
	}
	if info, err := os.Stat(absolute); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("%s: %w", absolute, syscall.ENOTDIR)
	}
	return &Local{dir: absolute, files: newFiles(max(1, min(openFiles, descriptors()/8)))}, nil
}

// Directory returns the absolute path.
func (l *Local) Directory() string { return l.dir }

// Close closes the files that reads keep open. The destination can still be used.
func (l *Local) Close() error {
	l.files.clear()
	return nil
}

// path returns the file of a name. The check keeps every name inside the directory.
func (l *Local) path(name string) (string, error) {
	if err := destination.CheckName(name); err != nil {
		return "", err
	}
	return filepath.Join(l.dir, filepath.FromSlash(name)), nil
}

// ReadAt reads from a file that stays open for the next read.
func (l *Local) ReadAt(ctx context.Context, name string, p []byte, off int64) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	path, err := l.path(name)
	if err != nil {
		return 0, err
	}
	for range 4 {
		f, err := l.files.open(path)
		if err != nil {
			return 0, readError(name, err)
		}
		n, err := f.ReadAt(p, off)
		if errors.Is(err, os.ErrClosed) {
			continue // pushed out by other reads between open and ReadAt
		}
		if err != nil && err != io.EOF {
			return n, readError(name, err)
		}
		return n, err
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, readError(name, err)
	}
	defer f.Close()
	return f.ReadAt(p, off)
}

// readError turns the file system's errors that say nothing of what an object holds into the contract's.
func readError(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR) {
		return fmt.Errorf("%s: %w", name, destination.ErrNotFound)
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM) {
		return fmt.Errorf("%s: %w: %w", name, destination.ErrUnavailable, err)
	}
	return fmt.Errorf("read %s: %w", name, err)
}

// Stat tells an object's size.
func (l *Local) Stat(ctx context.Context, name string) (destination.Info, error) {
	if err := ctx.Err(); err != nil {
		return destination.Info{}, err
	}
	path, err := l.path(name)
	if err != nil {
		return destination.Info{}, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return destination.Info{}, readError(name, err)
	}
	if !info.Mode().IsRegular() {
		return destination.Info{}, fmt.Errorf("%s: %w", name, destination.ErrNotFound)
	}
	return destination.Info{Name: name, Size: info.Size(), Modified: info.ModTime()}, nil
}

// List walks the folders that can hold the prefix.
func (l *Local) List(ctx context.Context, prefix string, fn func(destination.Info) error) error {
	return l.walk(ctx, prefix, func(info destination.Info) error {
		if strings.Contains(info.Name, destination.InProgress) {
			return nil
		}
		return fn(info)
	})
}

// Leftovers lists files in progress: of interrupted writes, but also of those that are under way right now.
func (l *Local) Leftovers(ctx context.Context, fn func(destination.Info) error) error {
	return l.walk(ctx, "", func(info destination.Info) error {
		if !strings.Contains(info.Name, destination.InProgress) {
			return nil
		}
		return fn(info)
	})
}

// walk calls fn for every regular file whose name begins with prefix. A folder that vanishes holds no objects, nor
// does one that may not be read if no object's name can lead into it (a lost+found).
func (l *Local) walk(ctx context.Context, prefix string, fn func(destination.Info) error) error {
	folder := ""
	if slash := strings.LastIndexByte(prefix, '/'); slash >= 0 {
		folder = prefix[:slash]
		if err := destination.CheckName(folder); err != nil {
			return err
		}
	}
	root := filepath.Join(l.dir, filepath.FromSlash(folder))
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) && !l.canHold(path) {
				return nil
			}
			return fmt.Errorf("list %s: %w", path, err)
		}
		if path == l.dir {
			return nil
		}
		relative, err := filepath.Rel(l.dir, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(relative)
		if d.IsDir() {
			if !strings.HasPrefix(name, prefix) && !strings.HasPrefix(prefix, name+"/") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasPrefix(name, prefix) || !d.Type().IsRegular() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return fmt.Errorf("list %s: %w", path, err)
		}
		return fn(destination.Info{Name: name, Size: info.Size(), Modified: info.ModTime()})
	})
	return err
}

// canHold tells whether there may be objects in a folder.
func (l *Local) canHold(path string) bool {
	relative, err := filepath.Rel(l.dir, path)
	return err != nil || relative == "." || destination.CheckName(filepath.ToSlash(relative)) == nil
}

// Remove deletes a file and makes the deletion durable.
func (l *Local) Remove(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	path, err := l.path(name)
	if err != nil {
		return err
	}
	l.files.drop(path)
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return fmt.Errorf("%s: %w", name, destination.ErrNotFound)
	}
	if err := os.Remove(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			return fmt.Errorf("%s: %w", name, destination.ErrNotFound)
		}
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return syncFolder(filepath.Dir(path))
}

// Now reads the file system's clock, by the time that it gives a new file.
func (l *Local) Now(ctx context.Context) (time.Time, error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, err
	}
	f, err := os.CreateTemp(l.dir, "clock"+destination.InProgress+"-*")
	if err != nil {
		return time.Time{}, fmt.Errorf("read the clock of %s: %w", l.dir, err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return time.Time{}, fmt.Errorf("read the clock of %s: %w", l.dir, err)
	}
	return info.ModTime(), nil
}
