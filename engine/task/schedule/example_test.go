package schedule_test

import (
	"fmt"
	"time"

	"github.com/cairn-backup/cairn/engine/task/schedule"
)

// A full backup each Sunday night, an incremental one every other night. In
// the night to 29 March 2026 the clocks of Paris jump from 02:00 to 03:00.
func Example() {
	s, err := schedule.Parse(schedule.Spec{Full: "30 2 * * sun", Incremental: "30 2 * * *", Zone: "Europe/Paris"})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Date(2026, 3, 27, 12, 0, 0, 0, time.UTC)
	for _, slot := range s.NextFive(now) {
		fmt.Println(slot.At.Format("Mon 15:04 MST"), slot.Kind)
	}

	// The machine is off from Friday to Monday noon.
	state := schedule.NewState(now)
	decision, state := s.Due(state, now.AddDate(0, 0, 3))
	fmt.Println(decision.Run.Why, decision.Run.Kind)
	state = state.Started(decision.Run).Succeeded(now.AddDate(0, 0, 3).Add(time.Hour))
	decision, _ = s.Due(state, now.AddDate(0, 0, 3).Add(time.Hour))
	fmt.Println(decision.Again.Format("Mon 15:04 MST"))

	_, err = schedule.Parse(schedule.Spec{Full: "0 0 31 2 *"})
	fmt.Println(err)
	// Output:
	// Sat 02:30 CET incremental
	// Sun 03:00 CEST full
	// Mon 02:30 CEST incremental
	// Tue 02:30 CEST incremental
	// Wed 02:30 CEST incremental
	// catch-up full
	// Tue 02:30 CEST
	// full "0 0 31 2 *": no day of the calendar ever matches it: look at the day of the month and the month: 31 2 is 31 February
}
