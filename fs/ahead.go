//go:build linux

package fs

import (
	"context"
	"sync"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/index/tree"
)

// Reading ahead: bounds of what is opened before it is asked for.
const (
	aheadBytes  = 6 << 20 // of a file that is read in order, bytes
	aheadFrames = 3       // of a pack whose small files are read in order
	aheadQueue  = 64      // requests that wait; more are dropped
	aheadFiles  = 64      // files whose reading is followed at once
	aheadPacks  = 256     // packs whose list of frames is kept: about 300 bytes each
)

// ahead opens frames in the background. A file that is read in order is followed along its content list; small files, which
// know nothing of each other, are followed along the frames of their pack, in the order in which they were backed up.
type ahead struct {
	v       *view
	ctx     context.Context
	queue   chan request
	workers sync.WaitGroup
	packs   *recent[chunkstore.PackID, []chunkstore.FrameRef]

	mu      sync.Mutex
	follows map[*tree.Entry]*following
	touched map[touch]bool // frames of small files seen lately
}

// following is how far a file was read and opened.
type following struct {
	next   int64 // where the next read goes on, if it is in order
	opened int64 // up to here frames were asked for
}

type touch struct {
	pack   chunkstore.PackID
	offset uint32
}

// request is a part of one pack to open; no refs mean the frames behind the one at after.
type request struct {
	pack  chunkstore.PackID
	refs  []chunkstore.FrameRef
	after uint32
}

// newAhead starts workers that end with ctx.
func newAhead(ctx context.Context, v *view, workers int) *ahead {
	a := &ahead{v: v, ctx: ctx, queue: make(chan request, aheadQueue), follows: map[*tree.Entry]*following{},
		touched: map[touch]bool{}, packs: newRecent[chunkstore.PackID, []chunkstore.FrameRef](aheadPacks)}
	for range workers {
		a.workers.Go(a.work)
	}
	return a
}

func (a *ahead) work() {
	for {
		select {
		case <-a.ctx.Done():
			return
		case r := <-a.queue:
			a.serve(r)
		}
	}
}

// serve opens what a request asks for, frame by frame, so that the reader can open the next itself meanwhile. What is wrong
// with one, the reader will hear.
func (a *ahead) serve(r request) {
	if r.refs == nil {
		r.refs = a.behind(r.pack, r.after)
	}
	for _, ref := range r.refs {
		_, _ = a.v.store.Frame(a.ctx, r.pack, ref.Offset, ref.Sealed)
	}
}

func (a *ahead) ask(r request) {
	select {
	case a.queue <- r:
	default: // the workers are behind: the reader opens it itself
	}
}

// follow notes that [off, end) of a file was read, and asks for what comes behind when that goes on from the read before.
func (a *ahead) follow(e *tree.Entry, c *tree.Content, off, end int64) {
	a.mu.Lock()
	f := a.follows[e]
	if f == nil {
		if len(a.follows) >= aheadFiles {
			clear(a.follows)
		}
		f = &following{}
		a.follows[e] = f
	}
	// The kernel sends the parts of one read-ahead side by side, so they come in nearly any order.
	inOrder := off <= f.next+2<<20 && end+2<<20 >= f.next
	f.next = max(end, f.next)
	if !inOrder {
		f.next, f.opened = end, end
	}
	from, to := max(f.opened, end), min(end+aheadBytes, e.Size)
	if !inOrder || to-from < aheadBytes/3 && to < e.Size || from >= to {
		a.mu.Unlock()
		return
	}
	f.opened = to
	a.mu.Unlock()
	a.open(c, from, to)
}

// open asks for the frames that hold [from, to) of a file.
func (a *ahead) open(c *tree.Content, from, to int64) {
	var r request
	for p, err := range c.Pieces(a.ctx, from) {
		if p.Offset >= to {
			break
		}
		if err != nil || p.Hole() {
			continue
		}
		loc, err := a.v.locate(p.ID)
		if err != nil {
			continue
		}
		ref := chunkstore.FrameRef{Offset: loc.Offset, Sealed: loc.Sealed}
		switch n := len(r.refs); {
		case n > 0 && r.pack == loc.Pack && r.refs[n-1] == ref:
			continue
		case n > 0:
			a.ask(r) // each frame alone, so that the workers share them
		}
		r = request{pack: loc.Pack, refs: []chunkstore.FrameRef{ref}}
	}
	if len(r.refs) > 0 {
		a.ask(r)
	}
}

// touch notes that a small file in this frame is read. The first time, when a frame shortly before it was read too, the
// frames behind are asked for.
func (a *ahead) touch(loc chunkstore.Location) {
	t := touch{loc.Pack, loc.Offset}
	a.mu.Lock()
	seen := a.touched[t]
	if !seen {
		if len(a.touched) >= 4*aheadFiles {
			clear(a.touched)
		}
		a.touched[t] = true
	}
	a.mu.Unlock()
	if !seen {
		a.ask(request{pack: loc.Pack, after: loc.Offset})
	}
}

// behind gives the frames that follow the one at offset in its pack, when it looks as if the pack is read in order.
func (a *ahead) behind(pack chunkstore.PackID, offset uint32) []chunkstore.FrameRef {
	refs, err := a.packs.get(pack, func() ([]chunkstore.FrameRef, error) { return a.frames(pack) })
	if err != nil {
		return nil
	}
	at := 0
	for at < len(refs) && refs[at].Offset != offset {
		at++
	}
	a.mu.Lock()
	inOrder := at == 0
	for i := max(0, at-aheadFrames); i < at && i < len(refs); i++ {
		inOrder = inOrder || a.touched[touch{pack, refs[i].Offset}]
	}
	a.mu.Unlock()
	if !inOrder || at >= len(refs) {
		return nil
	}
	return refs[at+1 : min(at+1+aheadFrames, len(refs))]
}

// frames lists the frames of a pack in their order.
func (a *ahead) frames(pack chunkstore.PackID) ([]chunkstore.FrameRef, error) {
	p, err := a.v.store.Table(a.ctx, pack)
	if err != nil {
		return nil, err
	}
	var refs []chunkstore.FrameRef
	for i := range p.Chunks {
		ref := chunkstore.FrameRef{Offset: p.Chunks[i].Location.Offset, Sealed: p.Chunks[i].Location.Sealed}
		if len(refs) == 0 || refs[len(refs)-1] != ref {
			refs = append(refs, ref)
		}
	}
	return refs, nil
}
