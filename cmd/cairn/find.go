package main

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

func (p *program) findCommand() *cli.Command {
	return &cli.Command{
		Name:      "find",
		Usage:     "find names in a restore point",
		ArgsUsage: "SPEC [PATTERN...]",
		Description: examples(`Prints the paths below a SPEC whose name matches one of the patterns (* ? [a-z]); a pattern with a slash in it is compared
with the whole path. Without a pattern every path is printed.`,
			"cairn find Documents '*.txt'", "cairn find Documents@3d:/letters --type d", "cairn find -l home '/user/*/.bashrc'"),
		Flags: repositoryFlags(
			&cli.StringFlag{Name: "type", Aliases: []string{"t"}, Usage: "only entries of `TYPE`: f file, d directory, l symlink, p FIFO, s socket, c and b devices"},
			&cli.BoolFlag{Name: "long", Aliases: []string{"l"}, Usage: "with modes, owners, sizes and times"},
			&cli.BoolFlag{Name: "print0", Aliases: []string{"0"}, Usage: "end each path with a zero byte instead of a line break"},
			jsonFlag()),
		Action: p.findAction,
	}
}

var entryTypes = map[string]tree.Type{"f": tree.File, "d": tree.Directory, "l": tree.Symlink, "p": tree.FIFO, "s": tree.Socket, "c": tree.CharDevice, "b": tree.BlockDevice}

func (p *program) findAction(c *cli.Context) error {
	if err := want(c, 1, -1); err != nil {
		return err
	}
	patterns := c.Args().Tail()
	for _, pattern := range patterns {
		if _, err := path.Match(pattern, ""); err != nil {
			return usagef("find: pattern %q: %v", pattern, err)
		}
	}
	only, known := entryTypes[c.String("type")]
	if !known && c.IsSet("type") {
		return usagef("find: there is no type %q", c.String("type")).hint("f, d, l, p, s, c or b")
	}
	return p.withRepository(c, func(ctx context.Context, repo *index.Repository) error {
		at, err := p.place(ctx, repo, c.Args().First())
		if err != nil {
			return err
		}
		top, err := entry(ctx, repo, at)
		if err != nil {
			return err
		}
		list := &listing{p: p, json: c.Bool("json"), long: c.Bool("long")}
		show := func(name string, e *tree.Entry) error {
			if only != 0 && e.Type != only || !matchesAny(patterns, name) {
				return nil
			}
			if c.Bool("print0") {
				_, err := fmt.Fprintf(p.out, "%s\x00", name)
				return err
			}
			return list.show(name, e)
		}
		if !top.IsDir() {
			return show(at.path, top)
		}
		var lost int64
		err = tree.WalkDamaged(ctx, repo, top.Child, func(below string, e *tree.Entry) error {
			if below == "" {
				return nil
			}
			return show(path.Join(at.path, below), e)
		}, func(below string, err error) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			lost++
			p.problem(path.Join(at.path, below), err)
			return nil
		})
		if err != nil {
			return err
		}
		return partial(lost)
	})
}

// matchesAny says whether a path with a leading slash matches a pattern, or whether there is none to match.
func matchesAny(patterns []string, name string) bool {
	if len(patterns) == 0 {
		return true
	}
	for _, pattern := range patterns {
		against := path.Base(name)
		if strings.Contains(pattern, "/") {
			against = name
		}
		if ok, err := path.Match(pattern, against); ok && err == nil {
			return true
		}
	}
	return false
}
