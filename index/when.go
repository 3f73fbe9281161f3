package index

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// nameLayout is how a restore point is named: its start in UTC, without a character that a shell or Samba trips over.
const nameLayout = "2006-01-02T15-04-05Z"

// Latest is the WHEN of the newest restore point.
const Latest = "latest"

// nearby is how many names a NotFoundError lists at most.
const nearby = 5

// Spec names something in a restore point: SOURCE@WHEN:/path.
type Spec struct {
	Source string
	When   string // Latest when it was left out
	Path   string // with a leading slash; "/" when it was left out
}

// ParseSpec reads SOURCE[@WHEN][:/path]. The path begins at the first ":/", and WHEN at the last '@' before it, so that a
// source may be called user@host if its WHEN is written out.
func ParseSpec(s string) (Spec, error) {
	spec := Spec{When: Latest, Path: "/"}
	head := s
	if at := strings.Index(s, ":/"); at >= 0 {
		head, spec.Path = s[:at], s[at+1:]
	} else {
		head = strings.TrimSuffix(s, ":")
	}
	spec.Source = head
	if at := strings.LastIndexByte(head, '@'); at >= 0 {
		spec.Source, spec.When = head[:at], head[at+1:]
		if spec.When == "" {
			return Spec{}, fmt.Errorf("%q names no time after the @: write %s@%s, or a name, a time or an age of a restore point", s, spec.Source, Latest)
		}
	}
	if err := CheckSource(spec.Source); err != nil {
		return Spec{}, fmt.Errorf("%q is not SOURCE@WHEN:/path: %w", s, err)
	}
	return spec, nil
}

// String writes the spec so that ParseSpec reads it.
func (s Spec) String() string {
	out := s.Source
	if s.When != "" && s.When != Latest || strings.ContainsRune(s.Source, '@') {
		out += "@" + orElse(s.When, Latest)
	}
	if s.Path != "" && s.Path != "/" || strings.HasSuffix(out, ":") {
		out += ":" + orElse(s.Path, "/")
	}
	return out
}

// NotFoundError: a SPEC names nothing. Nearby lists some of what exists: sources, or names of restore points.
type NotFoundError struct {
	What   string // "source" or "restore point"
	Name   string // what was asked for
	Of     string // the source, for restore points
	Nearby []string
}

// Error says what was not found and what there is.
func (e *NotFoundError) Error() string {
	what := fmt.Sprintf("no %s %q", e.What, e.Name)
	if e.Of != "" {
		what += fmt.Sprintf(" of %q", e.Of)
	}
	if len(e.Nearby) == 0 {
		return what + ": the repository has none"
	}
	return what + "; there is " + strings.Join(e.Nearby, ", ")
}

// Resolve finds the restore point of source that when names: Latest (or nothing), a point's name, a time, or an age
// before now. A time or an age gives the newest point not after it; what is newest is decided by sequence numbers,
// never by clocks. Times are UTC unless they end in an offset such as +02:00. A time that is cut short means its whole
// period: 2026-11-20 includes the points of that day. The error is a *NotFoundError, or says what a WHEN looks like.
func Resolve(points []*Point, source, when string, now time.Time) (*Point, error) {
	var own []*Point
	for _, p := range points {
		if p.Source == source {
			own = append(own, p)
		}
	}
	if len(own) == 0 {
		return nil, &NotFoundError{What: "source", Name: source, Nearby: sources(points, source)}
	}
	slices.SortFunc(own, func(a, b *Point) int {
		if a.Sequence < b.Sequence {
			return -1
		}
		return 1
	})
	if when == "" || when == Latest {
		return own[len(own)-1], nil
	}
	for _, p := range own {
		if p.Name == when {
			return p, nil
		}
	}
	limit, ok := ParseWhen(when, now)
	if !ok {
		return nil, fmt.Errorf("%q is no time: write %s, a restore point's name (%s), a time (2026-11-20, 2026-11-20T14:00) or an age (3d, 12h, 2w, 1mo)",
			when, Latest, own[len(own)-1].Name)
	}
	if !fullName.MatchString(when) {
		for _, p := range slices.Backward(own) {
			if !p.Started.After(limit) {
				return p, nil
			}
		}
	}
	return nil, &NotFoundError{What: "restore point", Name: when, Of: source, Nearby: nearest(own, limit)}
}

// sources lists the sources that there are, those with a name like the one asked for first.
func sources(points []*Point, like string) []string {
	var names []string
	for _, p := range points {
		names = append(names, p.Source)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	alike := func(name string) bool {
		a, b := strings.ToLower(name), strings.ToLower(like)
		return strings.Contains(a, b) || strings.Contains(b, a)
	}
	slices.SortStableFunc(names, func(a, b string) int {
		switch x, y := alike(a), alike(b); {
		case x && !y:
			return -1
		case y && !x:
			return 1
		}
		return 0
	})
	return names[:min(len(names), nearby)]
}

// nearest lists the points nearest to a time, the oldest first.
func nearest(points []*Point, at time.Time) []string {
	near := slices.Clone(points)
	slices.SortStableFunc(near, func(a, b *Point) int {
		x, y := at.Sub(a.Started).Abs(), at.Sub(b.Started).Abs()
		return int(min(max(x-y, -1), 1))
	})
	near = near[:min(len(near), nearby)]
	slices.SortFunc(near, func(a, b *Point) int { return strings.Compare(a.Name, b.Name) })
	var names []string
	for _, p := range near {
		names = append(names, p.Name)
	}
	return names
}

var (
	fullName = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ(-\d+)?$`)
	ageUnits = regexp.MustCompile(`^(\d{1,6})(mo|[smhdwy])`)
	clock    = regexp.MustCompile(`^(\d{4}-\d\d-\d\d)[T _](\d\d)[-:](\d\d)(?:[-:](\d\d))?(Z|[+-]\d\d:?\d\d)?(-\d+)?$`)
	day      = regexp.MustCompile(`^\d{4}(-\d\d(-\d\d)?)?$`)
)

// ParseWhen reads a time, or an age before now such as 3d, 12h or 1y6mo (y, mo, w, d, h, m, s; years and months by the
// calendar), and gives the last instant that it includes. It knows nothing of names and of Latest.
func ParseWhen(when string, now time.Time) (time.Time, bool) {
	if day.MatchString(when) {
		return parseDay(when)
	}
	if m := clock.FindStringSubmatch(when); m != nil {
		return parseClock(m)
	}
	return parseAge(when, now)
}

// parseDay reads a year, a month or a day.
func parseDay(when string) (time.Time, bool) {
	layout := "2006-01-02"[:len(when)]
	t, err := time.Parse(layout, when)
	if err != nil {
		return time.Time{}, false
	}
	switch len(when) {
	case 4:
		t = t.AddDate(1, 0, 0)
	case 7:
		t = t.AddDate(0, 1, 0)
	default:
		t = t.AddDate(0, 0, 1)
	}
	return t.Add(-time.Nanosecond), true
}

// parseClock reads the parts of a time of day: the date, hour, minute, second or nothing, zone or nothing.
func parseClock(m []string) (time.Time, bool) {
	text, layout, period := m[1]+" "+m[2]+":"+m[3], "2006-01-02 15:04", time.Minute
	if m[4] != "" {
		text, layout, period = text+":"+m[4], layout+":05", time.Second
	}
	if zone := strings.ReplaceAll(m[5], ":", ""); zone != "" && zone != "Z" {
		text, layout = text+" "+zone, layout+" -0700"
	}
	t, err := time.Parse(layout, text)
	if err != nil {
		return time.Time{}, false
	}
	return t.UTC().Add(period - time.Nanosecond), true
}

// parseAge reads numbers with units, at least one.
func parseAge(when string, now time.Time) (time.Time, bool) {
	t := now.UTC()
	if when == "" {
		return t, false
	}
	for when != "" {
		m := ageUnits.FindStringSubmatch(when)
		if m == nil {
			return time.Time{}, false
		}
		when = when[len(m[0]):]
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return time.Time{}, false
		}
		switch m[2] {
		case "y":
			t = t.AddDate(-n, 0, 0)
		case "mo":
			t = t.AddDate(0, -n, 0)
		case "w":
			t = t.AddDate(0, 0, -7*n)
		case "d":
			t = t.AddDate(0, 0, -n)
		case "h":
			t = t.Add(-time.Duration(n) * time.Hour)
		case "m":
			t = t.Add(-time.Duration(n) * time.Minute)
		case "s":
			t = t.Add(-time.Duration(n) * time.Second)
		}
	}
	return t, true
}
