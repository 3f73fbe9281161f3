//go:build linux

package fs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/index/tree"
)

// fileTypes are the kernel's numbers for the types of entries.
var fileTypes = [...]uint32{
	tree.File: syscall.S_IFREG, tree.Directory: syscall.S_IFDIR, tree.Symlink: syscall.S_IFLNK, tree.FIFO: syscall.S_IFIFO,
	tree.Socket: syscall.S_IFSOCK, tree.CharDevice: syscall.S_IFCHR, tree.BlockDevice: syscall.S_IFBLK,
}

// entry is an entry of a restore point that is no directory: a file, a symlink, a device ...
type entry struct {
	v *view
	e *tree.Entry
}

// dir is a directory of a restore point.
type dir struct {
	entry
	sequence uint64 // of the restore point
	kept     time.Duration
}

// entryChild makes the child for an entry of the restore point with that sequence number.
func (v *view) entryChild(sequence uint64, e *tree.Entry) child {
	c := child{name: e.Name, ino: inodeNumber(sequence, e)}
	if e.IsDir() {
		c.kind = &dir{entry: entry{v, e}, sequence: sequence, kept: lasting}
	} else {
		c.kind = &entry{v, e}
	}
	return c
}

// inodeNumber is the number shown to users: a hash, since a mount is one device to them, and the source's own numbers
// mean different files in different restore points. Names of one hard-linked file agree. Zero when there is none.
func inodeNumber(sequence uint64, e *tree.Entry) uint64 {
	if e.Inode == 0 {
		return 0
	}
	return max(mix(mix(sequence, e.Device), e.Inode), fuse.FUSE_ROOT_ID+1)
}

func (n *entry) attr(out *fuse.Attr) {
	e := n.e
	out.Mode = e.Mode & 0o7777
	if int(e.Type) < len(fileTypes) {
		out.Mode |= fileTypes[e.Type]
	}
	out.Uid, out.Gid = e.UID, e.GID
	out.Nlink = max(e.Links, 1)
	setTimes(out, e.Mtime, e.Ctime)
	switch e.Type {
	case tree.File:
		out.Size = uint64(e.Size)
		out.Blocks = blocks(e)
	case tree.Symlink:
		out.Size = uint64(len(e.Target))
	case tree.CharDevice, tree.BlockDevice:
		major, minor := unix.Major(e.Rdev), unix.Minor(e.Rdev)
		out.Rdev = minor&0xff | major<<8 | minor&^0xff<<12 // the kernel's 32-bit form
	}
}

// blocks is the space a file would take, in units of 512 bytes: holes count nothing, and cp and tar look for holes in a file
// that takes less than its size. Whether one with a long content list has holes is not known without reading it, so
// it takes a block less than its size, and lseek tells.
func blocks(e *tree.Entry) uint64 {
	size := e.Size
	for i := range e.Content {
		if e.Content[i].Hole() {
			size -= e.Content[i].Length
		}
	}
	if !e.List.IsZero() {
		size -= 1024
	}
	if size <= 0 {
		return 0
	}
	return uint64(size+511) / 512
}

func (n *entry) keep() time.Duration { return lasting }
func (n *entry) target() string      { return n.e.Target }
func (n *dir) keep() time.Duration   { return n.kept }
func (n *dir) fixed() bool           { return true }

// open opens the directory for lookups; nil when the backup found nothing in it.
func (n *dir) open(ctx context.Context) (*tree.Dir, error) {
	if n.e.Child.IsZero() {
		if n.e.Flags&tree.Unreadable != 0 {
			return nil, errors.New("the directory could not be read when it was backed up")
		}
		return nil, nil
	}
	return n.v.openDir(ctx, n.e.Child)
}

func (n *dir) find(ctx context.Context, name string) (child, error) {
	d, err := n.open(ctx)
	if err != nil || d == nil {
		return child{}, cmp.Or(err, errNoEntry)
	}
	e, err := d.Lookup(ctx, name)
	if errors.Is(err, iofs.ErrNotExist) {
		return child{}, errNoEntry
	}
	if err != nil {
		return child{}, fmt.Errorf("look up %q: %w", name, err)
	}
	return n.v.entryChild(n.sequence, e), nil
}

func (n *dir) list(ctx context.Context, after string) ([]child, string, error) {
	d, err := n.open(ctx)
	if err != nil || d == nil {
		return nil, "", err
	}
	var damage error
	for leaf, err := range d.Leaves(ctx, after) {
		if err != nil {
			damage = cmp.Or(damage, fmt.Errorf("list directory: %w", err))
		}
		if len(leaf) == 0 {
			continue
		}
		batch := make([]child, len(leaf))
		for i := range leaf {
			batch[i] = n.v.entryChild(n.sequence, &leaf[i])
		}
		return batch, leaf[len(leaf)-1].Name, damage
	}
	return nil, "", damage
}
