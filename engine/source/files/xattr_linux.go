package files

import (
	"errors"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/index/tree"
)

// xattrCalls are the two calls that read xattrs, of a descriptor or of a path.
type xattrCalls struct {
	list func(buf []byte) (int, error)
	get  func(name string, buf []byte) (int, error)
}

func fdXattrs(fd int) xattrCalls {
	return xattrCalls{
		func(buf []byte) (int, error) { return unix.Flistxattr(fd, buf) },
		func(name string, buf []byte) (int, error) { return unix.Fgetxattr(fd, name, buf) },
	}
}

// pathXattrs does not follow a symlink that the path ends in.
func pathXattrs(path string) xattrCalls {
	return xattrCalls{
		func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) },
		func(name string, buf []byte) (int, error) { return unix.Lgetxattr(path, name, buf) },
	}
}

func followedXattrs(path string) xattrCalls {
	return xattrCalls{
		func(buf []byte) (int, error) { return unix.Listxattr(path, buf) },
		func(name string, buf []byte) (int, error) { return unix.Getxattr(path, name, buf) },
	}
}

// xattrMax is the kernel's limit for the list of names and for one value, in bytes.
const xattrMax = 64 << 10

// xattrBuffers are owned by the call of readXattrs that takes one.
var xattrBuffers = sync.Pool{New: func() any { return new([xattrMax]byte) }}

// readXattrs sets the xattrs of e, sorted by name, values raw: ACLs are among them as system.posix_acl_*. One that
// vanishes or may not be read is left out, as getfattr does.
func (s *Source) readXattrs(e *tree.Entry, calls xattrCalls, path string) error {
	e.Xattrs = nil
	buf := xattrBuffers.Get().(*[xattrMax]byte)
	defer xattrBuffers.Put(buf)
	n, err := calls.list(buf[:])
	if unsupported(err) || err == nil && n == 0 {
		return nil
	}
	if err != nil {
		return pathError("list xattrs", path, err)
	}
	names := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		n, err := calls.get(name, buf[:])
		if unsupported(err) || errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
			continue
		}
		if err != nil {
			return pathError("read xattr "+name, path, err)
		}
		e.Xattrs = append(e.Xattrs, tree.Xattr{Name: name, Value: slices.Clone(buf[:n])})
	}
	return nil
}

func unsupported(err error) bool {
	return errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS)
}
