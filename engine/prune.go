package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/index"
)

// DefaultMaxUnused is which part of the repository may be taken by what nobody needs before packs are rewritten.
const DefaultMaxUnused = 0.10

// PruneOptions tune Prune. The zero value is sound but for MaxUnused: 0 rewrites every pack that holds anything unused.
type PruneOptions struct {
	// MaxUnused is the part of the repository (0 to 1) that chunks nobody needs may take in packs that also hold others.
	// When it is more, the worst packs are rewritten until it is not.
	MaxUnused float64
	// MaxRepack bounds what rewriting may write, bytes; 0 for no bound. What it leaves is for a later prune.
	MaxRepack int64
	// DryRun finds out what would be done and changes nothing.
	DryRun bool
	// User and PID are told to whoever looks. Both may be empty.
	User string
	PID  int
	// Workers is the number of packs copied at once; zero means one a processor.
	Workers int
	// Progress, when not nil, is counted up: Read and TotalBytes in bytes of what is rewritten.
	Progress *Progress
	// Warn, when not nil, is told of what stays though it should not.
	Warn func(message string)
}

// PruneReport is what Prune did, or with DryRun would do.
type PruneReport struct {
	DryRun    bool      `json:"dryRun"`
	Plan      PrunePlan `json:"plan"`
	Copied    int64     `json:"copied"`    // bytes read to be written again
	Removed   int       `json:"removed"`   // packs deleted, those that earlier prunes condemned included
	Freed     int64     `json:"freed"`     // bytes of them
	Reprieved int       `json:"reprieved"` // condemned packs that turned out to be needed
	Waiting   int       `json:"waiting"`   // condemnations that wait for backups that are under way
	Sessions  int       `json:"sessions"`  // backups that had died, cleaned up
	Stuck     int       `json:"stuck"`     // backups that died while they completed: what they stored is kept
	Leftovers int       `json:"leftovers"` // files that interrupted writes had left, deleted
}

// Prune gives back the space that no restore point needs. It may run beside backups, readers and other prunes, and may
// be interrupted at any point: it never deletes a chunk that a restore point needs, or that one will need which is being
// made (package index says how). What it cannot delete yet because a backup is under way, a later prune deletes.
func Prune(ctx context.Context, repo *index.Repository, o PruneOptions) (report *PruneReport, err error) {
	if o.MaxUnused < 0 || o.MaxUnused > 1 {
		return nil, errors.New("the unused part that is tolerated must be between 0 and 1")
	}
	if o.Progress == nil {
		o.Progress = &Progress{}
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	o.Progress.SetPhase("survey")
	p, err := repo.BeginPrune(ctx, index.SessionOptions{User: o.User, PID: o.PID}, o.DryRun)
	if err != nil {
		return nil, fmt.Errorf("begin a prune: %w", err)
	}
	defer func() { err = errors.Join(err, p.End(context.WithoutCancel(ctx))) }()
	survey, err := p.Survey(ctx)
	if err != nil {
		return nil, fmt.Errorf("find out what is in use: %w", err)
	}
	report = &PruneReport{DryRun: o.DryRun, Plan: planPrune(survey, o)}
	if o.DryRun {
		return report, nil
	}
	if err := condemn(ctx, p, o, report); err != nil {
		return report, err
	}
	o.Progress.SetPhase("delete")
	buried, err := p.Bury(ctx)
	report.Removed, report.Freed, report.Reprieved, report.Waiting = buried.Removed, buried.Bytes, buried.Reprieved, buried.Waiting
	if err != nil {
		return report, fmt.Errorf("delete what is condemned: %w", err)
	}
	swept, err := p.Sweep(ctx)
	report.Sessions, report.Stuck, report.Leftovers = swept.Sessions, swept.Stuck, swept.Files
	if err != nil {
		return report, fmt.Errorf("clean up: %w", err)
	}
	return report, nil
}

// condemn rewrites the packs that the plan says, and condemns these and the dead ones.
func condemn(ctx context.Context, p *index.Pruner, o PruneOptions, report *PruneReport) error {
	doomed := report.Plan.packs(Delete)
	if rewrite := report.Plan.packs(Rewrite); len(rewrite) > 0 {
		o.Progress.TotalBytes.Store(report.Plan.Repack)
		o.Progress.SetPhase("rewrite")
		copied, err := p.Copy(ctx, rewrite, doomed, o.Workers, func(n int64) { o.Progress.Read.Add(n) })
		if err != nil {
			return err
		}
		report.Copied = copied.Bytes
		doomed = append(doomed, copied.Packs...)
		for _, err := range copied.Bad {
			if o.Warn != nil {
				o.Warn(err.Error())
			}
		}
	}
	if err := p.Condemn(ctx, doomed); err != nil {
		return fmt.Errorf("condemn what is not in use: %w", err)
	}
	return nil
}

// packs gives the packs that a fate awaits.
func (p *PrunePlan) packs(fate PackFate) []chunkstore.PackID {
	var ids []chunkstore.PackID
	for _, d := range p.Packs {
		if d.Fate == fate {
			ids = append(ids, d.id)
		}
	}
	return ids
}
