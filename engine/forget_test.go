package engine_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/engine/retention"
	"github.com/cairn-backup/cairn/index"
)

// series makes n one-time restore points of a source, an hour apart.
func (v *vault) series(source string, n int) []*index.Point {
	var points []*index.Point
	for i := range n {
		points = append(points, v.backup(source, map[string][]byte{"file": fmt.Appendf(nil, "%s %d", source, i)}))
	}
	return points
}

// left gives the restore points there are, as SOURCE/SEQUENCE.
func (v *vault) left() []string {
	v.t.Helper()
	v.open()
	points, err := v.repo.Marked(v.t.Context())
	v.check(err)
	return labels(points)
}

func labels(points []*index.Point) []string {
	var all []string
	for _, p := range points {
		all = append(all, fmt.Sprintf("%s/%d", p.Source, p.Sequence))
	}
	return all
}

func (v *vault) forget(o engine.ForgetOptions) ([]*index.Point, error) {
	v.t.Helper()
	o.Now = v.clock
	plan, err := engine.PlanForget(v.t.Context(), v.repo, o)
	if err != nil {
		return nil, err
	}
	return engine.Forget(v.t.Context(), v.repo, plan)
}

func TestWithoutAPolicyNothingIsForgotten(t *testing.T) {
	v := newVault(t, true)
	v.series("docs", 2)
	if _, err := v.forget(engine.ForgetOptions{Scope: retention.Scope{Sources: []string{"docs"}, OneTime: true}}); !errors.Is(err, engine.ErrNoPolicy) {
		t.Errorf("got %v", err)
	}
	for _, policy := range []retention.Policy{{Last: -1}, {MinAge: time.Hour}, {MinAge: -time.Hour}, {Tags: []string{"x"}}} {
		if _, err := v.forget(engine.ForgetOptions{Policy: policy}); err == nil {
			t.Errorf("%+v was taken", policy)
		}
	}
	if got := v.left(); len(got) != 2 {
		t.Errorf("left: %v", got)
	}
}

func TestAPolicyTouchesNoNeighbour(t *testing.T) {
	v := newVault(t, true)
	for _, source := range []string{"docs", "docs-old", "doc", "Docs"} {
		v.series(source, 3)
	}
	gone, err := v.forget(engine.ForgetOptions{Policy: retention.Policy{Last: 1}, Scope: retention.Scope{Sources: []string{"docs"}}})
	v.check(err)
	if want := []string{"docs/1", "docs/2"}; !slices.Equal(labels(gone), want) {
		t.Errorf("forgot %v", labels(gone))
	}
	if got := v.left(); len(got) != 10 || !slices.Contains(got, "docs/3") {
		t.Errorf("left: %v", got)
	}
	var missing *index.NotFoundError
	_, err = v.forget(engine.ForgetOptions{Policy: retention.Policy{Last: 1}, Scope: retention.Scope{Sources: []string{"doc*"}}})
	if !errors.As(err, &missing) {
		t.Errorf("a source that there is not: %v", err)
	}
}

func TestOneTimeBackupsStayUntilTheyAreNamed(t *testing.T) {
	v := newVault(t, true)
	v.series("docs", 3)
	o := engine.ForgetOptions{Policy: retention.Policy{Last: 1}, Now: v.clock}
	plan, err := engine.PlanForget(t.Context(), v.repo, o)
	v.check(err)
	if len(plan.Going()) != 0 || plan.Exempt != 2 {
		t.Errorf("%v would go, %d are exempt", labels(plan.Going()), plan.Exempt)
	}
	o.Scope.OneTime = true
	if plan, err = engine.PlanForget(t.Context(), v.repo, o); err != nil || len(plan.Going()) != 2 {
		t.Errorf("%v would go, %v", labels(plan.Going()), err)
	}
	if got := v.left(); len(got) != 3 {
		t.Errorf("a plan changed something: %v", got)
	}
}

func TestPinsAndTagsSetLaterKeep(t *testing.T) {
	v := newVault(t, true)
	points := v.series("docs", 5)
	v.check(v.repo.Mark(t.Context(), points[:1], func(p *index.Point) { p.Pinned = true }))
	v.check(v.repo.Mark(t.Context(), points[1:2], func(p *index.Point) { p.Tags = []string{"keep"} }))
	v.check(v.repo.Mark(t.Context(), points[2:3], func(p *index.Point) { p.Tags = []string{"keepsake"} }))
	_, err := v.forget(engine.ForgetOptions{Policy: retention.Policy{Last: 1, Tags: []string{"keep"}}, Scope: retention.Scope{OneTime: true}})
	v.check(err)
	if got := v.left(); !slices.Equal(got, []string{"docs/1", "docs/2", "docs/5"}) {
		t.Errorf("left: %v", got)
	}
}

func TestANamedPointGoesUnlessItIsPinnedOrTheLast(t *testing.T) {
	v := newVault(t, true)
	points := v.series("docs", 3)
	v.series("docs-old", 1)
	v.check(v.repo.Mark(t.Context(), points[1:2], func(p *index.Point) { p.Pinned = true }))
	var refused *engine.RefusedError
	if _, err := v.forget(engine.ForgetOptions{Points: points[1:2], LastToo: true}); !errors.As(err, &refused) || refused.Last {
		t.Errorf("a pinned one: %v", err)
	}
	if _, err := v.forget(engine.ForgetOptions{Points: points[2:]}); !errors.As(err, &refused) || !refused.Last {
		t.Errorf("the newest one: %v", err)
	}
	if _, err := v.forget(engine.ForgetOptions{Points: points[:1], Policy: retention.Policy{Last: 1}}); err == nil {
		t.Error("named and by a policy at once")
	}
	if got := v.left(); len(got) != 4 {
		t.Fatalf("left: %v", got)
	}
	gone, err := v.forget(engine.ForgetOptions{Points: points[:1]})
	v.check(err)
	if !slices.Equal(labels(gone), []string{"docs/1"}) {
		t.Errorf("forgot %v", labels(gone))
	}
	v.check(v.repo.Mark(t.Context(), points[1:2], func(p *index.Point) { p.Pinned = false }))
	_, err = v.forget(engine.ForgetOptions{Points: points[1:], LastToo: true})
	v.check(err)
	if got := v.left(); !slices.Equal(got, []string{"docs-old/4"}) {
		t.Errorf("left: %v", got)
	}
}

func TestWhatIsPinnedBetweenPlanAndDeedStays(t *testing.T) {
	v := newVault(t, true)
	points := v.series("docs", 4)
	plan, err := engine.PlanForget(t.Context(), v.repo, engine.ForgetOptions{Policy: retention.Policy{Last: 1}, Scope: retention.Scope{OneTime: true}, Now: v.clock})
	v.check(err)
	v.check(v.repo.Mark(t.Context(), points[1:2], func(p *index.Point) { p.Pinned = true }))
	newer := v.backup("docs", map[string][]byte{"file": []byte("newer")}) // point 4, which the plan keeps, is no more the last 1
	_, err = engine.Forget(t.Context(), v.repo, plan)
	v.check(err)
	if got := v.left(); !slices.Equal(got, []string{"docs/2", "docs/4", fmt.Sprintf("docs/%d", newer.Sequence)}) {
		t.Errorf("left: %v", got)
	}
}

func TestASourceKeepsAPointThatCanBeRead(t *testing.T) {
	v := newVault(t, true)
	v.series("docs", 2)
	before := v.packPaths()
	v.backup("docs", map[string][]byte{"file": []byte("newest")})
	for name := range v.packPaths() {
		if !before[name] {
			v.check(os.Remove(name))
		}
	}
	v.open()
	o := engine.ForgetOptions{Policy: retention.Policy{Last: 1}, Scope: retention.Scope{OneTime: true}, Now: v.clock}
	plan, err := engine.PlanForget(t.Context(), v.repo, o)
	v.check(err)
	if got := labels(plan.Going()); !slices.Equal(got, []string{"docs/1"}) {
		t.Errorf("%v would go, though the newest cannot be read", got)
	}
	points, err := v.repo.Points(t.Context())
	v.check(err)
	var refused *engine.RefusedError
	if _, err := v.forget(engine.ForgetOptions{Points: points[:2]}); !errors.As(err, &refused) || !refused.Last {
		t.Errorf("the last that can be read: %v", err)
	}
}

// packPaths gives the paths of all packs.
func (v *vault) packPaths() map[string]bool {
	v.t.Helper()
	paths, err := filepath.Glob(filepath.Join(v.dir, "packs", "*", "*"))
	v.check(err)
	all := make(map[string]bool)
	for _, p := range paths {
		all[p] = true
	}
	return all
}

func TestAClockThatRunsAheadMakesNothingOld(t *testing.T) {
	v := newVault(t, true)
	v.clock = time.Now().Add(-3 * time.Hour)
	v.series("docs", 3)
	plan, err := engine.PlanForget(t.Context(), v.repo, engine.ForgetOptions{Policy: retention.Policy{MinAge: 30 * 24 * time.Hour},
		Scope: retention.Scope{OneTime: true}, Now: time.Now().AddDate(5, 0, 0)})
	v.check(err)
	if len(plan.Going()) != 0 {
		t.Errorf("%v would go", labels(plan.Going()))
	}
}

func TestADayIsThatOfTheHostThatMadeTheBackup(t *testing.T) {
	v := newVault(t, true)
	v.clock = time.Date(2026, 11, 22, 10, 30, 0, 0, time.FixedZone("NZDT", 13*3600)) // 23:30 the day before, in UTC
	v.series("docs", 1)
	v.clock = time.Date(2026, 11, 22, 22, 30, 0, 0, time.FixedZone("NZDT", 13*3600))
	v.series("docs", 1)
	plan, err := engine.PlanForget(t.Context(), v.repo, engine.ForgetOptions{Policy: retention.Policy{Daily: 2}, Scope: retention.Scope{OneTime: true}, Now: v.clock})
	v.check(err)
	if len(plan.Going()) != 1 {
		t.Errorf("%v would go: both are of one day in Auckland", labels(plan.Going()))
	}
	for _, d := range plan.Decisions {
		if len(d.Reasons) == 0 || strings.Join(d.Reasons, "") == "" {
			t.Errorf("no reason for %s", d.Point.Name)
		}
	}
}
