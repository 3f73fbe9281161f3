package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/index"
)

func (p *program) statsCommand() *cli.Command {
	return &cli.Command{
		Name:        "stats",
		Usage:       "say what the repository holds and how large it is",
		Description: examples("Adds up the restore points and the objects of the repository.", "cairn stats", "cairn stats --json"),
		Flags:       repositoryFlags(jsonFlag()),
		Action:      p.statsAction,
	}
}

type repositoryReport struct {
	Repository string                   `json:"repository"`
	Place      string                   `json:"place"`
	Format     int                      `json:"format"`
	Parity     string                   `json:"parity"`
	Encrypted  bool                     `json:"encrypted"`
	Created    time.Time                `json:"created"`
	Sources    int                      `json:"sources"`
	Points     int                      `json:"points"`
	InProgress []runningReport          `json:"inProgress,omitempty"`
	PointBytes int64                    `json:"pointBytes"` // sum of the sizes of all files of all restore points
	Objects    int64                    `json:"objects"`
	Bytes      int64                    `json:"bytes"` // parity included
	Folders    map[string]*folderReport `json:"folders"`
	Foreign    int64                    `json:"foreign"` // files that are not the repository's
	Free       *int64                   `json:"free,omitempty"`
}

type folderReport struct {
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

type runningReport struct {
	Name    string    `json:"name"`
	Source  string    `json:"source"`
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Renewed time.Time `json:"renewed"` // its last sign of life
	Expired bool      `json:"expired"`
}

func (p *program) statsAction(c *cli.Context) error {
	if err := want(c, 0, 0); err != nil {
		return err
	}
	return p.withRepository(c, func(ctx context.Context, repo *index.Repository) error {
		report, err := p.gatherStats(ctx, repo, c.String("repo"))
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return p.printJSON(report)
		}
		p.printStats(report)
		return nil
	})
}

func (p *program) gatherStats(ctx context.Context, repo *index.Repository, where string) (*repositoryReport, error) {
	store := repo.Store()
	config := store.Config()
	r := &repositoryReport{
		Repository: hex.EncodeToString(config.Repository[:]), Place: where, Format: config.Version, Parity: config.Shape.String(),
		Encrypted: !config.Plain, Created: config.Created, Folders: map[string]*folderReport{},
	}
	points, err := p.points(ctx, repo)
	if err != nil && len(points) == 0 {
		return nil, err
	}
	sources := map[string]bool{}
	for _, point := range points {
		sources[point.Source] = true
		r.PointBytes += point.Stats.Bytes
	}
	r.Sources, r.Points = len(sources), len(points)
	running, err := repo.InProgress(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range running {
		r.InProgress = append(r.InProgress, runningReport{s.Name, s.Source, s.Host, s.PID, s.Started, s.Renewed, s.Expired})
	}
	err = store.Objects(ctx, func(info destination.Info, foreign bool) error {
		if foreign {
			r.Foreign++
			return nil
		}
		folder, _, _ := strings.Cut(info.Name, "/")
		f := r.Folders[folder]
		if f == nil {
			f = &folderReport{}
			r.Folders[folder] = f
		}
		f.Objects++
		f.Bytes += info.Size
		r.Objects++
		r.Bytes += info.Size
		return nil
	})
	if err != nil {
		return nil, err
	}
	if space, ok := store.Destination().(destination.Spacer); ok {
		if free, _, err := space.Free(ctx); err == nil {
			r.Free = &free
		}
	}
	return r, nil
}

func (p *program) printStats(r *repositoryReport) {
	encrypted := "encrypted"
	if !r.Encrypted {
		encrypted = "not encrypted"
	}
	fmt.Fprintf(p.out, "repository %s at %s, %s, parity %s, format %d, made %s\n", r.Repository[:8], safe(r.Place), encrypted, r.Parity, r.Format, moment(r.Created))
	fmt.Fprintf(p.out, "%s of %s; their files add up to %s\n", plural(int64(r.Points), "restore point"), plural(int64(r.Sources), "source"), size(r.PointBytes))
	t := table{heads: []string{"FOLDER", "OBJECTS ", "SIZE "}}
	for _, name := range sortedKeys(r.Folders) {
		t.add(name, count(r.Folders[name].Objects), size(r.Folders[name].Bytes))
	}
	t.add("all", count(r.Objects), size(r.Bytes))
	t.print(p.out)
	if r.Free != nil {
		fmt.Fprintf(p.out, "%s free at the repository\n", size(*r.Free))
	}
	for _, s := range r.InProgress {
		state := "last heard of at " + moment(s.Renewed)
		if s.Expired {
			state = "ended without being completed"
		}
		fmt.Fprintf(p.out, "in progress: %s of %s on %s, process %d, since %s (%s)\n", s.Name, safe(s.Source), safe(s.Host), s.PID, moment(s.Started), state)
	}
	if r.Foreign > 0 {
		fmt.Fprintf(p.out, "%s there that cairn did not write; `cairn verify` names them\n", plural(r.Foreign, "file"))
	}
}
