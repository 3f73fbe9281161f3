package retention

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// series makes n points of a source, one each step, the newest at noon.
func series(source string, n int, step time.Duration) []Point {
	points := make([]Point, n)
	for i := range points {
		t := noon.Add(-step * time.Duration(n-1-i))
		points[i] = Point{Source: source, Name: t.Format("2006-01-02T15-04-05Z"), Sequence: uint64(i + 1), Time: t}
	}
	return points
}

func kept(t *testing.T, points []Point, policy Policy, scope Scope) []string {
	t.Helper()
	decisions, err := Decide(points, policy, scope, noon)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range decisions {
		if len(d.Reasons) == 0 {
			t.Errorf("%s: a decision without a reason", d.Point.Name)
		}
		if d.Keep {
			names = append(names, d.Point.Source+"@"+d.Point.Name)
		}
	}
	return names
}

func TestWithoutAPolicyEverythingIsKept(t *testing.T) {
	points := series("docs", 100, time.Hour)
	if got := kept(t, points, Policy{}, Scope{OneTime: true}); len(got) != 100 {
		t.Errorf("kept %d of 100", len(got))
	}
}

func TestEachPeriodKeepsItsNewestPoint(t *testing.T) {
	points := series("docs", 24*10, time.Hour)
	want := []string{
		"docs@2026-11-23T12-00-00Z", "docs@2026-11-23T11-00-00Z",
		"docs@2026-11-22T23-00-00Z", "docs@2026-11-21T23-00-00Z", "docs@2026-11-15T23-00-00Z",
	}
	got := kept(t, points, Policy{Hourly: 2, Daily: 3, Weekly: 3}, Scope{})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMinimumAgeAloneLetsOlderPointsGo(t *testing.T) {
	points := series("docs", 10, 24*time.Hour)
	want := []string{"docs@2026-11-23T12-00-00Z", "docs@2026-11-22T12-00-00Z", "docs@2026-11-21T12-00-00Z"}
	if diff := cmp.Diff(want, kept(t, points, Policy{MinAge: 48 * time.Hour}, Scope{})); diff != "" {
		t.Error(diff)
	}
}

func TestTheNewestPointOfASourceStaysHoweverOldItIs(t *testing.T) {
	old := series("docs", 3, time.Hour)
	for i := range old {
		old[i].Time = old[i].Time.AddDate(-5, 0, 0)
	}
	want := []string{"docs@" + old[2].Name}
	if diff := cmp.Diff(want, kept(t, old, Policy{MinAge: MinAge}, Scope{})); diff != "" {
		t.Error(diff)
	}
}

func TestANeighbourWithALikeNameIsNotTouched(t *testing.T) {
	points := slices.Concat(series("docs", 5, time.Hour), series("docs-old", 5, time.Hour), series("doc", 5, time.Hour))
	got := kept(t, points, Policy{Last: 1}, Scope{Sources: []string{"docs"}})
	if len(got) != 11 {
		t.Errorf("kept %d points, want the 5 of each neighbour and the newest of docs: %q", len(got), got)
	}
}

func TestOneTimeBackupsAreExemptUntilNamed(t *testing.T) {
	points := series("docs", 5, time.Hour)
	for i := range points {
		points[i].OneTime = true
	}
	for name, c := range map[string]struct {
		scope Scope
		want  int
	}{
		"all sources": {Scope{}, 5},
		"named":       {Scope{Sources: []string{"docs"}}, 1},
		"asked for":   {Scope{OneTime: true}, 1},
	} {
		if got := kept(t, points, Policy{Last: 1}, c.scope); len(got) != c.want {
			t.Errorf("%s: kept %d, want %d", name, len(got), c.want)
		}
	}
}

func TestPinsAndTagsKeep(t *testing.T) {
	points := series("docs", 5, time.Hour)
	points[0].Pinned = true
	points[1].Tags = []string{"before-upgrade"}
	got := kept(t, points, Policy{Last: 1, Tags: []string{"before-upgrade"}}, Scope{})
	want := []string{"docs@" + points[4].Name, "docs@" + points[1].Name, "docs@" + points[0].Name}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestADayBeginsWhereTheHostIs(t *testing.T) {
	auckland := time.FixedZone("NZDT", 13*3600)
	points := []Point{
		{Source: "docs", Name: "evening", Sequence: 1, Time: time.Date(2026, 11, 22, 23, 30, 0, 0, auckland)},
		{Source: "docs", Name: "morning", Sequence: 2, Time: time.Date(2026, 11, 23, 0, 30, 0, 0, auckland)},
	}
	if got := kept(t, points, Policy{Daily: 2}, Scope{}); len(got) != 2 {
		t.Errorf("kept %q: two days in Auckland, though one in UTC", got)
	}
}

func TestMistakesInAPolicyAreRefused(t *testing.T) {
	for name, p := range map[string]Policy{
		"negative count":  {Daily: -1},
		"negative age":    {MinAge: -48 * time.Hour},
		"age under a day": {MinAge: MinAge - time.Second},
		"tags alone":      {Tags: []string{"x"}},
	} {
		if _, err := Decide(series("docs", 2, time.Hour), p, Scope{}, noon); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// TestNoPolicyBreaksThePromises draws policies, points and clocks, and checks
// what must hold for all of them.
func TestNoPolicyBreaksThePromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.IntRange(0, 4)
		policy := Policy{
			Last: count.Draw(t, "last"), Hourly: count.Draw(t, "hourly"), Daily: count.Draw(t, "daily"),
			Weekly: count.Draw(t, "weekly"), Monthly: count.Draw(t, "monthly"), Yearly: count.Draw(t, "yearly"),
			MinAge: time.Duration(rapid.SampledFrom([]int{0, 24, 1000}).Draw(t, "age")) * time.Hour,
		}
		var points []Point
		for i := range rapid.IntRange(0, 40).Draw(t, "n") {
			points = append(points, Point{
				Source:   rapid.SampledFrom([]string{"a", "ab", "b"}).Draw(t, "source"),
				Name:     fmt.Sprint(i),
				Sequence: uint64(i),
				Time:     noon.Add(time.Duration(rapid.IntRange(-20000, 2000).Draw(t, "hours")) * time.Hour),
				Pinned:   rapid.Bool().Draw(t, "pinned"),
				OneTime:  rapid.Bool().Draw(t, "one-time"),
			})
		}
		decisions, err := Decide(points, policy, Scope{}, noon)
		if err != nil {
			t.Fatal(err)
		}
		if len(decisions) != len(points) {
			t.Fatalf("%d decisions on %d points", len(decisions), len(points))
		}
		newest := map[string]Point{}
		for _, p := range points {
			newest[p.Source] = p
		}
		for _, d := range decisions {
			must := d.Point.Pinned || d.Point.OneTime || !policy.Enabled() || newest[d.Point.Source].Name == d.Point.Name
			if must && !d.Keep {
				t.Fatalf("%+v goes: %q", d.Point, d.Reasons)
			}
		}
		wider := policy
		wider.Last += 3
		more, _ := Decide(points, wider, Scope{}, noon)
		for i, d := range decisions {
			if policy.counts() && d.Keep && !more[i].Keep {
				t.Fatalf("a wider policy lets %+v go", d.Point)
			}
		}
	})
}
