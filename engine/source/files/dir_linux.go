package files

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/engine/source"
	"github.com/cairn-backup/cairn/index/tree"
)

// dir is a directory held by its descriptor.
type dir struct {
	s      *Source
	fd     int
	rel    string // path in the source: "" for the root, otherwise with a trailing slash
	device uint64 // of the directory itself
	within uint64 // of the path it was reached from: another one means that a file system is mounted here
}

var _ source.Dir = (*dir)(nil)

const openDir = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC

// How often, and how long, an open waits when the process has too many files open.
const (
	openWaits = 200
	openWait  = 10 * time.Millisecond
)

// openAt opens name below dirfd without changing its access time where that is permitted (by owner or root).
func openAt(dirfd int, name string, flags int) (int, error) {
	for wait := 0; ; {
		fd, err := unix.Openat(dirfd, name, flags|unix.O_NOATIME, 0)
		if err == unix.EPERM {
			fd, err = unix.Openat(dirfd, name, flags, 0)
		}
		switch {
		case (err == unix.EMFILE || err == unix.ENFILE) && wait < openWaits:
			// Other goroutines close what they have open within moments.
			wait++
			time.Sleep(openWait)
		case err != unix.EINTR:
			return fd, err
		}
	}
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// openPath opens a directory by a path from the command line, symlinks followed.
func (s *Source) openPath(path string, e *tree.Entry) (*dir, error) {
	fd, err := openAt(unix.AT_FDCWD, path, openDir)
	if err != nil {
		return nil, pathError("open", path, err)
	}
	return &dir{s: s, fd: fd, device: e.Device, within: e.Device}, nil
}

func (s *Source) openFile(path string) (source.File, error) {
	fd, err := openAt(unix.AT_FDCWD, path, openFile&^unix.O_NOFOLLOW)
	if err != nil {
		return nil, pathError("open", path, err)
	}
	return &file{s: s, fd: fd}, nil
}

// Names implements source.Dir.
func (d *dir) Names(ctx context.Context) ([]string, error) {
	if d.s.o.OneFileSystem && d.device != d.within {
		return nil, nil
	}
	found, err := d.list(ctx)
	if err != nil {
		return nil, err
	}
	if marker := d.marker(found.names); marker != "" {
		return []string{marker}, nil
	}
	names := found.names
	if len(d.s.excludes) > 0 {
		names = names[:0]
		for i, name := range found.names {
			if !d.s.excludes.excluded(d.rel+name, name, d.isDir(name, found.kinds[i])) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// isDir asks the entry itself where the file system does not say in the listing.
func (d *dir) isDir(name string, kind uint8) bool {
	if kind != unix.DT_UNKNOWN {
		return kind == unix.DT_DIR
	}
	var st unix.Stat_t
	return unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// marker is the name that excludes everything else in the directory, or "".
func (d *dir) marker(names []string) string {
	if len(d.s.o.ExcludeIfPresent) == 0 && !d.s.o.ExcludeCaches {
		return ""
	}
	for _, name := range names {
		if slices.Contains(d.s.o.ExcludeIfPresent, name) || d.s.o.ExcludeCaches && name == cacheTag && d.holdsCacheTag() {
			return name
		}
	}
	return ""
}

func (d *dir) holdsCacheTag() bool {
	fd, err := openAt(d.fd, cacheTag, openFile)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	head := make([]byte, len(cacheSignature))
	n, err := unix.Pread(fd, head, 0)
	return err == nil && string(head[:n]) == cacheSignature
}

// listed are names and, side by side, their types (DT_DIR and the like; DT_UNKNOWN is common).
type listed struct {
	names []string
	kinds []uint8
}

// list reads the whole directory.
func (d *dir) list(ctx context.Context) (listed, error) {
	buf := direntBuffers.Get().(*[direntBuffer]byte)
	defer direntBuffers.Put(buf)
	var found listed
	for {
		n, err := unix.Getdents(d.fd, buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return found, pathError("list", d.rel, err)
		}
		if n == 0 {
			return found, nil
		}
		if err := ctx.Err(); err != nil {
			return found, err
		}
		if err := found.add(buf[:n]); err != nil {
			return found, pathError("list", d.rel, err)
		}
	}
}

// add decodes records of struct linux_dirent64, in the byte order of the machine, and overwrites buf:
//
//	[0:8)   inode
//	[8:16)  offset of the next record in the directory
//	[16:18) length of this record, bytes
//	[18]    type
//	[19:)   name, NUL, padding
//
// The names of one call share one string.
func (l *listed) add(buf []byte) error {
	const header = 19
	first, size := len(l.names), 0 // size is of the names, which are moved to the front of buf
	lengths := make([]int, 0, len(buf)/32+1)
	for pos := 0; pos < len(buf); {
		if len(buf)-pos < header {
			return errors.New("the listing ends in the middle of an entry")
		}
		end := pos + int(binary.NativeEndian.Uint16(buf[pos+16:]))
		if end < pos+header || end > len(buf) {
			return errors.New("the listing holds an entry of impossible length")
		}
		inode, kind := binary.NativeEndian.Uint64(buf[pos:]), buf[pos+18]
		name, _, _ := bytes.Cut(buf[pos+header:end], []byte{0})
		if string(name) != "." && string(name) != ".." && len(name) > 0 && inode != 0 {
			lengths = append(lengths, len(name))
			l.kinds = append(l.kinds, kind)
			size += copy(buf[size:], name)
		}
		pos = end
	}
	l.names = slices.Grow(l.names, len(lengths))[:first]
	for all := string(buf[:size]); len(lengths) > 0; lengths = lengths[1:] {
		l.names = append(l.names, all[:lengths[0]])
		all = all[lengths[0]:]
	}
	return nil
}

// Stat implements source.Dir.
func (d *dir) Stat(name string, e *tree.Entry) error {
	var st unix.Stat_t
	for {
		err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return pathError("stat", d.rel+name, err)
		}
	}
	d.s.fill(e, &st)
	e.Name = name
	if e.Type == 0 {
		return fmt.Errorf("stat %s: unknown type of file %o", d.rel+name, st.Mode)
	}
	if len(d.s.avoid) > 0 && d.s.avoided(e, d.rel+name) {
		return source.ErrSkip
	}
	return nil
}

// Details implements source.Dir.
func (d *dir) Details(e *tree.Entry) (err error) {
	if e.Type == tree.Symlink {
		if e.Target, err = readLink(d.fd, e.Name); err != nil {
			return pathError("readlink", d.rel+e.Name, err)
		}
	}
	// There is no call for the xattrs of a name below a descriptor before Linux 6.13; this path leads there.
	return d.s.readXattrs(e, pathXattrs(fmt.Sprintf("/proc/self/fd/%d/%s", d.fd, e.Name)), d.rel+e.Name)
}

// ownDetails adds the xattrs of the directory itself.
func (d *dir) ownDetails(e *tree.Entry) error {
	return d.s.readXattrs(e, fdXattrs(d.fd), d.rel)
}

// Dir implements source.Dir.
func (d *dir) Dir(e *tree.Entry) (source.Dir, error) {
	fd, err := openAt(d.fd, e.Name, openDir|unix.O_NOFOLLOW)
	if err != nil {
		return nil, pathError("open", d.rel+e.Name, err)
	}
	return &dir{s: d.s, fd: fd, rel: d.rel + e.Name + "/", device: e.Device, within: d.within}, nil
}

// File implements source.Dir.
func (d *dir) File(e *tree.Entry) (source.File, error) {
	fd, err := openAt(d.fd, e.Name, openFile)
	if err != nil {
		return nil, pathError("open", d.rel+e.Name, err)
	}
	return &file{s: d.s, fd: fd}, nil
}

// Close implements source.Dir.
func (d *dir) Close() error { return unix.Close(d.fd) }

func readLink(dirfd int, name string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := unix.Readlinkat(dirfd, name, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}
