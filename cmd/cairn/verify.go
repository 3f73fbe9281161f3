package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/index"
)

func (p *program) verifyCommand() *cli.Command {
	return &cli.Command{
		Name:  "verify",
		Usage: "find damage",
		Description: examples(`Checks that every object is there, is whole in size, head and table, and that every chunk of every restore point lies in a
pack that is there. With --read-data every byte is read, parity included. Damage is named: the object, whether parity mends
it, and otherwise which files of which restore points it costs. Nothing is changed. The exit code is 3 when there is damage.`,
			"cairn verify", "cairn verify --read-data"),
		Flags: repositoryFlags(
			&cli.BoolFlag{Name: "read-data", Usage: "read every byte"},
			jsonFlag()),
		Action: p.verifyAction,
	}
}

func (p *program) verifyAction(c *cli.Context) error {
	if err := want(c, 0, 0); err != nil {
		return err
	}
	return p.withRepository(c, func(ctx context.Context, repo *index.Repository) error {
		counters := &engine.Progress{}
		stop := p.showProgress("verifying", "object", counters)
		began := p.now()
		report, err := engine.Verify(ctx, repo, engine.VerifyOptions{ReadData: c.Bool("read-data"), Progress: counters, Problem: p.finding(c)})
		stop()
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		if c.Bool("json") {
			if err := p.printJSON(report); err != nil {
				return err
			}
		} else {
			fmt.Fprintf(p.out, "%s, %s and %s looked at in %s: ", plural(report.Objects, "object"), size(report.Bytes), plural(report.Points, "restore point"), length(p.now().Sub(began)))
			fmt.Fprintln(p.out, verdict(report))
		}
		if !report.OK() {
			return errPartial
		}
		return nil
	})
}

// verdict is what a verify found, in one line.
func verdict(r *engine.VerifyReport) string {
	switch {
	case r.OK() && r.ReadData:
		return "every byte is as it was written"
	case r.OK():
		return "no damage found"
	case r.Lost+r.LostFiles+r.LostDirs+r.LostPoints > 0:
		return fmt.Sprintf("DAMAGE beyond parity: %s, %s, %s; %s that `cairn repair` mends", plural(r.LostFiles, "file"),
			plural(r.LostDirs, "directory"), plural(r.LostPoints, "restore point"), plural(r.Healable, "object"))
	}
	return fmt.Sprintf("damage; nothing is lost: %s to mend with `cairn repair`", plural(r.Healable, "object"))
}

// finding gives what prints findings as they are made. In JSON they are in the report.
func (p *program) finding(c *cli.Context) func(engine.Finding) {
	if c.Bool("json") {
		return nil
	}
	return func(f engine.Finding) {
		what := f.Object
		if f.Path != "" || f.Point != "" {
			what = f.Source + "@" + f.Point
			if f.Path != "" {
				what += ":" + f.Path
			}
		}
		text := fmt.Sprintf("%s: %s: %s", f.Kind, safe(what), safeLines(f.Message))
		for i, r := range f.Ranges {
			if i == maxRanges {
				text += fmt.Sprintf("; and %d more ranges", len(f.Ranges)-i)
				break
			}
			text += fmt.Sprintf("; bytes %d to %d", r.Offset, r.Offset+r.Length)
		}
		if f.Remedy != "" {
			text += " (" + f.Remedy + ")"
		}
		fmt.Fprintln(p.out, text)
	}
}

// maxRanges bounds how many ranges of one file are printed; JSON has them all.
const maxRanges = 10
