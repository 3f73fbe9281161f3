//go:build linux

package fs

import (
	"context"
	"errors"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/index/tree"
)

// maxNodes is how many nodes the table may hold before the kernel is asked to forget the oldest: about 60 MB.
const maxNodes = 150_000

// errNoData: there is no such extended attribute.
const errNoData = fuse.Status(syscall.ENODATA)

// server answers the kernel's requests.
type server struct {
	fuse.RawFileSystem
	v     *view
	ctx   context.Context // of the mount: requests end with it
	table *table
	space func(ctx context.Context) (used, free int64)

	kernel  *fuse.Server
	changes chan change
	full    chan struct{} // the table holds more than maxNodes

	maxNodes int

	mu      sync.Mutex
	open    map[uint64]*listing
	handles uint64
}

func newServer(ctx context.Context, v *view) *server {
	s := &server{RawFileSystem: fuse.NewDefaultRawFileSystem(), v: v, ctx: ctx, table: newTable(&root{v}),
		full: make(chan struct{}, 1), maxNodes: maxNodes, changes: make(chan change, 16), open: map[uint64]*listing{}}
	v.ctx, v.changed = ctx, s.announce
	return s
}

func (s *server) String() string { return "cairn" }

// status turns an error into the number that the reader sees. It is the one place where damage becomes EIO.
func (s *server) status(n *node, err error) fuse.Status {
	switch {
	case err == nil:
		return fuse.OK
	case errors.Is(err, errNoEntry):
		return fuse.ENOENT
	case errors.Is(err, context.Canceled) && s.ctx.Err() != nil:
		return fuse.Status(syscall.ESHUTDOWN)
	}
	s.v.report(s.table.path(n), err)
	return fuse.EIO
}

// hold gives the node for c, and wakes the one who prunes the table when it has grown too large.
func (s *server) hold(parent *node, c *child) *node {
	n, count := s.table.hold(parent, c)
	if count > s.maxNodes {
		select {
		case s.full <- struct{}{}:
		default:
		}
	}
	return n
}

// fill answers with a node.
func fill(n *node, out *fuse.EntryOut) {
	out.NodeId, out.Generation = n.id, 1
	n.kind.attr(&out.Attr)
	out.Ino = n.ino
	keep := n.kind.keep()
	out.SetEntryTimeout(keep)
	out.SetAttrTimeout(keep)
}

func (s *server) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	parent := s.table.get(in.NodeId)
	if parent == nil {
		return fuse.ENOENT
	}
	f, ok := parent.kind.(folder)
	if !ok {
		return fuse.ENOTDIR
	}
	c, err := f.find(s.ctx, name)
	if errors.Is(err, errNoEntry) && f.fixed() {
		out.SetEntryTimeout(lasting) // number 0: the kernel may remember that there is no such name
		return fuse.OK
	}
	if err != nil {
		return s.status(parent, err)
	}
	fill(s.hold(parent, &c), out)
	return fuse.OK
}

func (s *server) Forget(id, count uint64) { s.table.forget(id, count) }

func (s *server) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := s.table.get(in.NodeId)
	if n == nil {
		return fuse.ENOENT
	}
	n.kind.attr(&out.Attr)
	out.Ino = n.ino
	out.SetTimeout(n.kind.keep())
	return fuse.OK
}

func (s *server) Readlink(_ <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	n := s.table.get(in.NodeId)
	if n == nil {
		return nil, fuse.ENOENT
	}
	l, ok := n.kind.(linked)
	if !ok {
		return nil, fuse.EINVAL
	}
	return []byte(l.target()), fuse.OK
}

// Open says that files need no opening: the kernel then never asks again, keeps their pages, and a small file costs one
// request instead of three.
func (s *server) Open(_ <-chan struct{}, _ *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	return fuse.ENOSYS
}

// Flush says that closing needs nothing: the kernel then never asks again.
func (s *server) Flush(_ <-chan struct{}, _ *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

// maxSlices bounds how many slices one answer is made of: the kernel takes 1,024 (IOV_MAX), and a reader whose answer it
// refuses would wait for ever.
const maxSlices = 500

func (s *server) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	n, e := s.entry(in.NodeId)
	if e == nil || e.Type != tree.File {
		return nil, fuse.EINVAL
	}
	slices, err := s.v.read(s.ctx, e, int64(in.Offset), int(in.Size))
	if err != nil {
		return nil, s.status(n, err)
	}
	if len(slices) > maxSlices {
		buf = buf[:0]
		for _, p := range slices {
			buf = append(buf, p...)
		}
		return fuse.ReadResultData(buf), fuse.OK
	}
	return fuse.ReadResultVector(slices), fuse.OK
}

func (s *server) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	const seekData, seekHole = 3, 4
	n, e := s.entry(in.NodeId)
	if e == nil || e.Type != tree.File || in.Whence != seekData && in.Whence != seekHole {
		return fuse.EINVAL
	}
	off, err := s.v.seek(s.ctx, e, int64(in.Offset), in.Whence == seekHole)
	if err == io.EOF { // there is none; damage may have an io.EOF in it, and is no such answer
		return fuse.Status(syscall.ENXIO)
	}
	out.Offset = uint64(off)
	return s.status(n, err)
}

// entry gives a node of a restore point with its entry; nil when the number is unknown or stands for something else.
func (s *server) entry(id uint64) (*node, *tree.Entry) {
	n := s.table.get(id)
	if n == nil {
		return nil, nil
	}
	switch k := n.kind.(type) {
	case *entry:
		return n, k.e
	case *dir:
		return n, k.e
	}
	return n, nil
}

func (s *server) GetXAttr(_ <-chan struct{}, in *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	_, e := s.entry(in.NodeId)
	if e == nil {
		return 0, errNoData
	}
	for i := range e.Xattrs {
		if e.Xattrs[i].Name == name {
			return answer(dest, e.Xattrs[i].Value)
		}
	}
	return 0, errNoData
}

func (s *server) ListXAttr(_ <-chan struct{}, in *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	_, e := s.entry(in.NodeId)
	if e == nil {
		return 0, fuse.OK
	}
	var names []byte
	for i := range e.Xattrs {
		names = append(append(names, e.Xattrs[i].Name...), 0)
	}
	return answer(dest, names)
}

// answer copies a value of any length into dest, or tells how long dest must be.
func answer(dest, value []byte) (uint32, fuse.Status) {
	if len(dest) < len(value) {
		return uint32(len(value)), fuse.ERANGE
	}
	return uint32(copy(dest, value)), fuse.OK
}

func (s *server) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	const block = 4096
	used, free := s.space(s.ctx)
	out.Bsize, out.Frsize, out.NameLen = block, block, 255
	out.Blocks = uint64(used+free+block-1) / block
	out.Bfree = uint64(free) / block
	out.Bavail = out.Bfree
	return fuse.OK
}

// space tells how many bytes the repository takes and how many are free where it lies: what df shows. The sum over all packs is
// taken anew when the restore points have changed.
func (v *view) space(list func(context.Context) (int64, error), d destination.Destination) func(context.Context) (used, free int64) {
	var mu sync.Mutex
	var of *catalog
	var sum int64
	return func(ctx context.Context) (used, free int64) {
		mu.Lock()
		defer mu.Unlock()
		if now := v.points.Load(); of != now {
			total, err := list(ctx)
			if err != nil {
				v.report("/", err)
			}
			of, sum = now, total
		}
		if s, ok := d.(destination.Spacer); ok {
			free, _, _ = s.Free(ctx)
		}
		return sum, free
	}
}

// wait pauses, or ends early with false when the mount ends.
func (s *server) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}
