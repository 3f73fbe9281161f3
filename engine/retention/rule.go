package retention

import (
	"fmt"
	"time"
)

// rule keeps the newest restore point of each period, up to a number of them.
type rule struct {
	name   string
	left   int
	taken  int
	period func(time.Time) string
	seen   map[string]bool
}

func (p Policy) rules() []*rule {
	all := []*rule{
		{name: "last", left: p.Last},
		{name: "hour", left: p.Hourly, period: hour},
		{name: "day", left: p.Daily, period: day},
		{name: "week", left: p.Weekly, period: week},
		{name: "month", left: p.Monthly, period: month},
		{name: "year", left: p.Yearly, period: year},
	}
	for _, r := range all {
		r.seen = make(map[string]bool)
	}
	return all
}

// take is shown the points of a source newest first and says whether the rule
// wants this one. The set of periods seen, and not the last one alone, decides:
// with a clock that jumped, a day can come back.
func (r *rule) take(t time.Time) (reason string, ok bool) {
	if r.left == 0 {
		return "", false
	}
	if r.period == nil {
		r.left--
		r.taken++
		return fmt.Sprintf("%s %d", r.name, r.taken), true
	}
	period := r.period(t)
	if r.seen[period] {
		return "", false
	}
	r.seen[period] = true
	r.left--
	return fmt.Sprintf("%s %s", r.name, period), true
}

// An hour is told from the one of the same name at the end of summer time by
// its offset.
func hour(t time.Time) string  { return t.Format("2006-01-02T15 -0700") }
func day(t time.Time) string   { return t.Format("2006-01-02") }
func month(t time.Time) string { return t.Format("2006-01") }
func year(t time.Time) string  { return t.Format("2006") }

// week is the ISO 8601 week: it begins on Monday and belongs to the year that
// has its Thursday.
func week(t time.Time) string {
	y, w := t.ISOWeek()
	return fmt.Sprintf("%d-W%02d", y, w)
}
