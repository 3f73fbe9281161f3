package locator

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/cairn-backup/cairn/chunkstore"
)

// again gives packs that hold the chunks of others a second time.
func again(packs []chunkstore.Pack, mark byte) []chunkstore.Pack {
	var copies []chunkstore.Pack
	for _, p := range packs {
		c := chunkstore.Pack{ID: p.ID, Kind: p.Kind, Size: p.Size + 1}
		c.ID[0] ^= mark
		for _, chunk := range p.Chunks {
			chunk.Location.Pack = c.ID
			c.Chunks = append(c.Chunks, chunk)
		}
		copies = append(copies, c)
	}
	return copies
}

func TestEveryPlaceOfAChunkIsKept(t *testing.T) {
	rng := seeded(t, 11)
	c := open(t, t.TempDir())
	packs := some(rng, 3*blockEntries) // so that copies of one chunk come to lie in two blocks
	second, third := again(packs, 1), again(packs, 2)
	fold(t, c, "first and second", append(slices.Clone(packs), second...))
	fold(t, c, "third", third) // merged, or a run of its own
	fold(t, c, "second once more", second)
	if n := c.Stats().Chunks; c.Stats().Runs == 1 && n != int64(3*count(packs)) {
		t.Errorf("%d entries of %d chunks with three places each", n, count(packs))
	}
	for _, p := range packs {
		for _, chunk := range p.Chunks {
			found := map[chunkstore.PackID]int{}
			err := c.Places(chunk.ID, func(loc chunkstore.Location) bool {
				found[loc.Pack]++
				want := chunk.Location
				want.Pack = loc.Pack
				if loc != want {
					t.Errorf("chunk %s is said to lie at %+v", chunk.ID, loc)
				}
				return true
			})
			if err != nil || len(found) != 3 {
				t.Fatalf("chunk %s has places %v, %v", chunk.ID, found, err)
			}
		}
	}
	calls := 0
	if err := c.Places(packs[0].Chunks[0].ID, func(chunkstore.Location) bool { calls++; return false }); err != nil || calls != 1 {
		t.Errorf("asked %d times after it was enough, %v", calls, err)
	}
}

func count(packs []chunkstore.Pack) (n int) {
	for _, p := range packs {
		n += len(p.Chunks)
	}
	return n
}

func TestSnapshotGoesThroughAllChunksWhateverIsFoldedMeanwhile(t *testing.T) {
	rng := seeded(t, 12)
	c := open(t, t.TempDir())
	packs := some(rng, 100_000)
	fold(t, c, "many", packs)
	copies := again(packs[:1], 1)
	fold(t, c, "copies", copies)
	s, err := c.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 5 {
		fold(t, c, fmt.Sprint("later", i), some(rng, 1000))
	}
	c.Drop(map[string]struct{}{"many": {}, "copies": {}})
	if s.Size() != count(packs)+count(copies) {
		t.Fatalf("%d entries", s.Size())
	}
	seen := make([]bool, s.Size())
	var last chunkstore.ID
	err = s.Chunks(context.Background(), func(id chunkstore.ID, places []Place) error {
		if slices.Compare(last[:], id[:]) >= 0 {
			t.Fatalf("%s comes after %s", id, last)
		}
		last = id
		found, err := s.Find(id, nil)
		if err != nil || len(found) != len(places) {
			t.Fatalf("%s has places %+v, and by itself %+v, %v", id, places, found, err)
		}
		for _, p := range places {
			if seen[p.Number] || !slices.Contains(found, p) {
				t.Fatalf("entry %d comes twice, or is not found", p.Number)
			}
			seen[p.Number] = true
		}
		return nil
	})
	if err != nil || slices.Contains(seen, false) {
		t.Errorf("not all entries have come: %v", err)
	}
	for _, p := range copies {
		for _, chunk := range p.Chunks {
			places, err := s.Find(chunk.ID, nil)
			if err != nil || len(places) != 2 || !slices.ContainsFunc(places, func(at Place) bool { return s.Location(at) == chunk.Location }) {
				t.Fatalf("%+v, %v", places, err)
			}
		}
	}
}
