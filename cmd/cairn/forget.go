package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/engine/retention"
	"github.com/cairn-backup/cairn/index"
)

func (p *program) forgetCommand() *cli.Command {
	return &cli.Command{
		Name:      "forget",
		Usage:     "drop restore points by a policy, or by name",
		ArgsUsage: "[SOURCE@NAME...]",
		Description: examples(`Drops the restore points that no rule keeps, of each source for itself. Rules add up: what any of them wants stays. Of
each of the newest so many hours, days, weeks, months and years that have a restore point, the newest one stays. With
--min-age alone, what is older goes.

What stays in any case: the newest restore point of each source, what is pinned (`+"`cairn pin`"+`), and, unless their source
is given by --source or all are by --one-time, backups that no task made. Without a rule nothing goes.

Restore points can also be named, exactly, in place of a policy. Space comes back with `+"`cairn prune`"+`.`,
			"cairn forget --source docs --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run",
			"cairn forget --source docs --keep-last 3 --min-age 30d --keep-tag before-upgrade",
			"cairn forget docs@2026-11-23T21-05-00Z"),
		Flags: repositoryFlags(
			&cli.IntFlag{Name: "keep-last", Usage: "keep the newest `N`"},
			&cli.IntFlag{Name: "keep-hourly", Usage: "keep the newest of each of `N` hours"},
			&cli.IntFlag{Name: "keep-daily", Usage: "keep the newest of each of `N` days"},
			&cli.IntFlag{Name: "keep-weekly", Usage: "keep the newest of each of `N` weeks"},
			&cli.IntFlag{Name: "keep-monthly", Usage: "keep the newest of each of `N` months"},
			&cli.IntFlag{Name: "keep-yearly", Usage: "keep the newest of each of `N` years"},
			&cli.StringSliceFlag{Name: "keep-tag", Usage: "keep what is tagged `TAG`"},
			&cli.StringFlag{Name: "min-age", Usage: "keep what is not older than `AGE`, at least 1d, for example 30d, 6mo or 2y"},
			&cli.StringSliceFlag{Name: "source", Aliases: []string{"s"}, Usage: "only restore points of the source `NAME`, one-time backups included"},
			&cli.BoolFlag{Name: "one-time", Usage: "also backups that no task made, of all sources"},
			&cli.BoolFlag{Name: "even-the-last", Usage: "let the last restore point of a source be named too"},
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "show why each restore point stays or goes, and change nothing"},
			jsonFlag()),
		Action: p.forgetAction,
	}
}

func (p *program) forgetAction(c *cli.Context) error {
	o, err := p.forgetOptions(c)
	if err != nil {
		return err
	}
	return p.withRepository(c, func(ctx context.Context, repo *index.Repository) error {
		if o.Points, err = p.namedPoints(ctx, repo, c.Args().Slice()); err != nil {
			return err
		}
		plan, err := engine.PlanForget(ctx, repo, o)
		if err != nil {
			return forgetError(err)
		}
		if plan.Damaged != nil {
			p.note("problem: %s", safeLines(plan.Damaged.Error()))
		}
		gone := plan.Going()
		if !c.Bool("dry-run") {
			gone, err = engine.Forget(ctx, repo, plan)
		}
		if printed := p.printForget(plan, gone, c.Bool("json"), c.Bool("dry-run")); printed != nil {
			return printed
		}
		if err != nil {
			return forgetError(err)
		}
		p.forgetDone(plan, gone, c.Bool("dry-run"))
		if plan.Damaged != nil {
			return errPartial
		}
		return nil
	})
}

// forgetOptions reads the flags, and refuses those that make no sense together.
func (p *program) forgetOptions(c *cli.Context) (engine.ForgetOptions, error) {
	o := engine.ForgetOptions{
		Policy: retention.Policy{
			Last: c.Int("keep-last"), Hourly: c.Int("keep-hourly"), Daily: c.Int("keep-daily"), Weekly: c.Int("keep-weekly"),
			Monthly: c.Int("keep-monthly"), Yearly: c.Int("keep-yearly"), Tags: c.StringSlice("keep-tag"),
		},
		Scope:   retention.Scope{Sources: c.StringSlice("source"), OneTime: c.Bool("one-time")},
		LastToo: c.Bool("even-the-last"),
		Now:     p.now(),
	}
	if c.IsSet("min-age") {
		age, err := minAge(c.String("min-age"), o.Now)
		if err != nil {
			return o, err
		}
		o.Policy.MinAge = age
	}
	if err := o.Policy.Check(); err != nil {
		return o, usagef("forget: %v", err)
	}
	switch named := c.NArg() > 0; {
	case named && (o.Policy.Enabled() || len(o.Scope.Sources) > 0 || o.Scope.OneTime):
		return o, usagef("forget: either a policy or restore points can be given, not both").hint("name the restore points in a run of their own")
	case !named && o.LastToo:
		return o, usagef("forget: --even-the-last is for restore points that are named; a policy always keeps the newest of a source")
	case !named && !o.Policy.Enabled():
		return o, usagef("forget: %v", engine.ErrNoPolicy).hint("give a rule such as --keep-daily 7 or --min-age 30d, or name restore points: SOURCE@NAME")
	}
	return o, nil
}

var ages = regexp.MustCompile(`^(\d{1,6}(mo|[hdwy]))+$`)

// minAge reads an age such as 30d or 1y6mo. Months and years are those of the calendar before now.
func minAge(text string, now time.Time) (time.Duration, error) {
	then, ok := index.ParseWhen(text, now)
	if !ok || !ages.MatchString(text) {
		return 0, usagef("forget: --min-age %q is no age", text).hint("write a number and a unit: 1d, 2w, 6mo or 1y; at least one day")
	}
	age := now.Sub(then)
	if age < retention.MinAge { // also nothing at all, which the policy would take for no rule
		return 0, usagef("forget: --min-age %s is less than a day", text).hint("the shortest is 1d, so that a mistake cannot take the newest backups along")
	}
	return age, nil
}

// namedPoints finds restore points that are to go. What goes must be named exactly: a time that happens to mean
// another restore point than was thought of is no way to lose one.
func (p *program) namedPoints(ctx context.Context, repo *index.Repository, texts []string) ([]*index.Point, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	points, broken := p.points(ctx, repo)
	var named []*index.Point
	for _, text := range texts {
		spec, err := index.ParseSpec(text)
		if err != nil || spec.Path != "/" {
			return nil, usagef("forget: %q names no restore point", text).hint("a restore point is named SOURCE@NAME, as `cairn points` lists them")
		}
		point, err := index.Resolve(points, spec.Source, spec.When, p.now())
		if err != nil {
			return nil, errors.Join(err, broken)
		}
		if point.Name != spec.When {
			return nil, usagef("forget: %s names no restore point exactly", safe(text)).hint("write %s@%s if that is the one", safe(point.Source), point.Name)
		}
		named = append(named, point)
	}
	return named, nil
}

// forgetError adds what to do about it.
func forgetError(err error) error {
	var refused *engine.RefusedError
	var marks *index.MarksError
	var rolledBack *index.RollbackError
	switch {
	case errors.As(err, &refused) && refused.Last:
		return failf("--even-the-last forgets it all the same", "forget: %w", err)
	case errors.As(err, &refused):
		return failf(fmt.Sprintf("cairn unpin %s@%s", safe(refused.Point.Source), refused.Point.Name), "forget: %w", err)
	case errors.As(err, &marks), errors.As(err, &rolledBack):
		return failf("look at `cairn points`, and set what is missing with `cairn pin` or `cairn tag`: that also writes the rest afresh", "%w", err)
	}
	return err
}

// The JSON form of a decision.
type forgetReport struct {
	Source    string   `json:"source"`
	Name      string   `json:"name"`
	Sequence  uint64   `json:"sequence"`
	Keep      bool     `json:"keep"`
	Forgotten bool     `json:"forgotten"`
	Reasons   []string `json:"reasons"`
}

// printForget prints the whole plan for a dry run and for programs, and else what is gone.
func (p *program) printForget(plan *engine.ForgetPlan, gone []*index.Point, asJSON, dryRun bool) error {
	t := table{heads: []string{"", "SOURCE", "RESTORE POINT", "WHY"}}
	isGone := func(point *index.Point) bool {
		return slices.ContainsFunc(gone, func(q *index.Point) bool { return q.Sequence == point.Sequence })
	}
	decisions := slices.Clone(plan.Decisions)
	for _, point := range gone {
		if !slices.ContainsFunc(decisions, func(d engine.ForgetDecision) bool { return d.Point.Sequence == point.Sequence }) {
			decisions = append(decisions, engine.ForgetDecision{Point: point, Reasons: []string{"forgotten before, by a run that was interrupted"}})
		}
	}
	for _, d := range decisions {
		point := d.Point
		if asJSON {
			report := forgetReport{point.Source, point.Name, point.Sequence, d.Keep, !dryRun && isGone(point), d.Reasons}
			if err := p.printJSON(report); err != nil {
				return err
			}
			continue
		}
		switch {
		case d.Keep && dryRun:
			t.add("keep", p.shown(point.Source), point.Name, safe(strings.Join(d.Reasons, ", ")))
		case !d.Keep && isGone(point):
			t.add("forget", p.shown(point.Source), point.Name, safe(strings.Join(d.Reasons, ", ")))
		}
	}
	if len(t.rows) > 0 {
		t.print(p.out)
	}
	return nil
}

func (p *program) forgetDone(plan *engine.ForgetPlan, gone []*index.Point, dryRun bool) {
	switch {
	case dryRun:
		p.note("%s would be forgotten, %s would stay; this was a dry run", plural(int64(len(gone)), "restore point"), count(int64(len(plan.Decisions)-len(gone))))
	case len(gone) > 0:
		p.note("%s forgotten; `cairn prune` gives their space back", plural(int64(len(gone)), "restore point"))
	default:
		p.note("nothing is forgotten")
	}
	if plan.Exempt > 0 {
		p.note("%s stayed because no task made them; --source NAME or --one-time puts them under the policy", plural(int64(plan.Exempt), "one-time backup"))
	}
}
