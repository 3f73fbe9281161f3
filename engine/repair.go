package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/index"
)

// RepairOptions tune Repair. The zero value mends everything that parity can mend.
type RepairOptions struct {
	// Index also mends what the index says: what is missing in it is read from the packs alone, index objects that
	// are lost are dropped, and chunks that are lost are forgotten, so that the next full backup stores them again.
	Index bool
	// DryRun finds out what would be done and changes nothing.
	DryRun bool
	// Workers is the number of objects looked at at once; zero means one a processor. Each may take 80 MB.
	Workers int
	// Progress, when not nil, is counted up as in Verify.
	Progress *Progress
	// Problem, when not nil, is told of what could not be mended, one call at a time.
	Problem func(Finding)
	// Repaired, when not nil, is told of each object that was mended, or with DryRun would be, one call at a time.
	Repaired func(object string)
}

// RepairReport is what Repair did.
type RepairReport struct {
	DryRun    bool           `json:"dryRun"`
	Objects   int64          `json:"objects"`   // looked at
	Bytes     int64          `json:"bytes"`     // read
	Repaired  []string       `json:"repaired"`  // objects written afresh, or with DryRun to be written
	Cells     int64          `json:"cells"`     // damaged cells in them that are whole again
	Dropped   []string       `json:"dropped"`   // lost index objects whose content was rebuilt
	Forgotten int64          `json:"forgotten"` // lost chunks that the index lists no more
	Recorded  int            `json:"recorded"`  // packs of which something is lost, written down for later backups to store it again
	Findings  []Finding      `json:"findings"`  // what could not be mended, and what is harmless; the first MaxFindings
	Unmended  int64          `json:"unmended"`  // how many of the findings, listed or not, are damage
	Index     *index.Rebuilt `json:"index,omitempty"`
}

// OK says that nothing damaged is left.
func (r *RepairReport) OK() bool { return r.Unmended == 0 }

// Repair reads every object and rewrites those whose damage parity can mend, each atomically: whoever reads
// meanwhile sees the old object or the mended one. What is damaged beyond its parity keeps what of it can still be
// read. With Index, the packs' own tables give back what index objects have lost.
func Repair(ctx context.Context, repo *index.Repository, o RepairOptions) (*RepairReport, error) {
	r := &repairer{repo: repo, store: repo.Store(), o: o, report: &RepairReport{DryRun: o.DryRun}, damage: packDamage{}}
	if r.o.Progress == nil {
		r.o.Progress = &Progress{}
	}
	r.o.Progress.SetPhase("list")
	objects, foreign, err := listObjects(ctx, r.store)
	if err != nil {
		return nil, fmt.Errorf("list the repository's objects: %w", err)
	}
	for _, name := range foreign {
		r.find(foreignFile(name))
	}
	for _, o := range objects {
		r.o.Progress.TotalBytes.Add(o.size)
	}
	r.o.Progress.TotalFiles.Store(int64(len(objects)))
	r.o.Progress.SetPhase("repair")
	if err := eachObject(ctx, objects, o.Workers, r.object); err != nil {
		return r.report, err
	}
	if err := r.missing(ctx, repo, objects); err != nil {
		return r.report, err
	}
	if len(r.damage) > 0 && !o.DryRun {
		n, err := repo.RecordLost(ctx, r.damage.places())
		if err != nil {
			return r.report, err
		}
		r.report.Recorded = n
	}
	if o.Index && !o.DryRun {
		r.o.Progress.SetPhase("index")
		if err := r.index(ctx, repo); err != nil {
			return r.report, fmt.Errorf("rebuild the index: %w", err)
		}
	}
	for _, f := range r.lostIndex {
		r.find(f)
	}
	return r.report, nil
}

type repairer struct {
	repo  *index.Repository
	store *chunkstore.Store
	o     RepairOptions

	mu        sync.Mutex
	report    *RepairReport
	damage    packDamage // beyond parity
	lostIndex []Finding  // found damaged; whether the rebuild makes them needless is seen at the end
}

// missing looks for packs that the index lists and that are not there.
func (r *repairer) missing(ctx context.Context, repo *index.Repository, objects []object) error {
	indexed, err := repo.IndexedPacks(ctx)
	if err != nil {
		return fmt.Errorf("list the packs that the index knows: %w", err)
	}
	for _, p := range indexed {
		name := p.ID.ObjectName()
		if _, ok := findObject(objects, name); ok {
			continue
		}
		check, err := r.store.CheckObject(ctx, name, false)
		if err != nil {
			return fmt.Errorf("check %s: %w", name, err)
		}
		if pruned, _ := repo.Pruned(ctx, p.ID); pruned { // a ledger that cannot be read is a finding of its own
			continue
		}
		if check.Missing {
			r.damage[p.ID] = newDamagedPack(check)
			r.find(judge(name, check))
		}
	}
	return nil
}

// object checks one object in full and mends it.
func (r *repairer) object(ctx context.Context, o object) error {
	check, err := r.store.CheckObject(ctx, o.name, true)
	if err != nil {
		return fmt.Errorf("check %s: %w", o.name, err)
	}
	r.o.Progress.Files.Add(1)
	r.o.Progress.Read.Add(o.size)
	r.mu.Lock()
	r.report.Objects++
	r.report.Bytes += o.size
	r.mu.Unlock()
	if check.OK() || vanished(o.name, check) {
		return nil
	}
	if id, ok := chunkstore.ParsePackID(o.name); ok {
		if pruned, _ := r.repo.Pruned(ctx, id); pruned {
			return ctx.Err()
		}
	}
	f := judge(o.name, check)
	mended := !check.Foreign && (isConfig(o.name) || f.Kind == Healable || check.Bad > check.Lost)
	if mended && !r.o.DryRun {
		after, err := r.store.RepairObject(ctx, o.name)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil { // the others are mended all the same
			f.Message += fmt.Sprintf("; mending it failed: %v", err)
		}
		mended = err == nil && after.Repaired
	}
	if mended {
		r.repaired(o.name, check.Bad-check.Lost)
	}
	if id, ok := chunkstore.ParsePackID(o.name); ok && f.Kind == ObjectLost {
		r.mu.Lock()
		r.damage[id] = newDamagedPack(check)
		r.mu.Unlock()
	}
	switch {
	case f.Kind == IndexLost:
		r.mu.Lock()
		r.lostIndex = append(r.lostIndex, f)
		r.mu.Unlock()
	case f.Kind != Healable || !mended:
		r.find(f)
	}
	return nil
}

func (r *repairer) repaired(name string, cells int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Repaired = append(r.report.Repaired, name)
	r.report.Cells += cells
	if r.o.Repaired != nil {
		r.o.Repaired(name)
	}
}

// index rebuilds the index, drops the index objects that said what was rebuilt, and forgets what is lost.
func (r *repairer) index(ctx context.Context, repo *index.Repository) error {
	rebuilt, err := repo.RebuildIndex(ctx)
	if err != nil {
		return err
	}
	r.report.Index = &rebuilt
	if len(r.damage) > 0 {
		n, err := repo.ForgetLost(ctx, r.damage.lost, func(id chunkstore.PackID) bool { return r.damage[id] != nil && r.damage[id].absent })
		if err != nil {
			return err
		}
		r.report.Forgotten = int64(n)
	}
	if len(rebuilt.Damaged) > 0 {
		return nil // a pack's table is lost: what is left of an index object may still be of use to somebody
	}
	var kept []Finding
	for _, f := range r.lostIndex {
		err := r.store.RemoveObject(ctx, chunkstore.TypeIndex, strings.TrimPrefix(f.Object, "index/"))
		if err != nil && !errors.Is(err, destination.ErrNotFound) {
			kept = append(kept, f)
			continue
		}
		r.report.Dropped = append(r.report.Dropped, f.Object)
	}
	r.lostIndex = kept
	return nil
}

func (r *repairer) find(f Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !f.Harmless() {
		r.report.Unmended++
		r.o.Progress.Errors.Add(1)
	}
	if len(r.report.Findings) < MaxFindings {
		r.report.Findings = append(r.report.Findings, f)
	}
	if r.o.Problem != nil {
		r.o.Problem(f)
	}
}
