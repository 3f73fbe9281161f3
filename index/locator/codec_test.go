package locator

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/FastFilter/xorfilter"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-backup/cairn/chunkstore"
)

var update = flag.Bool("update", false, "write the golden files of this package afresh")

// goldenParts are the values of a small run, in the order of the package's comment.
func goldenParts() (head, fences, covers, packs, blocks []byte, entries []entry) {
	r := &run{entries: 3, fences: []uint64{0x0102030405060708}, covers: []string{"a", "index object"}}
	r.packs = []PackRecord{{ID: chunkstore.PackID{0xaa}, Kind: chunkstore.KindTree, Size: 1 << 33}}
	for i := range uint32(3) {
		entries = append(entries, entry{key: [16]byte{1, 2, 3, 15: byte(i)}, offset: i + 1, sealed: i + 2, start: i + 3, bytes: i + 4})
	}
	return encodeHead(r, repository), encodeFences(r.fences), encodeCovers(r.covers), encodePacks(r.packs), encodeBlock(nil, entries), entries
}

func TestRunsAreWrittenAsThisFormatSays(t *testing.T) {
	head, fences, covers, packs, block, entries := goldenParts()
	now := bytes.Join([][]byte{head, fences, covers, packs, block}, nil)
	path := filepath.Join("testdata", "run.golden")
	if *update {
		if err := os.WriteFile(path, now, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	pinned, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(pinned, now) {
		t.Error("runs are written differently now: another number of the format is needed, so that old caches are made again")
	}
	b, err := decodeBlock(block, 1)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(entries, b.decode(nil), cmp.AllowUnexported(entry{})); diff != "" {
		t.Error(diff)
	}
	if names, err := decodeCovers(covers); err != nil || len(names) != 2 || names[1] != "index object" {
		t.Errorf("covers: %q, %v", names, err)
	}
	if got, err := decodePacks(nil, packs); err != nil || got[0].Size != 1<<33 || got[0].Kind != chunkstore.KindTree {
		t.Errorf("packs: %+v, %v", got, err)
	}
}

func TestFiltersComeBackAsTheyWereBuilt(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		keys := rapid.SliceOfN(rapid.Uint64(), 1, 3000).Draw(rt, "keys")
		f, err := xorfilter.NewBinaryFuse[uint8](append([]uint64(nil), keys...))
		if err != nil {
			rt.Fatal(err)
		}
		got, err := decodeFilter(encodeFilter(nil, f))
		if err != nil {
			rt.Fatal(err)
		}
		for _, k := range keys {
			if !got.Contains(k) {
				rt.Fatalf("%x is not in the filter", k)
			}
		}
	})
}

func FuzzValues(f *testing.F) {
	_, _, covers, packs, block, _ := goldenParts()
	filter, err := xorfilter.NewBinaryFuse[uint8]([]uint64{1, 2, 3})
	if err != nil {
		f.Fatal(err)
	}
	for _, v := range [][]byte{covers, packs, block, encodeFilter(nil, filter)} {
		f.Add(v, uint64(3))
	}
	f.Fuzz(func(t *testing.T, v []byte, key uint64) {
		if names, err := decodeCovers(v); err == nil {
			if again, err := decodeCovers(encodeCovers(names)); err != nil || !cmp.Equal(again, names) {
				t.Errorf("covers %q: %q, %v", names, again, err)
			}
		}
		if packs, err := decodePacks(nil, v); err == nil {
			if again, err := decodePacks(nil, encodePacks(packs)); err != nil || !cmp.Equal(again, packs) {
				t.Errorf("packs: %v", err)
			}
		}
		if b, err := decodeBlock(v, 1<<20); err == nil {
			var id chunkstore.ID
			copy(id[:], v[len(v)/2:])
			b.find(&id)
			if again := encodeBlock(nil, b.decode(nil)); !bytes.Equal(again[blockHead:], v[blockHead:]) {
				t.Error("block is written differently")
			}
		}
		if f, err := decodeFilter(v); err == nil {
			f.Contains(key)
		}
	})
}
