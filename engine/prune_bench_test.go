package engine_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// BenchmarkPrune forgets every other of 1,000 restore points of 80,000 files, of which 400 in 40 of 800 directories
// change from one to the next, and prunes.
func BenchmarkPrune(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		m := newMuseum(b, 800, 100)
		for n := range 1000 {
			m.exhibit(n, 40, 10)
		}
		points := 0
		_, err := m.repo.Forget(b.Context(), func(all []*index.Point) (chosen []*index.Point, err error) {
			points = len(all)
			for i := 0; i < len(all); i += 2 {
				chosen = append(chosen, all[i])
			}
			return chosen, nil
		})
		if err != nil || points != 1000 {
			b.Fatal(points, err)
		}
		b.StartTimer()
		r, err := engine.Prune(b.Context(), m.repo, engine.PruneOptions{MaxUnused: engine.DefaultMaxUnused})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(r.Plan.Chunks), "chunks")
		b.ReportMetric(float64(r.Removed), "packs-removed")
		b.ReportMetric(float64(r.Copied), "bytes-copied")
		b.StopTimer()
		if report, err := engine.Verify(b.Context(), m.repo, engine.VerifyOptions{}); err != nil || !report.OK() {
			b.Fatalf("after the prune: %+v, %v", report, err)
		}
		b.StartTimer()
	}
}

// museum is a repository whose restore points are made without a source.
type museum struct {
	b    *testing.B
	now  time.Time
	repo *index.Repository
	dirs [][]tree.Entry
	refs []tree.Ref
}

func newMuseum(b *testing.B, dirs, files int) *museum {
	d, err := local.New(filepath.Join(b.TempDir(), "repository"))
	if err != nil {
		b.Fatal(err)
	}
	m := &museum{b: b, now: time.Date(2026, 11, 23, 21, 5, 0, 0, time.UTC), refs: make([]tree.Ref, dirs)}
	store, err := chunkstore.Init(b.Context(), d, chunkstore.InitOptions{Plain: true, Now: m.now})
	if err != nil {
		b.Fatal(err)
	}
	m.repo, err = index.Open(b.Context(), store, index.Options{CacheDir: b.TempDir(), Random: &randomness{r: rand.NewChaCha8([32]byte{5})}, Host: "host", Now: func() time.Time { return m.now }})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.repo.Close() })
	for i := range dirs {
		m.dirs = append(m.dirs, make([]tree.Entry, files))
		for j := range files {
			m.dirs[i][j] = tree.Entry{Name: fmt.Sprintf("file%04d.go", j), Type: tree.File, Mode: 0o644, Links: 1, User: "user", Group: "user"}
		}
	}
	return m
}

// exhibit makes restore point number n, in which some files of some directories are new.
func (m *museum) exhibit(n, dirs, files int) {
	ctx := m.b.Context()
	m.now = m.now.Add(time.Hour)
	s, err := m.repo.Begin(ctx, index.SessionOptions{Source: "museum"})
	check := func(err error) {
		if err != nil {
			m.b.Helper()
			m.b.Fatal(err)
		}
	}
	check(err)
	batch := s.NewBatch()
	root := tree.NewWriter(s)
	for i := range m.dirs {
		if n == 0 || (i*7+n*13)%len(m.dirs) < dirs {
			w := tree.NewWriter(s)
			for j := range m.dirs[i] {
				e := &m.dirs[i][j]
				if n == 0 || (j+n)%len(m.dirs[i]) < files {
					text := fmt.Appendf(nil, "file %d of directory %d, as of restore point %d; and some more text, the same in each", j, i, n)
					id, _, err := batch.Store(ctx, text)
					check(err)
					e.Size, e.Content, e.Mtime, e.Ctime = int64(len(text)), []tree.Extent{{ID: id, Length: int64(len(text))}}, m.now.UnixNano(), m.now.UnixNano()
				}
				check(w.Add(ctx, e))
			}
			m.refs[i], err = w.Finish(ctx)
			check(err)
		}
		e := &tree.Entry{Name: fmt.Sprintf("dir%04d", i), Type: tree.Directory, Mode: 0o755}
		e.SetChild(m.refs[i])
		ok, err := s.Has(e.Child)
		if check(err); !ok {
			m.b.Fatal("a directory is not known")
		}
		check(root.Add(ctx, e))
	}
	check(batch.Flush(ctx))
	ref, err := root.Finish(ctx)
	check(err)
	_, err = s.Commit(ctx, &index.Point{Root: ref, Started: m.now, Finished: m.now})
	check(err)
}
