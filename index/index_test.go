package index

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-backup/cairn/chunkstore"
)

func TestLostCacheIsRebuiltFromTheRepository(t *testing.T) {
	f := newFixture(t)
	f.backup(f.repo, "docs", "a", "one", "b", "two")
	f.check(f.repo.Close())
	f.check(os.RemoveAll(f.cache))
	f.expectChunks(f.open(f.cache), "one", "two")
}

func TestDamagedCacheIsRebuiltFromTheRepository(t *testing.T) {
	f := newFixture(t)
	f.backup(f.repo, "docs", "a", "one", "b", "two")
	f.check(f.repo.Close())
	runs, err := filepath.Glob(filepath.Join(f.cache, "*", "chunks", "run-*"))
	f.check(err)
	if len(runs) == 0 {
		t.Fatal("no cache files found")
	}
	for _, damage := range []func(path string){
		f.overwrite,
		func(path string) { f.check(os.Truncate(path, 0)) },
		func(path string) { f.check(os.Truncate(path, 5000)) },
		func(path string) { f.check(os.WriteFile(path, []byte("no bbolt file"), 0o600)) },
	} {
		for _, run := range runs {
			damage(run)
		}
		r := f.open(f.cache)
		f.expectChunks(r, "one", "two")
		f.check(r.Close())
	}
}

func TestCacheDamagedWhileInUseIsRebuilt(t *testing.T) {
	f := newFixture(t)
	f.backup(f.repo, "docs", "a", "one", "b", "two")
	f.check(f.repo.Close())
	runs, err := filepath.Glob(filepath.Join(f.cache, "*", "chunks", "run-*"))
	f.check(err)
	r := f.open(f.cache) // blocks and filters are read when they are first needed
	body, err := os.ReadFile(runs[0])
	f.check(err)
	for at := 4096 * 4; at < len(body); at++ {
		body[at] ^= 0x55
	}
	f.check(os.WriteFile(runs[0], body, 0o600))
	f.expectChunks(r, "one", "two")
}

func TestCacheFolderThatCannotBeMadeIsReplacedWithAWarning(t *testing.T) {
	f := newFixture(t)
	f.backup(f.repo, "docs", "a", "one")
	file := filepath.Join(t.TempDir(), "file")
	f.check(os.WriteFile(file, nil, 0o600))
	r := f.open(filepath.Join(file, "cache"))
	f.expectChunks(r, "one")
	if len(f.warnings()) != 1 {
		t.Errorf("warned of %v", f.warnings())
	}
	temporary := r.temporary
	f.check(r.Close())
	if _, err := os.Stat(temporary); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary cache is still there: %v", err)
	}
}

func TestNewPointsOfOthersAreReadableWithoutReopening(t *testing.T) {
	f := newFixture(t)
	mounted := f.open(t.TempDir())
	if points, err := mounted.Points(context.Background()); err != nil || len(points) != 0 {
		t.Fatal(points, err)
	}
	f.backup(f.repo, "docs", "a", "later")
	points, err := mounted.Points(context.Background())
	f.check(err)
	if len(points) != 1 {
		t.Fatalf("%d points", len(points))
	}
	if _, ok, err := mounted.Locate(f.store.ChunkID([]byte("later"))); !ok || err != nil {
		t.Errorf("its chunk cannot be located: %v", err)
	}
	f.check(f.repo.RemovePoint(context.Background(), points[0]))
	if points, err = mounted.Points(context.Background()); err != nil || len(points) != 0 {
		t.Errorf("a removed point is still there: %v, %v", points, err)
	}
}

func TestLostIndexObjectsAreMadeUpForFromThePacks(t *testing.T) {
	for _, lose := range []string{"all", "one", "damaged"} {
		t.Run(lose, func(t *testing.T) {
			f := newFixture(t)
			f.backup(f.repo, "docs", "a", "one")
			f.backup(f.repo, "docs", "a", "two")
			objects := f.objects("index")
			if len(objects) != 2 {
				t.Fatalf("%d index objects", len(objects))
			}
			switch lose {
			case "all":
				f.check(os.Remove(objects[0]))
				f.check(os.Remove(objects[1]))
			case "one":
				f.check(os.Remove(objects[0]))
			case "damaged":
				f.overwrite(objects[0])
			}
			f.expectChunks(f.open(t.TempDir()), "one", "two")
			if len(f.warnings()) == 0 {
				t.Error("the loss was not told")
			}
			// What the first made up for, the next need not; and a cache that was there before the loss heals too.
			told := len(f.warnings())
			f.expectChunks(f.open(t.TempDir()), "one", "two")
			if lose != "damaged" && len(f.warnings()) != told {
				t.Errorf("warned again: %v", f.warnings()[told:])
			}
			f.check(f.repo.Refresh(context.Background()))
			f.expectChunks(f.repo, "one", "two")
		})
	}
}

func TestRebuildIndexListsEachUnlistedPackOnce(t *testing.T) {
	f := newFixture(t)
	f.backup(f.repo, "docs", "a", "one")
	s := f.begin(f.repo, "docs")
	f.put(s, "unlisted")
	f.check(s.data.Flush(context.Background()))
	done, err := f.repo.RebuildIndex(context.Background())
	f.check(err)
	if diff := cmp.Diff(Rebuilt{Packs: 1, Chunks: 1, Objects: 1}, done); diff != "" {
		t.Error(diff)
	}
	f.expectChunks(f.open(t.TempDir()), "unlisted")
	done, err = f.repo.RebuildIndex(context.Background())
	f.check(err)
	if diff := cmp.Diff(Rebuilt{}, done); diff != "" {
		t.Error(diff)
	}
	packs, err := f.repo.IndexedPacks(context.Background())
	f.check(err)
	if len(packs) != len(f.objects("packs")) {
		t.Errorf("%d packs indexed of %d", len(packs), len(f.objects("packs")))
	}
}

func TestUnknownChunkIsAnErrorThatNamesIt(t *testing.T) {
	f := newFixture(t)
	id := chunkstore.ID{1, 2, 3}
	_, err := f.repo.ReadChunk(context.Background(), id, nil)
	var missing *MissingError
	if !errors.As(err, &missing) || missing.ID != id || !errors.Is(err, chunkstore.ErrMissing) {
		t.Errorf("got %v", err)
	}
}

func TestDamagedRecordIsToldBesideTheOthers(t *testing.T) {
	f := newFixture(t)
	f.backup(f.repo, "docs", "a", "one")
	f.advance(time.Hour)
	kept := f.backup(f.repo, "docs", "a", "two")
	f.overwrite(f.objects("points")[0])
	r := f.open(t.TempDir())
	points, err := r.Points(context.Background())
	if err == nil || !strings.Contains(err.Error(), "record 0000000000000001") {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff([]*Point{kept}, points); diff != "" {
		t.Error(diff)
	}
	// The number of the damaged record is not given away again.
	if p := f.backup(r, "docs", "a", "three"); p.Sequence != 3 {
		t.Errorf("the next point has number %d", p.Sequence)
	}
}

func TestNodeCacheKeepsWithinItsBound(t *testing.T) {
	var c nodeCache
	for i := range 100 {
		c.put(chunkstore.ID{byte(i)}, make([]byte, 1<<20))
		c.get(chunkstore.ID{0})
	}
	if c.bytes > nodeCacheBytes || len(c.byID) != nodeCacheBytes>>20 {
		t.Errorf("%d nodes, %d bytes", len(c.byID), c.bytes)
	}
	if _, ok := c.get(chunkstore.ID{0}); !ok {
		t.Error("a node in use was dropped")
	}
}

func TestVersionsAreTheDistinctStatesOfAPath(t *testing.T) {
	f := newFixture(t)
	for _, content := range []string{"one", "one", "two", "", "one"} {
		files := []string{"other", "x"}
		if content != "" {
			files = append([]string{"file", content}, files...)
		}
		f.advance(time.Hour)
		f.backup(f.repo, "docs", files...)
	}
	f.backup(f.repo, "elsewhere", "file", "none of it")
	versions, err := f.repo.Versions(context.Background(), "docs", "/file")
	f.check(err)
	var got [][]uint64
	for _, v := range versions {
		var numbers []uint64
		for _, p := range v.Points {
			numbers = append(numbers, p.Sequence)
		}
		got = append(got, numbers)
	}
	if diff := cmp.Diff([][]uint64{{5}, {3}, {2, 1}}, got); diff != "" {
		t.Error(diff)
	}
	if versions, err = f.repo.Versions(context.Background(), "docs", "nothing"); err != nil || len(versions) != 0 {
		t.Errorf("of a path that never was: %v, %v", versions, err)
	}
}

func TestForeignFilesAreLeftAlone(t *testing.T) {
	f := newFixture(t)
	f.backup(f.repo, "docs", "a", "one")
	f.begin(f.repo, "docs")
	for _, folder := range []string{"index", "points", "sessions"} {
		f.check(os.WriteFile(filepath.Join(f.dir, folder, "Thumbs.db"), []byte("foreign"), 0o600))
	}
	r := f.open(t.TempDir())
	points, err := r.Points(context.Background())
	if err != nil || len(points) != 1 {
		t.Errorf("%d points, %v", len(points), err)
	}
	running, err := r.InProgress(context.Background())
	if err != nil || len(running) != 1 {
		t.Errorf("%d sessions, %v", len(running), err)
	}
	if len(f.warnings()) != 0 {
		t.Errorf("warned of %v", f.warnings())
	}
}
