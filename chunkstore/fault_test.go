package chunkstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

// faulty is a destination whose verbs a test can make fail or wait.
type faulty struct {
	destination.Destination
	create func(name string) error                    // nil: none fails
	read   func(name string, off, length int64) error // nil: none fails
	reads  atomic.Int64
}

func (f *faulty) Create(ctx context.Context, name string, body []byte) error {
	if f.create != nil {
		if err := f.create(name); err != nil {
			return err
		}
	}
	return f.Destination.Create(ctx, name, body)
}

func (f *faulty) ReadAt(ctx context.Context, name string, p []byte, off int64) (int, error) {
	f.reads.Add(1)
	if f.read != nil {
		if err := f.read(name, off, int64(len(p))); err != nil {
			return 0, err
		}
	}
	return f.Destination.ReadAt(ctx, name, p, off)
}

// openFaulty opens the repository through a faulty destination, without any ability.
func openFaulty(t *testing.T, r *repository, f *faulty) *chunkstore.Store {
	t.Helper()
	f.Destination = r.destination(t)
	s, err := chunkstore.Open(t.Context(), f, r.unlocker())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAnUnreadableSectorIsHealed(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		r := newRepository(t, v)
		want := write(t, r.Store, 1<<20, chunkstore.WriterOptions{})
		name := want.packs[0].ID.ObjectName()
		f := &faulty{read: func(n string, off, length int64) error {
			if sector := int64(20 * stripe.CellSize); n == name && off <= sector && sector < off+length {
				return syscall.EIO
			}
			return nil
		}}
		s := openFaulty(t, r, f)
		mustReadAll(t, s, want)
		if c, err := s.CheckObject(t.Context(), name, true); err != nil || c.Bad == 0 || c.Lost != 0 {
			t.Errorf("check: %+v, %v", c, err)
		}
	})
}

func TestAFailedWriteFailsTheWriterAndIsNotReported(t *testing.T) {
	defer goleak.VerifyNone(t)
	r := newRepository(t, benchVariant)
	var packs atomic.Int64
	f := &faulty{create: func(name string) error {
		if packs.Add(1) > 2 {
			return fmt.Errorf("write %s: %w", name, syscall.ENOSPC)
		}
		return nil
	}}
	s := openFaulty(t, r, f)
	reported := 0
	w := s.NewWriter(chunkstore.KindData, chunkstore.WriterOptions{PackSize: 1 << 20, Stored: func(chunkstore.Pack) error {
		reported++
		return nil
	}})
	b, from := w.NewBatch(), newSource(1)
	var err error
	for n := 0; n < 200 && err == nil; n++ {
		data := from.noise(100 << 10)
		err = b.Add(t.Context(), s.ChunkID(data), data)
	}
	if err == nil {
		err = b.Flush(t.Context())
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("add says %v", err)
	}
	if err := w.Close(t.Context()); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("close says %v", err)
	}
	if reported > 2 {
		t.Errorf("%d packs were reported, 2 can be durable", reported)
	}
}

func TestAnErrorOfTheCallerFailsTheWriter(t *testing.T) {
	defer goleak.VerifyNone(t)
	r := newRepository(t, benchVariant)
	mine := errors.New("the index is full")
	w := r.NewWriter(chunkstore.KindTree, chunkstore.WriterOptions{Stored: func(chunkstore.Pack) error { return mine }})
	b := w.NewBatch()
	if err := errors.Join(b.Add(t.Context(), chunkstore.ID{1}, []byte("x")), b.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(t.Context()); !errors.Is(err, mine) {
		t.Errorf("flush: %v", err)
	}
	if err := b.Add(t.Context(), chunkstore.ID{1}, []byte("x")); err == nil {
		if err := b.Flush(t.Context()); !errors.Is(err, mine) {
			t.Errorf("add after the failure: %v", err)
		}
	}
	w.Abort()
}

func TestACancelledWriterStops(t *testing.T) {
	defer goleak.VerifyNone(t)
	r := newRepository(t, benchVariant)
	blocked := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	var writes atomic.Int64
	f := &faulty{create: func(string) error {
		if writes.Add(1) == 3 {
			cancel() // every builder is taken: whoever adds waits, or soon will
		}
		<-blocked
		return errors.New("too late")
	}}
	s := openFaulty(t, r, f)
	w := s.NewWriter(chunkstore.KindData, chunkstore.WriterOptions{PackSize: 256 << 10})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			b, from := w.NewBatch(), newSource(uint64(i))
			for {
				data := from.noise(100 << 10)
				if err := b.Add(ctx, s.ChunkID(data), data); err != nil {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("add: %v", err)
					}
					return
				}
			}
		})
	}
	wg.Wait()
	cancel()
	close(blocked)
	w.Abort()
	if err := w.NewBatch().Add(t.Context(), chunkstore.ID{}, make([]byte, 2<<20)); err == nil {
		t.Log("the frame went on its way; its failure shows at the next call")
	}
	if err := w.Close(t.Context()); !errors.Is(err, chunkstore.ErrClosed) {
		t.Errorf("close after abort: %v", err)
	}
}

func TestAFrameThatManyWantIsReadOnce(t *testing.T) {
	r := newRepository(t, benchVariant)
	want := write(t, r.Store, 1<<20, chunkstore.WriterOptions{})
	f := &faulty{}
	s := openFaulty(t, r, f)
	p := want.packs[0]
	loc := p.Chunks[0].Location
	if _, err := s.Frame(t.Context(), p.ID, framesOf(p)[1].Offset, framesOf(p)[1].Sealed); err != nil { // opens the pack
		t.Fatal(err)
	}
	before := f.reads.Load()
	gate := make(chan struct{})
	f.read = func(string, int64, int64) error { <-gate; return nil }
	const readers = 50
	var wg sync.WaitGroup
	var started sync.WaitGroup
	frames := make([][]byte, readers)
	for i := range readers {
		started.Add(1)
		wg.Go(func() {
			started.Done()
			var err error
			if frames[i], err = s.Frame(t.Context(), p.ID, loc.Offset, loc.Sealed); err != nil {
				t.Error(err)
			}
		})
	}
	started.Wait()
	close(gate)
	wg.Wait()
	if n := f.reads.Load() - before; n != 1 {
		t.Errorf("%d reads for one frame", n)
	}
	for _, frame := range frames {
		if &frame[0] != &frames[0][0] {
			t.Error("the frame is not shared")
		}
	}
	if _, ok := s.FrameCached(p.ID, loc.Offset); !ok {
		t.Error("the frame is not in the cache")
	}
	s.SetFrameCache(0)
	if _, ok := s.FrameCached(p.ID, loc.Offset); ok {
		t.Error("the frame is in a cache of no size")
	}
}

func TestAReaderThatGivesUpDoesNotFailTheOthers(t *testing.T) {
	r := newRepository(t, benchVariant)
	want := write(t, r.Store, 1<<20, chunkstore.WriterOptions{})
	loc := want.packs[0].Chunks[0].Location
	ctx, cancel := context.WithCancel(t.Context())
	entered, gate := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f := &faulty{}
	s := openFaulty(t, r, f)
	f.read = func(string, int64, int64) error {
		once.Do(func() { close(entered); <-gate })
		return ctx.Err()
	}
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { _, err := s.Frame(ctx, loc.Pack, loc.Offset, loc.Sealed); first <- err }()
	<-entered
	go func() {
		_, err := s.Frame(t.Context(), loc.Pack, loc.Offset, loc.Sealed)
		second <- err
	}()
	cancel()
	f.read = nil
	close(gate)
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up got %v", err)
	}
	if err := <-second; err != nil {
		t.Errorf("who did not got %v", err)
	}
}

func TestReadAheadSparesLaterReads(t *testing.T) {
	r := newRepository(t, benchVariant)
	want := write(t, r.Store, 6<<20, chunkstore.WriterOptions{})
	f := &faulty{}
	s := openFaulty(t, r, f)
	p := want.packs[0]
	frames := framesOf(p)
	s.ReadAhead(t.Context(), p.ID, frames)
	before := f.reads.Load()
	for _, c := range p.Chunks {
		data, err := s.Read(t.Context(), c.ID, c.Location, nil)
		if err != nil || !bytes.Equal(data, want.contents[c.ID]) {
			t.Fatalf("read: %v", err)
		}
	}
	if n := f.reads.Load() - before; n != 0 {
		t.Errorf("%d reads although all was read ahead", n)
	}
	// What is not there is left for Frame to report.
	s.ReadAhead(t.Context(), p.ID, []chunkstore.FrameRef{{Offset: 77, Sealed: 99}})
	s.ReadAhead(t.Context(), chunkstore.PackID{1}, []chunkstore.FrameRef{{Offset: 77, Sealed: 99}})
	if _, err := s.Frame(t.Context(), chunkstore.PackID{1}, 77, 99); !errors.Is(err, chunkstore.ErrMissing) {
		t.Errorf("a frame of no pack: %v", err)
	}
}

func TestFramesHoldABatchsChunksInOrder(t *testing.T) {
	r := newRepository(t, benchVariant)
	var packs []chunkstore.Pack
	w := r.NewWriter(chunkstore.KindData, chunkstore.WriterOptions{Stored: func(p chunkstore.Pack) error {
		packs = append(packs, p)
		return nil
	}})
	b, from := w.NewBatch(), newSource(1)
	var order []chunkstore.ID
	for range 100 {
		data := from.chunk(100 << 10)
		id := r.ChunkID(data)
		order = append(order, id)
		if err := b.Add(t.Context(), id, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(b.Flush(t.Context()), w.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	if len(packs) != 1 || len(packs[0].Chunks) != len(order) {
		t.Fatalf("%d packs", len(packs))
	}
	for i, c := range packs[0].Chunks {
		if c.ID != order[i] {
			t.Fatalf("chunk %d is another", i)
		}
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// What a process may not or cannot read just now must never be called damage: repair would write over it.
func TestWhatCannotBeReadNowIsNotDamage(t *testing.T) {
	r := newRepository(t, benchVariant)
	want := write(t, r.Store, 1<<20, chunkstore.WriterOptions{})
	name := want.packs[0].ID.ObjectName()
	whole, err := os.ReadFile(r.file(name))
	if err != nil {
		t.Fatal(err)
	}
	r.edit(t, name, func(object []byte) []byte { object[stripe.CellSize+100] ^= 1; return object })
	var refuse atomic.Bool
	f := &faulty{read: func(n string, off, length int64) error {
		if refuse.Load() && n == name && off+length > 2*stripe.CellSize {
			return fmt.Errorf("open: %w", destination.ErrUnavailable)
		}
		return nil
	}}
	s := openFaulty(t, r, f)
	refuse.Store(true)
	var damage *chunkstore.DamageError
	check := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, destination.ErrUnavailable) || errors.As(err, &damage) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = s.CheckObject(t.Context(), name, true)
	check("check", err)
	_, err = s.RepairObject(t.Context(), name)
	check("repair", err)
	_, err = s.Table(t.Context(), want.packs[0].ID)
	check("table", err)
	refuse.Store(false)
	mustReadAll(t, s, want)
	if now, err := os.ReadFile(r.file(name)); err != nil || len(now) != len(whole) {
		t.Errorf("the pack has %d bytes, it had %d: %v", len(now), len(whole), err)
	}
}

// A medium that fails while an object is mended must not cost what could be read of it a moment before.
func TestRepairWritesNothingWhenItReadsLessThanItFound(t *testing.T) {
	r := newRepository(t, benchVariant)
	want := write(t, r.Store, 1<<20, chunkstore.WriterOptions{})
	name := want.packs[0].ID.ObjectName()
	r.edit(t, name, func(object []byte) []byte { object[stripe.CellSize+100] ^= 1; return object })
	before, err := os.ReadFile(r.file(name))
	if err != nil {
		t.Fatal(err)
	}
	var readAll, failing atomic.Bool
	f := &faulty{read: func(n string, off, length int64) error {
		switch {
		case n != name || !failing.Load():
		case readAll.Load() && off+length < int64(len(before)):
			return syscall.EIO
		case off+length >= int64(len(before)):
			readAll.Store(true) // the first reading ends with the last cell
		}
		return nil
	}}
	s := openFaulty(t, r, f)
	failing.Store(true)
	if c, err := s.RepairObject(t.Context(), name); !errors.Is(err, chunkstore.ErrDamaged) || c.Repaired {
		t.Errorf("repair: %+v, %v", c, err)
	}
	if after, err := os.ReadFile(r.file(name)); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the object was written: %v", err)
	}
}
