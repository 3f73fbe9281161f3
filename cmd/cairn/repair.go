package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/index"
)

func (p *program) repairCommand() *cli.Command {
	return &cli.Command{
		Name:  "repair",
		Usage: "mend damage from parity",
		Description: examples(`Reads every object and writes those afresh whose damage parity can mend. What is damaged beyond it keeps what can still
be read; the exit code is 3 then. With --index, index objects that are lost are rebuilt from the packs.`,
			"cairn repair --dry-run", "cairn repair", "cairn repair --index"),
		Flags: repositoryFlags(
			&cli.BoolFlag{Name: "index", Usage: "rebuild lost index objects from the packs too"},
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "say what would be done, and change nothing"},
			jsonFlag()),
		Action: p.repairAction,
	}
}

func (p *program) repairAction(c *cli.Context) error {
	if err := want(c, 0, 0); err != nil {
		return err
	}
	return p.withRepository(c, func(ctx context.Context, repo *index.Repository) error {
		counters := &engine.Progress{}
		options := engine.RepairOptions{Index: c.Bool("index"), DryRun: c.Bool("dry-run"), Progress: counters, Problem: p.finding(c)}
		done := "mended"
		if options.DryRun {
			done = "would be mended"
		}
		if !c.Bool("json") {
			options.Repaired = func(object string) { fmt.Fprintf(p.out, "%s: %s\n", done, object) }
		}
		stop := p.showProgress("repairing", "object", counters)
		report, err := engine.Repair(ctx, repo, options)
		stop()
		if err != nil {
			return fmt.Errorf("repair: %w", err)
		}
		if c.Bool("json") {
			if err := p.printJSON(report); err != nil {
				return err
			}
		} else {
			fmt.Fprintf(p.out, "%s looked at, %d %s", plural(report.Objects, "object"), len(report.Repaired), done)
			if i := report.Index; i != nil {
				fmt.Fprintf(p.out, ", %s entered into the index", plural(int64(i.Packs), "pack"))
			}
			if report.OK() {
				fmt.Fprintln(p.out, "; nothing damaged is left")
			} else {
				fmt.Fprintf(p.out, "; %s could not be mended\n", plural(report.Unmended, "finding"))
			}
		}
		if !report.OK() {
			return errPartial
		}
		return nil
	})
}
