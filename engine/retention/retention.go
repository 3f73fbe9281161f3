package retention

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// MinAge is the shortest minimum age a policy may ask for. Anything less would
// let a mistake in a configuration take yesterday's backup along.
const MinAge = 24 * time.Hour

// Point is what a policy needs to know of a restore point.
type Point struct {
	Source   string
	Name     string
	Sequence uint64
	// Time is when the backup began, in the zone of the host that made it: a
	// day or a week begins where the people are whose backup it is.
	Time   time.Time
	Tags   []string
	Pinned bool
	// OneTime marks a backup that no task made.
	OneTime bool
}

// Policy says what to keep. The zero value keeps everything.
type Policy struct {
	// Last is how many of the newest restore points of a source stay.
	Last int
	// Hourly to Yearly are numbers of periods: of each of the newest so many
	// hours, days, ISO weeks, months and years that have a restore point, the
	// newest one stays.
	Hourly, Daily, Weekly, Monthly, Yearly int
	// MinAge keeps everything that is not older than this. Zero means that age
	// alone keeps nothing. If nothing else is set, whatever is older goes.
	MinAge time.Duration
	// Tags keep every restore point that carries one of them.
	Tags []string
}

// Enabled reports whether the policy could let anything go.
func (p Policy) Enabled() bool {
	return p.counts() || p.MinAge != 0
}

func (p Policy) counts() bool {
	return p.Last != 0 || p.Hourly != 0 || p.Daily != 0 || p.Weekly != 0 || p.Monthly != 0 || p.Yearly != 0
}

// Check refuses a policy that is more likely a mistake than a wish: negative
// numbers, a minimum age under one day, and tags that guard against nothing.
func (p Policy) Check() error {
	for _, n := range []struct {
		name  string
		value int
	}{
		{"last", p.Last}, {"hourly", p.Hourly}, {"daily", p.Daily},
		{"weekly", p.Weekly}, {"monthly", p.Monthly}, {"yearly", p.Yearly},
	} {
		if n.value < 0 {
			return fmt.Errorf("keep %s: %d is negative; give the number of restore points to keep, or leave it out", n.name, n.value)
		}
	}
	if p.MinAge != 0 && p.MinAge < MinAge {
		return fmt.Errorf("minimum age: %s is less than a day; the shortest is 1d, so that a mistake can't take the newest backups along", p.MinAge)
	}
	if len(p.Tags) > 0 && !p.Enabled() {
		return errors.New("keep tag: no rule lets anything go, so there is nothing to keep it from; add a rule such as daily or a minimum age")
	}
	return nil
}

// Decision says what becomes of one restore point, and why.
type Decision struct {
	Point   Point
	Keep    bool
	Reasons []string
}

// OneTimeReason is why a backup that no task made stays.
const OneTimeReason = "a one-time backup"

// Scope says which restore points a policy is for.
type Scope struct {
	// Sources are the names the policy is for, compared whole. None means all.
	Sources []string
	// OneTime lets the policy have the backups that no task made. A source
	// that is named in Sources has the same effect for itself.
	OneTime bool
}

func (s Scope) named(source string) bool { return slices.Contains(s.Sources, source) }

// Decide applies the policy and returns a decision for each point, sources in
// the order of their names, the newest point of each first. Points out of
// scope are kept and say so.
//
// The error is that of [Policy.Check]; nothing is decided then.
func Decide(points []Point, policy Policy, scope Scope, now time.Time) ([]Decision, error) {
	if err := policy.Check(); err != nil {
		return nil, err
	}
	sorted := slices.Clone(points)
	slices.SortStableFunc(sorted, newestFirst)
	var decisions []Decision
	for len(sorted) > 0 {
		n := slices.IndexFunc(sorted, func(p Point) bool { return p.Source != sorted[0].Source })
		if n < 0 {
			n = len(sorted)
		}
		decisions = append(decisions, decideSource(sorted[:n], policy, scope, now)...)
		sorted = sorted[n:]
	}
	return decisions, nil
}

// decideSource decides on the points of one source, newest first.
func decideSource(points []Point, policy Policy, scope Scope, now time.Time) []Decision {
	rules := policy.rules()
	decisions := make([]Decision, len(points))
	for i, p := range points {
		d := Decision{Point: p}
		if i == 0 {
			d.because("the newest of its source")
		}
		if p.Pinned {
			d.because("pinned")
		}
		exempt := p.OneTime && !scope.OneTime && !scope.named(p.Source)
		switch {
		case len(scope.Sources) > 0 && !scope.named(p.Source):
			d.because("of a source that was not named")
		case !policy.Enabled():
			d.because("no policy")
		case exempt:
			d.because(OneTimeReason)
		default:
			policy.apply(&d, rules, now)
		}
		if len(d.Reasons) == 0 {
			d.Reasons = []string{policy.whyNot()}
		}
		decisions[i] = d
	}
	return decisions
}

// apply adds the reasons of the policy itself. Exempt points are not shown to
// the rules at all: they would use up a day that a task's point needs.
func (p Policy) apply(d *Decision, rules []*rule, now time.Time) {
	for _, r := range rules {
		if reason, ok := r.take(d.Point.Time); ok {
			d.because(reason)
		}
	}
	for _, tag := range p.Tags {
		if slices.Contains(d.Point.Tags, tag) {
			d.because("tagged " + tag)
		}
	}
	if p.MinAge > 0 && now.Sub(d.Point.Time) <= p.MinAge {
		d.because("not older than the minimum age")
	}
}

func (p Policy) whyNot() string {
	if p.counts() {
		return "no rule keeps it"
	}
	return "older than the minimum age"
}

func (d *Decision) because(reason string) {
	d.Keep = true
	d.Reasons = append(d.Reasons, reason)
}

// newestFirst orders by source, then by falling sequence number.
func newestFirst(a, b Point) int {
	switch {
	case a.Source < b.Source:
		return -1
	case a.Source > b.Source:
		return 1
	case a.Sequence > b.Sequence:
		return -1
	case a.Sequence < b.Sequence:
		return 1
	}
	return 0
}
