package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-backup/cairn/chunkstore"
)

func TestRestorePointComesBackAsItWasCommitted(t *testing.T) {
	f := newFixture(t)
	s := f.begin(f.repo, "docs")
	p, err := s.Commit(context.Background(), &Point{
		Root: f.tree(s, "a", "content of a", "b\xff\n", "content of b"), Paths: []string{"/home/\xfe\xff"}, Kind: Full,
		Tags: []string{"x"}, Problems: []Problem{{Path: "b\xff", Message: "no"}}, Config: map[string]string{"exclude": "*.o"},
	})
	f.check(err)
	if p.Name != "2026-11-23T21-05-00Z" || p.Sequence != 1 || p.Source != "docs" || p.Host != "host" || p.Zone != "UTC" {
		t.Errorf("committed as %+v", p)
	}
	if p.Stats.Chunks != 2 || p.Stats.Added < 24 || p.Stats.AddedStored == 0 {
		t.Errorf("counted %+v", p.Stats)
	}
	other := f.open(t.TempDir())
	points, err := other.Points(context.Background())
	f.check(err)
	if diff := cmp.Diff([]*Point{p}, points); diff != "" {
		t.Error(diff)
	}
	f.expectChunks(other, "content of a", "content of b")
	if n := len(f.warnings()); n != 0 {
		t.Errorf("warned of %v", f.warnings())
	}
}

func TestKnownChunksAreNotStoredAgain(t *testing.T) {
	f := newFixture(t)
	f.backup(f.repo, "docs", "a", "one", "b", "two")
	packs := len(f.objects("packs"))
	s := f.begin(f.repo, "docs")
	if _, added := f.put(s, "one", "two", "three", "three"); added != 1 {
		t.Errorf("%d chunks were new, want the one", added)
	}
	if st := s.Stats(); st.Chunks != 4 || st.Added != 5 || st.Reused != 11 {
		t.Errorf("counted %+v", st)
	}
	f.check(s.Abort(context.Background()))
	// A backup without anything new writes neither packs nor index objects.
	objects := len(f.objects("index"))
	f.backup(f.repo, "docs", "a", "one", "b", "two")
	if n := len(f.objects("packs")); n != packs {
		t.Errorf("%d packs, were %d", n, packs)
	}
	if n := len(f.objects("index")); n != objects {
		t.Errorf("%d index objects, were %d", n, objects)
	}
}

func TestEachChunkIsStoredOnceByManyGoroutines(t *testing.T) {
	f := newFixture(t)
	s := f.begin(f.repo, "docs")
	var added atomic.Int64
	var wg sync.WaitGroup
	const distinct = 3000
	for g := range 8 {
		wg.Go(func() {
			b := s.NewBatch()
			for i := range distinct {
				_, isNew, err := b.Store(context.Background(), fmt.Appendf(nil, "chunk %d", (i*7+g*131)%distinct))
				if err != nil {
					t.Error(err)
					return
				}
				if isNew {
					added.Add(1)
				}
				if g == 0 && i%500 == 499 { // index objects are folded and claims dropped under the others' feet
					if err := b.Flush(context.Background()); err != nil {
						t.Error(err)
					}
					f.advance(2 * indexEvery)
				}
			}
			if err := b.Flush(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := added.Load(); n != distinct {
		t.Errorf("%d chunks were new, want %d", n, distinct)
	}
	_, err := s.Commit(context.Background(), &Point{Root: f.tree(s, "a", "chunk 1")})
	f.check(err)
	for i := range distinct {
		f.expectChunks(f.repo, fmt.Sprintf("chunk %d", i))
	}
}

func TestLongBackupIsIndexedBeforeItEnds(t *testing.T) {
	f := newFixture(t)
	s := f.begin(f.repo, "docs")
	ids, _ := f.put(s, "early")
	f.check(s.data.Flush(context.Background()))
	if n := len(f.objects("index")); n != 0 {
		t.Fatalf("%d index objects within the first minute", n)
	}
	f.advance(indexEvery)
	f.check(s.index(context.Background(), false))
	if n := len(f.objects("index")); n != 1 {
		t.Fatalf("%d index objects after a minute", n)
	}
	if s.claims.has(ids[0]) {
		t.Error("a chunk that is indexed is still claimed")
	}
	if ok, err := s.Has(ids[0]); !ok || err != nil {
		t.Errorf("a chunk that is indexed is not known: %v", err)
	}
	other := f.open(t.TempDir())
	f.expectChunks(other, "early")
}

func TestAbortedBackupLeavesItsChunksForTheNext(t *testing.T) {
	f := newFixture(t)
	s := f.begin(f.repo, "docs")
	f.put(s, "kept")
	f.check(s.data.Flush(context.Background()))
	f.put(s, "dropped: not durable yet")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f.check(s.Abort(ctx))
	points, err := f.repo.Points(context.Background())
	f.check(err)
	if len(points) != 0 {
		t.Error("an aborted backup has a restore point")
	}
	if n := len(f.objects("sessions")); n != 0 {
		t.Error("an aborted backup is still in progress")
	}
	next := f.begin(f.repo, "docs")
	if _, added := f.put(next, "kept", "dropped: not durable yet"); added != 1 {
		t.Errorf("%d chunks were new, want 1", added)
	}
	if _, err := s.Commit(context.Background(), &Point{}); !errors.Is(err, ErrEnded) {
		t.Errorf("commit after abort: %v", err)
	}
}

func TestFailureAtAnyCreationLeavesNoRestorePoint(t *testing.T) {
	f := newFixture(t)
	whole := f.backup(f.repo, "docs", "a", "before")
	full := errors.New("disk full")
	for _, folder := range []string{"packs/", "index/", "points/"} {
		s := f.begin(f.repo, "docs")
		root := f.tree(s, "a", "content for "+folder)
		f.dest.onCreate(func(name string) error {
			if strings.HasPrefix(name, folder) {
				return full
			}
			return nil
		})
		if _, err := s.Commit(context.Background(), &Point{Root: root}); !errors.Is(err, full) {
			t.Errorf("commit with %s failing: %v", folder, err)
		}
		f.dest.onCreate(nil)
		points, err := f.repo.Points(context.Background())
		f.check(err)
		if diff := cmp.Diff([]*Point{whole}, points); diff != "" {
			t.Errorf("after %s: %s", folder, diff)
		}
		f.expectChunks(f.repo, "before")
		f.backup(f.repo, "other", "a", "content for "+folder)
		f.expectChunks(f.open(t.TempDir()), "content for "+folder)
		points, err = f.repo.Points(context.Background())
		f.check(err)
		for _, p := range points {
			if p.Source == "other" {
				f.check(f.repo.RemovePoint(context.Background(), p))
			}
		}
	}
}

func TestBatchThatWasNotFlushedFailsTheCommit(t *testing.T) {
	f := newFixture(t)
	s := f.begin(f.repo, "docs")
	root := f.tree(s, "a", "flushed")
	if _, _, err := s.NewBatch().Store(context.Background(), []byte("not flushed")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(context.Background(), &Point{Root: root}); err == nil || !strings.Contains(err.Error(), "never flushed") {
		t.Errorf("got %v", err)
	}
}

func TestPointWithoutItsTreeIsRefused(t *testing.T) {
	f := newFixture(t)
	s := f.begin(f.repo, "docs")
	p := &Point{}
	p.Root.ID = chunkstore.ID{1}
	if _, err := s.Commit(context.Background(), p); !errors.Is(err, chunkstore.ErrMissing) {
		t.Errorf("got %v", err)
	}
}

func TestPointsOfOneSecondGetNamesAndNumbersOfTheirOwn(t *testing.T) {
	f := newFixture(t)
	other := f.open(t.TempDir())
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			r := []*Repository{f.repo, other}[i%2]
			s, err := r.Begin(context.Background(), SessionOptions{Source: "docs"})
			if err != nil {
				t.Error(err)
				return
			}
			node := fmt.Appendf(nil, "node %d", i)
			id, err := s.SaveNode(context.Background(), node)
			if err != nil {
				t.Error(err)
				return
			}
			p := &Point{}
			p.Root.ID = id
			if _, err := s.Commit(context.Background(), p); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	points, err := f.repo.Points(context.Background())
	f.check(err)
	var names []string
	for i, p := range points {
		names = append(names, p.Name)
		if p.Sequence != uint64(i+1) {
			t.Errorf("point %d has number %d", i, p.Sequence)
		}
		if _, err := f.repo.LoadNode(context.Background(), p.Root.ID); err != nil {
			t.Error(err)
		}
	}
	base := "2026-11-23T21-05-00Z"
	want := []string{base, base + "-2", base + "-3", base + "-4", base + "-5", base + "-6"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

func TestSessionIsShownUntilItEndsAndExpires(t *testing.T) {
	f := newFixture(t)
	s := f.begin(f.repo, "docs")
	running, err := f.repo.InProgress(context.Background())
	f.check(err)
	if len(running) != 1 || running[0].Source != "docs" || running[0].Name != "2026-11-23T21-05-00Z.in-progress" || running[0].Expired {
		t.Fatalf("in progress: %+v", running)
	}
	f.advance(time.Hour)
	f.check(s.mark.renew(context.Background(), s.marker()))
	if n := len(f.objects("sessions")); n != 1 {
		t.Errorf("%d markers after a renewal", n)
	}
	if running, err = f.repo.InProgress(context.Background()); err != nil || len(running) != 1 {
		t.Errorf("after a renewal: %+v, %v", running, err)
	}
	_, err = s.Commit(context.Background(), &Point{Root: f.tree(s, "a", "x")})
	f.check(err)
	if running, err = f.repo.InProgress(context.Background()); err != nil || len(running) != 0 {
		t.Errorf("after the commit: %+v, %v", running, err)
	}
}

func TestSourceNamesThatCannotBeFoldersAreRefused(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"", ".", "..", "a/b", "a\x00", strings.Repeat("x", 256)} {
		if _, err := f.repo.Begin(context.Background(), SessionOptions{Source: name}); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

// clockless is a destination whose clock cannot be read, as that of a read-only folder.
type clockless struct{ *faulty }

// Now fails.
func (clockless) Now(context.Context) (time.Time, error) {
	return time.Time{}, errors.New("read-only file system")
}

func TestSessionsCanBeListedWhereNothingCanBeWritten(t *testing.T) {
	f := newFixture(t)
	s := f.begin(f.repo, "docs")
	store, err := chunkstore.Open(t.Context(), clockless{f.dest}, nil)
	f.check(err)
	r, err := Open(t.Context(), store, Options{CacheDir: t.TempDir(), Now: f.clock})
	f.check(err)
	running, err := r.InProgress(t.Context())
	if err != nil || len(running) != 1 || running[0].Source != "docs" {
		t.Errorf("%+v, %v", running, err)
	}
	f.check(r.Close())
	f.check(store.Close())
	f.check(s.Abort(t.Context()))
}

func TestForeignRecordWithAHugeNumberDoesNotStopBackups(t *testing.T) {
	f := newFixture(t)
	f.backup(f.repo, "docs", "a", "one")
	record := func(name string) string { return filepath.Join(f.dir, "points", name) }
	for _, foreign := range []string{"ffffffffffffffff", "0000000000000000", "7fffffffffffffff"} {
		f.check(os.WriteFile(record(foreign), []byte("no record"), 0o600))
	}
	if p := f.backup(f.repo, "docs", "a", "two"); p.Sequence != 2 {
		t.Errorf("number %d", p.Sequence)
	}
	f.check(os.WriteFile(record(recordName(maxSequence)), []byte("no record"), 0o600))
	s := f.begin(f.repo, "docs")
	if _, err := s.Commit(t.Context(), &Point{Root: f.tree(s, "a", "three")}); err == nil || !strings.Contains(err.Error(), "last number") {
		t.Errorf("behind the last number: %v", err)
	}
}
