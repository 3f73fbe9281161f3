package index

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

// pointsAt returns points of source docs that started at the given times, in this order of sequence.
func pointsAt(times ...string) []*Point {
	var points []*Point
	for i, s := range times {
		points = append(points, &Point{Source: "docs", Sequence: uint64(i + 1), Started: at(s), Name: pointName(at(s))})
	}
	return points
}

func TestWhenNamesTheNewestPointNotAfterIt(t *testing.T) {
	points := pointsAt("2026-11-18T10:00:00Z", "2026-11-20T13:59:30Z", "2026-11-20T14:00:30Z", "2026-11-23T21:05:00Z")
	points = append(points, &Point{Source: "other", Sequence: 9, Started: at("2026-11-30T00:00:00Z")})
	now := at("2026-11-24T00:00:00Z")
	for when, want := range map[string]uint64{
		"":                          4,
		"latest":                    4,
		"2026-11-20T13-59-30Z":      2,
		"2026-11-20":                3,
		"2026-11-19":                1,
		"2026-11":                   4,
		"2026":                      4,
		"2026-11-20T14:00":          3,
		"2026-11-20T13:59":          2,
		"2026-11-20T14:00:29":       2,
		"2026-11-20T14-00-30":       3,
		"2026-11-20 14:00":          3,
		"2026-11-20T15:59+02:00":    2,
		"2026-11-20T16:00+0200":     3,
		"0h":                        4,
		"1d":                        3,
		"3d":                        3,
		"4d":                        1,
		"1d12h":                     3,
		"3d10h":                     2,
		"5m":                        4,
		"2026-11-24T00:00:00+00:00": 4,
	} {
		p, err := Resolve(points, "docs", when, now)
		if err != nil || p.Sequence != want {
			t.Errorf("%q: got %+v, %v; want number %d", when, p, err, want)
		}
	}
}

func TestOrderNeverDependsOnAClock(t *testing.T) {
	// The clock went back between the second and the third.
	points := pointsAt("2026-11-20T10:00:00Z", "2026-11-22T10:00:00Z", "2026-11-19T10:00:00Z")
	for when, want := range map[string]uint64{"latest": 3, "2026-11-21": 3, "2026-11-19": 3} {
		if p, err := Resolve(points, "docs", when, at("2026-11-23T00:00:00Z")); err != nil || p.Sequence != want {
			t.Errorf("%q: got %+v, %v; want number %d", when, p, err, want)
		}
	}
}

func TestWhatIsNotFoundIsToldWithWhatExists(t *testing.T) {
	points := pointsAt("2026-11-18T10:00:00Z", "2026-11-20T13:59:30Z")
	now := at("2026-11-24T00:00:00Z")
	var missing *NotFoundError
	_, err := Resolve(points, "Doc", "latest", now)
	if !errors.As(err, &missing) || missing.What != "source" || !strings.Contains(err.Error(), "docs") {
		t.Errorf("unknown source: %v", err)
	}
	_, err = Resolve(nil, "docs", "latest", now)
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "has none") {
		t.Errorf("empty repository: %v", err)
	}
	for _, when := range []string{"2026-11-17", "1y", "2026-11-20T13-59-31Z", "2026-11-18T10-00-00Z-2"} {
		_, err = Resolve(points, "docs", when, now)
		if !errors.As(err, &missing) || missing.What != "restore point" || !strings.Contains(err.Error(), "2026-11-18T10-00-00Z") {
			t.Errorf("%q: %v", when, err)
		}
	}
	for _, when := range []string{"yesterday", "3", "d3", "2026-13-01", "2026-11-20T25:00", "3d!", "99999999d", "12"} {
		p, err := Resolve(points, "docs", when, now)
		if err == nil || errors.As(err, &missing) || !strings.Contains(err.Error(), "write latest") {
			t.Errorf("%q: got %+v, %v", when, p, err)
		}
	}
}

func TestAgesFollowTheCalendar(t *testing.T) {
	now := at("2028-02-29T12:00:00Z")
	for age, want := range map[string]string{
		"1y": "2027-03-01T12:00:00Z", "2mo": "2027-12-29T12:00:00Z", "1w": "2028-02-22T12:00:00Z",
		"36h": "2028-02-28T00:00:00Z", "90m": "2028-02-29T10:30:00Z", "30s": "2028-02-29T11:59:30Z",
	} {
		got, ok := ParseWhen(age, now)
		if !ok || !got.Equal(at(want)) {
			t.Errorf("%s: got %v, %v; want %s", age, got, ok, want)
		}
	}
}

func TestSpecsAreTakenApart(t *testing.T) {
	for s, want := range map[string]Spec{
		"docs":                          {"docs", "latest", "/"},
		"docs:":                         {"docs", "latest", "/"},
		"docs:/":                        {"docs", "latest", "/"},
		"docs:/a b/c":                   {"docs", "latest", "/a b/c"},
		"docs@3d:/x":                    {"docs", "3d", "/x"},
		"docs@2026-11-20T14:00:/x@y:/z": {"docs", "2026-11-20T14:00", "/x@y:/z"},
		"docs:/mail@home":               {"docs", "latest", "/mail@home"},
		"me@host@latest:/x":             {"me@host", "latest", "/x"},
		"docs@2026-11-20T14:00:00+02:00:/x\xff\n": {"docs", "2026-11-20T14:00:00+02:00", "/x\xff\n"},
	} {
		got, err := ParseSpec(s)
		if err != nil {
			t.Errorf("%q: %v", s, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", s, diff)
		}
	}
	for _, s := range []string{"", ":/x", "@latest:/x", "docs@:/x", "a/b", "docs@latest/x@"} {
		if got, err := ParseSpec(s); err == nil {
			t.Errorf("%q: got %+v", s, got)
		}
	}
}

func FuzzSpecsAndTimes(f *testing.F) {
	for _, s := range []string{"docs@3d:/x", "me@host@2026-11-20T14:00:00+02:00:/", "@", ":/", "1y2mo", "2026-11", "9999-12-31"} {
		f.Add(s)
	}
	now := at("2026-11-24T00:00:00Z")
	f.Fuzz(func(t *testing.T, s string) {
		ParseWhen(s, now)
		spec, err := ParseSpec(s)
		if err != nil {
			return
		}
		again, err := ParseSpec(spec.String())
		if err != nil || again != spec {
			t.Errorf("%q is %+v, which is written %q and read as %+v, %v", s, spec, spec.String(), again, err)
		}
	})
}

func ExampleResolve() {
	points := []*Point{
		{Source: "docs", Sequence: 1, Name: "2026-11-18T10-00-00Z", Started: time.Date(2026, 11, 18, 10, 0, 0, 0, time.UTC)},
		{Source: "docs", Sequence: 2, Name: "2026-11-23T21-05-00Z", Started: time.Date(2026, 11, 23, 21, 5, 0, 0, time.UTC)},
	}
	spec, err := ParseSpec("docs@3d:/reports")
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := Resolve(points, spec.Source, spec.When, time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Name, spec.Path)
	// Output: 2026-11-18T10-00-00Z /reports
}
