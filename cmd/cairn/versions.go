package main

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cairn-backup/cairn/index"
)

func (p *program) versionsCommand() *cli.Command {
	return &cli.Command{
		Name:      "versions",
		Usage:     "list the distinct states of a file over all restore points",
		ArgsUsage: "SOURCE:/PATH",
		Description: examples("Lists every distinct state of a path, the newest first, with the restore points that hold it.",
			"cairn versions Documents:/letters/home.txt"),
		Flags:  repositoryFlags(jsonFlag()),
		Action: p.versionsAction,
	}
}

type versionReport struct {
	Entry  entryReport `json:"entry"`
	Points []string    `json:"points"` // the newest first
}

func (p *program) versionsAction(c *cli.Context) error {
	if err := want(c, 1, 1); err != nil {
		return err
	}
	return p.withRepository(c, func(ctx context.Context, repo *index.Repository) error {
		at, err := p.place(ctx, repo, c.Args().First())
		if err != nil {
			return err
		}
		versions, err := repo.Versions(ctx, at.point.Source, at.path)
		if err != nil {
			return err
		}
		if len(versions) == 0 {
			_, err := entry(ctx, repo, at)
			return err
		}
		t := table{heads: []string{"MODIFIED", "SIZE ", "RESTORE POINTS ", "NEWEST", "OLDEST"}}
		for _, v := range versions {
			names := make([]string, len(v.Points))
			for i, point := range v.Points {
				names[i] = point.Name
			}
			if c.Bool("json") {
				if err := p.printJSON(versionReport{entryJSON(at.path, v.Entry), names}); err != nil {
					return err
				}
				continue
			}
			t.add(moment(time.Unix(0, v.Entry.Mtime)), count(v.Entry.Size), count(int64(len(names))), names[0], names[len(names)-1])
		}
		if !c.Bool("json") {
			t.print(p.out)
		}
		return nil
	})
}
