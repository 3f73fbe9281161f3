package chunkstore

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
)

// DefaultFrameCache is how much the frame cache holds unless SetFrameCache says otherwise, bytes.
const DefaultFrameCache = 48 << 20

// frameKey names a frame in the cache.
type frameKey struct {
	pack   PackID
	offset uint32
}

// frameCache keeps the opened frames used last, and sees to it that a frame that many want at once is read once.
// What it holds is shared and never changed; what it drops lives on with whoever still reads it.
type frameCache struct {
	mu      sync.Mutex
	limit   int64
	used    int64
	byKey   map[frameKey]*list.Element
	order   *list.List // of *cachedFrame, most recent first
	flights map[frameKey]*flight
}

type cachedFrame struct {
	key  frameKey
	data []byte
}

// flight is a frame that is being read. data and err may be read once done is closed.
type flight struct {
	done chan struct{}
	data []byte
	err  error
}

var errAbandoned = errors.New("the read was given up")

func newFrameCache(limit int64) *frameCache {
	return &frameCache{limit: limit, byKey: map[frameKey]*list.Element{}, order: list.New(), flights: map[frameKey]*flight{}}
}

// take looks a frame up. Without one it returns the flight to wait for, or a new one that the caller must land (mine).
func (c *frameCache) take(key frameKey) (data []byte, f *flight, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[key]; ok {
		c.order.MoveToFront(e)
		return e.Value.(*cachedFrame).data, nil, false
	}
	if f, ok := c.flights[key]; ok {
		return nil, f, false
	}
	f = &flight{done: make(chan struct{}), err: errAbandoned}
	c.flights[key] = f
	return nil, f, true
}

// peek is a look-up that starts nothing.
func (c *frameCache) peek(key frameKey) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cachedFrame).data, true
}

// land ends a flight with what f holds, and keeps the frame.
func (c *frameCache) land(key frameKey, f *flight) {
	c.mu.Lock()
	delete(c.flights, key)
	if f.err == nil {
		c.keep(key, f.data)
	}
	c.mu.Unlock()
	close(f.done)
}

// keep adds a frame and drops the oldest beyond the limit. The lock must be held.
func (c *frameCache) keep(key frameKey, data []byte) {
	if _, ok := c.byKey[key]; ok || int64(cap(data)) > c.limit {
		return
	}
	c.byKey[key] = c.order.PushFront(&cachedFrame{key, data})
	c.used += int64(cap(data))
	c.shrink()
}

func (c *frameCache) shrink() {
	for c.used > c.limit {
		last := c.order.Back()
		old := c.order.Remove(last).(*cachedFrame)
		delete(c.byKey, old.key)
		c.used -= int64(cap(old.data))
	}
}

// SetFrameCache sets how many bytes of opened frames are kept; 0 keeps none.
func (s *Store) SetFrameCache(bytes int64) {
	s.frames.mu.Lock()
	defer s.frames.mu.Unlock()
	s.frames.limit = max(0, bytes)
	s.frames.shrink()
}

// Frame returns an opened frame, from the cache or by one read for all who want it at the same time. The bytes are
// shared: nobody may change them. *DamageError when it cannot be read.
func (s *Store) Frame(ctx context.Context, pack PackID, offset, sealed uint32) ([]byte, error) {
	key := frameKey{pack, offset}
	for {
		data, f, mine := s.frames.take(key)
		if f == nil {
			return data, nil
		}
		if mine {
			return s.fly(ctx, key, FrameRef{offset, sealed}, f)
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		// Whoever read it may have been told to stop; that is no answer for this caller.
		if f.err == nil || !errors.Is(f.err, context.Canceled) && !errors.Is(f.err, context.DeadlineExceeded) && !errors.Is(f.err, errAbandoned) {
			return f.data, f.err
		}
	}
}

// fly reads a frame for everybody who waits for the flight.
func (s *Store) fly(ctx context.Context, key frameKey, ref FrameRef, f *flight) ([]byte, error) {
	defer s.frames.land(key, f)
	f.data, f.err = s.OpenFrame(ctx, key.pack, ref, nil)
	return f.data, f.err
}

// FrameCached returns an opened frame if the cache has it.
func (s *Store) FrameCached(pack PackID, offset uint32) ([]byte, bool) {
	return s.frames.peek(frameKey{pack, offset})
}

// ReadAhead brings frames of one pack, in ascending order, into the cache, neighbours in one range read, and returns
// when they are there. Those who ask for them meanwhile wait for this read. What is there already is not read again;
// what cannot be read is left for Frame to report.
func (s *Store) ReadAhead(ctx context.Context, pack PackID, refs []FrameRef) {
	flights := make(map[uint32]*flight, len(refs))
	missing := make([]FrameRef, 0, len(refs))
	for _, ref := range refs {
		if _, f, mine := s.frames.take(frameKey{pack, ref.Offset}); mine {
			flights[ref.Offset] = f
			missing = append(missing, ref)
		}
	}
	if len(missing) == 0 {
		return
	}
	defer func() { // those that were not reached
		for offset, f := range flights {
			s.frames.land(frameKey{pack, offset}, f)
		}
	}()
	_ = s.Frames(ctx, pack, missing, func(ref FrameRef, opened []byte, err error) error {
		f := flights[ref.Offset]
		f.err = err
		if err == nil {
			f.data = make([]byte, len(opened))
			copy(f.data, opened)
		}
		delete(flights, ref.Offset)
		s.frames.land(frameKey{pack, ref.Offset}, f)
		return nil
	})
}

// Read returns one chunk, appended to dst[:0]. It is verified: by the frame's seal, and in a repository without
// encryption by its id. *DamageError when it cannot be read.
func (s *Store) Read(ctx context.Context, id ID, loc Location, dst []byte) ([]byte, error) {
	data, err := s.Frame(ctx, loc.Pack, loc.Offset, loc.Sealed)
	if err != nil {
		return nil, err
	}
	chunk, err := s.Cut(data, id, loc)
	if err != nil {
		return nil, err
	}
	return append(dst[:0], chunk...), nil
}

// Cut finds one chunk in its opened frame and verifies it like Read. It copies nothing.
func (s *Store) Cut(opened []byte, id ID, loc Location) ([]byte, error) {
	wrong := func(why string) error {
		return &DamageError{Object: loc.Pack.ObjectName(), Offset: int64(loc.Offset), Length: int64(loc.Sealed),
			Err: fmt.Errorf("%w: chunk %s %s", ErrDamaged, id, why)}
	}
	start, end := uint64(loc.Start), uint64(loc.Start)+uint64(loc.Length)
	if end > uint64(len(opened)) {
		return nil, wrong("lies behind the end of its frame")
	}
	chunk := opened[start:end:end]
	if s.config.Plain && s.ChunkID(chunk) != id {
		return nil, wrong("is not what was stored")
	}
	return chunk, nil
}
