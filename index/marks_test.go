package index

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
)

// stopping is a destination that dies before one of its changes, and never comes back.
type stopping struct {
	*local.Local
	left int // changes that still succeed
}

var errStopped = errors.New("the host died")

func (d *stopping) step() error {
	if d.left--; d.left < 0 {
		return errStopped
	}
	return nil
}

// Create creates until the end.
func (d *stopping) Create(ctx context.Context, name string, body []byte) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.Local.Create(ctx, name, body)
}

// Remove removes until the end.
func (d *stopping) Remove(ctx context.Context, name string) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.Local.Remove(ctx, name)
}

// marked gives the points as another host sees them.
func (f *fixture) marked() []*Point {
	f.Helper()
	points, err := f.open(f.TempDir()).Marked(context.Background())
	f.check(err)
	return points
}

func (f *fixture) pin(r *Repository, p *Point, tags ...string) error {
	return r.Mark(context.Background(), []*Point{p}, func(q *Point) { q.Pinned, q.Tags = true, append(q.Tags, tags...) })
}

// only chooses the one point, if it is there.
func only(p *Point) func([]*Point) ([]*Point, error) {
	return func(points []*Point) ([]*Point, error) {
		return slices.DeleteFunc(slices.Clone(points), func(q *Point) bool { return q.Sequence != p.Sequence }), nil
	}
}

func names(points []*Point) []string {
	var all []string
	for _, p := range points {
		all = append(all, fmt.Sprintf("%s/%d", p.Source, p.Sequence))
	}
	return all
}

func TestMarksAreSeenByEverybodyAndTheRecordStaysAsItWas(t *testing.T) {
	f := newFixture(t)
	first := f.backup(f.repo, "docs", "a", "one")
	f.backup(f.repo, "docs", "a", "two")
	f.check(f.pin(f.repo, first, "x", "y"))
	f.check(f.repo.Mark(context.Background(), []*Point{first}, func(p *Point) { p.Tags = slices.Delete(p.Tags, 0, 1); p.Source = "ignored" }))
	points := f.marked()
	if p := points[0]; !p.Pinned || !slices.Equal(p.Tags, []string{"y"}) || p.Source != "docs" {
		t.Errorf("marked as %v %v", p.Pinned, p.Tags)
	}
	if p := points[1]; p.Pinned || len(p.Tags) > 0 {
		t.Error("another point has its marks")
	}
	recorded, err := f.repo.Points(context.Background())
	f.check(err)
	if diff := cmp.Diff(first, recorded[0]); diff != "" {
		t.Errorf("the record changed: %s", diff)
	}
}

func TestManyHostsMarkAtOnceAndNothingIsLost(t *testing.T) {
	f := newFixture(t)
	p := f.backup(f.repo, "docs", "a", "one")
	var want []string
	done := make(chan error)
	const hosts, each = 4, 6
	for h := range hosts {
		r := f.open(t.TempDir())
		go func() {
			var err error
			for i := range each {
				tag := fmt.Sprintf("%d-%d", h, i)
				err = errors.Join(err, r.Mark(context.Background(), []*Point{p}, func(q *Point) {
					if !slices.Contains(q.Tags, tag) {
						q.Tags = append(q.Tags, tag)
					}
				}))
			}
			done <- err
		}()
		for i := range each {
			want = append(want, fmt.Sprintf("%d-%d", h, i))
		}
	}
	for range hosts {
		f.check(<-done)
	}
	got := f.marked()[0].Tags
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := len(f.objects("marks")); n > keptMarks+1+hosts {
		t.Errorf("%d objects of the log are left", n)
	}
}

func TestASlowWriterCannotWriteIntoThePast(t *testing.T) {
	f := newFixture(t)
	p := f.backup(f.repo, "docs", "a", "one")
	other := f.open(t.TempDir())
	slow := true
	f.check(f.repo.Mark(context.Background(), []*Point{p}, func(q *Point) {
		q.Tags = append(q.Tags, "slow")
		if !slow {
			return
		}
		slow = false
		for i := range 3 * keptMarks { // number 1 comes and goes meanwhile
			f.check(f.pin(other, p, fmt.Sprint(i)))
		}
	}))
	if tags := f.marked()[0].Tags; !slices.Contains(tags, "slow") || len(tags) != 3*keptMarks+1 {
		t.Errorf("tagged %q", tags)
	}
}

func TestAPinThatComesBetweenKeepsThePoint(t *testing.T) {
	f := newFixture(t)
	p := f.backup(f.repo, "docs", "a", "one")
	f.backup(f.repo, "docs", "a", "two")
	other := f.open(t.TempDir())
	calls := 0
	gone, err := f.repo.Forget(context.Background(), func(points []*Point) ([]*Point, error) {
		if calls++; calls == 1 {
			f.check(f.pin(other, p))
			return points[:1], nil
		}
		if !points[0].Pinned {
			t.Error("the pin is not seen")
		}
		return nil, nil
	})
	if err != nil || len(gone) != 0 || calls != 2 {
		t.Errorf("forgot %v in %d calls: %v", names(gone), calls, err)
	}
	if points := f.marked(); len(points) != 2 {
		t.Errorf("left: %v", names(points))
	}
}

func TestTwoForgettingsDoNotTakeEachOthersLastPoint(t *testing.T) {
	f := newFixture(t)
	a := f.backup(f.repo, "docs", "a", "one")
	b := f.backup(f.repo, "docs", "a", "two")
	other := f.open(t.TempDir())
	last := errors.New("it is the last one")
	unlessLast := func(p *Point) func(points []*Point) ([]*Point, error) {
		return func(points []*Point) ([]*Point, error) {
			if len(points) == 1 {
				return nil, last
			}
			return only(p)(points)
		}
	}
	first := true
	_, err := f.repo.Forget(context.Background(), func(points []*Point) ([]*Point, error) {
		if first {
			first = false
			_, err := other.Forget(context.Background(), unlessLast(b))
			f.check(err)
		}
		return unlessLast(a)(points)
	})
	if !errors.Is(err, last) {
		t.Errorf("forgot the last point: %v", err)
	}
	if points := f.marked(); len(points) != 1 || points[0].Sequence != a.Sequence {
		t.Errorf("left: %v", names(points))
	}
}

func TestAForgottenPointCannotBeMarked(t *testing.T) {
	f := newFixture(t)
	p := f.backup(f.repo, "docs", "a", "one")
	f.check(f.pin(f.repo, p, "x"))
	other := f.open(t.TempDir())
	f.check(f.repo.RemovePoint(context.Background(), p))
	if err := f.pin(other, p); !errors.Is(err, ErrForgotten) {
		t.Errorf("got %v", err)
	}
	q := f.backup(f.repo, "docs", "a", "one")
	if q.Sequence == p.Sequence {
		t.Error("a number was given twice")
	}
	if points := f.marked(); len(points) != 1 || points[0].Pinned || len(points[0].Tags) > 0 {
		t.Errorf("%+v has the marks of a point that is gone", points[0])
	}
}

func TestANumberIsNotGivenTwiceWhateverTheTiming(t *testing.T) {
	f := newFixture(t)
	f.backup(f.repo, "docs", "a", "one")
	other := f.open(t.TempDir())
	s := f.begin(f.repo, "docs")
	root := f.tree(s, "a", "two")
	var came *Point
	f.dest.onCreate(func(name string) error {
		if name == "points/"+recordName(2) && came == nil {
			came = &Point{}
			came = f.backup(other, "others", "a", "three")
			f.check(other.RemovePoint(context.Background(), came))
		}
		return nil
	})
	p, err := s.Commit(context.Background(), &Point{Root: root})
	f.dest.onCreate(nil)
	f.check(err)
	if came == nil || came.Sequence != 2 || p.Sequence <= 2 {
		t.Fatalf("number %d after %+v", p.Sequence, came)
	}
	if points := f.marked(); !slices.Equal(names(points), []string{"docs/1", fmt.Sprintf("docs/%d", p.Sequence)}) {
		t.Errorf("left: %v", names(points))
	}
}

// TestForgettingSurvivesACrashAtAnyStep kills the host before each change of a forgetting. What is seen after it is
// either all points or none of those that were to go; a second run ends it; a neighbour never changes.
func TestForgettingSurvivesACrashAtAnyStep(t *testing.T) {
	for steps := 0; ; steps++ {
		f := newFixture(t)
		f.backup(f.repo, "docs", "a", "one")
		f.backup(f.repo, "docs-old", "a", "one")
		f.backup(f.repo, "docs", "a", "two")
		kept := f.backup(f.repo, "docs", "a", "three")
		f.check(f.pin(f.repo, kept, "x"))
		choose := func(points []*Point) ([]*Point, error) {
			return slices.DeleteFunc(slices.Clone(points), func(p *Point) bool { return p.Source != "docs" || p.Pinned }), nil
		}
		dying := &stopping{Local: f.dest.Local, left: steps}
		store, err := chunkstore.Open(context.Background(), dying, nil)
		f.check(err)
		r, err := Open(context.Background(), store, Options{CacheDir: t.TempDir(), Now: f.clock})
		f.check(err)
		gone, err := r.Forget(context.Background(), choose)
		f.check(r.Close())
		if err != nil && !errors.Is(err, errStopped) {
			t.Fatal(err)
		}
		after := names(f.marked())
		whole := []string{"docs/1", "docs/3", "docs/4", "docs-old/2"}
		rest := []string{"docs/4", "docs-old/2"}
		if !slices.Equal(after, whole) && !slices.Equal(after, rest) {
			t.Fatalf("after %d steps: %v", steps, after)
		}
		if err == nil {
			if len(gone) != 2 || !slices.Equal(after, rest) || steps < 3 {
				t.Fatalf("done in %d steps: gone %v, left %v", steps, names(gone), after)
			}
			return
		}
		_, err = f.repo.Forget(context.Background(), choose)
		f.check(err)
		if n := len(f.objects("points")); n != 2 {
			t.Fatalf("after %d steps and another run %d records are left", steps, n)
		}
		if points := f.marked(); !slices.Equal(names(points), rest) || !points[0].Pinned {
			t.Fatalf("after %d steps and another run: %v", steps, names(points))
		}
	}
}

func TestMarkingSurvivesACrashAtAnyStep(t *testing.T) {
	for steps := 0; ; steps++ {
		f := newFixture(t)
		p := f.backup(f.repo, "docs", "a", "one")
		for range keptMarks + 1 { // so that there is something to tidy
			f.check(f.pin(f.repo, p, "t"))
		}
		dying := &stopping{Local: f.dest.Local, left: steps}
		store, err := chunkstore.Open(context.Background(), dying, nil)
		f.check(err)
		r, err := Open(context.Background(), store, Options{CacheDir: t.TempDir(), Now: f.clock, Random: rand.Reader})
		f.check(err)
		unpin := func(q *Point) { q.Pinned, q.Tags = false, nil }
		err = r.Mark(context.Background(), []*Point{p}, unpin)
		f.check(r.Close())
		now := f.marked()[0]
		if now.Pinned != (steps == 0) || now.Pinned != (len(now.Tags) == keptMarks+1) || (err == nil) == now.Pinned {
			t.Fatalf("after %d steps: pinned %v, tags %q, %v", steps, now.Pinned, now.Tags, err)
		}
		f.check(f.repo.Mark(context.Background(), []*Point{p}, unpin))
		if steps > 3 {
			return
		}
	}
}

func TestWhenPinsCannotBeReadNothingIsForgotten(t *testing.T) {
	f := newFixture(t)
	a := f.backup(f.repo, "docs", "a", "one")
	b := f.backup(f.repo, "docs", "a", "two")
	f.backup(f.repo, "docs", "a", "three")
	f.check(f.pin(f.repo, a))
	f.check(f.pin(f.repo, b))
	objects := f.objects("marks")
	f.overwrite(objects[len(objects)-1])
	r := f.open(t.TempDir())
	points, err := r.Marked(context.Background())
	var unknown *MarksError
	if !errors.As(err, &unknown) || len(points) != 3 || !points[0].Pinned || points[1].Pinned {
		t.Fatalf("%v, %v", names(points), err)
	}
	if _, err := r.Forget(context.Background(), only(b)); !errors.As(err, &unknown) {
		t.Errorf("forgot with pins unknown: %v", err)
	}
	if len(f.objects("points")) != 3 {
		t.Error("a record is gone")
	}
	f.backup(r, "docs", "a", "four") // goes on all the same
	f.check(f.pin(r, b))             // afresh
	points = f.marked()
	if !points[0].Pinned || !points[1].Pinned || points[2].Pinned {
		t.Error("the marks written afresh are not those that were known")
	}
	if _, err := r.Forget(context.Background(), only(points[2])); err != nil {
		t.Errorf("forget after that: %v", err)
	}
}

func TestMarksSurviveTheLossOfTheirFirstCell(t *testing.T) {
	f := newFixture(t)
	p := f.backup(f.repo, "docs", "a", "one")
	f.check(f.pin(f.repo, p))
	path := f.objects("marks")[0]
	body, err := os.ReadFile(path)
	f.check(err)
	clear(body[:4096])
	f.check(os.WriteFile(path, body, 0o600))
	if points := f.marked(); !points[0].Pinned {
		t.Error("the pin is lost")
	}
}

func TestTagsThatCannotStandInALineAreRefused(t *testing.T) {
	f := newFixture(t)
	p := f.backup(f.repo, "docs", "a", "one")
	for _, tag := range []string{"", "a\nb", "a,b", "\xff", string(make([]byte, 300))} {
		if err := f.pin(f.repo, p, tag); err == nil {
			t.Errorf("%q was taken", tag)
		}
	}
	f.check(f.pin(f.repo, p, "vor dem Umbau", "日本"))
}

func TestSpansAreSetsOfNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := make(map[uint64]bool)
		var s spans
		for _, n := range rapid.SliceOf(rapid.Uint64Range(1, 40)).Draw(t, "numbers") {
			in[n] = true
			s = s.with(n)
		}
		for n := range uint64(43) {
			if s.contain(n) != in[n] {
				t.Fatalf("%d in %v: %v", n, s, s.contain(n))
			}
		}
		for i, v := range s {
			if v[1] < v[0] || i > 0 && v[0] <= s[i-1][1]+1 {
				t.Fatalf("%v touch, or do not rise", s)
			}
		}
	})
}

func goldenMarks() *marks {
	m := &marks{number: 7, forgotten: spans{{1, 3}, {5, 5}}, going: []identity{{sequence: 5, source: "a\xff", name: "2026-11-23T21-05-00Z", root: chunkstore.ID{9}}}}
	m.set(identity{sequence: 4, source: "docs", name: "2026-11-23T21-05-00Z", root: chunkstore.ID{1, 2, 31: 3}}, mark{tags: []string{"before upgrade"}, pinned: true})
	m.set(identity{sequence: 6, source: "docs", name: "2026-11-23T22-05-00Z", root: chunkstore.ID{4}}, mark{})
	return m
}

var compareMarks = cmp.AllowUnexported(marks{}, mark{}, identity{})

func TestMarksAreWrittenAndReadAsEver(t *testing.T) {
	now, err := encodeMarks(goldenMarks())
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeMarks(golden(t, "marks.golden", now))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(goldenMarks(), got, compareMarks); diff != "" {
		t.Error(diff)
	}
}

func TestMarksOfALaterFormatAreLeftAlone(t *testing.T) {
	f := newFixture(t)
	p := f.backup(f.repo, "docs", "a", "one")
	f.check(f.store.PutObject(context.Background(), chunkstore.TypeMark, recordName(1), []byte(`{"format":2,"number":1}`)))
	var later *chunkstore.VersionError
	if err := f.pin(f.repo, p); !errors.As(err, &later) {
		t.Errorf("pin: %v", err)
	}
	if points, err := f.repo.Marked(context.Background()); !errors.As(err, &later) || len(points) != 1 {
		t.Errorf("%v, %v", names(points), err)
	}
	if len(f.objects("marks")) != 1 {
		t.Error("it was written over")
	}
}

func FuzzMarks(f *testing.F) {
	b, err := encodeMarks(goldenMarks())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"format":1,"number":1,"forgotten":[[3,1]]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMarks(b)
		if err != nil {
			return
		}
		again, err := encodeMarks(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeMarks(again)
		if err != nil {
			t.Fatalf("%q: %v", again, err)
		}
		if !slices.Equal(m.forgotten, got.forgotten) || len(m.points) != len(got.points) {
			t.Fatalf("%+v became %+v", m, got)
		}
	})
}

// The host's memory of how far the repository had come.

func TestAMissingNewestPointIsToldOnce(t *testing.T) {
	f := newFixture(t)
	f.backup(f.repo, "docs", "a", "one")
	p := f.backup(f.repo, "docs", "a", "two")
	_, err := f.repo.Points(context.Background())
	f.check(err)
	f.check(os.Remove(filepath.Join(f.dir, "points", recordName(p.Sequence))))
	r := f.open(f.cache)
	for range 2 {
		_, err = r.Points(context.Background())
		f.check(err)
	}
	var rolled *RollbackError
	if w := f.warnings(); len(w) != 1 || !errors.As(w[0], &rolled) {
		t.Errorf("warned of %v", w)
	}
	// Who has never seen it says nothing.
	_, err = f.open(t.TempDir()).Points(context.Background())
	f.check(err)
	if w := f.warnings(); len(w) != 1 {
		t.Errorf("warned of %v", w)
	}
	if q := f.backup(r, "docs", "a", "three"); q.Sequence != p.Sequence+1 {
		t.Errorf("number %d, though this host has seen %d", q.Sequence, p.Sequence)
	}
	if _, err = f.open(f.cache).Points(context.Background()); err != nil || len(f.warnings()) != 1 {
		t.Errorf("warned of %v, %v", f.warnings(), err)
	}
}

func TestAForgottenNewestPointIsNotMissed(t *testing.T) {
	f := newFixture(t)
	f.backup(f.repo, "docs", "a", "one")
	p := f.backup(f.repo, "docs", "a", "two")
	f.check(f.open(t.TempDir()).RemovePoint(context.Background(), p))
	if _, err := f.open(f.cache).Points(context.Background()); err != nil || len(f.warnings()) != 0 {
		t.Errorf("warned of %v, %v", f.warnings(), err)
	}
}

func TestMarksThatWerePutBackForgetNothing(t *testing.T) {
	f := newFixture(t)
	a := f.backup(f.repo, "docs", "a", "one")
	f.backup(f.repo, "docs", "a", "two")
	f.check(f.pin(f.repo, a))
	f.check(os.RemoveAll(filepath.Join(f.dir, "marks")))
	r := f.open(f.cache)
	var rolled *RollbackError
	if _, err := r.Forget(context.Background(), only(a)); !errors.As(err, &rolled) {
		t.Errorf("forgot a point whose pin was taken away: %v", err)
	}
	f.check(f.pin(r, a))
	if _, err := f.open(f.cache).Forget(context.Background(), func([]*Point) ([]*Point, error) { return nil, nil }); err != nil {
		t.Errorf("after the pin was set again: %v", err)
	}
}

func TestAMemoryThatCannotBeReadIsSaidAndMadeAgain(t *testing.T) {
	f := newFixture(t)
	f.backup(f.repo, "docs", "a", "one")
	paths, err := filepath.Glob(filepath.Join(f.cache, "*", "seen"))
	f.check(err)
	if len(paths) != 1 {
		t.Fatalf("memory at %v", paths)
	}
	f.check(os.WriteFile(paths[0], []byte("rubbish"), 0o600))
	_, err = f.open(f.cache).Points(context.Background())
	f.check(err)
	if len(f.warnings()) != 1 {
		t.Errorf("warned of %v", f.warnings())
	}
	if b, err := os.ReadFile(paths[0]); err != nil || !slices.Contains([]byte(b), '{') {
		t.Errorf("%q, %v", b, err)
	}
}
