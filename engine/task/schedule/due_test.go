package schedule

import (
	"testing"
	"time"
)

// expect asks Due at a time and compares the run, or the time to ask again.
func expect(t *testing.T, s *Schedule, st State, now string, want Run) State {
	t.Helper()
	decision, st := s.Due(st, at(t, now))
	if decision.Run != want {
		t.Fatalf("at %s: due is %+v, want %+v", now, decision.Run, want)
	}
	return st
}

func expectWait(t *testing.T, s *Schedule, st State, now, again string) State {
	t.Helper()
	decision, st := s.Due(st, at(t, now))
	if decision.Run != (Run{}) || !decision.Again.Equal(at(t, again)) {
		t.Fatalf("at %s: due is %+v, want to be asked again at %s", now, decision, again)
	}
	return st
}

func daily(t *testing.T) *Schedule {
	return parse(t, Spec{Full: "0 3 * * sun", Incremental: "0 3 * * *", Zone: "UTC"})
}

func TestNewTaskWaitsForItsFirstSlot(t *testing.T) {
	s, st := daily(t), NewState(at(t, "2026-11-26 12:00"))
	expectWait(t, s, st, "2026-11-26 12:00", "2026-11-27 03:00")
	slot := at(t, "2026-11-27 03:00")
	expect(t, s, st, "2026-11-27 03:00:01", Run{Incremental, slot, OnTime})
	expect(t, s, State{}, "2026-11-26 12:00", Run{Full, at(t, "2026-11-26 03:00"), CatchUp})
}

func TestSlotIsTakenUpOnce(t *testing.T) {
	s, st := daily(t), NewState(at(t, "2026-11-26 12:00"))
	run := Run{Incremental, at(t, "2026-11-27 03:00"), OnTime}
	st = expect(t, s, st, "2026-11-27 03:00", run).Started(run)
	expect(t, s, st, "2026-11-28 03:00", Run{}) // never two at once
	st = st.Succeeded(at(t, "2026-11-27 03:20"))
	expectWait(t, s, st, "2026-11-27 03:20", "2026-11-28 03:00")
}

func TestOutageGivesOneCatchUpThatIsFullIfAnyWas(t *testing.T) {
	s, st := daily(t), NewState(at(t, "2026-11-26 12:00"))
	run := Run{Full, at(t, "2026-12-02 03:00"), CatchUp} // Sunday is 29 November
	st = expect(t, s, st, "2026-12-02 14:00", run).Started(run).Succeeded(at(t, "2026-12-02 15:00"))
	expectWait(t, s, st, "2026-12-02 15:00", "2026-12-03 03:00")
	if !s.Late(NewState(at(t, "2026-11-26 12:00")), at(t, "2026-12-02 14:00")) || s.Late(st, at(t, "2026-12-03 03:00")) {
		t.Error("late is what was missed, not what comes on time")
	}
}

func TestFailedRunIsTriedAgainAfterGrowingDelays(t *testing.T) {
	s, st := daily(t), NewState(at(t, "2026-11-26 12:00"))
	run := Run{Incremental, at(t, "2026-11-27 03:00"), OnTime}
	now := run.Slot
	st = st.Started(run).Failed(now)
	run.Why = Retry
	for i, delay := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		again := now.Add(delay * time.Minute)
		if decision, _ := s.Due(st, again.Add(-1)); decision.Run.Why != "" || !decision.Again.Equal(again) {
			t.Fatalf("failure %d: due is %+v, want to be asked again at %v", i+1, decision, again)
		}
		decision, _ := s.Due(st, again)
		if decision.Run != run {
			t.Fatalf("failure %d: due is %+v, want a retry", i+1, decision)
		}
		now = again
		st = st.Started(run).Failed(now)
	}
	st = st.Started(run).Succeeded(at(t, "2026-11-27 09:00"))
	st = expectWait(t, s, st, "2026-11-27 09:00", "2026-11-28 03:00")
	if st.Failures != 0 || st.Owed != (Run{}) {
		t.Errorf("a success leaves %+v", st)
	}
}

func TestNewSlotDoesNotWaitForARetry(t *testing.T) {
	s, st := daily(t), NewState(at(t, "2026-11-26 12:00"))
	st = st.Started(Run{Incremental, at(t, "2026-11-27 03:00"), OnTime}).Failed(at(t, "2026-11-28 02:59:30"))
	st = expectWait(t, s, st, "2026-11-28 02:59:40", "2026-11-28 03:00")
	expect(t, s, st, "2026-11-28 03:00", Run{Incremental, at(t, "2026-11-28 03:00"), OnTime})
}

func TestFailedFullStaysOwedAndStopsNoIncremental(t *testing.T) {
	s := parse(t, Spec{Full: "0 0 * * sun", Incremental: "0 * * * *", Zone: "UTC"})
	full := Run{Full, at(t, "2026-11-29 00:00"), OnTime}
	st := NewState(at(t, "2026-11-28 23:30")).Started(full).Failed(at(t, "2026-11-29 00:59:30"))
	hourly := Run{Incremental, at(t, "2026-11-29 01:00"), OnTime}
	st = expect(t, s, st, "2026-11-29 01:00", hourly).Started(hourly).Succeeded(at(t, "2026-11-29 01:05"))
	full.Why = Retry
	st = expect(t, s, st, "2026-11-29 01:05", full).Started(full)
	if failed := st.Failed(at(t, "2026-11-29 01:06")); failed.Failures != 2 || failed.Owed != full {
		t.Errorf("after a second failure the state is %+v", failed)
	}
	st = st.Succeeded(at(t, "2026-11-29 01:10"))
	expectWait(t, s, st, "2026-11-29 01:10", "2026-11-29 02:00")
}

func TestFailedIncrementalBehindAFailedFullIsTriedAsFull(t *testing.T) {
	st := NewState(at(t, "2026-11-28 23:30"))
	st = st.Started(Run{Full, at(t, "2026-11-29 00:00"), OnTime}).Failed(at(t, "2026-11-29 00:50"))
	st = st.Started(Run{Incremental, at(t, "2026-11-29 01:00"), OnTime}).Failed(at(t, "2026-11-29 01:05"))
	if want := (Run{Full, at(t, "2026-11-29 01:00"), Retry}); st.Owed != want {
		t.Errorf("owed is %+v, want %+v", st.Owed, want)
	}
	if aborted := st.Started(Run{Incremental, at(t, "2026-11-29 02:00"), OnTime}).Aborted(); aborted.Owed.Kind != Full {
		t.Errorf("to abort an incremental run leaves %+v owed", aborted.Owed)
	}
	if aborted := st.Started(st.Owed).Aborted(); aborted.Owed != (Run{}) || aborted.Failures != 0 {
		t.Errorf("an aborted retry leaves %+v", aborted)
	}
}

func TestRunByHandLeavesTheScheduleAlone(t *testing.T) {
	s, st := daily(t), NewState(at(t, "2026-11-26 12:00"))
	byHand := st.Started(Run{Kind: Full, Why: ByHand})
	failed := byHand.Failed(at(t, "2026-11-26 13:00"))
	if failed != st || byHand.Aborted() != st {
		t.Errorf("a run by hand that failed or was aborted leaves %+v and %+v, want %+v", failed, byHand.Aborted(), st)
	}
	expectWait(t, s, byHand.Succeeded(at(t, "2026-11-26 13:00")), "2026-11-26 13:00", "2026-11-27 03:00")
}

func TestDelayPutsOffWithoutLosingTheSlot(t *testing.T) {
	s, st := daily(t), NewState(at(t, "2026-11-26 12:00")).Delayed(at(t, "2026-11-27 02:00"), 2*time.Hour)
	st = expectWait(t, s, st, "2026-11-27 02:00", "2026-11-27 03:00")
	st = expectWait(t, s, st, "2026-11-27 03:00", "2026-11-27 04:00")
	expect(t, s, st, "2026-11-27 04:00", Run{Incremental, at(t, "2026-11-27 03:00"), CatchUp})
	expect(t, s, st.Delayed(at(t, "2026-11-27 03:01"), 0), "2026-11-27 03:01", Run{Incremental, at(t, "2026-11-27 03:00"), OnTime})
	expectWait(t, s, st.Held(at(t, "2026-11-27 03:00"), 3*time.Hour), "2026-11-27 03:00", "2026-11-27 06:00")
}

func TestDisabledTaskRunsNothingAndCatchesUpNothing(t *testing.T) {
	s, st := daily(t), NewState(at(t, "2026-11-26 12:00"))
	st = st.Started(Run{Full, at(t, "2026-11-26 12:00"), OnTime}).Failed(at(t, "2026-11-26 12:10")).Disable()
	expect(t, s, st, "2026-12-26 12:00", Run{})
	st = st.Enable(at(t, "2026-12-26 12:00"))
	expectWait(t, s, st, "2026-12-26 12:00", "2026-12-27 03:00")
	if again := st.Enable(at(t, "2027-01-01 00:00")); again != st {
		t.Error("to enable an enabled task changes it")
	}
}

func TestClockSetForwardByDaysGivesOneRun(t *testing.T) {
	s, st := daily(t), NewState(at(t, "2026-11-26 12:00"))
	run := Run{Full, at(t, "2027-11-26 03:00"), CatchUp}
	st = expect(t, s, st, "2027-11-26 12:00", run).Started(run).Succeeded(at(t, "2027-11-26 12:30"))
	// And back again: no storm for the year, no silence until it is over.
	st = expectWait(t, s, st, "2026-11-26 12:40", "2026-11-27 03:00")
	if want := at(t, "2026-11-26 12:40"); !st.Slot.Equal(want) || !st.Success.Equal(want) {
		t.Errorf("slot and success stay in the future: %+v", st)
	}
	expect(t, s, st, "2026-11-27 03:00", Run{Incremental, at(t, "2026-11-27 03:00"), OnTime})
}

func TestClockSetBackByLessThanAnIntervalRepeatsNoSlot(t *testing.T) {
	s, st := daily(t), NewState(at(t, "2026-11-26 12:00"))
	st = st.Started(Run{Incremental, at(t, "2026-11-27 03:00"), OnTime}).Succeeded(at(t, "2026-11-27 03:10"))
	for _, now := range []string{"2026-11-27 02:59:59", "2026-11-26 15:00", "2026-11-27 03:00"} {
		st = expectWait(t, s, st, now, "2026-11-28 03:00")
	}
}

func TestClockSetBackByDaysLosesNoRareSlot(t *testing.T) {
	s, st := parse(t, Spec{Full: "@yearly", Zone: "UTC"}), NewState(at(t, "2026-11-26 12:00"))
	st = st.Started(Run{Full, at(t, "2027-01-01 00:00"), CatchUp}).Succeeded(at(t, "2027-01-20 00:00"))
	st = expectWait(t, s, st, "2026-11-20 00:00", "2027-01-01 00:00")
	if !st.Since.Equal(at(t, "2026-11-20 00:00")) {
		t.Errorf("known since %v, which is yet to come", st.Since)
	}
	expect(t, s, st, "2027-01-01 00:00", Run{Full, at(t, "2027-01-01 00:00"), OnTime})
}

func TestClockSetBackProlongsNeitherDelayNorRetry(t *testing.T) {
	s, st := daily(t), NewState(at(t, "2026-11-26 12:00"))
	st = st.Started(Run{Incremental, at(t, "2026-11-27 03:00"), OnTime}).Failed(at(t, "2026-11-27 03:10"))
	st = st.Delayed(at(t, "2026-11-27 03:10"), time.Hour)
	st = expectWait(t, s, st, "2026-11-17 04:00", "2026-11-17 04:01")
	st = expectWait(t, s, st, "2026-11-17 04:01", "2026-11-17 05:00")
	expect(t, s, st, "2026-11-17 05:00", Run{Incremental, at(t, "2026-11-27 03:00"), Retry})
	// The slot of a retry lies in the future now; it must not swallow those before it.
	st = st.Started(Run{Incremental, at(t, "2026-11-27 03:00"), Retry}).Succeeded(at(t, "2026-11-18 02:59"))
	expect(t, s, st, "2026-11-18 03:00", Run{Incremental, at(t, "2026-11-18 03:00"), OnTime})
}

func TestSpreadLeavesTheFirstAtOnce(t *testing.T) {
	delays := Spread(4, time.Minute, func(n int64) int64 { return n - 1 })
	if len(delays) != 4 || delays[0] != 0 || delays[1] != time.Minute-1 || delays[3] != time.Minute-1 {
		t.Errorf("the delays are %v", delays)
	}
	if len(Spread(-1, time.Minute, nil)) != 0 || Spread(2, 0, nil)[1] != 0 {
		t.Error("nothing to spread, or no window to spread over, needs no chance")
	}
}

func TestOverdueIsTwiceTheLongestInterval(t *testing.T) {
	for _, test := range []struct {
		full, incremental, zone, last string
		interval                      time.Duration
	}{
		{"", "0 3 * * *", "Europe/Paris", "2026-11-26 02:10", 24 * time.Hour},
		{"0 3 * * 0", "0 3 * * *", "Europe/Paris", "2026-11-26 02:10", 24 * time.Hour},
		{"0 3 * * 0", "", "Europe/Paris", "2026-11-26 02:10", 7 * 24 * time.Hour},
		{"0 9 * * 1-5", "", "UTC", "2026-11-26 09:10", 72 * time.Hour},
		{"", "*/5 * * * *", "America/New_York", "2026-11-26 09:10", 5 * time.Minute},
		{"", "0 8-18/2 * * *", "UTC", "2026-11-26 09:10", 14 * time.Hour},
		{"", "0 1,3,20 * * *", "UTC", "2026-11-26 09:10", 17 * time.Hour},
		{"0 0 * * *", "0 12 * * *", "UTC", "2026-11-26 09:10", 12 * time.Hour},
		{"0 0 1 * *", "", "UTC", "2026-11-26 09:10", 31 * 24 * time.Hour},
		{"0 0 31 * *", "", "UTC", "2026-11-26 09:10", 61 * 24 * time.Hour},
		{"0 0 29 2 *", "", "UTC", "2026-11-26 09:10", 1461 * 24 * time.Hour},
		{"0 0 29 2 *", "", "UTC", "2099-11-26 09:10", 2921 * 24 * time.Hour},
	} {
		s := parse(t, Spec{Full: test.full, Incremental: test.incremental, Zone: test.zone})
		last := at(t, test.last)
		if got := s.MaxInterval(last); got != test.interval {
			t.Errorf("%s|%s: the longest interval is %v, want %v", test.full, test.incremental, got, test.interval)
		}
		if s.Overdue(last, last.Add(2*test.interval)) || !s.Overdue(last, last.Add(2*test.interval+1)) {
			t.Errorf("%s|%s: not overdue just after %v", test.full, test.incremental, 2*test.interval)
		}
	}
	s := daily(t)
	now := at(t, "2026-11-26 12:00")
	if s.Overdue(NewState(now).Safe(), now) || !s.Overdue(State{}.Safe(), now) || s.Overdue(now.Add(time.Hour), now) {
		t.Error("a new task, or one whose clock was set back, counts as overdue, or one never backed up doesn't")
	}
	if st := NewState(now).Started(Run{Full, now, OnTime}).Succeeded(now.Add(1)); !st.Safe().Equal(now.Add(1)) {
		t.Errorf("safe since %v", st.Safe())
	}
}

func TestRepeatedHourMakesNobodyOverdue(t *testing.T) {
	for _, test := range []struct{ zone, cron, last, next string }{
		{"Europe/Paris", "*/5 * * * *", "2026-10-25T02:56:00+02:00", "2026-10-25T03:01:00+01:00"},
		{"America/New_York", "*/5 * * * *", "2026-11-01T01:56:00-04:00", "2026-11-01T02:01:00-05:00"},
		{"Australia/Lord_Howe", "*/5 * * * *", "2026-04-05T01:56:00+11:00", "2026-04-05T02:01:00+10:30"},
		{"Europe/Paris", "*/5 * * * *", "2026-03-29T01:56:00+01:00", "2026-03-29T03:01:00+02:00"},
	} {
		s := parse(t, Spec{Incremental: test.cron, Zone: test.zone})
		last, next := at(t, test.last), at(t, test.next)
		for now := last; now.Before(next); now = now.Add(time.Minute) {
			if s.Overdue(last, now) {
				t.Errorf("%s: overdue at %v, though the next slot comes after it", test.zone, now)
			}
		}
		if !s.Overdue(last, next.Add(10*time.Minute)) {
			t.Errorf("%s: not overdue a quarter of an hour later", test.zone)
		}
	}
}
