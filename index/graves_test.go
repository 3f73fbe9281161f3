package index

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-backup/cairn/chunkstore"
)

func (f *fixture) beginPrune(r *Repository) *Pruner {
	f.Helper()
	p, err := r.BeginPrune(context.Background(), SessionOptions{}, false)
	f.check(err)
	f.Cleanup(func() { _ = p.End(context.Background()) })
	return p
}

// unused surveys and gives the packs that nothing is in use of.
func (f *fixture) unused(p *Pruner) []chunkstore.PackID {
	f.Helper()
	s, err := p.Survey(context.Background())
	f.check(err)
	var ids []chunkstore.PackID
	for _, u := range s.Packs {
		if u.Live == 0 {
			ids = append(ids, u.ID)
		}
	}
	return ids
}

func (f *fixture) bury(p *Pruner) *Buried {
	f.Helper()
	b, err := p.Bury(context.Background())
	f.check(err)
	return b
}

// expectPoint fails unless a host that has seen nothing before reads the contents of a point.
func (f *fixture) expectPoint(contents ...string) {
	f.Helper()
	f.expectChunks(f.open(f.TempDir()), contents...)
}

func TestBackupThatReliesOnACondemnedPackStoresItAfresh(t *testing.T) {
	f := newFixture(t)
	old := f.backup(f.repo, "docs", "a", "one", "b", "two")
	s := f.begin(f.repo, "docs")
	ref := f.tree(s, "a", "one")
	other := f.open(t.TempDir())
	f.check(other.RemovePoint(context.Background(), old))
	p := f.beginPrune(other)
	f.check(p.Condemn(context.Background(), f.unused(p)))
	if b := f.bury(p); b.Removed != 0 || b.Waiting != 1 {
		t.Errorf("a backup that began before is not waited for: %+v", b)
	}
	_, err := s.Commit(context.Background(), &Point{Root: ref})
	var condemned *CondemnedError
	if !errors.As(err, &condemned) || condemned.Packs == 0 {
		t.Fatalf("committed with condemned packs: %v", err)
	}
	if _, added := f.put(s, "one"); added != 1 {
		t.Error("what is condemned is taken for known")
	}
	_, err = s.Commit(context.Background(), &Point{Root: f.tree(s, "a", "one")})
	f.check(err)
	if b := f.bury(p); b.Removed != 2 || b.Waiting != 0 {
		t.Errorf("after the backup: %+v", b)
	}
	f.expectPoint("one")
}

func TestBackupNoticesThatItsOwnPackWasCondemned(t *testing.T) {
	f := newFixture(t)
	s := f.begin(f.repo, "docs")
	f.put(s, "one")
	f.check(s.data.Flush(context.Background()))
	p := f.beginPrune(f.open(t.TempDir()))
	survey, err := p.Survey(context.Background())
	f.check(err)
	if len(survey.Packs) != 1 || !survey.Packs[0].Young || survey.Packs[0].Listed {
		t.Fatalf("%+v", survey.Packs)
	}
	f.check(p.Condemn(context.Background(), []chunkstore.PackID{survey.Packs[0].ID})) // though it is young
	var condemned *CondemnedError
	if _, err := s.Commit(context.Background(), &Point{Root: f.tree(s, "a", "one")}); !errors.As(err, &condemned) {
		t.Fatal(err)
	}
	_, err = s.Commit(context.Background(), &Point{Root: f.tree(s, "a", "one")})
	f.check(err)
	f.bury(p)
	f.expectPoint("one")
}

func TestPruneKeepsTheTreeThatIsBeingCommitted(t *testing.T) {
	f := newFixture(t)
	old := f.backup(f.repo, "docs", "a", "one")
	s := f.begin(f.repo, "docs")
	ref := f.tree(s, "a", "one")
	other := f.open(t.TempDir())
	f.check(other.RemovePoint(context.Background(), old))
	// The backup has looked at the tombstones for the last time, and is paused for a week before it makes its record.
	f.dest.onCreate(func(name string) error {
		if filepath.Dir(name) != "points" {
			return nil
		}
		f.dest.onCreate(nil)
		p := f.beginPrune(other)
		f.check(p.Condemn(context.Background(), f.unused(p)))
		f.age("sessions", 7*24*time.Hour)
		if b := f.bury(p); b.Removed != 0 {
			t.Errorf("removed what is being committed: %+v", b)
		}
		if swept, err := p.Sweep(context.Background()); err != nil || swept.Stuck != 1 {
			t.Errorf("swept %+v, %v", swept, err)
		}
		f.check(p.End(context.Background()))
		return nil
	})
	_, err := s.Commit(context.Background(), &Point{Root: ref})
	f.check(err)
	f.expectPoint("one")
}

func TestBackupThatWasTakenForDeadBeginsAgain(t *testing.T) {
	f := newFixture(t)
	old := f.backup(f.repo, "docs", "a", "one")
	s := f.begin(f.repo, "docs")
	ref := f.tree(s, "a", "one")
	other := f.open(t.TempDir())
	f.check(other.RemovePoint(context.Background(), old))
	p := f.beginPrune(other)
	f.check(p.Condemn(context.Background(), f.unused(p)))
	f.age("sessions", 25*time.Hour)
	if b := f.bury(p); b.Removed != 2 {
		t.Errorf("still waits for the dead: %+v", b)
	}
	swept, err := p.Sweep(context.Background())
	if err != nil || swept.Sessions < 1 {
		t.Errorf("swept %+v, %v", swept, err)
	}
	if _, err := s.Commit(context.Background(), &Point{Root: ref}); !errors.Is(err, ErrBarred) {
		t.Fatalf("committed after it was barred: %v", err)
	}
	next := f.backup(f.repo, "docs", "a", "one")
	f.expectPoint("one")

	// What was barred an hour ago holds up nobody.
	f.begin(f.repo, "other")
	f.age("sessions", 25*time.Hour)
	if _, err := p.Sweep(context.Background()); err != nil {
		t.Error(err)
	}
	f.age("sessions", 0)
	f.check(f.repo.RemovePoint(context.Background(), next))
	f.check(p.Condemn(context.Background(), f.unused(p)))
	if b := f.bury(p); b.Removed != 2 || b.Waiting != 0 {
		t.Errorf("a session that is barred is waited for: %+v", b)
	}
}

func TestWhatABackupCameToNeedMeanwhileIsReprieved(t *testing.T) {
	f := newFixture(t)
	old := f.backup(f.repo, "docs", "a", "one")
	s := f.begin(f.repo, "docs")
	ref := f.tree(s, "a", "one")
	other := f.open(t.TempDir())
	f.check(other.RemovePoint(context.Background(), old))
	p := f.beginPrune(other)
	packs := f.unused(p)
	_, err := s.Commit(context.Background(), &Point{Root: ref}) // between survey and tombstone
	f.check(err)
	f.check(p.Condemn(context.Background(), packs))
	if b := f.bury(p); b.Removed != 0 || b.Reprieved != 2 {
		t.Errorf("%+v", b)
	}
	f.expectPoint("one")
	if _, added := f.put(f.begin(f.repo, "docs"), "one"); added != 0 {
		t.Error("what was reprieved is not relied on any more")
	}
}

// Two copies of everything: of two prunes that condemn one each, one at most may have its way.
func TestTwoPrunesDoNotTakeEachOthersCopies(t *testing.T) {
	f := newFixture(t)
	one, two := f.begin(f.repo, "a"), f.begin(f.open(t.TempDir()), "b")
	for _, s := range []*Session{one, two} {
		_, err := s.Commit(context.Background(), &Point{Root: f.tree(s, "a", "one")})
		f.check(err)
	}
	p, q := f.beginPrune(f.open(t.TempDir())), f.beginPrune(f.open(t.TempDir()))
	survey, err := p.Survey(context.Background())
	f.check(err)
	if len(survey.Packs) != 4 {
		t.Fatalf("%d packs", len(survey.Packs))
	}
	var mine, yours []chunkstore.PackID
	for _, u := range survey.Packs {
		if u.Live == 0 {
			mine = append(mine, u.ID)
		} else {
			yours = append(yours, u.ID)
		}
	}
	f.check(p.Condemn(context.Background(), mine))
	f.check(q.Condemn(context.Background(), yours))
	f.bury(p)
	f.bury(q)
	f.expectPoint("one")
}

func TestWhatAnotherPruneDecidedHolds(t *testing.T) {
	f := newFixture(t)
	old := f.backup(f.repo, "docs", "a", "one")
	f.check(f.repo.RemovePoint(context.Background(), old))
	p := f.beginPrune(f.repo)
	f.check(p.Condemn(context.Background(), f.unused(p)))
	stones, err := f.repo.tombstones(context.Background())
	f.check(err)
	// Another has reprieved everything, before this one gets to its decision.
	f.check(f.store.PutObject(context.Background(), chunkstore.TypeLedger, stones[0].name, encodeLedger(entryOfLedger{})))
	if b := f.bury(p); b.Removed != 0 || b.Reprieved != 2 {
		t.Errorf("%+v", b)
	}
}

func TestPruneThatDiedIsCompletedByTheNext(t *testing.T) {
	for at := 1; ; at++ {
		f := newFixture(t)
		old := f.backup(f.repo, "docs", "a", "one", "b", "two")
		f.backup(f.repo, "docs", "a", "one", "c", "three")
		f.check(f.repo.RemovePoint(context.Background(), old))
		var n atomic.Int64
		crash := errors.New("crash")
		f.dest.onChange(func(string) error {
			if n.Add(1) >= int64(at) {
				return crash
			}
			return nil
		})
		err := pruneAll(f, f.open(t.TempDir()))
		f.dest.onChange(nil)
		if err == nil {
			if at < 8 {
				t.Fatalf("a whole prune takes %d steps", at)
			}
			return
		}
		f.expectPoint("one", "three")
		f.age("sessions", 25*time.Hour)
		f.check(pruneAll(f, f.open(t.TempDir())))
		f.expectPoint("one", "three")
		p := f.beginPrune(f.open(t.TempDir()))
		if left := f.unused(p); len(left) != 0 || len(f.objects("tombstones")) != 0 {
			t.Errorf("after a crash at step %d %d packs nobody needs and %d tombstones are left", at, len(left), len(f.objects("tombstones")))
		}
	}
}

// pruneAll rewrites all that is partly in use and deletes the rest.
func pruneAll(f *fixture, r *Repository) error {
	ctx := context.Background()
	p, err := r.BeginPrune(ctx, SessionOptions{}, false)
	if err != nil {
		return err
	}
	defer p.End(ctx)
	s, err := p.Survey(ctx)
	if err != nil {
		return err
	}
	var dead, partly []chunkstore.PackID
	for _, u := range s.Packs {
		if u.Live == 0 {
			dead = append(dead, u.ID)
		} else if u.Dead > 0 {
			partly = append(partly, u.ID)
		}
	}
	c, err := p.Copy(ctx, partly, dead, 1, func(int64) {})
	if err != nil {
		return err
	}
	if err := p.Condemn(ctx, append(dead, c.Packs...)); err != nil {
		return err
	}
	if _, err := p.Bury(ctx); err != nil {
		return err
	}
	if _, err := p.Sweep(ctx); err != nil {
		return err
	}
	return p.End(ctx)
}

func TestLaterBackupHealsWhatIsLost(t *testing.T) {
	f := newFixture(t)
	f.backup(f.repo, "docs", "a", "one", "b", "two")
	var lost []LostPlaces
	for _, p := range f.repo.cache.Packs() {
		if p.Kind == chunkstore.KindData {
			f.check(os.Remove(filepath.Join(f.dir, p.ID.ObjectName())))
			lost = append(lost, LostPlaces{Pack: p.ID, Whole: true})
		}
	}
	if n, err := f.repo.RecordLost(context.Background(), lost); n != 1 || err != nil {
		t.Fatalf("recorded %d, %v", n, err)
	}
	if n, err := f.repo.RecordLost(context.Background(), lost); n != 0 || err != nil {
		t.Errorf("recorded again: %d, %v", n, err)
	}
	other := f.open(t.TempDir())
	s := f.begin(other, "docs")
	if known, err := s.Has(f.store.ChunkID([]byte("one"))); known || err != nil {
		t.Errorf("what is lost is taken for known: %v", err)
	}
	if _, added := f.put(s, "one", "two"); added != 2 {
		t.Errorf("%d of 2 lost chunks are stored again", added)
	}
	_, err := s.Commit(context.Background(), &Point{Root: f.tree(s, "a", "one", "b", "two")})
	f.check(err)
	f.expectPoint("one", "two")
	f.expectChunks(f.repo, "one", "two") // whose index is from before
	f.check(pruneAll(f, other))
	f.expectPoint("one", "two")
}

func TestIndexObjectsThatAPruneReplacedAreNotMissed(t *testing.T) {
	f := newFixture(t)
	reader := f.open(t.TempDir())
	old := f.backup(f.repo, "docs", "a", "one")
	f.backup(f.repo, "docs", "b", "two")
	f.check(reader.Refresh(context.Background()))
	f.check(f.repo.RemovePoint(context.Background(), old))
	f.check(pruneAll(f, f.repo))
	warned := len(f.warnings())
	f.check(reader.Refresh(context.Background()))
	if n := len(f.warnings()); n != warned {
		t.Errorf("warned of %v", f.warnings()[warned:])
	}
	if _, known, err := reader.Locate(f.store.ChunkID([]byte("one"))); known || err != nil {
		t.Errorf("what is gone is still located: %v", err)
	}
	f.expectChunks(reader, "two")
}

func TestGravesComeBackAsTheyWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.Custom(func(t *rapid.T) (id chunkstore.PackID) {
			copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
			return id
		})
		packs := rapid.SliceOfN(id, 0, 5).Draw(t, "packs")
		got, err := decodeIDs[chunkstore.PackID](encodeIDs(packs))
		if err != nil || !slices.Equal(got, packs) {
			t.Fatalf("%v came back as %v, %v", packs, got, err)
		}
		e := entryOfLedger{gone: packs}
		for _, name := range rapid.SliceOfN(id, 0, 5).Draw(t, "replaced") {
			e.replaced = append(e.replaced, name)
		}
		for _, p := range rapid.SliceOfN(id, 0, 5).Draw(t, "lost") {
			l := LostPlaces{Pack: p, Whole: rapid.Bool().Draw(t, "whole")}
			if !l.Whole {
				l.Frames = rapid.SliceOfN(rapid.Uint32(), 1, 5).Draw(t, "frames")
				slices.Sort(l.Frames)
			}
			e.lost = append(e.lost, l)
		}
		back, err := decodeLedger(encodeLedger(e))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(encodeLedger(back), encodeLedger(e)) || !cmp.Equal(back.lost, e.lost) {
			t.Fatalf("%+v came back as %+v", e, back)
		}
	})
}

func TestGravesAreWrittenAsTheFormatSays(t *testing.T) {
	a, b := chunkstore.PackID{1}, chunkstore.PackID{2}
	ledger := encodeLedger(entryOfLedger{gone: []chunkstore.PackID{a}, replaced: [][16]byte{b},
		lost: []LostPlaces{{Pack: a, Frames: []uint32{300, 310}}, {Pack: b, Whole: true}}})
	want := slices.Concat([]byte{1, 1}, a[:], []byte{1}, b[:], []byte{2}, a[:], []byte{3, 0xac, 2, 10}, b[:], []byte{0})
	if diff := cmp.Diff(want, ledger); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(slices.Concat([]byte{1, 2}, a[:], b[:]), encodeIDs([]chunkstore.PackID{a, b})); diff != "" {
		t.Error(diff)
	}
	root := chunkstore.ID{7}
	if diff := cmp.Diff(slices.Concat([]byte{1, 1}, root[:]), encodeCommit(stateCommitting, root)); diff != "" {
		t.Error(diff)
	}
}

func FuzzCommitObject(f *testing.F) {
	f.Add(encodeCommit(stateBarred, chunkstore.ID{}))
	f.Add(encodeCommit(stateCommitting, chunkstore.ID{1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		state, root, err := decodeCommit(b)
		if err == nil && !bytes.Equal(encodeCommit(state, root), b) {
			t.Errorf("%x is not what it says", b)
		}
	})
}
