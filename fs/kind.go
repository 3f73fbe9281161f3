//go:build linux

package fs

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// How long the kernel may keep what it was told.
const (
	lasting = 24 * time.Hour // of what never changes
	brief   = time.Second    // of what restore points that come and go can change
)

// kind is what a node is. What it can do beyond having attributes is told by the interfaces below.
type kind interface {
	// attr fills in the attributes, all but the inode number.
	attr(out *fuse.Attr)
	// keep is how long the kernel may keep the attributes, and the name that leads to the node.
	keep() time.Duration
}

// folder is a kind that has children.
type folder interface {
	kind
	// find gives one child; errNoEntry when there is none.
	find(ctx context.Context, name string) (child, error)
	// list gives children that come after a name in the folder's order, "" being the beginning, and the name to
	// go on after; no children means the end. An error beside children says that some before them cannot be read.
	list(ctx context.Context, after string) (batch []child, next string, err error)
	// fixed tells that the children are the same for ever: the kernel may keep the list, and that a name is missing.
	fixed() bool
}

// linked is a kind that is a symlink.
type linked interface{ target() string }

// errNoEntry: a folder has no child of that name.
var errNoEntry = errors.New("no such entry")

// made fills in attributes of something that is in no restore point: read-only, owned by root.
func made(out *fuse.Attr, mode uint32, links uint32, changed time.Time) {
	out.Mode, out.Nlink = mode, links
	setTimes(out, changed.UnixNano(), changed.UnixNano())
	if changed.IsZero() {
		setTimes(out, 0, 0)
	}
}

// setTimes fills in the times, given in nanoseconds since 1970. There is no time of access: mtime stands in for it.
func setTimes(out *fuse.Attr, mtime, ctime int64) {
	out.Mtime, out.Mtimensec = split(mtime)
	out.Ctime, out.Ctimensec = split(ctime)
	out.Atime, out.Atimensec = out.Mtime, out.Mtimensec
}

// split cuts nanoseconds into seconds and the rest, which is never negative.
func split(ns int64) (sec uint64, rest uint32) {
	s, r := ns/1e9, ns%1e9
	if r < 0 {
		s, r = s-1, r+1e9
	}
	return uint64(s), uint32(r)
}

// link is a symlink that leads to another name of the same folder.
type link struct {
	to      string
	changed time.Time
	kept    time.Duration
}

func (l *link) attr(out *fuse.Attr) {
	made(out, syscall.S_IFLNK|0o777, 1, l.changed)
	out.Size = uint64(len(l.to))
}
func (l *link) keep() time.Duration { return l.kept }
func (l *link) target() string      { return l.to }
