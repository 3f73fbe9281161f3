package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/engine/retention"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// ErrNoPolicy: neither a policy nor restore points were given. Nothing is ever forgotten by default.
var ErrNoPolicy = errors.New("no policy and no restore point was given, so nothing is forgotten")

// ForgetOptions say what may be forgotten: what a policy lets go, or points that are named, never both.
type ForgetOptions struct {
	// Policy and Scope decide, when Policy is enabled.
	Policy retention.Policy
	Scope  retention.Scope
	// Points go whatever a policy would say, unless they are pinned.
	Points []*index.Point
	// LastToo lets Points hold the newest restore point of a source, or all that it has.
	LastToo bool
	// Now is the present time, by which ages are told. Required. Where the destination's clock says less, that counts: a
	// clock that runs ahead makes nothing old.
	Now time.Time
}

// ForgetDecision says what becomes of one restore point, and why.
type ForgetDecision struct {
	Point   *index.Point
	Keep    bool
	Reasons []string // at least one
}

// ForgetPlan is what Forget will do: a dry run prints it.
type ForgetPlan struct {
	// Decisions on all points of the sources concerned: by source, the newest first.
	Decisions []ForgetDecision
	// Exempt counts the points that were kept for no other reason than that they are one-time backups.
	Exempt int
	// Damaged tells of restore points whose records cannot be read. They stay.
	Damaged error

	o ForgetOptions
}

// Going gives the points that the plan lets go.
func (p *ForgetPlan) Going() []*index.Point {
	var going []*index.Point
	for _, d := range p.Decisions {
		if !d.Keep {
			going = append(going, d.Point)
		}
	}
	return going
}

// RefusedError: a restore point was named to be forgotten, and must stay.
type RefusedError struct {
	Point  *index.Point
	Reason string
	Last   bool // because it is the last of its source, which LastToo allows
}

// Error names the point and says why it stays.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s@%s stays: %s", e.Point.Source, e.Point.Name, e.Reason)
}

// PlanForget decides which restore points go. It changes nothing. The error is ErrNoPolicy, that of
// retention.Policy.Check, a *RefusedError, or tells that the restore points or their pins cannot be read.
func PlanForget(ctx context.Context, repo *index.Repository, o ForgetOptions) (*ForgetPlan, error) {
	switch {
	case o.Now.IsZero():
		return nil, errors.New("forgetting needs a clock")
	case len(o.Points) > 0 && o.Policy.Enabled():
		return nil, errors.New("either a policy or named restore points can be given, not both")
	}
	if err := o.Policy.Check(); err != nil {
		return nil, err
	}
	if len(o.Points) == 0 && !o.Policy.Enabled() {
		return nil, ErrNoPolicy
	}
	if clock, ok := repo.Store().Destination().(destination.Clock); ok && o.Policy.MinAge > 0 {
		now, err := clock.Now(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("read the destination's clock: %w", err)
		}
		if err == nil && now.Before(o.Now) {
			o.Now = now
		}
	}
	points, err := repo.Marked(ctx)
	var unknown *index.MarksError
	if points == nil || errors.As(err, &unknown) || ctx.Err() != nil {
		return nil, fmt.Errorf("read the restore points: %w", err)
	}
	for _, source := range o.Scope.Sources {
		if _, err := index.Resolve(points, source, index.Latest, o.Now); err != nil {
			return nil, err
		}
	}
	plan := &ForgetPlan{Damaged: err, o: o}
	if plan.Decisions, err = o.decide(points); err != nil {
		return nil, err
	}
	if err := plan.keepReadable(ctx, repo); err != nil {
		return nil, err
	}
	for _, d := range plan.Decisions {
		if len(d.Reasons) == 1 && d.Reasons[0] == retention.OneTimeReason {
			plan.Exempt++
		}
	}
	return plan, nil
}

// decide decides by what the records and marks say alone.
func (o *ForgetOptions) decide(points []*index.Point) ([]ForgetDecision, error) {
	if len(o.Points) > 0 {
		return o.decideNamed(points)
	}
	bySequence := make(map[uint64]*index.Point, len(points))
	asked := make([]retention.Point, 0, len(points))
	for _, p := range points {
		if len(o.Scope.Sources) > 0 && !slices.Contains(o.Scope.Sources, p.Source) {
			continue
		}
		bySequence[p.Sequence] = p
		asked = append(asked, retention.Point{
			Source: p.Source, Name: p.Name, Sequence: p.Sequence, Time: p.Started.In(time.FixedZone(p.Zone, p.Offset)),
			Tags: p.Tags, Pinned: p.Pinned, OneTime: p.Task == "",
		})
	}
	decided, err := retention.Decide(asked, o.Policy, o.Scope, o.Now)
	if err != nil {
		return nil, err
	}
	decisions := make([]ForgetDecision, len(decided))
	for i, d := range decided {
		decisions[i] = ForgetDecision{Point: bySequence[d.Point.Sequence], Keep: d.Keep, Reasons: d.Reasons}
	}
	return decisions, nil
}

// decideNamed lets go the points that were named, and refuses those that must stay. One that is gone already is no
// reason to refuse.
func (o *ForgetOptions) decideNamed(points []*index.Point) ([]ForgetDecision, error) {
	var decisions []ForgetDecision
	newest := make(map[string]uint64)
	for _, p := range points {
		newest[p.Source] = max(newest[p.Source], p.Sequence)
	}
	for _, p := range slices.Backward(points) { // by source, the newest first
		if !slices.ContainsFunc(o.Points, func(q *index.Point) bool { return q.Source == p.Source }) {
			continue
		}
		d := ForgetDecision{Point: p, Keep: true, Reasons: []string{"not named"}}
		if slices.ContainsFunc(o.Points, func(q *index.Point) bool { return samePoint(q, p) }) {
			switch {
			case p.Pinned:
				return nil, &RefusedError{Point: p, Reason: "it is pinned"}
			case p.Sequence == newest[p.Source] && !o.LastToo:
				return nil, &RefusedError{Point: p, Reason: "it is the last restore point of " + p.Source, Last: true}
			}
			d.Keep, d.Reasons = false, []string{"named"}
		}
		decisions = append(decisions, d)
	}
	slices.SortStableFunc(decisions, func(a, b ForgetDecision) int {
		switch {
		case a.Point.Source < b.Point.Source:
			return -1
		case a.Point.Source > b.Point.Source:
			return 1
		}
		return 0
	})
	return decisions, nil
}

func samePoint(a, b *index.Point) bool {
	return a.Sequence == b.Sequence && a.Source == b.Source && a.Name == b.Name && a.Root.ID == b.Root.ID
}

// keepReadable sees to it that no source is left with restore points alone whose tree is lost: of each source that
// gives something up, the newest point whose top can be read stays.
func (p *ForgetPlan) keepReadable(ctx context.Context, repo *index.Repository) error {
	for rest := p.Decisions; len(rest) > 0; {
		n := slices.IndexFunc(rest, func(d ForgetDecision) bool { return d.Point.Source != rest[0].Point.Source })
		if n < 0 {
			n = len(rest)
		}
		own := rest[:n]
		rest = rest[n:]
		if !slices.ContainsFunc(own, func(d ForgetDecision) bool { return !d.Keep }) {
			continue
		}
		at := slices.IndexFunc(own, func(d ForgetDecision) bool { return readable(ctx, repo, d.Point) })
		if err := ctx.Err(); err != nil {
			return err
		}
		switch {
		case at < 0 || own[at].Keep:
		case len(p.o.Points) == 0:
			own[at].Keep, own[at].Reasons = true, []string{"the newest of its source that can be read"}
		case !p.o.LastToo && !slices.ContainsFunc(own, func(d ForgetDecision) bool { return d.Keep && readable(ctx, repo, d.Point) }):
			return &RefusedError{Point: own[at].Point, Reason: "it is the last restore point of " + own[at].Point.Source + " that can be read", Last: true}
		}
	}
	return nil
}

// readable tells whether the top of a point's tree can be read.
func readable(ctx context.Context, repo *index.Repository, p *index.Point) bool {
	_, err := tree.OpenDir(ctx, repo, p.Root.ID)
	return err == nil
}

// Forget carries a plan out and gives the restore points that are gone: those of the plan, and those that an
// interrupted call had left half done. What changed since the plan was made is heeded: a point that was pinned meanwhile
// stays, and so does one that has become the last of its source. Space comes back with a prune.
func Forget(ctx context.Context, repo *index.Repository, plan *ForgetPlan) ([]*index.Point, error) {
	planned := plan.Going()
	gone, err := repo.Forget(ctx, func(points []*index.Point) ([]*index.Point, error) {
		now, err := plan.o.decide(points)
		if err != nil {
			return nil, err
		}
		var going []*index.Point
		for _, d := range now {
			if !d.Keep && slices.ContainsFunc(planned, func(p *index.Point) bool { return samePoint(p, d.Point) }) {
				going = append(going, d.Point)
			}
		}
		return going, nil
	})
	return gone, err
}
