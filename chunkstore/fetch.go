package chunkstore

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/chunkstore/frame"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

// FrameRef names one frame of a pack.
type FrameRef struct {
	Offset, Sealed uint32 // in the pack's payload, bytes
}

// openPack is what reading a pack needs to know of it; it holds no file.
type openPack struct {
	id     PackID
	name   string
	size   int64 // of the object
	layout stripe.Layout
	reader *stripe.Reader
	key    *frame.Key
}

// maxOpenPacks bounds what is remembered of packs: 2 KiB each.
const maxOpenPacks = 2048

// openPacks remembers the layouts and keys of the packs read last.
type openPacks struct {
	store *Store

	mu    sync.Mutex
	byID  map[PackID]*list.Element
	order *list.List // of *openPack, most recent first
}

func newOpenPacks(s *Store) *openPacks {
	return &openPacks{store: s, byID: map[PackID]*list.Element{}, order: list.New()}
}

// get returns an open pack. Two that open the same one at once both work; one is remembered.
func (o *openPacks) get(ctx context.Context, id PackID) (*openPack, error) {
	o.mu.Lock()
	if e, ok := o.byID[id]; ok {
		o.order.MoveToFront(e)
		p := e.Value.(*openPack)
		o.mu.Unlock()
		return p, nil
	}
	o.mu.Unlock()
	p, err := o.store.openPack(ctx, id)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.byID[id]; !ok {
		o.byID[id] = o.order.PushFront(p)
		if o.order.Len() > maxOpenPacks {
			last := o.order.Back()
			o.order.Remove(last)
			delete(o.byID, last.Value.(*openPack).id)
		}
	}
	return p, nil
}

// drop forgets a pack, because its object changed.
func (o *openPacks) drop(id PackID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if e, ok := o.byID[id]; ok {
		o.order.Remove(e)
		delete(o.byID, id)
	}
}

// openPack finds a pack's layout, from any intact cell.
func (s *Store) openPack(ctx context.Context, id PackID) (*openPack, error) {
	p := &openPack{id: id, name: id.ObjectName()}
	found, err := s.locate(ctx, TypePack, p.name)
	if errors.Is(err, destination.ErrNotFound) {
		return nil, &DamageError{Object: p.name, Err: ErrMissing}
	}
	if err != nil {
		return nil, fmt.Errorf("open pack %s: %w", id, err)
	}
	p.size, p.layout = found.size, found.layout
	if p.layout.Length < packHeadSize+packTrailerSize || p.layout.Length > maxPackPayload {
		return nil, &DamageError{Object: p.name, Err: fmt.Errorf("%w: %d bytes are no pack", ErrDamaged, p.layout.Length)}
	}
	p.reader = found.reader()
	if p.key, err = s.packKey(id); err != nil {
		return nil, fmt.Errorf("open pack %s: %w", id, err)
	}
	return p, nil
}

// check tells whether a frame can lie in the pack at all: places come from outside.
func (p *openPack) check(ref FrameRef) error {
	if ref.Offset < packHeadSize || ref.Sealed > maxSealedFrame || int64(ref.Offset)+int64(ref.Sealed) > p.layout.Length-packTrailerSize {
		return p.broken(ref, fmt.Errorf("%w: the pack has no such frame", ErrDamaged))
	}
	return nil
}

// broken says that a frame cannot be read.
func (p *openPack) broken(ref FrameRef, err error) error {
	return &DamageError{Object: p.name, Offset: int64(ref.Offset), Length: int64(ref.Sealed), Err: err}
}

// open opens a sealed frame of the pack.
func (s *Store) open(p *openPack, ref FrameRef, sealed, dst []byte) ([]byte, error) {
	opened, err := s.codec.Open(dst, sealed, p.key, frame.Place{Offset: ref.Offset})
	if err != nil {
		return nil, p.broken(ref, fmt.Errorf("%w: %w", ErrDamaged, err))
	}
	return opened, nil
}

// takeBuffer returns a buffer of n bytes and what to call when done with it.
func (s *Store) takeBuffer(n int) ([]byte, func()) {
	b := s.buffers.Get().(*[]byte)
	if cap(*b) < n {
		*b = make([]byte, n)
	}
	return (*b)[:n], func() { s.buffers.Put(b) }
}

// OpenFrame reads and opens one frame past the cache, and appends it to dst[:0]. *DamageError when it cannot.
func (s *Store) OpenFrame(ctx context.Context, pack PackID, ref FrameRef, dst []byte) ([]byte, error) {
	p, err := s.packs.get(ctx, pack)
	if err != nil {
		return nil, err
	}
	if err := p.check(ref); err != nil {
		return nil, err
	}
	sealed, put := s.takeBuffer(int(ref.Sealed))
	defer put()
	if err := p.reader.ReadAt(ctx, sealed, int64(ref.Offset)); err != nil {
		return nil, damage(ctx, p.name, err)
	}
	return s.open(p, ref, sealed, dst[:0])
}

// Bounds of one range read over several frames, bytes: a gap is cheaper to read than to skip, and a request should
// not hold too much.
const (
	maxGap   = 128 << 10
	maxRange = 8 << 20
)

// Frames reads frames of one pack past the cache, neighbours in one range read, and calls fn for each in the order
// given, which should be ascending. What fn gets is valid until it returns; a frame that cannot be read gives it the
// error instead. fn's own error ends the reading and is returned.
func (s *Store) Frames(ctx context.Context, pack PackID, refs []FrameRef, fn func(ref FrameRef, opened []byte, err error) error) error {
	p, err := s.packs.get(ctx, pack)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, ref := range refs {
			if err := fn(ref, nil, err); err != nil {
				return err
			}
		}
		return nil
	}
	opened := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(opened)
	for len(refs) > 0 {
		n := neighbours(refs)
		if err := s.readGroup(ctx, p, refs[:n], opened, fn); err != nil {
			return err
		}
		refs = refs[n:]
	}
	return nil
}

// neighbours counts the frames at the beginning of refs that one range read should fetch, at least one.
func neighbours(refs []FrameRef) int {
	start := int64(refs[0].Offset)
	end := start + int64(refs[0].Sealed)
	n := 1
	for ; n < len(refs); n++ {
		at, next := int64(refs[n].Offset), int64(refs[n].Offset)+int64(refs[n].Sealed)
		if at < end || at-end > maxGap || next-start > maxRange {
			break
		}
		end = next
	}
	return n
}

// readGroup reads the range of neighbouring frames and opens each in the buffer opened.
func (s *Store) readGroup(ctx context.Context, p *openPack, refs []FrameRef, opened *[]byte, fn func(FrameRef, []byte, error) error) error {
	for len(refs) > 0 && p.check(refs[0]) != nil {
		if err := fn(refs[0], nil, p.check(refs[0])); err != nil {
			return err
		}
		refs = refs[1:]
	}
	if len(refs) == 0 {
		return nil
	}
	last := refs[len(refs)-1]
	if err := p.check(last); err != nil { // a place from outside that is wrong must not take its neighbours along
		for _, ref := range refs {
			if err := s.readGroup(ctx, p, []FrameRef{ref}, opened, fn); err != nil {
				return err
			}
		}
		return nil
	}
	start := int64(refs[0].Offset)
	sealed, put := s.takeBuffer(int(int64(last.Offset) + int64(last.Sealed) - start))
	defer put()
	var lost *stripe.LostError
	if err := p.reader.ReadAt(ctx, sealed, start); err != nil && !errors.As(err, &lost) {
		return damage(ctx, p.name, err)
	}
	for _, ref := range refs {
		if err := ctx.Err(); err != nil {
			return err
		}
		data, err := []byte(nil), lostIn(p, lost, ref)
		if err == nil {
			at := int64(ref.Offset) - start
			data, err = s.open(p, ref, sealed[at:at+int64(ref.Sealed)], (*opened)[:0])
		}
		if err == nil {
			*opened = data
		}
		if err := fn(ref, data, err); err != nil {
			return err
		}
	}
	return nil
}

// lostIn tells what of a frame is among the lost ranges.
func lostIn(p *openPack, lost *stripe.LostError, ref FrameRef) error {
	if lost == nil {
		return nil
	}
	start, end := int64(ref.Offset), int64(ref.Offset)+int64(ref.Sealed)
	from, to := end, start
	for _, r := range lost.Ranges {
		if r.Offset < end && r.Offset+r.Length > start {
			from, to = min(from, max(start, r.Offset)), max(to, min(end, r.Offset+r.Length))
		}
	}
	if from >= to {
		return nil
	}
	return &DamageError{Object: p.name, Offset: from, Length: to - from, Err: fmt.Errorf("%w beyond its parity", ErrDamaged)}
}
