//go:build linux

package engine_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/index"
)

func (h *host) prune(o engine.PruneOptions) (*engine.PruneReport, error) {
	return engine.Prune(h.w.t.Context(), h.repo, o)
}

func (h *host) mustPrune(o engine.PruneOptions) *engine.PruneReport {
	h.w.t.Helper()
	r, err := h.prune(o)
	if err != nil {
		h.w.t.Fatalf("prune: %v", err)
	}
	return r
}

func (h *host) mustBackup(content map[string]string) {
	h.w.t.Helper()
	if err := os.RemoveAll(h.source); err != nil {
		h.w.t.Fatal(err)
	}
	for name, text := range content {
		path := filepath.Join(h.source, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			h.w.t.Fatal(err)
		}
	}
	if err := h.backup(content); err != nil {
		h.w.t.Fatalf("backup: %v", err)
	}
}

func (h *host) mustForgetAllBut(keep int) {
	h.w.t.Helper()
	points, err := h.repo.Points(h.w.t.Context())
	for i := 0; err == nil && i < len(points)-keep; i++ {
		err = h.forget(points[i])
	}
	if err != nil {
		h.w.t.Fatal(err)
	}
}

// objects counts the files below a folder of the repository.
func (w *world) objects(folder string) (n int) {
	w.t.Helper()
	err := filepath.WalkDir(filepath.Join(w.dir, folder), func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.Type().IsRegular() {
			n++
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func text(n int) string { return strings.Repeat(fmt.Sprintf("text number %d. ", n), 50) }

func TestPruneDeletesWhatNoRestorePointNeeds(t *testing.T) {
	w := newWorld(t, 1)
	h := w.host("host", 0)
	h.mustBackup(map[string]string{"a": text(1), "b": text(2)})
	h.mustBackup(map[string]string{"c": text(3)})
	before := w.objects("packs")
	if r := h.mustPrune(engine.PruneOptions{}); r.Removed != 0 || w.objects("packs") != before {
		t.Errorf("with everything in use %d packs were removed", r.Removed)
	}
	h.mustForgetAllBut(1)
	plan := h.mustPrune(engine.PruneOptions{DryRun: true}).Plan
	if w.objects("packs") != before || w.objects("tombstones")+w.objects("ledger")+w.objects("sessions") != 0 {
		t.Error("a dry run has changed something")
	}
	r := h.mustPrune(engine.PruneOptions{})
	if r.Removed != 2 || r.Freed != plan.Delete || w.objects("packs") != 2 {
		t.Errorf("removed %+v, planned %+v, %d packs are left", r, plan, w.objects("packs"))
	}
	if w.objects("tombstones")+w.objects("sessions") != 0 {
		t.Error("tombstones or markers are left")
	}
	w.mustBeWhole()
	other := w.host("other", 0)
	other.mustBackup(map[string]string{"a": text(1)}) // what is gone is not taken for known
	w.mustBeWhole()
	if r := h.mustPrune(engine.PruneOptions{}); r.Removed != 0 || r.Plan.Unused != 0 {
		t.Errorf("pruned again: %+v", r)
	}
}

func TestPacksThatAreMostlyUnusedAreRewritten(t *testing.T) {
	w := newWorld(t, 1)
	h, reader := w.host("host", 0), w.host("reader", 0)
	content := map[string]string{}
	for i := range 20 {
		content[fmt.Sprint(i)] = text(i)
	}
	h.mustBackup(content)
	h.mustBackup(map[string]string{"7": text(7), "9": text(9)})
	points, err := reader.repo.Points(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kept := points[1]
	if _, err := reader.read(kept); err != nil {
		t.Fatal(err)
	}
	h.mustForgetAllBut(1)
	if r := h.mustPrune(engine.PruneOptions{MaxUnused: 1}); r.Plan.Repack != 0 || r.Plan.Left == 0 {
		t.Errorf("rewritten though all was tolerated: %+v", r.Plan)
	}
	if r := h.mustPrune(engine.PruneOptions{MaxRepack: 1}); r.Plan.Repack != 0 || r.Plan.Left == 0 {
		t.Errorf("rewritten beyond the bound: %+v", r.Plan)
	}
	r := h.mustPrune(engine.PruneOptions{MaxUnused: engine.DefaultMaxUnused})
	if r.Copied == 0 || r.Removed == 0 {
		t.Errorf("%+v", r)
	}
	if again := h.mustPrune(engine.PruneOptions{}); again.Plan.Unused != 0 {
		t.Errorf("unused is still %+v", again.Plan)
	}
	if _, err := reader.read(kept); err != nil { // its index is from before
		t.Errorf("a reader that was there before: %v", err)
	}
	w.mustBeWhole()
}

func TestPruneRefusesWhenItCannotTellWhatIsInUse(t *testing.T) {
	for _, folder := range []string{"points", "packs"} {
		w := newWorld(t, 1)
		h := w.host("host", 0)
		h.mustBackup(map[string]string{"a": text(1)})
		h.mustBackup(map[string]string{"a": text(2)})
		before := w.objects("packs")
		err := filepath.WalkDir(filepath.Join(w.dir, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			return os.WriteFile(path, make([]byte, 12<<10), 0o600)
		})
		if err != nil {
			t.Fatal(err)
		}
		fresh := w.host("fresh", 0)
		if _, err := fresh.prune(engine.PruneOptions{}); err == nil {
			t.Errorf("%s are damaged: the prune went on", folder)
		}
		if n := w.objects("packs"); n != before || w.objects("tombstones") != 0 {
			t.Errorf("%s are damaged: %d packs of %d are left", folder, n, before)
		}
	}
}

func TestVerifyThatBeganBeforeAPruneFindsNoDamage(t *testing.T) {
	w := newWorld(t, 1)
	h, other := w.host("host", 0), w.host("other", 0)
	h.mustBackup(map[string]string{"a": text(1), "b": text(2)})
	h.mustBackup(map[string]string{"b": text(2)})
	if _, err := other.repo.Points(t.Context()); err != nil { // its index is from now
		t.Fatal(err)
	}
	h.mustForgetAllBut(1)
	h.mustPrune(engine.PruneOptions{})
	r, err := engine.Verify(t.Context(), other.repo, engine.VerifyOptions{ReadData: true})
	if err != nil || !r.OK() {
		t.Errorf("%+v, %v", r.Findings, err)
	}
}

func TestNextBackupStoresWhatRepairHasFoundLost(t *testing.T) {
	w := newWorld(t, 1)
	h := w.host("host", 0)
	content := map[string]string{"a/1": text(1), "b": text(2)}
	h.mustBackup(content)
	points, err := h.repo.Points(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range mustPacks(t, h) {
		if err := os.Remove(filepath.Join(w.dir, p.ID.ObjectName())); err != nil {
			t.Fatal(err)
		}
	}
	report, err := engine.Repair(t.Context(), h.repo, engine.RepairOptions{})
	if err != nil || report.Recorded != 2 {
		t.Fatalf("%+v, %v", report, err)
	}
	if err := h.backup(content); err != nil { // not one file has changed
		t.Fatal(err)
	}
	if got, err := w.host("fresh", 0).read(points[0]); err != nil || fmt.Sprint(got) != fmt.Sprint(content) {
		t.Errorf("the older restore point: %v", err)
	}
	w.mustBeWhole()
}

func mustPacks(t *testing.T, h *host) []index.IndexedPack {
	t.Helper()
	packs, err := h.repo.IndexedPacks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return packs
}

// worldSeeds are how many worlds the property is tried in; more with CAIRN_WORLDS.
func worldSeeds() (first, n uint64) {
	n = 4
	if v, err := strconv.ParseUint(os.Getenv("CAIRN_WORLDS"), 10, 32); err == nil {
		n = v
	}
	first, _ = strconv.ParseUint(os.Getenv("CAIRN_WORLD_SEED"), 10, 32)
	return first + 1, n
}

func TestNothingNeededIsEverDeletedWhateverTheOrderOfSteps(t *testing.T) {
	first, n := worldSeeds()
	for seed := first; seed < first+n; seed++ {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) { liveThrough(t, seed) })
	}
}

// liveThrough has three hosts back up, two prune and one read and forget at once. One of them crashes.
func liveThrough(t *testing.T, seed uint64) {
	w := newWorld(t, seed)
	programs := make(map[*host]func(*host))
	var busy atomic.Int32
	busy.Store(3)
	var removed atomic.Int64
	for i, wrong := range []time.Duration{0, -100 * time.Hour, 1000 * time.Hour} {
		h := w.host(fmt.Sprintf("writer%d", i), wrong)
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		if i == 2 && seed%2 == 0 {
			h.crashAt = 20 + random.IntN(300)
		}
		programs[h] = func(h *host) {
			defer busy.Add(-1)
			for range 5 {
				content := h.write(random)
				err := h.backup(content)
				var condemned *index.CondemnedError
				if h.dead() {
					return
				}
				if err != nil && !errors.As(err, &condemned) && !errors.Is(err, index.ErrBarred) { // slept through five passes
					t.Errorf("seed %d: %s: %v", seed, h.name, err)
				}
			}
		}
	}
	for i, wrong := range []time.Duration{50 * time.Hour, -400 * time.Hour} {
		h := w.host(fmt.Sprintf("pruner%d", i), wrong)
		if i == 1 && seed%3 == 0 {
			h.crashAt = 20 + int(seed*37%200)
		}
		programs[h] = func(h *host) {
			for busy.Load() > 0 {
				r, err := h.prune(engine.PruneOptions{Workers: 1})
				if h.dead() {
					return
				}
				if err != nil {
					t.Errorf("seed %d: %s: %v", seed, h.name, err)
					return
				}
				removed.Add(int64(r.Removed))
			}
		}
	}
	forgetter := w.host("forgetter", 0)
	random := rand.New(rand.NewPCG(seed, 77))
	programs[forgetter] = func(h *host) {
		for busy.Load() > 0 {
			points, err := h.repo.Points(t.Context())
			if err != nil || len(points) == 0 {
				continue
			}
			p := points[random.IntN(len(points))]
			got, err := h.read(p)
			w.mu.Lock()
			want, known := w.points[pointKey{p.Source, p.Name}]
			w.mu.Unlock()
			switch {
			case err != nil:
				t.Errorf("seed %d: %s@%s cannot be read before anybody forgets it: %v", seed, p.Source, p.Name, err)
			case known && fmt.Sprint(got) != fmt.Sprint(want):
				t.Errorf("seed %d: %s@%s reads as something else", seed, p.Source, p.Name)
			}
			if random.IntN(4) == 0 {
				if err := h.forget(p); err != nil {
					t.Errorf("seed %d: forget: %v", seed, err)
				}
			}
		}
	}
	w.run(programs)
	kept := w.mustBeWhole()
	// Days later, with everybody gone or dead, all the rest is deleted.
	w.advance(100 * time.Hour)
	last := w.host("last", 0)
	last.mustPrune(engine.PruneOptions{})
	r := last.mustPrune(engine.PruneOptions{})
	if w.mustBeWhole() != kept {
		t.Errorf("seed %d: restore points are gone", seed)
	}
	if again := last.mustPrune(engine.PruneOptions{}); again.Plan.Unused != 0 || again.Waiting != 0 {
		t.Errorf("seed %d: %d bytes unused and %d tombstones are left", seed, again.Plan.Unused, again.Waiting)
	}
	t.Logf("%d restore points of %d are left, %d packs were removed meanwhile and %d at the end", kept, len(w.points), removed.Load(), r.Removed)
}
