package engine

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/index/tree"
)

// output is a regular file being written. It has its final name from the beginning, unless it replaces
// another file: then it gets that name at the end.
type output struct {
	place  *place
	folder *folder
	name   string // final
	temp   string // while it is written; empty: the final one
	dir    int    // the folder's descriptor, held until the file is finished
	fd     int
	mode   uint32 // it was made with
	end    int64  // length so far; not kept when shared
	shared bool   // written by several workers
}

var errExists = errors.New("something of that name is there")

// create makes the file of entry e, empty. A shared one may be written by several goroutines.
func (p *place) create(f *folder, e *tree.Entry, shared bool) (*output, error) {
	dir, err := p.acquire(f)
	if err != nil {
		return nil, err
	}
	o := &output{place: p, folder: f, dir: dir, name: e.Name, shared: shared}
	// The final mode at once saves a call; where the umask or an inherited ACL would alter it, nobody else gets in till the end.
	o.mode = e.Mode & 0o777
	if o.mode&0o077&p.umask != 0 || f.handle.inherits {
		o.mode &= 0o700
	}
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	o.fd, err = openat(dir, e.Name, flags, o.mode)
	if err == unix.EEXIST && p.overwrite {
		o.fd, err = o.createTemp(flags)
	}
	if err == unix.EEXIST {
		err = errExists
	}
	if err != nil {
		p.release(f)
		return nil, fmt.Errorf("create: %w", err)
	}
	if f.handle.inherits {
		dropACL(o.fd)
		o.mode = ^uint32(0)
	}
	if shared {
		// The full length at once, so that parts may come in any order.
		if err := unix.Ftruncate(o.fd, e.Size); err != nil {
			o.discard()
			return nil, fmt.Errorf("set length: %w", err)
		}
	}
	return o, nil
}

func openat(dir int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// createTemp makes the file under a name that says what it is. What is in the way is looked at first: a directory
// is never replaced.
func (o *output) createTemp(flags int) (int, error) {
	if err := checkReplaceable(o.dir, o.name); err != nil {
		return -1, err
	}
	for {
		o.temp = o.place.tempName()
		fd, err := openat(o.dir, o.temp, flags, o.mode)
		if err != unix.EEXIST {
			return fd, err
		}
	}
}

// tempName gives a name that this restore has not used.
func (p *place) tempName() string {
	return ".cairn-restore-" + strconv.Itoa(unix.Getpid()) + "-" + strconv.FormatUint(p.temps.Add(1), 10) + ".in-progress"
}

func checkReplaceable(dir int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return errors.New("a directory has that name")
	}
	return nil
}

// replaces says whether the file will take another one's place.
func (o *output) replaces() bool { return o.temp != "" }

// writeAt writes all of data at an offset. Parts of big files may be written at the same time.
func (o *output) writeAt(data []byte, offset int64) error {
	if !o.shared {
		o.end = max(o.end, offset+int64(len(data)))
	}
	for len(data) > 0 {
		n, err := unix.Pwrite(o.fd, data, offset)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		data, offset = data[n:], offset+int64(n)
	}
	return nil
}

// finish sets length and attributes, closes the file and gives it its final name.
func (o *output) finish(e *tree.Entry) error {
	defer o.place.release(o.folder)
	err := o.complete(e)
	if closing := unix.Close(o.fd); err == nil && closing != nil && closing != unix.EINTR {
		err = fmt.Errorf("close: %w", closing)
	}
	if o.temp == "" {
		return err
	}
	if err == nil {
		if err = unix.Renameat(o.dir, o.temp, o.dir, o.name); err == nil {
			return nil
		}
		err = fmt.Errorf("replace the existing file: %w", err)
	}
	_ = unix.Unlinkat(o.dir, o.temp, 0)
	return err
}

func (o *output) complete(e *tree.Entry) error {
	if !o.shared && o.end != e.Size && e.Flags&tree.Unreadable == 0 {
		if err := unix.Ftruncate(o.fd, e.Size); err != nil {
			return fmt.Errorf("set length: %w", err)
		}
	}
	h := &o.folder.handle
	if !h.probed.Load() {
		var st unix.Stat_t
		if err := unix.Fstat(o.fd, &st); err != nil {
			return fmt.Errorf("look at it: %w", err)
		}
		h.learn(st.Uid, st.Gid)
	}
	return o.place.attributes(o.fd, e, h.uid, h.gid, o.mode, false)
}

// discard takes the unfinished file away.
func (o *output) discard() {
	defer o.place.release(o.folder)
	unix.Close(o.fd)
	name := o.temp
	if name == "" {
		name = o.name
	}
	_ = unix.Unlinkat(o.dir, name, 0)
}

// makeOther makes a symlink, FIFO, socket or device node.
func (p *place) makeOther(f *folder, e *tree.Entry) error {
	dir, err := p.acquire(f)
	if err != nil {
		return err
	}
	defer p.release(f)
	name := e.Name
	err = makeNode(dir, name, e)
	if err == unix.EEXIST && p.overwrite {
		if err := checkReplaceable(dir, name); err != nil {
			return fmt.Errorf("make %s: %w", e.Type, err)
		}
		name = p.tempName()
		err = makeNode(dir, name, e)
	}
	if err == unix.EEXIST {
		err = errExists
	}
	if err != nil {
		if err == unix.EPERM && (e.Type == tree.CharDevice || e.Type == tree.BlockDevice) {
			err = errors.New("only root may make devices")
		}
		return fmt.Errorf("make %s: %w", e.Type, err)
	}
	err = p.nodeAttributes(dir, name, e)
	if name == e.Name {
		return err
	}
	if err == nil {
		err = unix.Renameat(dir, name, dir, e.Name)
	}
	if err != nil {
		_ = unix.Unlinkat(dir, name, 0)
	}
	return err
}

func makeNode(dir int, name string, e *tree.Entry) error {
	switch e.Type {
	case tree.Symlink:
		return unix.Symlinkat(e.Target, dir, name)
	case tree.FIFO:
		return unix.Mknodat(dir, name, unix.S_IFIFO|0o600, 0)
	case tree.Socket:
		return unix.Mknodat(dir, name, unix.S_IFSOCK|0o600, 0)
	case tree.CharDevice:
		return unix.Mknodat(dir, name, unix.S_IFCHR|0o600, int(e.Rdev))
	case tree.BlockDevice:
		return unix.Mknodat(dir, name, unix.S_IFBLK|0o600, int(e.Rdev))
	}
	return errors.New("unknown type")
}

// nodeAttributes is attributes for what cannot or must not be opened.
func (p *place) nodeAttributes(dir int, name string, e *tree.Entry) error {
	owned, err := p.own(e, func(uid, gid int) error {
		return unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return err
	}
	path := "/proc/self/fd/" + strconv.Itoa(dir) + "/" + name
	if e.Type != tree.Symlink { // a symlink has no mode of its own on Linux
		want := e.Mode & 0o7777
		if !owned {
			want &^= 0o6000
		}
		if err := p.chmodError(unix.Fchmodat(dir, name, want, 0)); err != nil {
			return err
		}
	}
	for i := range e.Xattrs {
		x := &e.Xattrs[i]
		if err := p.xattr(x, unix.Lsetxattr(path, x.Name, x.Value, 0)); err != nil {
			return err
		}
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(e.Mtime)}
	if err := unix.UtimesNanoAt(dir, name, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set modification time: %w", err)
	}
	return nil
}

// link makes a further name of a restored file.
func (p *place) link(from *folder, fromName string, to *folder, name string) error {
	source, err := p.acquire(from)
	if err != nil {
		return err
	}
	defer p.release(from)
	dir, err := p.acquire(to)
	if err != nil {
		return err
	}
	defer p.release(to)
	err = unix.Linkat(source, fromName, dir, name, 0)
	if err != unix.EEXIST || !p.overwrite {
		return err
	}
	if err := checkReplaceable(dir, name); err != nil {
		return err
	}
	temp := p.tempName()
	if err := unix.Linkat(source, fromName, dir, temp, 0); err != nil {
		return err
	}
	err = unix.Renameat(dir, temp, dir, name)
	// When both names are the same file already, a rename leaves the temporary one in place.
	if gone := unix.Unlinkat(dir, temp, 0); err == nil && gone != nil && gone != unix.ENOENT {
		err = gone
	}
	return err
}
