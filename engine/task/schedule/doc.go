// Package schedule decides when a task runs and which kind of backup it takes.
//
// It is pure: the time is an argument of every call, nothing is stored, and
// nothing waits. Whoever drives it asks [Schedule.Due] with a task's [State]
// and the present time, starts the [Run] it gets back or sleeps, and keeps the
// State.
//
//   - [Schedule] is one or two cron expressions in a time zone; it knows its
//     slots, the moments at which a run is wanted: [Schedule.Next],
//     [Schedule.NextFive].
//   - [State] is what a task remembers from one run to the next. It is a small
//     comparable value that survives a restart as JSON.
//   - [Run] is one run to start: its kind, the slot that it takes up, and why.
//
// # What a slot is
//
// An expression names minutes of the local calendar. The slot of such a minute
// is the first moment at which a local clock shows it or a later one. Thus a
// minute that daylight saving skips has its slot right after the gap, all
// minutes of one gap share that slot, and a minute that comes twice has only
// the first of the two. This holds for every expression alike: one that names
// each hour rests during the repeated one. Where both expressions have the
// same slot there is one slot, and it is full.
//
// # What Due holds to
//
//   - A slot is taken up once. Those that passed unused, because the machine
//     was off or a run took long, are made good by one run, which is full if
//     any of them was.
//   - A failed run is tried again after growing delays. A new slot does not
//     wait for that. A full backup that failed stays owed also past the next
//     incremental slot: otherwise an hourly task would lose its weekly full
//     backup to one bad hour, and one that can't get through would stop the
//     incremental ones.
//   - A clock that was set forward looks like a machine that was off: one run.
//     A clock that was set back makes the slots that come again count again,
//     unless it is one slot within a day, which then stays taken.
//
// It never reads a clock, a configuration file or a repository, and it doesn't
// keep two runs of one task apart beyond believing State.Running.
package schedule
