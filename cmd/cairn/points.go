package main

import (
	"context"
	"encoding/hex"
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cairn-backup/cairn/index"
)

func (p *program) pointsCommand() *cli.Command {
	return &cli.Command{
		Name:      "points",
		Usage:     "list restore points",
		ArgsUsage: "[SOURCE]",
		Description: examples(`Lists the completed restore points of all sources, or of one, the oldest first.

With --in-progress it lists the backups that have not ended instead: those that run, and what died. With
--lost-and-found it looks through the repository for trees of backups that no restore point refers to, because it was
forgotten or its record was lost, and, with --adopt, makes a restore point of one.`,
			"cairn points", "cairn points Documents", "cairn points --json | jq -r .name", "cairn points --in-progress",
			"cairn points --lost-and-found", "cairn points --lost-and-found --adopt 3f2a91 --source found"),
		Flags: repositoryFlags(
			&cli.BoolFlag{Name: "in-progress", Usage: "list the backups that have not ended"},
			&cli.BoolFlag{Name: "lost-and-found", Usage: "list the trees that no restore point refers to"},
			&cli.StringFlag{Name: "adopt", Usage: "make a restore point of the lost tree `ID`; its first digits are enough"},
			&cli.StringFlag{Name: "source", Aliases: []string{"s"}, Usage: "adopt as a restore point of the source `NAME`"},
			jsonFlag()),
		Action: p.pointsAction,
	}
}

func (p *program) pointsAction(c *cli.Context) error {
	if err := want(c, 0, 1); err != nil {
		return err
	}
	if err := checkPointsFlags(c); err != nil {
		return err
	}
	return p.withRepository(c, func(ctx context.Context, repo *index.Repository) error {
		switch {
		case c.Bool("in-progress"):
			return p.inProgress(ctx, repo, c.Args().First(), c.Bool("json"))
		case c.Bool("lost-and-found"):
			return p.lostAndFound(ctx, c, repo)
		}
		points, broken := p.points(ctx, repo)
		if len(points) == 0 && broken != nil {
			return broken
		}
		if source := c.Args().First(); source != "" {
			if _, err := index.Resolve(points, source, "latest", p.now()); err != nil {
				return err
			}
			points = ofSource(points, source)
		}
		if err := p.printPoints(points, c.Bool("json")); err != nil {
			return err
		}
		if broken != nil {
			return errPartial
		}
		return nil
	})
}

// checkPointsFlags refuses flags that make no sense together.
func checkPointsFlags(c *cli.Context) error {
	lost := c.Bool("lost-and-found")
	switch {
	case lost && c.Bool("in-progress"):
		return usagef("points: --in-progress and --lost-and-found exclude each other")
	case c.IsSet("adopt") && !lost:
		return usagef("points: --adopt goes with --lost-and-found")
	case c.IsSet("adopt") != c.IsSet("source"):
		return usagef("points: --adopt and --source go together").hint("cairn points --lost-and-found --adopt ID --source NAME")
	case lost && c.NArg() > 0:
		return usagef("points: whose a lost tree was is not known, so --lost-and-found takes no source")
	}
	if c.IsSet("source") {
		if err := index.CheckSource(c.String("source")); err != nil {
			return usagef("points: %v", err)
		}
	}
	return nil
}

// points lists the restore points with their marks; records that cannot be read are reported, and are in the error.
func (p *program) points(ctx context.Context, repo *index.Repository) ([]*index.Point, error) {
	points, err := repo.Marked(ctx)
	if err != nil && len(points) > 0 && !errors.Is(err, context.Canceled) {
		p.note("problem: %s", safeLines(err.Error()))
	}
	return points, err
}

func ofSource(points []*index.Point, source string) []*index.Point {
	var some []*index.Point
	for _, point := range points {
		if point.Source == source {
			some = append(some, point)
		}
	}
	return some
}

func (p *program) printPoints(points []*index.Point, asJSON bool) error {
	if asJSON {
		for _, point := range points {
			if err := p.printJSON(pointJSON(point)); err != nil {
				return err
			}
		}
		return nil
	}
	t := table{heads: []string{"SOURCE", "RESTORE POINT", "KIND", "FILES ", "SIZE ", "NEW ", "STORED ", "TOOK ", "REMARKS"}}
	for _, point := range points {
		s := point.Stats
		remarks := marksOf(point)
		if s.Errors > 0 {
			remarks = append(remarks, plural(s.Errors, "problem"))
		}
		t.add(p.shown(point.Source), point.Name, point.Kind, count(s.Files), size(s.Bytes), size(s.Added), size(s.AddedStored),
			length(point.Finished.Sub(point.Started)), joined(remarks))
	}
	if len(points) == 0 {
		p.note("no restore points yet; `cairn backup PATH` makes one")
		return nil
	}
	t.print(p.out)
	return nil
}

// The JSON form of a restore point.
type pointReport struct {
	Source   string            `json:"source"`
	Name     string            `json:"name"`
	Sequence uint64            `json:"sequence"`
	Kind     string            `json:"kind"`
	Host     string            `json:"host"`
	User     string            `json:"user"`
	Started  time.Time         `json:"started"`
	Finished time.Time         `json:"finished"`
	Zone     string            `json:"zone"`
	Offset   int               `json:"offsetSeconds"`
	Paths    []jsonName        `json:"paths"`
	Root     string            `json:"root"`
	Tags     []string          `json:"tags,omitempty"`
	Pinned   bool              `json:"pinned,omitempty"`
	Config   map[string]string `json:"config,omitempty"`
	Stats    statsReport       `json:"stats"`
	Problems []problemReport   `json:"problems,omitempty"`
}

type statsReport struct {
	Files     int64 `json:"files"`
	Dirs      int64 `json:"dirs"`
	Others    int64 `json:"others"`
	Bytes     int64 `json:"bytes"`
	Read      int64 `json:"read"`
	New       int64 `json:"new"`
	Changed   int64 `json:"changed"`
	Unchanged int64 `json:"unchanged"`
	Removed   int64 `json:"removed"`
	Added     int64 `json:"added"`
	Stored    int64 `json:"stored"`
	Reused    int64 `json:"reused"`
	Problems  int64 `json:"problems"`
}

type problemReport struct {
	jsonName
	Message string `json:"message"`
}

func pointJSON(p *index.Point) pointReport {
	s := p.Stats
	r := pointReport{
		Source: p.Source, Name: p.Name, Sequence: p.Sequence, Kind: p.Kind, Host: p.Host, User: p.User,
		Started: p.Started, Finished: p.Finished, Zone: p.Zone, Offset: p.Offset, Root: hex.EncodeToString(p.Root.ID[:]),
		Tags: p.Tags, Pinned: p.Pinned, Config: p.Config,
		Stats: statsReport{s.Files, s.Dirs, s.Others, s.Bytes, s.Read, s.New, s.Changed, s.Unchanged, s.Removed, s.Added, s.AddedStored, s.Reused, s.Errors},
	}
	for _, path := range p.Paths {
		r.Paths = append(r.Paths, nameJSON(path))
	}
	for _, problem := range p.Problems {
		r.Problems = append(r.Problems, problemReport{nameJSON(problem.Path), problem.Message})
	}
	return r
}
