package schedule

import (
	"fmt"
	"strings"
	"time"
)

// Kind is the kind of a backup, in the words that restore points use.
type Kind string

const (
	Full        Kind = "full"        // every byte is read again
	Incremental Kind = "incremental" // only what changed is read
)

// A Slot is a moment at which a run is wanted, and the kind wanted then.
type Slot struct {
	At   time.Time // in the schedule's zone, on a full minute of its clock
	Kind Kind
}

// Spec is a schedule as it is written in a configuration.
type Spec struct {
	// Full and Incremental are cron expressions of five fields, or one of
	// @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually. One of
	// the two may be empty.
	Full, Incremental string

	// Zone is an IANA name such as Europe/Paris. Empty is the host's own zone.
	Zone string

	// RetryFirst is the delay before a failed run is tried again; it doubles
	// with each failure in a row up to RetryMost. Zero is one minute and one hour.
	RetryFirst, RetryMost time.Duration
}

// A Schedule is a parsed Spec. It doesn't change and may be shared.
type Schedule struct {
	full, incremental     *expression // nil where the Spec has none
	zone                  *time.Location
	retryFirst, retryMost time.Duration
}

// An Error says which part of a Spec can't be used, why, and what to do.
type Error struct {
	Field   string // full, incremental, zone, retry or schedule, for the whole
	Value   string // as it was written
	Problem string
	Remedy  string
}

func (e *Error) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("%s: %s: %s", e.Field, e.Problem, e.Remedy)
	}
	return fmt.Sprintf("%s %q: %s: %s", e.Field, e.Value, e.Problem, e.Remedy)
}

// Parse checks a Spec. Its error is an [*Error]. An expression that never
// comes true, such as 31 February, is one.
func Parse(spec Spec) (*Schedule, error) {
	s := &Schedule{zone: time.Local, retryFirst: spec.RetryFirst, retryMost: spec.RetryMost}
	if s.retryFirst == 0 {
		s.retryFirst = time.Minute
	}
	if s.retryMost == 0 {
		s.retryMost = max(time.Hour, s.retryFirst)
	}
	if s.retryFirst < 0 || s.retryMost < s.retryFirst {
		return nil, &Error{"retry", fmt.Sprintf("%v to %v", spec.RetryFirst, spec.RetryMost),
			"the delays don't grow", "give a first delay above zero and a last one that is no shorter"}
	}
	if spec.Zone != "" {
		zone, err := time.LoadLocation(spec.Zone)
		if err != nil {
			return nil, &Error{"zone", spec.Zone, "this host knows no such time zone",
				"use an IANA name such as Europe/Paris, or leave it out for the host's own zone"}
		}
		s.zone = zone
	}
	if strings.TrimSpace(spec.Full) == "" && strings.TrimSpace(spec.Incremental) == "" {
		return nil, &Error{"schedule", "", "there is neither a full nor an incremental expression",
			`give at least one, such as incremental = "0 3 * * *"`}
	}
	for _, part := range []struct {
		field, text string
		into        **expression
	}{{"full", spec.Full, &s.full}, {"incremental", spec.Incremental, &s.incremental}} {
		if strings.TrimSpace(part.text) == "" {
			continue
		}
		parsed, problem, remedy := parseExpression(part.text)
		if parsed == nil {
			return nil, &Error{part.field, part.text, problem, remedy}
		}
		*part.into = parsed
	}
	return s, nil
}

// Zone is the time zone that the schedule counts in.
func (s *Schedule) Zone() *time.Location { return s.zone }

// Next is the first slot after the given time, excluding it. There always is
// one, if only in eight years, as for 29 February before 2100.
func (s *Schedule) Next(after time.Time) Slot {
	from := latestShown(after, s.zone) + 1
	return s.choose((*expression).next, from, func(a, b int64) bool { return a < b })
}

// NextFive is the five slots that follow the given time, in order.
func (s *Schedule) NextFive(after time.Time) []Slot {
	slots := make([]Slot, 5)
	for i := range slots {
		slots[i] = s.Next(after)
		after = slots[i].At
	}
	return slots
}

// last is the newest slot that is not after the given time.
func (s *Schedule) last(now time.Time) Slot {
	from := latestShown(now, s.zone)
	return s.choose((*expression).previous, from, func(a, b int64) bool { return a > b })
}

// lastFull is the newest full slot that is not after the given time, zero if
// the schedule has none.
func (s *Schedule) lastFull(now time.Time) time.Time {
	if s.full == nil {
		return time.Time{}
	}
	minute, ok := s.full.previous(latestShown(now, s.zone))
	if !ok {
		return time.Time{}
	}
	return firstShown(minute, s.zone)
}

// choose asks both expressions and takes the answer that is nearer; full wins
// where both have the same slot, be it that daylight saving put them there.
func (s *Schedule) choose(ask func(*expression, int64) (int64, bool), from int64, nearer func(a, b int64) bool) Slot {
	var slot Slot
	var chosen int64
	for _, part := range []struct {
		kind Kind
		*expression
	}{{Full, s.full}, {Incremental, s.incremental}} {
		if part.expression == nil {
			continue
		}
		minute, ok := ask(part.expression, from)
		if !ok || slot.Kind != "" && !nearer(minute, chosen) {
			continue
		}
		at := firstShown(minute, s.zone)
		if slot.Kind == "" || !at.Equal(slot.At) {
			slot, chosen = Slot{at, part.kind}, minute
		}
	}
	return slot
}
