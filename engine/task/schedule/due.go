package schedule

import "time"

// punctual is how long after its slot a run still counts as on time: longer
// than any driver sleeps, shorter than anybody would call late.
const punctual = 5 * time.Minute

// A Decision is what to do now.
type Decision struct {
	// Run is the run to start now, if its Why is set.
	Run Run

	// Again is the time by which to ask again if there is nothing to start; zero
	// if only a change of the State can make a difference (the task is disabled
	// or runs). Whoever sleeps until then should look at the clock at least once
	// a minute, since it may be set.
	Again time.Time
}

// Due decides what a task does at the given time. The State it gives back is
// the one to go on with and to keep: it differs only if the clock was set back.
func (s *Schedule) Due(st State, now time.Time) (Decision, State) {
	st = s.settle(st, now)
	if st.Disabled || st.Running.Why != "" {
		return Decision{}, st
	}
	run := s.pending(st, now)
	retryAt := st.FailedAt.Add(s.retryDelay(st.Failures))
	if run.Why == "" && st.Owed.Why != "" && !now.Before(retryAt) {
		run = st.Owed
	}
	if run.Why != "" {
		until := later(st.Delay.Until, st.Hold.Until)
		if until.After(now) {
			return Decision{Again: until}, st
		}
		return Decision{Run: run}, st
	}
	again := s.Next(later(now, st.Slot)).At
	if st.Owed.Why != "" && retryAt.Before(again) {
		again = retryAt
	}
	return Decision{Again: again}, st
}

// Late says whether the task has a run to make good that is not on time: what
// to count before a [Spread] at the start of the daemon.
func (s *Schedule) Late(st State, now time.Time) bool {
	decision, _ := s.Due(st, now)
	return decision.Run.Why == CatchUp
}

// pending is the run for the slots that have come since the last one taken up.
func (s *Schedule) pending(st State, now time.Time) Run {
	slot := s.last(now)
	if slot.Kind == "" || !slot.At.After(st.Slot) {
		return Run{}
	}
	run := Run{Kind: slot.Kind, Slot: stored(slot.At), Why: OnTime}
	if now.Sub(slot.At) > punctual {
		run.Why = CatchUp
	}
	if s.lastFull(now).After(st.Slot) {
		run.Kind = Full
	}
	return run
}

// retryDelay is the time between a failure and the next try.
func (s *Schedule) retryDelay(failures int) time.Duration {
	delay := s.retryFirst
	for range failures - 1 {
		if delay > s.retryMost/2 {
			return s.retryMost
		}
		delay *= 2
	}
	return delay
}

// settle brings a State into the past that a clock set back has made its future.
// Otherwise the task would wait until the clock is back where it was.
func (s *Schedule) settle(st State, now time.Time) State {
	st.Since = earlier(st.Since, now)
	st.Success = earlier(st.Success, now)
	st.FailedAt = earlier(st.FailedAt, now)
	st.Delay = st.Delay.settle(now)
	st.Hold = st.Hold.settle(now)
	if st.Slot.After(now) && !s.sameSlotAgain(st.Slot, now) {
		st.Slot = stored(now)
	}
	return st
}

// sameSlotAgain says whether the slot taken up last is about to come a second
// time, alone and within a day, since the clock was set back by less than an
// interval. To wait it out costs less than an interval and keeps the slot from
// being run twice. Anything else counts again: a slot a minute must not rest
// for the hour that the clock was set back by.
func (s *Schedule) sameSlotAgain(slot, now time.Time) bool {
	return slot.Sub(now) <= 24*time.Hour && s.Next(now).At.Equal(slot)
}

func (p Pause) settle(now time.Time) Pause {
	if p.From.After(now) {
		ahead := p.From.Sub(now)
		p.From, p.Until = stored(now), stored(p.Until.Add(-ahead))
	}
	return p
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(t, now time.Time) time.Time {
	if t.After(now) {
		return stored(now)
	}
	return t
}
