package main

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/urfave/cli/v2"

	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

func (p *program) diffCommand() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "say what changed between two restore points",
		ArgsUsage: "SPEC [SPEC]",
		Description: examples(`Prints what was added (+), removed (-) or modified (M), and whose mode, owner, time or attributes alone differ (m), from the
first SPEC to the second. With one SPEC it is compared with the restore point before it.`,
			"cairn diff Documents", "cairn diff Documents@3d Documents", "cairn diff Documents@7d:/letters Documents@latest:/letters"),
		Flags:  repositoryFlags(jsonFlag()),
		Action: p.diffAction,
	}
}

var changeMarks = map[tree.ChangeKind]string{tree.Added: "+", tree.Removed: "-", tree.Modified: "M", tree.Metadata: "m"}

type changeReport struct {
	jsonName
	Change string       `json:"change"`
	Old    *entryReport `json:"old,omitempty"`
	New    *entryReport `json:"new,omitempty"`
}

func (p *program) diffAction(c *cli.Context) error {
	if err := want(c, 1, 2); err != nil {
		return err
	}
	return p.withRepository(c, func(ctx context.Context, repo *index.Repository) error {
		from, to, err := p.diffPlaces(ctx, repo, c.Args())
		if err != nil {
			return err
		}
		old, err := entry(ctx, repo, from)
		if err != nil {
			return err
		}
		cur, err := entry(ctx, repo, to)
		if err != nil {
			return err
		}
		show := func(change tree.Change) error { return p.showChange(to.path, change, c.Bool("json")) }
		if old.IsDir() && cur.IsDir() {
			return tree.Diff(ctx, repo, old.Child, cur.Child, show)
		}
		if kind := tree.Compare(old, cur); kind != 0 {
			return show(tree.Change{Kind: kind, Old: old, New: cur})
		}
		return nil
	})
}

func (p *program) diffPlaces(ctx context.Context, repo *index.Repository, args cli.Args) (from, to place, err error) {
	if from, err = p.place(ctx, repo, args.First()); err != nil {
		return from, to, err
	}
	if args.Len() == 2 {
		to, err = p.place(ctx, repo, args.Get(1))
		return from, to, err
	}
	to = from
	from.point = nil
	points, err := repo.Marked(ctx)
	for _, point := range ofSource(points, to.point.Source) {
		if point.Sequence < to.point.Sequence && (from.point == nil || point.Sequence > from.point.Sequence) {
			from.point = point
		}
	}
	if from.point == nil {
		return from, to, errors.Join(err, failf("name two restore points", "%s is the first restore point of %s", to.point.Name, safe(to.point.Source)))
	}
	return from, to, nil
}

func (p *program) showChange(below string, change tree.Change, asJSON bool) error {
	name := path.Join(below, change.Path)
	if !asJSON {
		_, err := fmt.Fprintf(p.out, "%s %s\n", changeMarks[change.Kind], p.shown(name))
		return err
	}
	r := changeReport{jsonName: nameJSON(name), Change: change.Kind.String()}
	for _, side := range []struct {
		e  *tree.Entry
		to **entryReport
	}{{change.Old, &r.Old}, {change.New, &r.New}} {
		if side.e != nil {
			e := entryJSON(name, side.e)
			*side.to = &e
		}
	}
	return p.printJSON(r)
}
