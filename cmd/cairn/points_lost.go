package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/index"
)

// The JSON form of a backup that has not ended.
type inProgressReport struct {
	Name    string    `json:"name"`
	Source  string    `json:"source"`
	Host    string    `json:"host"`
	User    string    `json:"user,omitempty"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Renewed time.Time `json:"renewed"`
	Age     float64   `json:"ageSeconds"` // since it last said that it lives
	Stored  int64     `json:"stored,omitempty"`
	Dead    bool      `json:"dead"`
}

// inProgress lists the backups that have not ended, and what unfinished writes left.
func (p *program) inProgress(ctx context.Context, repo *index.Repository, source string, asJSON bool) error {
	running, broken := repo.InProgress(ctx)
	if running == nil && broken != nil {
		return broken
	}
	t := table{heads: []string{"SOURCE", "BACKUP", "HOST", "PROCESS ", "STARTED", "LAST SIGN OF LIFE", "STORED ", "REMARKS"}}
	for _, s := range running {
		if source != "" && s.Source != source {
			continue
		}
		if asJSON {
			if err := p.printJSON(inProgressReport{s.Name, s.Source, s.Host, s.User, s.PID, s.Started, s.Renewed, s.Age.Seconds(), s.Stored, s.Expired}); err != nil {
				return err
			}
			continue
		}
		remarks, stored := "", "unknown"
		if s.Expired {
			remarks = "dead: it gave no sign for " + length(index.SessionExpiry)
		}
		if s.Stored > 0 {
			stored = size(s.Stored)
		}
		t.add(p.shown(s.Source), s.Name, p.shown(s.Host), fmt.Sprint(s.PID), moment(s.Started), length(s.Age.Truncate(time.Second))+" ago", stored, remarks)
	}
	if !asJSON {
		if len(t.rows) > 0 {
			t.print(p.out)
		} else {
			p.note("no backup is in progress")
		}
		if err := p.leftovers(ctx, repo); err != nil {
			return err
		}
	}
	if broken != nil {
		p.note("problem: %s", safeLines(broken.Error()))
		return errPartial
	}
	return nil
}

// leftovers tells how much interrupted backups left, as far as that can be known: packs that no index object lists,
// and files that were not written to their end. Both may as well be of a backup that runs.
func (p *program) leftovers(ctx context.Context, repo *index.Repository) error {
	indexed, err := repo.IndexedPacks(ctx)
	if err != nil {
		return err
	}
	listed := make(map[chunkstore.PackID]bool, len(indexed))
	for _, pack := range indexed {
		listed[pack.ID] = true
	}
	var packs, packBytes, parts, partBytes int64
	err = repo.Store().Packs(ctx, func(pack chunkstore.PackInfo) error {
		if !listed[pack.ID] {
			packs++
			packBytes += pack.Size
		}
		return nil
	})
	if err != nil {
		return err
	}
	if d, ok := repo.Store().Destination().(destination.Leftovers); ok {
		err := d.Leftovers(ctx, func(info destination.Info) error {
			parts++
			partBytes += info.Size
			return nil
		})
		if err != nil {
			return fmt.Errorf("list unfinished files: %w", err)
		}
	}
	if packs > 0 {
		p.note("%s (%s) that no index object lists yet: the next backup finds them and stores none of it again", plural(packs, "pack"), size(packBytes))
	}
	if parts > 0 {
		p.note("%s (%s) not written to the end", plural(parts, "file"), size(partBytes))
	}
	return nil
}

// The JSON form of a lost tree.
type lostReport struct {
	ID       string    `json:"id"`
	Stored   time.Time `json:"stored"`
	Modified time.Time `json:"modified"`
	Files    int64     `json:"files"`
	Dirs     int64     `json:"dirs"`
	Bytes    int64     `json:"bytes"`
}

// shortID is how many digits of a tree's id are shown.
const shortID = 16

// lostAndFound lists trees that no restore point refers to, or makes a restore point of one.
func (p *program) lostAndFound(ctx context.Context, c *cli.Context, repo *index.Repository) error {
	counters := &engine.Progress{}
	stop := p.showProgress("looking through the trees", "tree", counters)
	problems := int64(0)
	lost, err := engine.LostAndFound(ctx, repo, engine.LostOptions{Progress: counters, Problem: func(object string, err error) {
		problems++
		p.problem(object, err)
	}})
	stop()
	if err != nil {
		return err
	}
	if c.IsSet("adopt") {
		return p.adopt(ctx, c, repo, lost)
	}
	t := table{heads: []string{"TREE", "STORED", "DIRECTORY CHANGED", "FILES ", "SIZE "}}
	for _, l := range lost {
		if c.Bool("json") {
			if err := p.printJSON(lostReport{l.ID.String(), l.Stored.UTC(), l.Modified, l.Totals.Files, l.Totals.Dirs, l.Totals.Bytes}); err != nil {
				return err
			}
			continue
		}
		t.add(l.ID.String()[:shortID], moment(l.Stored), moment(l.Modified), count(l.Totals.Files), size(l.Totals.Bytes))
	}
	switch {
	case c.Bool("json"):
	case len(lost) == 0:
		p.note("no tree is lost")
	default:
		t.print(p.out)
		p.note("`cairn points --lost-and-found --adopt TREE --source NAME` makes a restore point of one")
	}
	return partial(problems)
}

func (p *program) adopt(ctx context.Context, c *cli.Context, repo *index.Repository, lost []engine.LostTree) error {
	id := strings.ToLower(c.String("adopt"))
	var found []engine.LostTree
	for _, l := range lost {
		if id != "" && strings.HasPrefix(l.ID.String(), id) {
			found = append(found, l)
		}
	}
	switch {
	case len(found) == 0:
		return failf("`cairn points --lost-and-found` lists them", "there is no lost tree %s", safe(id))
	case len(found) > 1:
		return failf("give more of its digits", "%s lost trees begin with %s", count(int64(len(found))), safe(id))
	}
	name := c.String("source")
	points, _ := p.points(ctx, repo)
	if len(ofSource(points, name)) > 0 {
		p.warn(fmt.Sprintf("%s has restore points already: the adopted one becomes its latest", safe(name)))
	}
	counters := &engine.Progress{}
	stop := p.showProgress("adopting", "tree", counters)
	result, err := engine.Adopt(ctx, repo, found[0], engine.AdoptOptions{
		Source: name, User: userName(), PID: os.Getpid(), Progress: counters, Problem: p.problem,
	})
	stop()
	if err != nil {
		return err
	}
	return p.backupDone(c, result)
}
