package locator

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-backup/cairn/chunkstore"
)

var repository = [16]byte{1, 2, 3}

// some returns packs of n chunks in all with random ids and places.
func some(rng *rand.Rand, n int) []chunkstore.Pack {
	const perPack, perFrame = 512, 16
	var packs []chunkstore.Pack
	for n > 0 {
		p := chunkstore.Pack{Kind: chunkstore.KindData, Size: int64(rng.IntN(1 << 25))}
		fill(rng, p.ID[:])
		at := uint32(0)
		for ; n > 0 && len(p.Chunks) < perPack; n-- {
			l := chunkstore.Location{Pack: p.ID, Offset: at, Sealed: 1000, Start: uint32(len(p.Chunks) % perFrame * 9), Length: rng.Uint32() >> 12}
			if len(p.Chunks)%perFrame == perFrame-1 {
				at += l.Sealed
			}
			var id chunkstore.ID
			fill(rng, id[:])
			p.Chunks = append(p.Chunks, chunkstore.Placed{ID: id, Location: l})
		}
		packs = append(packs, p)
	}
	return packs
}

func fill(rng *rand.Rand, p []byte) {
	for i := 0; i < len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], rng.Uint64())
	}
}

func seeded(t testing.TB, seed uint64) *rand.Rand {
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func open(t testing.TB, dir string) *Cache {
	t.Helper()
	c, err := Open(dir, repository, func(err error) { t.Logf("warned: %v", err) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func fold(t testing.TB, c *Cache, object string, packs []chunkstore.Pack) {
	t.Helper()
	if err := c.Fold(context.Background(), []string{object}, packs); err != nil {
		t.Fatal(err)
	}
}

// expectAll fails unless every chunk of packs is found where it is.
func expectAll(t testing.TB, c *Cache, packs []chunkstore.Pack) {
	t.Helper()
	for _, p := range packs {
		for _, chunk := range p.Chunks {
			got, ok, err := c.Lookup(chunk.ID)
			if err != nil || !ok || got != chunk.Location {
				t.Fatalf("chunk %s: got %+v, %v, %v; want %+v", chunk.ID, got, ok, err, chunk.Location)
			}
		}
	}
}

// expectNone fails if a random id is found.
func expectNone(t testing.TB, c *Cache, rng *rand.Rand, n int) {
	t.Helper()
	for range n {
		var id chunkstore.ID
		fill(rng, id[:])
		if _, ok, err := c.Lookup(id); ok || err != nil {
			t.Fatalf("an id that is not there: %v, %v", ok, err)
		}
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != lockName {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestWhatIsFoldedIsFoundAlsoAfterReopening(t *testing.T) {
	rng := seeded(t, 1)
	dir := t.TempDir()
	c := open(t, dir)
	packs := some(rng, 10*blockEntries+17)
	fold(t, c, "a", packs)
	expectAll(t, c, packs)
	expectNone(t, c, rng, 10000)
	again := open(t, dir)
	expectAll(t, again, packs)
	if diff := cmp.Diff(map[string]struct{}{"a": {}}, again.Covered()); diff != "" {
		t.Error(diff)
	}
	if got := len(again.Packs()); got != len(packs) {
		t.Errorf("%d packs, want %d", got, len(packs))
	}
}

func TestEmptyCacheAndEmptyObjectsHoldNothing(t *testing.T) {
	rng := seeded(t, 2)
	c := open(t, filepath.Join(t.TempDir(), "deep", "er"))
	expectNone(t, c, rng, 100)
	fold(t, c, "empty", nil)
	expectNone(t, c, rng, 100)
	if _, ok := c.Covered()["empty"]; !ok {
		t.Error("an object without chunks must count as covered")
	}
}

func TestManySmallFoldsAreMergedIntoFewRuns(t *testing.T) {
	rng := seeded(t, 3)
	dir := t.TempDir()
	c := open(t, dir)
	var all []chunkstore.Pack
	for i := range 45 {
		packs := some(rng, 1+rng.IntN(3000))
		all = append(all, packs...)
		fold(t, c, string(rune('A'+i)), packs)
	}
	expectAll(t, c, all)
	expectAll(t, open(t, dir), all)
	if n := c.Stats().Runs; n > 6 || len(files(t, dir)) != n {
		t.Errorf("%d runs, files %v", n, files(t, dir))
	}
	if n := len(c.Covered()); n != 45 {
		t.Errorf("%d objects covered", n)
	}
}

func TestIdsThatBeginAlikeAreToldApart(t *testing.T) {
	rng := seeded(t, 4)
	packs := some(rng, 5*blockEntries)
	for i := range packs {
		for j := range packs[i].Chunks {
			id := &packs[i].Chunks[j].ID
			switch rng.IntN(3) {
			case 0:
				copy(id[:8], []byte{7, 7, 7, 7, 7, 7, 7, 7})
			case 1:
				copy(id[:8], []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, byte(rng.IntN(2))})
			default:
				copy(id[:6], []byte{0, 0, 0, 0, 0, 0})
			}
		}
	}
	c := open(t, t.TempDir())
	fold(t, c, "a", packs)
	expectAll(t, c, packs)
}

func TestLookupsFindExactlyWhatASimpleMapHolds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "cache")
		if err != nil {
			rt.Fatal(err)
		}
		c, err := Open(dir, repository, nil)
		if err != nil {
			rt.Fatal(err)
		}
		defer c.Close()
		// Few distinct bytes, so that ids collide in their halves and repeat between objects.
		genID := rapid.Custom(func(rt *rapid.T) (id chunkstore.ID) {
			for i := range keySize {
				id[i] = rapid.SampledFrom([]byte{0, 1, 255}).Draw(rt, "byte")
			}
			return id
		})
		model := make(map[chunkstore.ID]map[chunkstore.Location]bool)
		for n := range rapid.IntRange(1, 4).Draw(rt, "folds") {
			p := chunkstore.Pack{ID: chunkstore.PackID{byte(n)}, Kind: chunkstore.KindTree}
			for i, id := range rapid.SliceOfNDistinct(genID, 0, 50, rapid.ID).Draw(rt, "ids") {
				l := chunkstore.Location{Pack: p.ID, Offset: uint32(i), Length: 1}
				p.Chunks = append(p.Chunks, chunkstore.Placed{ID: id, Location: l})
				if model[id] == nil {
					model[id] = make(map[chunkstore.Location]bool)
				}
				model[id][l] = true
			}
			if err := c.Fold(context.Background(), []string{string(rune('a' + n))}, []chunkstore.Pack{p}); err != nil {
				rt.Fatal(err)
			}
		}
		for id, places := range model {
			l, ok, err := c.Lookup(id)
			if err != nil || !ok || !places[l] {
				rt.Fatalf("%s: %+v, %v, %v", id, l, ok, err)
			}
		}
		for range 20 {
			id := genID.Draw(rt, "other")
			if _, ok, err := c.Lookup(id); err != nil || ok != (model[id] != nil) {
				rt.Fatalf("%s: %v, %v", id, ok, err)
			}
		}
	})
}

func TestDamagedRunIsNeverBelieved(t *testing.T) {
	rng := seeded(t, 5)
	packs := some(rng, 3*blockEntries)
	good := t.TempDir()
	c := open(t, good)
	fold(t, c, "a", packs)
	c.Close()
	name := files(t, good)[0]
	body, err := os.ReadFile(filepath.Join(good, name))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 45 {
		bad := append([]byte(nil), body...)
		switch i % 3 {
		case 0:
			bad = bad[:rng.IntN(len(bad))]
		case 1:
			bad[rng.IntN(len(bad))] ^= byte(1 + rng.IntN(255))
		case 2:
			at := rng.IntN(len(bad))
			clear(bad[at:min(len(bad), at+4096)])
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Open(dir, repository, nil)
		if err != nil {
			t.Fatalf("damage %d: %v", i, err)
		}
		useDamaged(t, c, packs, i)
		c.Close()
	}
}

// useDamaged looks all chunks up: each answer is right, or damage is told, and what was dropped can be folded again.
func useDamaged(t *testing.T, c *Cache, packs []chunkstore.Pack, i int) {
	t.Helper()
	if len(c.Covered()) > 0 {
		for _, chunk := range packs[0].Chunks {
			got, ok, err := c.Lookup(chunk.ID)
			if corrupt := IsCorrupt(err); corrupt != nil {
				c.Discard(corrupt)
				break
			}
			if err != nil || !ok || got != chunk.Location {
				t.Fatalf("damage %d: %+v, %v, %v", i, got, ok, err)
			}
		}
	}
	if len(c.Covered()) == 0 {
		fold(t, c, "a", packs)
		expectAll(t, c, packs[:1])
	}
}

func TestRunOfAnotherRepositoryIsDropped(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	fold(t, c, "a", some(seeded(t, 6), 10))
	other, err := Open(dir, [16]byte{9}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if n := len(other.Covered()); n != 0 {
		t.Errorf("covers %d objects of another repository", n)
	}
}

func TestRunsOfVanishedObjectsAreDropped(t *testing.T) {
	rng := seeded(t, 7)
	dir := t.TempDir()
	c := open(t, dir)
	big, small := some(rng, 3*smallRun), some(rng, 10)
	fold(t, c, "big", big)
	fold(t, c, "small", small)
	c.Drop(map[string]struct{}{"small": {}})
	expectAll(t, c, big[:2])
	if _, ok, _ := c.Lookup(small[0].Chunks[0].ID); ok {
		t.Error("a chunk of a dropped object is still found")
	}
	if n := len(files(t, dir)); n != 1 {
		t.Errorf("files left: %v", files(t, dir))
	}
}

func TestTwoCachesOnOneFolderSeeEachOthersRuns(t *testing.T) {
	rng := seeded(t, 8)
	dir := t.TempDir()
	a, b := open(t, dir), open(t, dir)
	one, two := some(rng, 100), some(rng, 100)
	fold(t, a, "one", one)
	fold(t, b, "two", two) // merges one's run away while a has it open
	expectAll(t, b, one)
	expectAll(t, b, two)
	expectAll(t, a, one)
	if err := a.Reload(context.Background()); err != nil {
		t.Fatal(err)
	}
	expectAll(t, a, two)
	if n := len(files(t, dir)); n != 1 {
		t.Errorf("files: %v", files(t, dir))
	}
}

func TestWaitingForTheLockEndsWithTheContext(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dir), open(t, dir)
	unlock, err := a.lock(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.Fold(ctx, []string{"a"}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestWhatAKilledWriterLeftIsRemovedAndHarmless(t *testing.T) {
	rng := seeded(t, 9)
	dir := t.TempDir()
	c := open(t, dir)
	packs := some(rng, 1000)
	fold(t, c, "a", packs)
	// Killed after the rename and before the removals: the old run is still there beside the merged one.
	old := files(t, dir)[0]
	kept, err := os.ReadFile(filepath.Join(dir, old))
	if err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(dir, runPrefix+"0123456789abcdef"+runSuffix+inProgress)
	if err := os.WriteFile(half, []byte("half a run"), 0o600); err != nil {
		t.Fatal(err)
	}
	more := some(rng, 1000)
	fold(t, c, "b", more)
	if err := os.WriteFile(filepath.Join(dir, old), kept, 0o600); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir)
	if n := again.Stats().Runs; n != 1 {
		t.Errorf("%d runs in use", n)
	}
	expectAll(t, again, packs)
	expectAll(t, again, more)
	fold(t, again, "c", nil)
	if names := files(t, dir); len(names) != 1 || strings.HasSuffix(names[0], inProgress) {
		t.Errorf("files left: %v", names)
	}
}
