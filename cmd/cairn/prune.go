package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/index"
)

func (p *program) pruneCommand() *cli.Command {
	return &cli.Command{
		Name:  "prune",
		Usage: "give back the space that no restore point needs",
		Description: examples(`Deletes packs that hold nothing of any restore point, and rewrites those of which much is not in use any more. It may run
beside backups, mounts, restores and other prunes, and may be interrupted at any time. What a backup that is under way might
still rely on is deleted by a later prune. It also cleans up what backups left that died more than a day ago.`,
			"cairn prune --dry-run", "cairn prune", "cairn prune --max-unused 0 --max-repack 10GiB"),
		Flags: repositoryFlags(
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "say what would be done, and change nothing"},
			&cli.StringFlag{Name: "max-unused", Value: "10%", Usage: "tolerate that `PART` of the repository is unused in packs that are partly in use"},
			&cli.StringFlag{Name: "max-repack", Usage: "rewrite no more than `SIZE` (500MB, 10GiB); the rest is for the next prune"},
			jsonFlag()),
		Action: p.pruneAction,
	}
}

func (p *program) pruneAction(c *cli.Context) error {
	if err := want(c, 0, 0); err != nil {
		return err
	}
	unused, err := part(c.String("max-unused"))
	if err != nil {
		return err
	}
	repack := uint64(0)
	if text := c.String("max-repack"); text != "" {
		if repack, err = humanize.ParseBytes(text); err != nil || repack == 0 || repack > 1<<62 {
			return usagef("--max-repack: %q is not a size", text).hint("for example 500MB or 10GiB")
		}
	}
	return p.withRepository(c, func(ctx context.Context, repo *index.Repository) error {
		counters := &engine.Progress{}
		stop := p.showProgress("pruning", "pack", counters)
		report, err := engine.Prune(ctx, repo, engine.PruneOptions{MaxUnused: unused, MaxRepack: int64(repack), DryRun: c.Bool("dry-run"),
			PID: os.Getpid(), Progress: counters, Warn: func(message string) { p.warn(safeLines(message)) }})
		stop()
		if err != nil {
			return fmt.Errorf("prune: %w", err)
		}
		if c.Bool("json") {
			return p.printJSON(report)
		}
		p.pruneDone(report)
		return nil
	})
}

// part reads a part of the whole: 10%, or 0.1.
func part(text string) (float64, error) {
	number, percent := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(number, 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v >= 0 && v <= 1) {
		return 0, usagef("--max-unused: %q is not a part of the whole", text).hint("for example 10%% or 0.1")
	}
	return v, nil
}

func (p *program) pruneDone(r *engine.PruneReport) {
	plan := &r.Plan
	fmt.Fprintf(p.out, "%s, %s in use; %s in all, %s unused\n", plural(int64(plan.Points), "restore point"), plural(int64(plan.Chunks), "chunk"),
		size(plan.Size), size(plan.Unused))
	if r.DryRun {
		for _, d := range plan.Packs {
			fmt.Fprintf(p.out, "%-7s  %s  %s, %s unused: %s\n", d.Fate, d.Pack, size(d.Size), size(d.Unused), d.Reason)
		}
		fmt.Fprintf(p.out, "would delete %s and write %s again; %s would stay unused\n", size(plan.Delete), size(plan.Repack), size(plan.Left))
		return
	}
	fmt.Fprintf(p.out, "deleted %s, %s\n", plural(int64(r.Removed), "pack"), size(r.Freed))
	for _, n := range []struct {
		count int
		what  string
	}{
		{r.Waiting, "condemned, but backups are under way: a later prune deletes it"},
		{r.Reprieved, "condemned packs turned out to be needed, and stay"},
		{r.Sessions, "backups that had died were cleaned up"},
		{r.Stuck, "backups died while they completed: what they stored is kept"},
		{r.Leftovers, "files of interrupted writes were deleted"},
	} {
		if n.count > 0 {
			fmt.Fprintf(p.out, "%d %s\n", n.count, n.what)
		}
	}
	if plan.Missing > 0 {
		p.warn(fmt.Sprintf("%s of restore points are lost: `cairn verify` names the files", plural(int64(plan.Missing), "chunk")))
	}
}
