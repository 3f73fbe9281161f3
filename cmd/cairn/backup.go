package main

import (
	"context"
	"fmt"
	"os"
	"os/user"

	"github.com/urfave/cli/v2"

	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/engine/source"
	"github.com/cairn-backup/cairn/index"
)

func (p *program) backupCommand() *cli.Command {
	return &cli.Command{
		Name:      "backup",
		Usage:     "take a backup now",
		ArgsUsage: "PATH...",
		Description: examples(`Makes a restore point of the paths and prints its name. The source is named after the last element of the path, or by
--source; one path becomes the root of the restore point, several become a folder each. Files whose size, times and inode
are those of the last restore point are not read again, unless with --full. Either way the restore point stands alone.

What cannot be read is reported and left out, the rest is kept, and the exit code is 3.
Patterns are those of .gitignore, relative to the root of the source.`,
			"cairn backup ~/Documents",
			"cairn backup --source home --exclude '*.tmp' --exclude-caches /home",
			"cairn backup --source etc-and-srv /etc /srv",
			"cairn backup --full ~/Documents"),
		Flags: repositoryFlags(
			&cli.StringFlag{Name: "source", Aliases: []string{"s"}, Usage: "name the source `NAME`"},
			&cli.BoolFlag{Name: "full", Usage: "read every file again"},
			&cli.StringSliceFlag{Name: "exclude", Aliases: []string{"e"}, Usage: "leave out what matches `PATTERN`"},
			&cli.StringSliceFlag{Name: "exclude-file", Usage: "leave out what matches a pattern in `FILE`, one a line"},
			&cli.StringSliceFlag{Name: "exclude-if-present", Usage: "leave out what is in a directory that holds `NAME`"},
			&cli.BoolFlag{Name: "exclude-caches", Usage: "leave out what is in a directory with a CACHEDIR.TAG"},
			&cli.BoolFlag{Name: "one-file-system", Aliases: []string{"x"}, Usage: "do not descend into other file systems"},
			&cli.StringSliceFlag{Name: "tag", Usage: "keep `TAG` with the restore point"},
			&cli.BoolFlag{Name: "pin", Usage: "pin the restore point: no policy drops it"},
			&cli.BoolFlag{Name: "ignore-space", Usage: "start though less space is free than will probably be needed"},
			jsonFlag()),
		Action: p.backupAction,
	}
}

func (p *program) backupAction(c *cli.Context) error {
	if err := want(c, 1, -1); err != nil {
		return err
	}
	for _, tag := range c.StringSlice("tag") {
		if err := index.CheckTag(tag); err != nil {
			return usagef("backup: %v", err)
		}
	}
	return p.withRepository(c, func(ctx context.Context, repo *index.Repository) error {
		src, name, err := p.fileSource(c, repo.Store().Destination())
		if err != nil {
			return err
		}
		counters := &engine.Progress{}
		if terminal(p.err) {
			counting, enough := context.WithCancel(ctx)
			defer enough()
			go countAhead(counting, src, counters)
		}
		stop := p.showProgress("backing up "+safe(name), "file", counters)
		result, err := engine.Backup(ctx, repo, src, engine.BackupOptions{
			Source: name, Full: c.Bool("full"), Tags: c.StringSlice("tag"), Pinned: c.Bool("pin"), IgnoreSpace: c.Bool("ignore-space"),
			Now: p.now, Progress: counters, User: userName(), PID: os.Getpid(),
			Warn:    func(message string) { p.warn(safeLines(message)) },
			Problem: p.problem,
		})
		stop()
		if err != nil {
			return fmt.Errorf("back up %s: %w", name, err)
		}
		return p.backupDone(c, result)
	})
}

// countAhead finds out how much there is, for the time left, unless the engine has an idea already.
func countAhead(ctx context.Context, src source.Source, counters *engine.Progress) {
	c, ok := src.(interface {
		Count(context.Context) (files, bytes int64, err error)
	})
	if !ok {
		return
	}
	files, bytes, err := c.Count(ctx)
	if err == nil && counters.TotalBytes.CompareAndSwap(0, bytes) {
		counters.TotalFiles.Store(files)
	}
}

// userName is who runs this, or "" on a system that does not say.
func userName() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

func (p *program) backupDone(c *cli.Context, result *engine.BackupResult) error {
	point := result.Point
	if c.Bool("json") {
		if err := p.printJSON(pointJSON(point)); err != nil {
			return err
		}
		return partial(result.Problems)
	}
	fmt.Fprintln(p.out, point.Name)
	if terminal(p.err) {
		s := point.Stats
		p.note("%s: %s, %s; %s read, %s new, %s stored; %s", safe(point.Source), plural(s.Files, "file"), size(s.Bytes), size(s.Read),
			size(s.Added), size(s.AddedStored), length(point.Finished.Sub(point.Started)))
	}
	if result.Problems > 0 {
		p.note("%s could not be backed up entirely; the restore point holds all the rest", plural(result.Problems, "entry"))
	}
	return partial(result.Problems)
}

// problem prints one path that something went wrong with.
func (p *program) problem(path string, err error) {
	p.note("problem: %s: %s", safe(path), safeLines(err.Error()))
}
