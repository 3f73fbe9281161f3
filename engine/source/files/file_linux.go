package files

import (
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/engine/source"
	"github.com/cairn-backup/cairn/index/tree"
)

// direntBuffer is what one call of getdents64 may fill, in bytes: some 2,000 names.
const direntBuffer = 64 << 10

// direntBuffers are owned by the call of list that takes one.
var direntBuffers = sync.Pool{New: func() any { return new([direntBuffer]byte) }}

// O_NONBLOCK keeps a FIFO that took the file's place from stopping the backup.
const openFile = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC

// file is an open file.
type file struct {
	s  *Source
	fd int
}

var _ source.File = (*file)(nil)

// ReadAt implements source.File.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Pread(f.fd, p[done:], off+int64(done))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return done, os.NewSyscallError("read", err)
		case n == 0:
			return done, io.EOF
		}
		done += n
	}
	return done, nil
}

// Stat implements source.File.
func (f *file) Stat(e *tree.Entry) error {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return os.NewSyscallError("stat", err)
	}
	f.s.fill(e, &st)
	return nil
}

// Details implements source.File.
func (f *file) Details(e *tree.Entry) error {
	return f.s.readXattrs(e, fdXattrs(f.fd), e.Name)
}

// Data implements source.File.
func (f *file) Data(off, size int64) (start, end int64, err error) {
	start, err = unix.Seek(f.fd, off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return size, size, nil
	}
	if err == nil {
		if start >= size {
			return size, size, nil
		}
		end, err = unix.Seek(f.fd, start, unix.SEEK_HOLE)
	}
	if err != nil { // a file system without the call: all is data
		return off, size, nil
	}
	return start, min(max(end, start), size), nil
}

// Close implements source.File.
func (f *file) Close() error { return unix.Close(f.fd) }

// statPath fills e from a path of the command line, symlinks followed.
func (s *Source) statPath(path string, e *tree.Entry) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return pathError("stat", path, err)
	}
	s.fill(e, &st)
	return nil
}

func (s *Source) pathDetails(path string, e *tree.Entry) error {
	return s.readXattrs(e, followedXattrs(path), path)
}

func placeOf(dir string) (place, error) {
	var st unix.Stat_t
	err := unix.Stat(dir, &st)
	return place{uint64(st.Dev), st.Ino}, pathError("stat", dir, err)
}

// self makes the user of this process the owner of e.
func (s *Source) self(e *tree.Entry) {
	e.UID, e.GID = uint32(unix.Geteuid()), uint32(unix.Getegid())
	e.User, e.Group = s.owners.names(e.UID, e.GID)
}

// fill sets e to what stat(2) gave and clears the rest.
func (s *Source) fill(e *tree.Entry, st *unix.Stat_t) {
	*e = tree.Entry{
		Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid,
		Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano(),
		Device: uint64(st.Dev), Inode: st.Ino, Links: uint32(st.Nlink),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Type, e.Size = tree.File, st.Size
	case unix.S_IFDIR:
		e.Type = tree.Directory
	case unix.S_IFLNK:
		e.Type = tree.Symlink
	case unix.S_IFIFO:
		e.Type = tree.FIFO
	case unix.S_IFSOCK:
		e.Type = tree.Socket
	case unix.S_IFCHR:
		e.Type, e.Rdev = tree.CharDevice, uint64(st.Rdev)
	case unix.S_IFBLK:
		e.Type, e.Rdev = tree.BlockDevice, uint64(st.Rdev)
	}
	e.User, e.Group = s.owners.names(e.UID, e.GID)
}
