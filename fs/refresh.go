//go:build linux

package fs

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// tick marks the catalog as old every second, or as often as it is polled, so that the next one who looks at it looks afresh.
func (s *server) tick(every time.Duration) {
	for s.wait(min(brief, every)) {
		s.v.stale.Store(true)
	}
}

// poll looks for new and forgotten restore points though nobody asks, so that those who wait in a folder are told.
func (s *server) poll(every time.Duration) {
	for s.wait(every) {
		s.v.current(s.ctx)
	}
}

// change is a catalog that another took the place of.
type change struct{ old, now *catalog }

// announce hands a change to notify. What does not fit is dropped: the kernel finds out within a second by itself.
func (s *server) announce(old, now *catalog) {
	select {
	case s.changes <- change{old, now}:
	default:
	}
}

// notify tells the kernel of changes. It runs beside the requests, never inside one: the kernel may hold a folder locked for
// the request that asked, and would wait for its answer.
func (s *server) notify() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case c := <-s.changes:
			s.invalidate(c.old, c.now)
		}
	}
}

// invalidate tells the kernel what to look up afresh.
func (s *server) invalidate(old, now *catalog) {
	for name, h := range old.sources {
		n := s.table.find(fuse.FUSE_ROOT_ID, name, 0)
		if n == nil {
			continue
		}
		s.kernel.InodeNotify(n.id, 0, 0)
		s.kernel.EntryNotify(n.id, latestName)
		after := now.history(name)
		for _, p := range h.points {
			if q := after.byName[p.Name]; q == nil || q.Sequence != p.Sequence {
				s.kernel.EntryNotify(n.id, p.Name)
			}
		}
		if len(after.points) == 0 {
			s.kernel.EntryNotify(fuse.FUSE_ROOT_ID, name)
		}
	}
	s.kernel.InodeNotify(fuse.FUSE_ROOT_ID, 0, 0)
}

// prune asks the kernel to forget the oldest nodes whenever there are too many, down to three quarters.
func (s *server) prune() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.full:
		}
		nodes := s.table.oldest(s.maxNodes*3/4, s.maxNodes/4)
		ids := make([]uint64, 0, 256)
		for i, n := range nodes {
			ids = append(ids, n.id)
			if len(ids) < cap(ids) && i < len(nodes)-1 {
				continue
			}
			if s.kernel.PruneNotify(ids) == fuse.ENOSYS {
				for _, n := range nodes[i+1-len(ids) : i+1] {
					s.kernel.EntryNotify(n.parent, n.name)
				}
			}
			ids = ids[:0]
		}
	}
}
