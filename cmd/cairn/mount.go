package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/cairn-backup/cairn/fs"
	"github.com/cairn-backup/cairn/index"
)

func (p *program) mountCommand() *cli.Command {
	return &cli.Command{
		Name:      "mount",
		Usage:     "show all restore points as one read-only tree",
		ArgsUsage: "DIR",
		Description: examples(`Mounts the repository on an empty directory and serves it until Ctrl-C or `+"`cairn umount DIR`"+`. In the tree:

  DIR/SOURCE/2026-11-23T21-05-00Z/   a restore point
  DIR/SOURCE/latest/                 the newest one
  DIR/SOURCE/@3d/, @2026-11-20/      the newest one not after that time (not listed, but there)
  DIR/SOURCE/.versions/path/to/file/ every distinct version of that file

New restore points appear by themselves, within a second. Each user sees what the permissions in the restore points let
him see; without --allow-other, a mount that is not root's is for its own user alone, and shows him everything.`,
			"cairn mount ~/backups", "cairn mount --background ~/backups", "diff -r ~/backups/Documents/@3d ~/Documents"),
		Flags: repositoryFlags(
			&cli.BoolFlag{Name: "background", Aliases: []string{"b"}, Usage: "return once it is mounted, and serve on in the background"},
			&cli.StringFlag{Name: "log", Usage: "in the background, write messages to `FILE` (default: mount.log in the cache directory)"},
			&cli.BoolFlag{Name: "allow-other", Usage: "let other users in too (a mount of root always does)"},
			&cli.BoolFlag{Name: "debug", Usage: "log every request of the kernel"}),
		Action: p.mountAction,
	}
}

func (p *program) mountAction(c *cli.Context) error {
	if err := want(c, 1, 1); err != nil {
		return err
	}
	if c.Bool("background") {
		return p.mountInBackground(c)
	}
	return p.withRepository(c, func(ctx context.Context, repo *index.Repository) error {
		dir := c.Args().First()
		mounted, err := fs.Mount(ctx, repo, dir, fs.Options{
			AllowOther: c.Bool("allow-other"), Debug: c.Bool("debug"), Now: p.now,
			Log: func(line string) { p.note("%s", safeLines(line)) },
		})
		if err != nil {
			return fmt.Errorf("mount on %s: %w", safe(dir), err)
		}
		isBackground, err := p.detach(c)
		if err != nil {
			return errors.Join(err, mounted.Unmount())
		}
		if !isBackground {
			p.note("mounted on %s; Ctrl-C or `cairn umount %s` ends it", safe(dir), safe(dir))
		}
		return serve(ctx, mounted)
	})
}

// serve waits until the mount has ended: by a signal, which ends it cleanly and is no failure, or from outside.
func serve(ctx context.Context, mounted *fs.Mounted) error {
	ended := make(chan error, 1)
	go func() { ended <- mounted.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		if err := mounted.Unmount(); err != nil {
			return fmt.Errorf("unmount: %w", err)
		}
		return <-ended
	}
}

func (p *program) umountCommand() *cli.Command {
	return &cli.Command{
		Name:        "umount",
		Usage:       "end a mount",
		ArgsUsage:   "DIR",
		Description: examples("Ends the mount on a directory, also one in the background.", "cairn umount ~/backups"),
		Action: func(c *cli.Context) error {
			if err := want(c, 1, 1); err != nil {
				return err
			}
			dir := c.Args().First()
			if err := fs.Unmount(dir); err != nil {
				return fmt.Errorf("unmount %s: %w", safe(dir), err)
			}
			return nil
		},
	}
}

// logFile opens where a mount in the background writes its messages.
func (p *program) logFile(c *cli.Context) (*os.File, error) {
	path := c.String("log")
	if path == "" {
		dir, err := p.cacheDir(c)
		if err != nil {
			return nil, err
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("open the log: %w", err)
		}
		path = dir + "/mount.log"
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return f, nil
}
