package chunkstore_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

func TestWhatWasStoredIsReadBack(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		r := newRepository(t, v)
		want := write(t, r.Store, 2<<20, chunkstore.WriterOptions{PackSize: 192 << 10})
		if len(want.packs) < 2 {
			t.Fatalf("%d packs are too few for this test", len(want.packs))
		}
		if len(want.chunks()) != len(want.contents) {
			t.Fatalf("%d chunks reported of %d", len(want.chunks()), len(want.contents))
		}
		mustReadAll(t, r.Store, want)
		mustReadAll(t, r.reopen(t), want)
	})
}

func TestPacksDescribeThemselves(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		r := newRepository(t, v)
		want := write(t, r.Store, 2<<20, chunkstore.WriterOptions{PackSize: 256 << 10})
		s := r.reopen(t)
		for _, p := range want.packs {
			got, err := s.Table(t.Context(), p.ID)
			if err != nil {
				t.Fatal(err)
			}
			if got.Kind != p.Kind || got.Size != p.Size || len(got.Chunks) != len(p.Chunks) {
				t.Fatalf("table says %v %d bytes %d chunks, reported were %v %d %d",
					got.Kind, got.Size, len(got.Chunks), p.Kind, p.Size, len(p.Chunks))
			}
			for i := range got.Chunks {
				if got.Chunks[i] != p.Chunks[i] {
					t.Fatalf("chunk %d: %v in the table, %v reported", i, got.Chunks[i], p.Chunks[i])
				}
			}
		}
	})
}

func TestSmallObjectsAreReadBack(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		r := newRepository(t, v)
		from := newSource(1)
		for _, n := range []int{0, 1, 127, 128, 5000, 300_000} {
			payload := from.chunk(n)
			if err := r.PutObject(t.Context(), chunkstore.TypePoint, "a/b", payload); err != nil {
				t.Fatal(err)
			}
			got, err := r.reopen(t).GetObject(t.Context(), chunkstore.TypePoint, "a/b")
			if err != nil || !bytes.Equal(got, payload) {
				t.Fatalf("%d bytes: %d came back, %v", n, len(got), err)
			}
			if err := r.RemoveObject(t.Context(), chunkstore.TypePoint, "a/b"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestObjectsAreReplacedListedAndRemoved(t *testing.T) {
	r := newRepository(t, benchVariant)
	plainPlace := openFaulty(t, r, &faulty{}) // a destination that cannot replace
	for i, s := range []*chunkstore.Store{r.Store, plainPlace} {
		name := []string{"b", "a"}[i]
		for _, body := range []string{"first", "second"} {
			if err := s.ReplaceObject(t.Context(), chunkstore.TypeSession, name, []byte(body)); err != nil {
				t.Fatal(err)
			}
			if got, err := s.GetObject(t.Context(), chunkstore.TypeSession, name); err != nil || string(got) != body {
				t.Fatalf("%q, %v", got, err)
			}
		}
		if err := s.PutObject(t.Context(), chunkstore.TypeSession, name, nil); !errors.Is(err, destination.ErrExists) {
			t.Errorf("put over an object: %v", err)
		}
	}
	list, err := r.ListObjects(t.Context(), chunkstore.TypeSession)
	if err != nil || len(list) != 2 || list[0].Name != "a" || list[1].Name != "b" || list[0].Size == 0 {
		t.Errorf("listed %v, %v", list, err)
	}
	if err := r.RemoveObject(t.Context(), chunkstore.TypeSession, "a"); err != nil {
		t.Error(err)
	}
	if _, err := r.GetObject(t.Context(), chunkstore.TypeSession, "a"); !errors.Is(err, destination.ErrNotFound) {
		t.Errorf("get what was removed: %v", err)
	}
	for _, of := range []chunkstore.ObjectType{chunkstore.TypeConfig, chunkstore.TypeKey, chunkstore.TypePack, 99} {
		if err := r.PutObject(t.Context(), of, "x", nil); err == nil {
			t.Errorf("an object of type %d was written by name", of)
		}
	}
	if err := r.PutObject(t.Context(), chunkstore.TypePoint, "../config", nil); !errors.Is(err, destination.ErrName) {
		t.Errorf("a name that leads elsewhere: %v", err)
	}
}

func TestImpossiblePlacesAreDamageAndNothingWorse(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		r := newRepository(t, v)
		want := write(t, r.Store, 200_000, chunkstore.WriterOptions{})
		good := want.chunks()[0]
		for name, change := range map[string]func(*chunkstore.Location){
			"another pack":           func(l *chunkstore.Location) { l.Pack[3]++ },
			"an offset in the frame": func(l *chunkstore.Location) { l.Offset += 5 },
			"the head":               func(l *chunkstore.Location) { l.Offset = 0 },
			"far behind the end":     func(l *chunkstore.Location) { l.Offset = 1<<32 - 1 },
			"endless":                func(l *chunkstore.Location) { l.Sealed = 1<<32 - 1 },
			"empty":                  func(l *chunkstore.Location) { l.Sealed = 0 },
			"behind the frame":       func(l *chunkstore.Location) { l.Start = 1 << 31 },
			"longer than the frame":  func(l *chunkstore.Location) { l.Length = 1<<32 - 1 },
		} {
			place := good.Location
			change(&place)
			s := r.reopen(t)
			var damage *chunkstore.DamageError
			if data, err := s.Read(t.Context(), good.ID, place, nil); !errors.As(err, &damage) {
				t.Errorf("%s: %d bytes, %v", name, len(data), err)
			}
			ref := chunkstore.FrameRef{Offset: place.Offset, Sealed: place.Sealed}
			s.ReadAhead(t.Context(), place.Pack, []chunkstore.FrameRef{ref, ref, {}})
		}
		if v.plain { // there a chunk is checked by its id
			place := good.Location
			place.Length--
			if _, err := r.Read(t.Context(), good.ID, place, nil); !errors.Is(err, chunkstore.ErrDamaged) {
				t.Errorf("another chunk than was asked for: %v", err)
			}
		}
	})
}

func TestAPackWithoutItsTableIsStillRead(t *testing.T) {
	r := newRepository(t, benchVariant)
	want := write(t, r.Store, 8<<20, chunkstore.WriterOptions{})
	pack := want.packs[0]
	name := pack.ID.ObjectName()
	last := framesOf(pack)[len(framesOf(pack))-1]
	table := (int(last.Offset+last.Sealed) + stripe.ContentSize) / stripe.ContentSize // its second cell
	r.edit(t, name, func(object []byte) []byte {
		rows := len(object) / stripe.CellSize / 12
		for _, shard := range []int{table / rows, 10, 11} {
			clear(object[(shard*rows+table%rows)*stripe.CellSize:][:stripe.CellSize])
		}
		return object
	})
	s := r.reopen(t)
	mustReadAll(t, s, want)
	var damage *chunkstore.DamageError
	if _, err := s.Table(t.Context(), pack.ID); !errors.As(err, &damage) || damage.Object != name {
		t.Errorf("table: %v", err)
	}
	for _, readData := range []bool{false, true} {
		if c, err := s.CheckObject(t.Context(), name, readData); err != nil || c.OK() || c.Readable() {
			t.Errorf("check: %+v, %v", c, err)
		}
	}
}
