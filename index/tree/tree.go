package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cairn-backup/cairn/chunkstore"
)

// Type says what an entry is. The values are part of the format.
type Type uint8

// The types of entries.
const (
	File        Type = 1
	Directory   Type = 2
	Symlink     Type = 3
	FIFO        Type = 4
	Socket      Type = 5
	CharDevice  Type = 6
	BlockDevice Type = 7
)

// String gives the type in one word, as it stands in JSON output.
func (t Type) String() string {
	names := [...]string{File: "file", Directory: "dir", Symlink: "symlink", FIFO: "fifo", Socket: "socket", CharDevice: "chardev", BlockDevice: "blockdev"}
	if int(t) < len(names) && names[t] != "" {
		return names[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Flags of an entry. The values are part of the format.
const (
	Changed    uint8 = 1 // the file kept changing while it was read: its content may mix two states
	Unreadable uint8 = 2 // the content could not be read: it is missing, or ends early
)

// Entry is one name in a directory, with its metadata and its content.
type Entry struct {
	Name  string // raw bytes, neither empty nor holding '/' or NUL; "" only for the root entry of a tree
	Type  Type
	Flags uint8
	Mode  uint32 // permission bits, setuid, setgid and sticky: 07777

	UID, GID    uint32
	User, Group string // names at the time of the backup; empty when unknown

	Size         int64 // bytes; of a directory it means nothing
	Mtime, Ctime int64 // nanoseconds since 1970, UTC
	Device       uint64
	Inode        uint64 // Device and Inode of the source: equal in two entries means a hard link
	Links        uint32
	Rdev         uint64 // of device nodes
	Target       string // of symlinks, raw bytes
	Xattrs       []Xattr

	// The content of a file is Content, or, when that would be long, the list stored under List.
	// A hole is an extent with a zero ID. Use OpenContent or Extents, which know both forms.
	Content []Extent
	List    chunkstore.ID

	// Of directories: the root node of what is in it (zero when it was not read), and the sums below it.
	Child chunkstore.ID
	Below Totals
}

// Xattr is one extended attribute, ACLs in their raw form included.
type Xattr struct {
	Name  string
	Value []byte
}

// Extent is a run of a file's bytes: one chunk, or a hole when ID is zero.
type Extent struct {
	ID     chunkstore.ID
	Length int64
}

// Hole says that the extent is made of zero bytes that no chunk holds.
func (e Extent) Hole() bool { return e.ID == chunkstore.ID{} }

// Totals are sums over everything below a directory, the directory itself not counted.
type Totals struct {
	Entries int64 // entries of all types
	Files   int64 // regular files, each name of a hard-linked file counted
	Dirs    int64
	Bytes   int64 // sizes of the regular files
}

func (t *Totals) add(o Totals) {
	t.Entries += o.Entries
	t.Files += o.Files
	t.Dirs += o.Dirs
	t.Bytes += o.Bytes
}

// Ref names a stored directory by its root node, with the sums below it.
type Ref struct {
	ID chunkstore.ID
	Totals
}

// SetChild makes ref the content of the directory e.
func (e *Entry) SetChild(ref Ref) { e.Child, e.Below = ref.ID, ref.Totals }

// ChildRef is what SetChild was given.
func (e *Entry) ChildRef() Ref { return Ref{ID: e.Child, Totals: e.Below} }

// IsDir says whether e is a directory.
func (e *Entry) IsDir() bool { return e.Type == Directory }

// FileMode gives type and mode as package io/fs has them.
func (e *Entry) FileMode() fs.FileMode {
	mode := fs.FileMode(e.Mode & 0o777)
	for _, b := range [...]struct {
		bit  uint32
		mode fs.FileMode
	}{{0o4000, fs.ModeSetuid}, {0o2000, fs.ModeSetgid}, {0o1000, fs.ModeSticky}} {
		if e.Mode&b.bit != 0 {
			mode |= b.mode
		}
	}
	switch e.Type {
	case Directory:
		mode |= fs.ModeDir
	case Symlink:
		mode |= fs.ModeSymlink
	case FIFO:
		mode |= fs.ModeNamedPipe
	case Socket:
		mode |= fs.ModeSocket
	case CharDevice:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case BlockDevice:
		mode |= fs.ModeDevice
	}
	return mode
}

// totals is what the entry adds to the directory it stands in.
func (e *Entry) totals() Totals {
	t := Totals{Entries: 1}
	switch e.Type {
	case File:
		t.Files, t.Bytes = 1, e.Size
	case Directory:
		t.Dirs = 1
		t.add(e.Below)
	}
	return t
}

// Loader gives the stored bytes of a node. They must not change afterwards.
type Loader interface {
	LoadNode(ctx context.Context, id chunkstore.ID) ([]byte, error)
}

// Saver stores the bytes of a node, which it must not keep, and gives their id.
type Saver interface {
	SaveNode(ctx context.Context, node []byte) (chunkstore.ID, error)
}

// ErrCorrupt is in every error about a node whose bytes are not a valid node.
var ErrCorrupt = errors.New("invalid tree node")

// NodeError says which node could not be read.
type NodeError struct {
	ID  chunkstore.ID
	Err error
}

func (e *NodeError) Error() string { return fmt.Sprintf("read tree node %x: %v", e.ID[:8], e.Err) }

// Unwrap gives the cause.
func (e *NodeError) Unwrap() error { return e.Err }
