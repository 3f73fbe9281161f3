//go:build linux

package faultdisk

import (
	"context"
	"maps"
	"path"
	"slices"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// node is what the kernel knows of an inode.
type node struct {
	fs.Inode
	d *Disk
	i *inode
}

var (
	_ fs.NodeLookuper  = (*node)(nil)
	_ fs.NodeCreater   = (*node)(nil)
	_ fs.NodeMkdirer   = (*node)(nil)
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeReader    = (*node)(nil)
	_ fs.NodeWriter    = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)
	_ fs.NodeFlusher   = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeSetattrer = (*node)(nil)
	_ fs.NodeReaddirer = (*node)(nil)
	_ fs.NodeRenamer   = (*node)(nil)
	_ fs.NodeLinker    = (*node)(nil)
	_ fs.NodeUnlinker  = (*node)(nil)
	_ fs.NodeRmdirer   = (*node)(nil)
	_ fs.NodeStatfser  = (*node)(nil)
)

func (n *node) at(name string) string { return path.Join(n.Path(n.Root()), name) }

func (n *node) child(ctx context.Context, i *inode) *fs.Inode {
	mode := uint32(syscall.S_IFREG)
	if i.names != nil {
		mode = syscall.S_IFDIR
	}
	return n.NewInode(ctx, &node{d: n.d, i: i}, fs.StableAttr{Mode: mode, Ino: i.number})
}

// attributes tells what stat tells. The disk is held.
func (d *Disk) attributes(i *inode, out *fuse.Attr) {
	out.Ino, out.Mode, out.Size, out.Nlink, out.Blksize = i.number, syscall.S_IFREG|0o644, uint64(len(i.content)), 1, 4096
	if i.names != nil {
		out.Mode, out.Size, out.Nlink = syscall.S_IFDIR|0o755, 0, 2
	}
	out.Blocks = (out.Size + 511) / 512
	mtime := d.mtimes[i.number]
	out.SetTimes(&mtime, &mtime, &mtime)
}

// Lookup implements fs.NodeLookuper.
func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.d.pass(Call{Op: Stat, Path: n.at(name)}); errno != 0 {
		return nil, errno
	}
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	i := n.i.names[name]
	if i == nil {
		return nil, syscall.ENOENT
	}
	n.d.attributes(i, &out.Attr)
	return n.child(ctx, i), 0
}

// make makes a file or a folder.
func (n *node) make(ctx context.Context, op Op, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	call := Call{Op: op, Path: n.at(name), folder: n.i.number, name: name}
	if errno := n.d.pass(call); errno != 0 {
		return nil, errno
	}
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if n.i.names[name] != nil {
		return nil, syscall.EEXIST
	}
	i := &inode{number: n.d.next()}
	if op == Mkdir {
		i.names = map[string]*inode{}
	}
	call.inode = i.number
	n.i.names[name] = i
	n.d.note(call)
	n.d.attributes(i, &out.Attr)
	return n.child(ctx, i), 0
}

// Create implements fs.NodeCreater. The kernel has looked, so there is no such file.
func (n *node) Create(ctx context.Context, name string, _, _ uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	i, errno := n.make(ctx, Create, name, out)
	return i, nil, fuse.FOPEN_DIRECT_IO, errno
}

// Mkdir implements fs.NodeMkdirer.
func (n *node) Mkdir(ctx context.Context, name string, _ uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.make(ctx, Mkdir, name, out)
}

// Open implements fs.NodeOpener. Nothing is cached by the kernel: a disk that breaks is broken for whoever reads.
func (n *node) Open(_ context.Context, _ uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, n.d.pass(Call{Op: Open, Path: n.at("")})
}

// Read implements fs.NodeReader.
func (n *node) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if errno := n.d.pass(Call{Op: Get, Path: n.at(""), offset: off}); errno != 0 {
		return nil, errno
	}
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if off >= int64(len(n.i.content)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(dest[:copy(dest, n.i.content[off:])]), 0
}

// Write implements fs.NodeWriter.
func (n *node) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	call := Call{Op: Write, Path: n.at(""), inode: n.i.number, offset: off}
	if errno := n.d.pass(call); errno != 0 {
		return 0, errno
	}
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	size := max(off+int64(len(data)), int64(len(n.i.content)))
	if errno := n.d.grow(size - int64(len(n.i.content))); errno != 0 {
		return 0, errno
	}
	if n.d.recording {
		call.data = slices.Clone(data)
		n.d.note(call)
	}
	n.i.content = resize(n.i.content, size)
	copy(n.i.content[off:], data)
	n.d.mtimes[n.i.number] = time.Now()
	return uint32(len(data)), 0
}

// Fsync implements fs.NodeFsyncer, for files and folders.
func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	call := Call{Op: Sync, Path: n.at(""), inode: n.i.number}
	if errno := n.d.pass(call); errno != 0 {
		return errno
	}
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	n.d.note(call)
	return 0
}

// Flush implements fs.NodeFlusher: a close makes nothing durable.
func (n *node) Flush(context.Context, fs.FileHandle) syscall.Errno { return 0 }

// Getattr implements fs.NodeGetattrer.
func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	n.d.attributes(n.i, &out.Attr)
	return 0
}

// Setattr implements fs.NodeSetattrer: lengths and times; modes and owners are taken for granted.
func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if size, ok := in.GetSize(); ok {
		if errno := n.d.grow(int64(size) - int64(len(n.i.content))); errno != 0 {
			return errno
		}
		n.d.note(Call{Op: Truncate, Path: n.at(""), inode: n.i.number, size: int64(size)})
		n.i.content = resize(slices.Clone(n.i.content), int64(size))
	}
	if mtime, ok := in.GetMTime(); ok {
		n.d.mtimes[n.i.number] = mtime
	}
	n.d.attributes(n.i, &out.Attr)
	return 0
}

// Readdir implements fs.NodeReaddirer.
func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	if errno := n.d.pass(Call{Op: List, Path: n.at("")}); errno != 0 {
		return nil, errno
	}
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	var entries []fuse.DirEntry
	for _, name := range slices.Sorted(maps.Keys(n.i.names)) {
		i := n.i.names[name]
		e := fuse.DirEntry{Name: name, Ino: i.number, Mode: syscall.S_IFREG}
		if i.names != nil {
			e.Mode = syscall.S_IFDIR
		}
		entries = append(entries, e)
	}
	return fs.NewListDirStream(entries), 0
}

// renameNoReplace is RENAME_NOREPLACE of renameat2.
const renameNoReplace = 1

// Rename implements fs.NodeRenamer.
func (n *node) Rename(_ context.Context, name string, newParent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	to, ok := newParent.(*node)
	if !ok || flags&^renameNoReplace != 0 {
		return syscall.EINVAL
	}
	call := Call{Op: Rename, Path: n.at(name), folder: n.i.number, name: name, toFolder: to.i.number, toName: newName}
	if errno := n.d.pass(call); errno != 0 {
		return errno
	}
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	i, old := n.i.names[name], to.i.names[newName]
	switch {
	case i == nil:
		return syscall.ENOENT
	case old != nil && flags&renameNoReplace != 0:
		return syscall.EEXIST
	case old != nil && old.names != nil:
		return syscall.EISDIR
	case old != nil:
		n.d.used -= int64(len(old.content))
	}
	call.inode = i.number
	n.d.note(call)
	delete(n.i.names, name)
	to.i.names[newName] = i
	return 0
}

// Link implements fs.NodeLinker.
func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	from, ok := target.(*node)
	if !ok {
		return nil, syscall.EXDEV
	}
	call := Call{Op: Link, Path: n.at(name), folder: n.i.number, name: name, inode: from.i.number}
	if errno := n.d.pass(call); errno != 0 {
		return nil, errno
	}
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if n.i.names[name] != nil {
		return nil, syscall.EEXIST
	}
	n.d.note(call)
	n.i.names[name] = from.i
	n.d.attributes(from.i, &out.Attr)
	return n.child(ctx, from.i), 0
}

// Unlink implements fs.NodeUnlinker.
func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	call := Call{Op: Unlink, Path: n.at(name), folder: n.i.number, name: name}
	if errno := n.d.pass(call); errno != 0 {
		return errno
	}
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	i := n.i.names[name]
	switch {
	case i == nil:
		return syscall.ENOENT
	case len(i.names) > 0:
		return syscall.ENOTEMPTY
	}
	n.d.used -= int64(len(i.content))
	n.d.note(call)
	delete(n.i.names, name)
	return 0
}

// Rmdir implements fs.NodeRmdirer.
func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno { return n.Unlink(ctx, name) }

// Statfs implements fs.NodeStatfser.
func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	total := n.d.capacity
	if total == 0 {
		total = n.d.used + 64<<30
	}
	out.Bsize, out.Frsize, out.NameLen = 4096, 4096, 255
	out.Blocks = uint64(total) / 4096
	out.Bfree = uint64(max(total-n.d.used, 0)) / 4096
	out.Bavail = out.Bfree
	return 0
}
