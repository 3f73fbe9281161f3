package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/index"
)

func (p *program) restoreCommand() *cli.Command {
	return &cli.Command{
		Name:      "restore",
		Usage:     "restore without mounting, fastest",
		ArgsUsage: "SPEC --to DIR",
		Description: examples(`Restores everything that a SPEC names into a directory, which is made when it is missing. A directory becomes DIR itself,
anything else becomes an entry in it. Nothing is ever overwritten without --overwrite: what is in the way is listed, before
the first byte is written. What is damaged is reported, the rest is restored, and the exit code is 3. Device nodes are made
with --devices only, for whoever may open one reaches the machine's disks; without it they are reported like damage.`,
			"cairn restore Documents --to /tmp/all",
			"cairn restore Documents@3d:/letters --to ~/letters-of-then"),
		Flags: repositoryFlags(
			&cli.StringFlag{Name: "to", Usage: "restore into `DIR`"},
			&cli.BoolFlag{Name: "overwrite", Usage: "replace what is in the way"},
			&cli.BoolFlag{Name: "devices", Usage: "make device nodes too; --devices=false leaves them out without a complaint"},
			jsonFlag()),
		Action: p.restoreAction,
	}
}

func (p *program) restoreAction(c *cli.Context) error {
	if err := want(c, 1, 1); err != nil {
		return err
	}
	target := c.String("to")
	if target == "" {
		return usagef("restore: no place to restore to is named").hint("give --to DIR")
	}
	return p.withRepository(c, func(ctx context.Context, repo *index.Repository) error {
		at, err := p.place(ctx, repo, c.Args().First())
		if err != nil {
			return err
		}
		if _, err := entry(ctx, repo, at); err != nil {
			return err
		}
		counters := &engine.Progress{}
		stop := p.showProgress("restoring "+safe(at.point.Source), "file", counters)
		began := p.now()
		leftOut := false // told of one at a time
		problem := func(path string, err error) {
			leftOut = leftOut || errors.Is(err, engine.ErrDeviceLeftOut)
			p.problem(path, err)
		}
		result, err := engine.Restore(ctx, repo, at.point, at.path, target, engine.RestoreOptions{
			Overwrite: c.Bool("overwrite"), Devices: devices(c), Progress: counters, Problem: problem,
			Warn: func(message string) { p.warn(safeLines(message)) },
		})
		stop()
		if context.Cause(ctx) == errInterrupted {
			p.note("what is restored already stays in %s; with --overwrite the same command goes on", safe(target))
		}
		if err != nil {
			return fmt.Errorf("restore %s: %w", safe(at.String()), err)
		}
		if c.Bool("json") {
			if err := p.printJSON(restoreReport{at.point.Source, at.point.Name, target, result.Files, result.Dirs, result.Others, result.Bytes, result.Problems}); err != nil {
				return err
			}
		} else if terminal(p.err) {
			p.note("%s, %s restored to %s in %s", plural(result.Files, "file"), size(result.Bytes), safe(target), length(p.now().Sub(began)))
		}
		if result.Problems > 0 {
			p.note("%s could not be restored entirely", plural(result.Problems, "entry"))
			if leftOut {
				p.hint("--devices makes device nodes too; --devices=false leaves them out without a complaint")
			}
		}
		return partial(result.Problems)
	})
}

func devices(c *cli.Context) engine.Devices {
	switch {
	case c.Bool("devices"):
		return engine.DevicesMade
	case c.IsSet("devices"):
		return engine.DevicesSkipped
	}
	return engine.DevicesReported
}

type restoreReport struct {
	Source   string `json:"source"`
	Point    string `json:"point"`
	Target   string `json:"target"`
	Files    int64  `json:"files"`
	Dirs     int64  `json:"dirs"`
	Others   int64  `json:"others"`
	Bytes    int64  `json:"bytes"`
	Problems int64  `json:"problems"`
}
