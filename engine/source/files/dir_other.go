//go:build !linux

package files

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/cairn-backup/cairn/engine/source"
	"github.com/cairn-backup/cairn/index/tree"
)

// dir is a directory known by its path. What only Linux's calls give (xattrs, holes, paths beyond the system's
// limit) is missing here.
type dir struct {
	s      *Source
	path   string
	rel    string // path in the source: "" for the root, otherwise with a trailing slash
	device uint64
	within uint64
}

var _ source.Dir = (*dir)(nil)

func (s *Source) openPath(path string, e *tree.Entry) (*dir, error) {
	return &dir{s: s, path: path, device: e.Device, within: e.Device}, nil
}

func (s *Source) openFile(path string) (source.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &file{s: s, f: f}, nil
}

// Names implements source.Dir.
func (d *dir) Names(ctx context.Context) ([]string, error) {
	if d.s.o.OneFileSystem && d.device != d.within {
		return nil, nil
	}
	found, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range found {
		if slices.Contains(d.s.o.ExcludeIfPresent, f.Name()) || d.s.o.ExcludeCaches && f.Name() == cacheTag && d.holdsCacheTag() {
			return []string{f.Name()}, nil
		}
		if !d.s.excludes.excluded(d.rel+f.Name(), f.Name(), f.IsDir()) {
			names = append(names, f.Name())
		}
	}
	slices.Sort(names)
	return names, ctx.Err()
}

func (d *dir) holdsCacheTag() bool {
	f, err := os.Open(filepath.Join(d.path, cacheTag))
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, len(cacheSignature))
	n, _ := f.Read(head)
	return string(head[:n]) == cacheSignature
}

// Stat implements source.Dir.
func (d *dir) Stat(name string, e *tree.Entry) error {
	info, err := os.Lstat(filepath.Join(d.path, name))
	if err != nil {
		return err
	}
	d.s.fill(e, info)
	e.Name = name
	if d.s.avoided(e, d.rel+name) {
		return source.ErrSkip
	}
	return nil
}

// Details implements source.Dir.
func (d *dir) Details(e *tree.Entry) (err error) {
	if e.Type == tree.Symlink {
		e.Target, err = os.Readlink(filepath.Join(d.path, e.Name))
	}
	return err
}

func (d *dir) ownDetails(*tree.Entry) error { return nil }

// Dir implements source.Dir.
func (d *dir) Dir(e *tree.Entry) (source.Dir, error) {
	return &dir{s: d.s, path: filepath.Join(d.path, e.Name), rel: d.rel + e.Name + "/", device: e.Device, within: d.within}, nil
}

// File implements source.Dir.
func (d *dir) File(e *tree.Entry) (source.File, error) {
	return d.s.openFile(filepath.Join(d.path, e.Name))
}

// Close implements source.Dir.
func (d *dir) Close() error { return nil }

// file is an open file.
type file struct {
	s *Source
	f *os.File
}

var _ source.File = (*file)(nil)

func (f *file) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }

func (f *file) Stat(e *tree.Entry) error {
	info, err := f.f.Stat()
	if err == nil {
		f.s.fill(e, info)
	}
	return err
}

func (f *file) Details(*tree.Entry) error { return nil }

func (f *file) Data(off, size int64) (start, end int64, err error) { return off, size, nil }

func (f *file) Close() error { return f.f.Close() }

func (s *Source) statPath(path string, e *tree.Entry) error {
	info, err := os.Stat(path)
	if err == nil {
		s.fill(e, info)
	}
	return err
}

func (s *Source) pathDetails(string, *tree.Entry) error { return nil }

func placeOf(dir string) (place, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return place{}, err
	}
	var e tree.Entry
	identify(&e, info)
	return place{e.Device, e.Inode}, nil
}

func (s *Source) self(e *tree.Entry) {
	e.UID, e.GID = uint32(os.Geteuid()), uint32(os.Getegid())
}

func (s *Source) fill(e *tree.Entry, info fs.FileInfo) {
	mode := info.Mode()
	*e = tree.Entry{Mode: uint32(mode.Perm()), Mtime: info.ModTime().UnixNano(), Ctime: info.ModTime().UnixNano(), Links: 1}
	for bit, value := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&bit != 0 {
			e.Mode |= value
		}
	}
	switch {
	case mode.IsRegular():
		e.Type, e.Size = tree.File, info.Size()
	case mode.IsDir():
		e.Type = tree.Directory
	case mode&fs.ModeSymlink != 0:
		e.Type = tree.Symlink
	case mode&fs.ModeNamedPipe != 0:
		e.Type = tree.FIFO
	case mode&fs.ModeSocket != 0:
		e.Type = tree.Socket
	case mode&fs.ModeCharDevice != 0:
		e.Type = tree.CharDevice
	case mode&fs.ModeDevice != 0:
		e.Type = tree.BlockDevice
	}
	identify(e, info)
	e.User, e.Group = s.owners.names(e.UID, e.GID)
}
