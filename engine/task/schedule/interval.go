package schedule

import "time"

// MaxInterval is the longest time between two neighbouring slots, full or not,
// of which at least part lies within a year of the given time. It is measured
// on a local clock that never shifts: a daily schedule gives 24 hours, one for
// weekdays 72, one for 29 February usually four years.
func (s *Schedule) MaxInterval(about time.Time) time.Duration {
	const year = 366
	today := floorDiv(latestShown(about, s.zone), dayMinutes)
	spans := map[dayKind]span{}
	var most, previous int64
	day := s.previousDay(today - year)
	for first := true; ; day++ {
		kind := s.dayKind(day)
		if kind == (dayKind{}) {
			continue // not for ever: every expression has a day in each cycle of the calendar
		}
		inside, ok := spans[kind]
		if !ok {
			inside = s.span(kind)
			spans[kind] = inside
		}
		most = max(most, inside.gap)
		if !first {
			most = max(most, day*dayMinutes+inside.first-previous)
		}
		if day > today+year {
			return time.Duration(most) * time.Minute
		}
		first, previous = false, day*dayMinutes+inside.last
	}
}

// Overdue says whether the newest restore point, ended at last, is older than
// twice the longest interval of its time. For a task without one, last is the
// time since which it is known ([State.Safe]). The hour by which local clocks
// are set back doesn't count, since no slot falls into it.
func (s *Schedule) Overdue(last, now time.Time) bool {
	_, then := last.In(s.zone).Zone()
	_, present := now.In(s.zone).Zone()
	age := now.Sub(last)
	if present < then {
		age -= time.Duration(then-present) * time.Second
	}
	return age > 2*s.MaxInterval(last)
}

// dayKind says which expressions name minutes of a day.
type dayKind struct{ full, incremental bool }

// span is what the slots of a day look like: minutes of the day, and the
// longest time between two of them.
type span struct{ first, last, gap int64 }

func (s *Schedule) dayKind(day int64) dayKind {
	d := civil(day)
	return dayKind{
		full:        s.full != nil && s.full.onDay(d),
		incremental: s.incremental != nil && s.incremental.onDay(d),
	}
}

func (s *Schedule) span(kind dayKind) span {
	var named [dayMinutes]bool
	if kind.full {
		for _, m := range s.full.clock {
			named[m] = true
		}
	}
	if kind.incremental {
		for _, m := range s.incremental.clock {
			named[m] = true
		}
	}
	result := span{first: -1}
	for m := range int64(dayMinutes) {
		if !named[m] {
			continue
		}
		if result.first < 0 {
			result.first = m
		} else {
			result.gap = max(result.gap, m-result.last)
		}
		result.last = m
	}
	return result
}

// previousDay is the last day not after the given one that has a slot.
func (s *Schedule) previousDay(from int64) int64 {
	last := from - calendarCycle
	for _, e := range []*expression{s.full, s.incremental} {
		if e == nil {
			continue
		}
		if day, ok := e.previousDay(from); ok {
			last = max(last, day)
		}
	}
	return last
}
