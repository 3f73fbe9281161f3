package schedule

import "time"

// Why says what a run is for.
type Why string

const (
	OnTime  Why = "slot"     // its slot has just come
	CatchUp Why = "catch-up" // its slot passed more than five minutes ago
	Retry   Why = "retry"    // an earlier run failed
	ByHand  Why = "by hand"  // somebody asked for it; it leaves the schedule alone
)

// A Run is one backup to take.
type Run struct {
	Kind Kind      `json:"kind,omitzero"`
	Slot time.Time `json:"slot,omitzero"` // the slot that it takes up; zero for a run by hand
	Why  Why       `json:"why,omitzero"`  // empty: there is no run
}

// A Pause keeps a task from starting until a time. From is when it was asked
// for: a pause lasts no longer than was meant then if the clock is set back.
type Pause struct {
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

// State is what a task remembers. Start from [NewState]; the zero State is a
// task that is long overdue. Times are UTC without a monotonic reading, so that
// States can be compared with == and survive a file.
type State struct {
	Since time.Time `json:"since,omitzero"` // when the task was first known
	Slot  time.Time `json:"slot,omitzero"`  // the newest slot that was taken up, or that doesn't count

	Running Run `json:"running,omitzero"` // the run that goes on, if its Why is set

	Success  time.Time `json:"success,omitzero"`   // end of the last run that succeeded
	Failures int       `json:"failures,omitzero"`  // failed runs since the last one that left nothing owed
	FailedAt time.Time `json:"failed_at,omitzero"` // end of the last one
	Owed     Run       `json:"owed,omitzero"`      // the run to try again, if its Why is set

	Delay    Pause `json:"delay,omitzero"` // asked for by somebody
	Hold     Pause `json:"hold,omitzero"`  // so that overdue tasks don't all start at once
	Disabled bool  `json:"disabled,omitzero"`
}

// NewState is the state of a task that is first known now: it runs at the next
// slot.
func NewState(now time.Time) State { return State{Since: stored(now), Slot: stored(now)} }

// Started notes that a run has begun; keep the State before the run does
// anything, and a crash can't take the slot up twice.
func (st State) Started(run Run) State {
	run.Slot = stored(run.Slot)
	st.Running = run
	if run.Why != Retry && run.Slot.After(st.Slot) {
		st.Slot = run.Slot
	}
	return st
}

// Succeeded notes that the run has ended with a restore point.
func (st State) Succeeded(now time.Time) State {
	st.Success = stored(now)
	if st.Running.Kind == Full || st.Owed.Kind != Full {
		st = st.owingNothing()
	}
	st.Running = Run{}
	return st
}

// Failed notes that the run has ended without a restore point, be it that the
// daemon died: a State that is read from a file with Running set has failed.
// A run by hand is not tried again.
func (st State) Failed(now time.Time) State {
	run := st.Running
	st.Running = Run{}
	if run.Why == ByHand || run.Why == "" {
		return st
	}
	st.Failures++
	st.FailedAt = stored(now)
	if st.Owed.Kind == Full {
		run.Kind = Full
	}
	run.Why = Retry
	st.Owed = run
	return st
}

// Aborted notes that somebody stopped the run. Its slot stays taken, and it is
// not tried again.
func (st State) Aborted() State {
	if st.Running.Why != ByHand && (st.Running.Kind == Full || st.Owed.Kind != Full) {
		st = st.owingNothing()
	}
	st.Running = Run{}
	return st
}

// Delayed keeps the task from starting for the given time; zero or less ends a
// delay. Slots that pass are made good by one run afterwards.
func (st State) Delayed(now time.Time, by time.Duration) State {
	st.Delay = pause(now, by)
	return st
}

// Held keeps the task from starting for its share of a [Spread].
func (st State) Held(now time.Time, by time.Duration) State {
	st.Hold = pause(now, by)
	return st
}

// Disable stops the task from starting until Enable.
func (st State) Disable() State {
	st.Disabled = true
	return st
}

// Enable lets a disabled task run again from its next slot on: those that
// passed meanwhile, and what it owed, are dropped.
func (st State) Enable(now time.Time) State {
	if st.Disabled {
		st.Disabled = false
		st.Slot = stored(now)
		st = st.owingNothing()
	}
	return st
}

// Safe is the time since which the task has been without a new restore point:
// its last success or, before the first, when it was first known.
func (st State) Safe() time.Time {
	if st.Success.IsZero() {
		return st.Since
	}
	return st.Success
}

// Spread gives each of n overdue tasks a delay below the window: none for the
// first, a random one for the others. random(n) is a number from 0 up to n,
// excluding n.
func Spread(n int, window time.Duration, random func(n int64) int64) []time.Duration {
	delays := make([]time.Duration, max(n, 0))
	for i := 1; i < len(delays) && window > 0; i++ {
		delays[i] = time.Duration(random(int64(window)))
	}
	return delays
}

func (st State) owingNothing() State {
	st.Owed, st.Failures, st.FailedAt = Run{}, 0, time.Time{}
	return st
}

func pause(now time.Time, by time.Duration) Pause {
	if by <= 0 {
		return Pause{}
	}
	return Pause{From: stored(now), Until: stored(now.Add(by))}
}

// stored is a time as a State keeps it.
func stored(t time.Time) time.Time { return t.UTC().Round(0) }
