package schedule

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"testing"
	"time"
)

// wanted lists the slots from walking through time in quarters of an hour and
// looking at the clock on the wall: what it shows for the first time, or has
// jumped over, has its slot then. It shares no code with the schedule.
func wanted(zone *time.Location, from, to time.Time, full, incremental func(wall time.Time) bool) []Slot {
	const quarter = 15 * time.Minute
	var slots []Slot
	var shown time.Time // the latest wall clock time so far, written as UTC
	for now := from; now.Before(to); now = now.Add(quarter) {
		_, offset := now.In(zone).Zone()
		wall := now.UTC().Add(time.Duration(offset) * time.Second)
		if shown.IsZero() {
			shown = wall
		}
		slot := Slot{At: now}
		for shown.Before(wall) {
			shown = shown.Add(quarter)
			if full(shown) {
				slot.Kind = Full
			} else if incremental(shown) && slot.Kind == "" {
				slot.Kind = Incremental
			}
		}
		if slot.Kind != "" {
			slots = append(slots, slot)
		}
	}
	return slots
}

type plan struct {
	full, incremental       string
	fullWall, incrementWall func(wall time.Time) bool
}

var plans = []plan{
	{ // around the shifts of all four zones
		full: "15 2 * * sun", incremental: "15,45 1-3 * * *",
		fullWall: func(w time.Time) bool { return w.Weekday() == time.Sunday && w.Hour() == 2 && w.Minute() == 15 },
		incrementWall: func(w time.Time) bool {
			return w.Hour() >= 1 && w.Hour() <= 3 && (w.Minute() == 15 || w.Minute() == 45)
		},
	},
	{ // often, with a full one now and then
		full: "@monthly", incremental: "30 * * * *",
		fullWall:      func(w time.Time) bool { return w.Day() == 1 && w.Hour() == 0 && w.Minute() == 0 },
		incrementWall: func(w time.Time) bool { return w.Minute() == 30 },
	},
	{ // seldom, and only full
		full: "30 2 1 1,4,10 *", incremental: "",
		fullWall: func(w time.Time) bool {
			return w.Day() == 1 && (w.Month() == 1 || w.Month() == 4 || w.Month() == 10) && w.Hour() == 2 && w.Minute() == 30
		},
		incrementWall: func(time.Time) bool { return false },
	},
}

func TestThreeYearsOfOutagesFailuresAndWrongClocks(t *testing.T) {
	for _, name := range []string{"Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"} {
		for i, p := range plans {
			t.Run(fmt.Sprintf("%s/%s", name, p.full), func(t *testing.T) {
				t.Parallel()
				zone, err := time.LoadLocation(name)
				if err != nil {
					t.Fatal(err)
				}
				start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
				end := start.AddDate(3, 0, 0)
				s := parse(t, Spec{Full: p.full, Incremental: p.incremental, Zone: name})
				slots := wanted(zone, start.AddDate(0, -3, 0), end.AddDate(1, 0, 0), p.fullWall, p.incrementWall)
				for i, slot := range slots[1:] {
					if got := s.Next(slots[i].At); !got.At.Equal(slot.At) || got.Kind != slot.Kind {
						t.Fatalf("after %v comes %v, want %v", slots[i].At, got, slot)
					}
				}
				for _, clocks := range []bool{false, true} {
					w := &world{t: t, s: s, slots: slots, random: rand.New(rand.NewPCG(uint64(i), 7)), clocks: clocks,
						now: start, idle: start, taken: start, state: NewState(start)}
					w.live(end)
				}
			})
		}
	}
}

// world is three years of one task. Its checker knows three things of the past:
// the newest slot taken, since when the task could have started, and the
// failed run that is owed.
type world struct {
	t        *testing.T
	s        *Schedule
	slots    []Slot
	interval time.Duration
	random   *rand.Rand
	clocks   bool // the host's clock is set now and then

	now  time.Time     // true time
	skew time.Duration // of the host's clock

	// All of these are on the host's clock.
	state    State
	idle     time.Time // since when it is up and nothing runs
	delayed  time.Time // when the last delay was asked for
	delayEnd time.Time
	taken    time.Time
	owed     Kind
	failures int
	failedAt time.Time

	started, retried, outages, jumps, failed, delays int
}

func (w *world) clock() time.Time { return w.now.Add(w.skew) }

// some is a random time up to most, on full seconds.
func (w *world) some(most time.Duration) time.Duration {
	return time.Duration(w.random.Int64N(int64(most/time.Second))) * time.Second
}

func (w *world) live(end time.Time) {
	const day = 24 * time.Hour
	start := w.now
	outage, jump, delay := w.now.Add(w.some(20*day)), w.now.Add(w.some(40*day)), w.now.Add(w.some(60*day))
	for w.now.Before(end) && !w.t.Failed() {
		switch {
		case !w.now.Before(outage):
			w.now = w.now.Add(w.some([]time.Duration{time.Hour, 2 * day, 40 * day}[w.random.IntN(3)]))
			outage = w.now.Add(w.some(20 * day))
			w.outages++
			w.idle = w.clock()
		case w.clocks && !w.now.Before(jump):
			w.setClock([]time.Duration{10 * time.Second, 3 * time.Hour, 20 * time.Hour, 30 * day, 400 * day}[w.random.IntN(5)])
			jump = w.now.Add(w.some(40 * day))
		case !w.now.Before(delay):
			by := w.some(2 * day)
			w.state = w.state.Delayed(w.clock(), by)
			w.delayed, w.delayEnd = w.clock(), w.clock().Add(by)
			delay = w.now.Add(w.some(60 * day))
			w.delays++
		}
		wake := w.ask()
		for _, event := range []time.Time{outage, delay, w.now.Add(1 + w.some(3*day))} {
			wake = earlier(event, wake)
		}
		if w.clocks {
			wake = earlier(jump, wake)
		}
		w.now = later(w.now, wake)
	}
	if w.started < 3 || w.outages < 10 || w.failed == 0 || w.delays < 10 || w.clocks && w.jumps < 10 {
		w.t.Error("too little happened")
	}
	if most := len(w.between(start, end)) + w.outages + w.jumps + w.delays; w.started > most {
		w.t.Errorf("%d runs are a storm: there are %d slots, outages, delays and clock changes", w.started, most)
	}
	w.t.Logf("%d runs, %d retries, %d failures, %d outages, %d delays, %d clock changes",
		w.started, w.retried, w.failed, w.outages, w.delays, w.jumps)
}

// setClock sets the clock right if it is wrong, wrong by about the given time
// if it is right. Only the state notices.
func (w *world) setClock(by time.Duration) {
	before := w.clock()
	switch {
	case w.skew != 0:
		w.skew = 0
	case w.random.IntN(2) == 0 && w.now.Add(-by).After(w.slots[1].At):
		w.skew = -by
	case w.now.Add(by).Before(w.slots[len(w.slots)-2].At.AddDate(0, -7, 0)):
		w.skew = by
	}
	w.jumps++
	now := w.clock()
	if now.After(before) {
		w.idle = now
	}
	w.idle, w.failedAt = earlier(w.idle, now), earlier(w.failedAt, now)
	if w.delayed.After(now) { // a delay lasts no longer than was meant
		w.delayEnd = w.delayEnd.Add(now.Sub(w.delayed))
		w.delayed = now
	}
	if again := w.between(now, w.taken); len(again) != 1 || !again[0].At.Equal(w.taken) || w.taken.Sub(now) > 24*time.Hour {
		w.taken = earlier(w.taken, now)
	}
}

// free is since when the task could have started.
func (w *world) free() time.Time { return later(w.idle, w.delayEnd) }

// between lists the slots after one time up to another.
func (w *world) between(after, upTo time.Time) []Slot {
	first := sort.Search(len(w.slots), func(i int) bool { return w.slots[i].At.After(after) })
	end := sort.Search(len(w.slots), func(i int) bool { return w.slots[i].At.After(upTo) })
	return w.slots[first:max(first, end)]
}

// longest is the longest time between two slots.
func (w *world) longest() time.Duration {
	if w.interval == 0 {
		for i, slot := range w.slots[1:] {
			w.interval = max(w.interval, slot.At.Sub(w.slots[i].At))
		}
	}
	return w.interval
}

// ask does what a daemon does and gives back the true time to wake up at.
func (w *world) ask() time.Time {
	clock := w.clock()
	decision, state := w.s.Due(w.state, clock)
	w.state = state
	if decision.Run.Why == "" {
		w.waits(decision, clock)
		return w.now.Add(decision.Again.Sub(clock))
	}
	w.check(decision.Run, clock)
	w.state = w.state.Started(decision.Run)
	if got, _ := w.s.Due(w.state, clock); got != (Decision{}) {
		w.t.Errorf("a second run while one goes on: %+v", got)
	}
	w.now = w.now.Add(time.Second + w.some(50*time.Minute))
	if w.random.IntN(20) == 0 { // a long one
		w.now = w.now.Add(w.some(30 * time.Hour))
	}
	w.idle = w.clock()
	if w.random.IntN(3) == 0 {
		w.state = w.state.Failed(w.clock())
		w.failed++
		w.failures, w.failedAt = w.failures+1, w.clock()
		if w.owed != Full {
			w.owed = decision.Run.Kind
		}
	} else {
		w.state = w.state.Succeeded(w.clock())
		if decision.Run.Kind == Full || w.owed != Full {
			w.owed, w.failures = "", 0
		}
	}
	return w.now
}

// check holds a run against the promises.
func (w *world) check(run Run, clock time.Time) {
	pending := w.between(w.taken, clock)
	if run.Why == Retry {
		delay := min(time.Hour, time.Minute<<min(w.failures-1, 10))
		want := later(w.failedAt.Add(delay), w.free())
		if len(pending) > 0 || w.owed == "" || run.Kind != w.owed || !clock.Equal(want) {
			w.t.Errorf("%v: retry %+v with %d slots pending and %q owed; want it at %v", clock, run, len(pending), w.owed, want)
		}
		w.retried++
		return
	}
	if len(pending) == 0 {
		w.t.Fatalf("%v: run %+v, but no slot has come since %v", clock, run, w.taken)
	}
	newest := pending[len(pending)-1].At
	if !run.Slot.Equal(newest) {
		w.t.Errorf("%v: the run takes up %v, the newest slot is %v", clock, run.Slot, newest)
	}
	kind := Incremental
	for _, slot := range pending {
		if slot.Kind == Full {
			kind = Full
		}
	}
	if run.Kind != kind {
		w.t.Errorf("%v: the run is %s, want %s for %v", clock, run.Kind, kind, pending)
	}
	if want := later(pending[0].At, w.free()); !clock.Equal(want) {
		w.t.Errorf("%v: the run for the slots from %v on could have started at %v", clock, pending[0].At, want)
	}
	if late := clock.Sub(newest) > 5*time.Minute; late != (run.Why == CatchUp) {
		w.t.Errorf("%v: a run for %v is called %q", clock, newest, run.Why)
	}
	w.taken = newest
	w.started++
}

// waits holds a decision to wait against the promises.
func (w *world) waits(decision Decision, clock time.Time) {
	if !decision.Again.After(clock) {
		w.t.Fatalf("%v: to be asked again at %v would spin", clock, decision.Again)
	}
	if longest := w.longest(); decision.Again.Sub(clock) > 2*longest && !decision.Again.Equal(w.delayEnd) {
		w.t.Errorf("%v: to wait until %v is silence, slots come at least every %v", clock, decision.Again, longest)
	}
	if pending := w.between(w.taken, clock); len(pending) > 0 && !w.free().After(clock) {
		w.t.Fatalf("%v: nothing is started for %v", clock, pending)
	}
}
