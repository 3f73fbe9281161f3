package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/index/tree"
)

// place is the target of a restore on Linux. Every call names its object by a directory's descriptor and one name, and
// none follows a symlink, so that neither the depth of a path nor a link in the target matters.
type place struct {
	root      *folder
	isNew     bool // made by this restore, or empty before it
	overwrite bool
	umask     uint32
	uid       uint32 // effective, of the process
	notes     notes
	temps     atomic.Uint64
	handles   handles
}

const openFolder = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// openPlace opens the target, and makes it when it is missing. The path itself may go through symlinks.
func openPlace(target string, overwrite bool) (*place, error) {
	p := &place{overwrite: overwrite, umask: processUmask(), uid: uint32(os.Geteuid())}
	if _, err := os.Lstat(target); errors.Is(err, os.ErrNotExist) {
		p.isNew = true
	}
	if err := os.MkdirAll(target, 0o700); err != nil {
		return nil, err
	}
	fd, err := unix.Open(target, openFolder&^unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: target, Err: err}
	}
	p.root = newFolder(nil, "", nil)
	p.root.handle.fd = fd
	p.root.handle.pins = 1 // never closed before the end
	p.handles.most = max(4, min(256, descriptors()/8))
	p.root.handle.inherits = hasDefaultACL(fd)
	if !p.isNew {
		names, err := readNames(fd, 1)
		if err != nil {
			unix.Close(fd)
			return nil, &os.PathError{Op: "list", Path: target, Err: err}
		}
		p.isNew = len(names) == 0
	}
	return p, nil
}

func (p *place) fresh() bool { return p.isNew }

func (p *place) close() {
	p.handles.closeAll()
	unix.Close(p.root.handle.fd)
}

// processUmask reads the umask without changing it, which would be seen by all threads. When it cannot be read,
// every mode is set explicitly.
func processUmask() uint32 {
	status, err := os.ReadFile("/proc/self/status")
	if err == nil {
		if _, rest, ok := bytes.Cut(status, []byte("\nUmask:")); ok {
			line, _, _ := bytes.Cut(rest, []byte("\n"))
			if mask, err := strconv.ParseUint(strings.TrimSpace(string(line)), 8, 32); err == nil {
				return uint32(mask) & 0o777
			}
		}
	}
	return 0o777
}

// endsRestore says whether err is one that every further write would meet too.
func endsRestore(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EROFS) || tooManyFiles(err)
}

// folderHandle is what Linux needs to know of a folder.
type folderHandle struct {
	fd   int // -1: not open
	pins int // uses of fd
	used bool
	// What a new file in this folder begins with. gid and uid come from the folder or the process (setgid folders, some
	// mounts), so the first file made tells; inherits means a default ACL, which hides the umask.
	inherits bool
	probing  sync.Once
	probed   atomic.Bool
	uid, gid uint32
}

func (h *folderHandle) init() { h.fd = -1 }

// learn keeps the owner of the first file made.
func (h *folderHandle) learn(uid, gid uint32) {
	h.probing.Do(func() {
		h.uid, h.gid = uid, gid
		h.probed.Store(true)
	})
}

// handles keeps some of the folders open. Folders that are not open are reached again through their parents.
type handles struct {
	mu   sync.Mutex
	open []*folder // opened, the root excepted; in the order of opening
	most int
}

// acquire gives the folder's descriptor, which stays open until release.
func (p *place) acquire(f *folder) (int, error) {
	p.handles.mu.Lock()
	if f.handle.fd >= 0 {
		f.handle.pins++
		f.handle.used = true
		p.handles.mu.Unlock()
		return f.handle.fd, nil
	}
	p.handles.mu.Unlock()
	// The nearest open ancestor, then down again. One at a time is held, so depth costs no descriptors.
	var way []*folder
	at := f
	p.handles.mu.Lock()
	for at.handle.fd < 0 {
		way = append(way, at)
		at = at.parent
	}
	at.handle.pins++
	fd := at.handle.fd
	p.handles.mu.Unlock()
	for i := len(way) - 1; i >= 0; i-- {
		next, err := unix.Openat(fd, way[i].name, openFolder, 0)
		if err != nil {
			p.release(at)
			return -1, fmt.Errorf("open directory %q: %w", way[i].name, err)
		}
		p.release(at)
		at = way[i]
		fd = p.handles.adopt(at, next)
	}
	return fd, nil
}

// adopt takes over an open descriptor of f, pinned once, unless another goroutine was faster.
func (h *handles) adopt(f *folder, fd int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	f.handle.pins++
	f.handle.used = true
	if f.handle.fd >= 0 {
		unix.Close(fd)
		return f.handle.fd
	}
	f.handle.fd = fd
	h.open = append(h.open, f)
	if len(h.open) > h.most {
		h.evict()
	}
	return fd
}

// evict closes folders that were not used since the last round (a clock), the ones in use excepted.
func (h *handles) evict() {
	kept := h.open[:0]
	for i, f := range h.open {
		switch {
		case f.handle.fd < 0:
			continue
		case f.handle.pins == 0 && !f.handle.used && i < len(h.open)-h.most/2:
			unix.Close(f.handle.fd)
			f.handle.fd = -1
			continue
		}
		f.handle.used = false
		kept = append(kept, f)
	}
	clear(h.open[len(kept):])
	h.open = kept
}

func (p *place) release(f *folder) {
	p.handles.mu.Lock()
	f.handle.pins--
	p.handles.mu.Unlock()
}

func (h *handles) pin(f *folder) {
	h.mu.Lock()
	f.handle.pins++
	h.mu.Unlock()
}

// forget unpins the folder and closes its descriptor for good.
func (h *handles) forget(f *folder) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f.handle.pins--
	if f.parent == nil || f.handle.pins > 0 || f.handle.fd < 0 {
		return
	}
	unix.Close(f.handle.fd)
	f.handle.fd = -1
}

func (h *handles) closeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.open {
		if f.handle.fd >= 0 && f.parent != nil {
			unix.Close(f.handle.fd)
			f.handle.fd = -1
		}
	}
	h.open = nil
}

// look says whether the folder has an entry of that name, and whether it is a directory itself.
func (p *place) look(f *folder, name string) (exists, isDir bool, err error) {
	fd, err := p.acquire(f)
	if err != nil {
		return false, false, err
	}
	defer p.release(f)
	var st unix.Stat_t
	err = unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return false, false, nil
	}
	return err == nil, st.Mode&unix.S_IFMT == unix.S_IFDIR, err
}

// names calls fn for each entry of the folder, in no order.
func (p *place) names(f *folder, fn func(name string) error) error {
	fd, err := p.acquire(f)
	if err != nil {
		return err
	}
	list, err := readNames(fd, -1)
	p.release(f)
	if err != nil {
		return err
	}
	for _, name := range list {
		if err := fn(name); err != nil {
			return err
		}
	}
	return nil
}

func readNames(dirfd, n int) ([]string, error) {
	fd, err := unix.Openat(dirfd, ".", openFolder, 0)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(fd), "")
	defer dir.Close()
	names, err := dir.Readdirnames(n)
	if err == io.EOF {
		err = nil
	}
	return names, err
}

// makeFolder makes the directory f in its parent, or finds it there. It stays closed to others until it is finished.
func (p *place) makeFolder(f *folder) (found bool, err error) {
	parent, err := p.acquire(f.parent)
	if err != nil {
		return false, err
	}
	defer p.release(f.parent)
	err = unix.Mkdirat(parent, f.name, 0o700)
	if err == unix.EEXIST {
		var st unix.Stat_t
		if err := unix.Fstatat(parent, f.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return false, err
		}
		if found = st.Mode&unix.S_IFMT == unix.S_IFDIR; !found {
			if !p.overwrite {
				return false, errors.New("something else has that name")
			}
			if err := unix.Unlinkat(parent, f.name, 0); err != nil {
				return false, fmt.Errorf("replace what has that name: %w", err)
			}
			err = unix.Mkdirat(parent, f.name, 0o700)
		} else {
			err = nil
		}
	}
	if err != nil {
		return false, err
	}
	fd, err := unix.Openat(parent, f.name, openFolder, 0)
	if err != nil {
		return false, err
	}
	if !found && f.parent.handle.inherits {
		dropACL(fd)
	}
	if found {
		f.handle.inherits = hasDefaultACL(fd)
	}
	p.handles.adopt(f, fd)
	p.release(f)
	return found, nil
}

// hasDefaultACL says whether a folder that was there before passes an ACL on to what is made in it.
func hasDefaultACL(fd int) bool {
	n, err := unix.Fgetxattr(fd, "system.posix_acl_default", nil)
	return err == nil && n > 0
}

func dropACL(fd int) {
	// Errors mean that there was none, or that the file system has none.
	_ = unix.Fremovexattr(fd, "system.posix_acl_access")
	_ = unix.Fremovexattr(fd, "system.posix_acl_default")
}

// finishFolder gives the directory its attributes and closes it. Nothing is made in it afterwards.
func (p *place) finishFolder(f *folder) error {
	if f.entry == nil {
		p.handles.pin(f)
		p.handles.forget(f)
		return nil
	}
	fd, err := p.acquire(f)
	if err != nil {
		return err
	}
	defer p.handles.forget(f)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("look at it: %w", err)
	}
	return p.attributes(fd, f.entry, st.Uid, st.Gid, st.Mode&0o7777, f.parent == nil || p.overwrite)
}

// attributes sets owner, mode, xattrs and times, in this order: a change of owner drops setuid bits and
// capabilities, and anything drops times. uid, gid and mode are what the file has now.
func (p *place) attributes(fd int, e *tree.Entry, uid, gid, mode uint32, strip bool) error {
	want := e.Mode & 0o7777
	if uid != e.UID || gid != e.GID {
		owned, err := p.own(e, func(uid, gid int) error { return unix.Fchown(fd, uid, gid) })
		if err != nil {
			return err
		}
		if !owned {
			want &^= 0o6000 // these bits would lend the wrong owner's rights
		}
		if mode&0o6000 != 0 {
			mode = ^uint32(0) // perhaps dropped, perhaps not
		}
	}
	if strip {
		if err := stripXattrs(fd, e); err != nil {
			return err
		}
	}
	if mode != want {
		if err := p.chmodError(unix.Fchmod(fd, want)); err != nil {
			return err
		}
	}
	for i := range e.Xattrs {
		x := &e.Xattrs[i]
		if err := p.xattr(x, unix.Fsetxattr(fd, x.Name, x.Value, 0)); err != nil {
			return err
		}
	}
	return setTimes(fd, e.Mtime)
}

// noOwner is the number that chown takes for "as it is", in which case the owner would be the process's.
const noOwner = 1<<32 - 1

// own sets the owner as far as the process may; false when it may not.
func (p *place) own(e *tree.Entry, chown func(uid, gid int) error) (bool, error) {
	err := error(unix.EINVAL)
	if e.UID != noOwner && e.GID != noOwner {
		err = chown(int(e.UID), int(e.GID))
	}
	if err == nil {
		return true, nil
	}
	if err != unix.EPERM && err != unix.EINVAL {
		return false, fmt.Errorf("set owner: %w", err)
	}
	// Without privilege a group that the process belongs to can still be set.
	if e.UID == p.uid && e.GID != noOwner && chown(-1, int(e.GID)) == nil {
		return true, nil
	}
	p.notes.add("owners", "owners of %d entries were not restored: only root may give files away")
	return false, nil
}

// chmodError sorts the error of setting a mode: some file systems keep none, which is noted.
func (p *place) chmodError(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) {
		p.notes.add("modes", "modes of %d entries were not restored: the target's file system does not keep them")
		return nil
	}
	if err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	return nil
}

// xattr sorts the error of setting an attribute: what the process may not set, or the file system does not have, is noted.
func (p *place) xattr(x *tree.Xattr, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOTSUP):
		p.notes.add("xattr "+x.Name, "attribute "+strings.ReplaceAll(x.Name, "%", "%%")+" of %d entries was not restored: the target's file system does not support it")
		return nil
	case errors.Is(err, unix.EPERM) && p.uid != 0:
		p.notes.add("xattr "+x.Name, "attribute "+strings.ReplaceAll(x.Name, "%", "%%")+" of %d entries was not restored: only root may set it")
		return nil
	}
	return fmt.Errorf("set attribute %s: %w", x.Name, err)
}

// stripXattrs takes away attributes that the entry does not have.
func stripXattrs(fd int, e *tree.Entry) error {
	var buf [64 << 10]byte
	n, err := unix.Flistxattr(fd, buf[:])
	if err != nil || n == 0 {
		return nil
	}
next:
	for _, name := range strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		for i := range e.Xattrs {
			if e.Xattrs[i].Name == name {
				continue next
			}
		}
		if !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "system.posix_acl_") {
			continue // labels of the system it is restored to
		}
		if err := unix.Fremovexattr(fd, name); err != nil && err != unix.ENODATA {
			return fmt.Errorf("remove attribute %s: %w", name, err)
		}
	}
	return nil
}

// setTimes sets the modification time of an open file; the access time stays.
func setTimes(fd int, mtime int64) error {
	times := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(mtime)}
	// utimensat with no path is futimens; the package unix has no call for it.
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("set modification time: %w", errno)
	}
	return nil
}
