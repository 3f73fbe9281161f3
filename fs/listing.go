//go:build linux

package fs

import (
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// listing is an open directory: a batch of children, and where it stands in the whole. Offset 0 is before ".", 1 before "..",
// and i+2 before the i-th child.
type listing struct {
	mu     sync.Mutex
	of     *node
	folder folder
	first  uint64 // offset before batch[0]
	batch  []child
	after  string // the name the next batch comes after
	done   bool
	damage error // some of the children cannot be read: told at the end, once the others are listed
}

func (s *server) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n := s.table.get(in.NodeId)
	if n == nil {
		return fuse.ENOENT
	}
	f, ok := n.kind.(folder)
	if !ok {
		return fuse.ENOTDIR
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handles++
	s.open[s.handles] = &listing{of: n, folder: f, first: 2}
	out.Fh = s.handles
	if f.fixed() {
		out.OpenFlags = fuse.FOPEN_CACHE_DIR | fuse.FOPEN_KEEP_CACHE
	}
	return fuse.OK
}

func (s *server) ReleaseDir(in *fuse.ReleaseIn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, in.Fh)
}

func (s *server) listing(fh uint64) *listing {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[fh]
}

// seek makes batch begin at off, or be empty at the end.
func (l *listing) seek(s *server, off uint64) {
	if off < l.first {
		l.first, l.batch, l.after, l.done, l.damage = 2, nil, "", false, nil
	}
	for off >= l.first+uint64(len(l.batch)) {
		l.first += uint64(len(l.batch))
		l.batch = nil
		if l.done {
			return
		}
		batch, next, err := l.folder.list(s.ctx, l.after)
		if err != nil && l.damage == nil {
			l.damage = err
		}
		l.batch, l.after, l.done = batch, next, len(batch) == 0
	}
}

// walk gives add each entry from off on until it returns false; add gets nil for "." and "..".
func (s *server) walk(in *fuse.ReadIn, add func(n *node, c *child, e fuse.DirEntry) bool) fuse.Status {
	l := s.listing(in.Fh)
	if l == nil {
		return fuse.Status(syscall.EBADF)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	added := false
	off := in.Offset
	for ; off < 2; off++ {
		e := fuse.DirEntry{Name: [...]string{".", ".."}[off], Mode: syscall.S_IFDIR, Ino: l.of.ino, Off: off + 1}
		if !add(l.of, nil, e) {
			return fuse.OK
		}
		added = true
	}
	for {
		l.seek(s, off)
		if len(l.batch) == 0 {
			break
		}
		for i := int(off - l.first); i < len(l.batch); i++ {
			c := &l.batch[i]
			if !add(l.of, c, fuse.DirEntry{Name: c.name, Mode: fileType(c), Ino: c.ino, Off: off + 1}) {
				return fuse.OK
			}
			added = true
			off++
		}
	}
	if l.damage != nil && !added {
		return s.status(l.of, l.damage)
	}
	return fuse.OK
}

// fileType gives the type bits of a child's mode.
func fileType(c *child) uint32 {
	if c.kind == nil {
		return syscall.S_IFDIR
	}
	if e, ok := c.kind.(*entry); ok && int(e.e.Type) < len(fileTypes) {
		return fileTypes[e.e.Type]
	}
	if _, ok := c.kind.(linked); ok {
		if _, folder := c.kind.(folder); !folder {
			return syscall.S_IFLNK
		}
	}
	return syscall.S_IFDIR
}

func (s *server) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return s.walk(in, func(_ *node, _ *child, e fuse.DirEntry) bool { return out.AddDirEntry(e) })
}

// ReadDirPlus lists with attributes, so that find and ls -l need no request for each entry.
func (s *server) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return s.walk(in, func(parent *node, c *child, e fuse.DirEntry) bool {
		slot := out.AddDirLookupEntry(e)
		if slot == nil {
			return false
		}
		if c != nil && c.kind != nil { // else number 0: the kernel looks it up when somebody asks
			fill(s.hold(parent, c), slot)
		}
		return true
	})
}
