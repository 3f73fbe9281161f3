package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/cairn-backup/cairn/index"
)

func (p *program) tagCommand() *cli.Command {
	return &cli.Command{
		Name:      "tag",
		Usage:     "tag a restore point",
		ArgsUsage: "SPEC TAG...",
		Description: examples("Adds tags to a restore point, or takes them away. `cairn points` shows them, and `cairn forget --keep-tag` heeds them.",
			"cairn tag docs before-upgrade", "cairn tag --remove docs@2026-11-23T21-05-00Z before-upgrade"),
		Flags: repositoryFlags(
			&cli.BoolFlag{Name: "remove", Usage: "take the tags away"},
			jsonFlag()),
		Action: func(c *cli.Context) error {
			if err := want(c, 2, -1); err != nil {
				return err
			}
			tags := c.Args().Slice()[1:]
			for _, tag := range tags {
				if err := index.CheckTag(tag); err != nil {
					return usagef("tag: %v", err)
				}
			}
			return p.mark(c, c.Args().Slice()[:1], func(point *index.Point) {
				for _, tag := range tags {
					at := slices.Index(point.Tags, tag)
					switch {
					case c.Bool("remove") && at >= 0:
						point.Tags = slices.Delete(point.Tags, at, at+1)
					case !c.Bool("remove") && at < 0:
						point.Tags = append(point.Tags, tag)
					}
				}
			})
		},
	}
}

func (p *program) pinCommand() *cli.Command {
	return &cli.Command{
		Name:      "pin",
		Usage:     "keep restore points whatever a policy says",
		ArgsUsage: "SPEC...",
		Description: examples("Pins restore points: `cairn forget` keeps them, by whatever policy or name, until `cairn unpin`.",
			"cairn pin docs", "cairn pin docs@2026-11-23T21-05-00Z"),
		Flags:  repositoryFlags(jsonFlag()),
		Action: p.pinAction(true),
	}
}

func (p *program) unpinCommand() *cli.Command {
	return &cli.Command{
		Name:        "unpin",
		Usage:       "give pinned restore points back to the policy",
		ArgsUsage:   "SPEC...",
		Description: examples("Takes the pins of restore points away.", "cairn unpin docs@2026-11-23T21-05-00Z"),
		Flags:       repositoryFlags(jsonFlag()),
		Action:      p.pinAction(false),
	}
}

func (p *program) pinAction(pinned bool) cli.ActionFunc {
	return func(c *cli.Context) error {
		if err := want(c, 1, -1); err != nil {
			return err
		}
		return p.mark(c, c.Args().Slice(), func(point *index.Point) { point.Pinned = pinned })
	}
}

// mark changes tags or pins of the restore points that SPECs name, and prints them as they are then.
func (p *program) mark(c *cli.Context, specs []string, edit func(*index.Point)) error {
	return p.withRepository(c, func(ctx context.Context, repo *index.Repository) error {
		var points []*index.Point
		for _, text := range specs {
			at, err := p.place(ctx, repo, text)
			if err != nil {
				return err
			}
			if at.path != "/" {
				return usagef("%s: %q names more than a restore point", c.Command.Name, text).hint("leave the path out")
			}
			points = append(points, at.point)
		}
		if err := repo.Mark(ctx, points, edit); err != nil {
			return err
		}
		now, err := p.points(ctx, repo)
		if now == nil {
			return err
		}
		for _, point := range points {
			i := slices.IndexFunc(now, func(q *index.Point) bool { return q.Sequence == point.Sequence })
			switch {
			case i < 0:
				return fmt.Errorf("%s@%s: %w", point.Source, point.Name, index.ErrForgotten)
			case c.Bool("json"):
				if err := p.printJSON(pointJSON(now[i])); err != nil {
					return err
				}
			default:
				p.note("%s@%s: %s", safe(point.Source), point.Name, orNone(marksOf(now[i])))
			}
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			return errPartial
		}
		return nil
	})
}

// marksOf tells a restore point's pin and tags.
func marksOf(point *index.Point) []string {
	var marks []string
	if point.Pinned {
		marks = append(marks, "pinned")
	}
	for _, tag := range point.Tags {
		marks = append(marks, "tag "+safe(tag))
	}
	return marks
}

func orNone(marks []string) string {
	if len(marks) == 0 {
		return "no pin and no tags"
	}
	return joined(marks)
}
