package chunkstore

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-backup/cairn/chunkstore/keys"
)

// drawTable draws the content of a pack's table, with the places that go with it.
func drawTable(t *rapid.T, id PackID) (frames []framed, chunks []Placed, end uint32) {
	at := Location{Pack: id, Offset: packHeadSize}
	for range rapid.IntRange(0, 8).Draw(t, "frames") {
		f := framed{sealed: rapid.Uint32Range(0, maxSealedFrame).Draw(t, "sealed"), chunks: rapid.IntRange(0, 6).Draw(t, "chunks")}
		frames = append(frames, f)
		at.Sealed, at.Start = f.sealed, 0
		for range f.chunks {
			at.Length = rapid.Uint32Range(0, 256<<10).Draw(t, "length")
			chunks = append(chunks, Placed{ID: ID(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "id")), Location: at})
			at.Start += at.Length
		}
		at.Offset += f.sealed
	}
	return frames, chunks, at.Offset
}

func TestTablesComeBackAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := PackID{7}
		frames, chunks, end := drawTable(t, id)
		kind, gotFrames, gotChunks, err := parseTable(appendTable(nil, KindTree, frames, chunks), id, end)
		if err != nil || kind != KindTree {
			t.Fatalf("kind %v, %v", kind, err)
		}
		if len(frames)+len(gotFrames) > 0 && !cmp.Equal(frames, gotFrames, cmp.AllowUnexported(framed{})) {
			t.Fatal(cmp.Diff(frames, gotFrames, cmp.AllowUnexported(framed{})))
		}
		if len(chunks)+len(gotChunks) > 0 && !cmp.Equal(chunks, gotChunks) {
			t.Fatal(cmp.Diff(chunks, gotChunks))
		}
	})
}

func FuzzParseTable(f *testing.F) {
	frames := []framed{{100, 2}, {50, 1}}
	chunks := []Placed{{ID{1}, Location{Length: 10}}, {ID{2}, Location{Length: 20}}, {ID{3}, Location{Length: 5}}}
	f.Add(appendTable(nil, KindData, frames, chunks), uint32(packHeadSize+150))
	f.Add([]byte{1, 1, 0}, uint32(packHeadSize))
	f.Add([]byte{1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, uint32(0))
	f.Fuzz(func(t *testing.T, table []byte, end uint32) {
		kind, frames, chunks, err := parseTable(table, PackID{7}, end)
		if err != nil {
			return
		}
		again, framesAgain, chunksAgain, err := parseTable(appendTable(nil, kind, frames, chunks), PackID{7}, end)
		if err != nil || again != kind || len(framesAgain) != len(frames) || !cmp.Equal(chunks, chunksAgain) {
			t.Errorf("what was decoded does not come back: %v", err)
		}
	})
}

// testStore is a store without a destination, for what needs keys alone.
func testStore(plain bool) *Store {
	s := &Store{config: Config{Plain: plain}, random: bytes.NewReader(make([]byte, 1<<20))}
	for i, p := range purposes {
		s.keys[i] = keys.Master{}.Derive(p)
	}
	return s
}

func TestObjectsOpenUnderTheirOwnNameAndTypeOnly(t *testing.T) {
	for _, plain := range []bool{true, false} {
		rapid.Check(t, func(t *rapid.T) {
			s := testStore(plain)
			payload := rapid.SliceOf(rapid.Byte()).Draw(t, "payload")
			if rapid.Bool().Draw(t, "compressible") {
				payload = bytes.Repeat(payload, 20)
			}
			sealed, err := s.sealObject(TypePoint, "points/1", payload)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.openObject(TypePoint, "points/1", sealed)
			if err != nil || !bytes.Equal(got, payload) {
				t.Fatalf("%d bytes became %d: %v", len(payload), len(got), err)
			}
			if _, err := s.openObject(TypePoint, "points/2", sealed); !errors.Is(err, ErrDamaged) {
				t.Fatalf("under another name: %v", err)
			}
			if _, err := s.openObject(TypeIndex, "points/1", sealed); !errors.Is(err, ErrDamaged) {
				t.Fatalf("as another type: %v", err)
			}
			at := rapid.IntRange(0, len(sealed)-1).Draw(t, "byte")
			sealed[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			if _, err := s.openObject(TypePoint, "points/1", sealed); err == nil {
				t.Fatalf("opened with byte %d changed", at)
			}
		})
	}
}

func FuzzOpenObject(f *testing.F) {
	for _, plain := range []bool{true, false} {
		s := testStore(plain)
		sealed, err := s.sealObject(TypePoint, "points/1", bytes.Repeat([]byte("x"), 500))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(sealed, plain)
	}
	f.Fuzz(func(t *testing.T, sealed []byte, plain bool) {
		s := testStore(plain)
		before := bytes.Clone(sealed)
		_, _ = s.openObject(TypePoint, "points/1", sealed)
		if !bytes.Equal(before, sealed) {
			t.Error("opening changed the object")
		}
	})
}

func FuzzDecodeConfig(f *testing.F) {
	payload, err := encodeConfig(Config{Version: 1, Shape: DefaultShape}, keys.Master{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(payload)
	f.Fuzz(func(t *testing.T, payload []byte) {
		if c, err := decodeConfig(payload); err == nil && c.Shape.Check() != nil {
			t.Errorf("an impossible shape: %v", c.Shape)
		}
	})
}

func FuzzParsePackEnds(f *testing.F) {
	f.Add(appendPackHead(nil, PackID{7}, KindData, false), appendPackTrailer(nil, PackID{7}, 1000, 100), int64(1132))
	f.Fuzz(func(t *testing.T, head, trailer []byte, length int64) {
		_, _ = parsePackHead(head, PackID{7}, false)
		if ref, err := parsePackTrailer(trailer, PackID{7}, length); err == nil && int64(ref.Offset)+int64(ref.Sealed) > length {
			t.Errorf("the table %v lies outside of %d bytes", ref, length)
		}
	})
}

func TestNamesOfPacksComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := PackID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		if got, ok := ParsePackID(id.ObjectName()); !ok || got != id {
			t.Fatalf("%v became %v", id, got)
		}
	})
	for _, name := range []string{"", "packs/", "packs/aa/00000000000000000000000000000000", "packs/00/0000000000000000000000000000000",
		"packs/00/0000000000000000000000000000000g", "packs/AB/AB000000000000000000000000000000", "index/00/00000000000000000000000000000000"} {
		if id, ok := ParsePackID(name); ok {
			t.Errorf("%q is taken for pack %v", name, id)
		}
	}
}
