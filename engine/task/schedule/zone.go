package schedule

import "time"

// A minute of the local calendar is counted here as the minutes since
// 1970-01-01 00:00 on a clock that never shifts. It names what a clock on the
// wall shows, not a moment.

// longestShift bounds how far local clocks are from UTC, and how far they were
// ever moved at once (a day, where the date line was crossed).
const longestShift = 26 * time.Hour

// firstShown is the first moment at which clocks in zone show the local minute
// or a later one: the end of the gap for a minute that is skipped, the first of
// the two for one that is repeated.
func firstShown(minute int64, zone *time.Location) time.Time {
	at := time.Unix(minute*60, 0).Add(-longestShift)
	for {
		local := at.In(zone)
		_, offset := local.Zone()
		start, end := local.ZoneBounds()
		moment := time.Unix(minute*60-int64(offset), 0)
		switch {
		case !end.IsZero() && !moment.Before(end):
			at = end // clocks don't get that far before they are moved
		case !start.IsZero() && moment.Before(start):
			return start.In(zone) // skipped when they were moved
		default:
			return moment.In(zone)
		}
	}
}

// latestShown is the latest local minute that clocks in zone have shown at the
// given time, which is not the one they show if they were set back since.
func latestShown(now time.Time, zone *time.Location) int64 {
	local := now.In(zone)
	_, offset := local.Zone()
	latest := now.Unix() + int64(offset)
	start, _ := local.ZoneBounds()
	for !start.IsZero() && now.Sub(start) < longestShift {
		before := start.Add(-time.Second).In(zone)
		_, offset := before.Zone()
		latest = max(latest, before.Unix()+int64(offset))
		start, _ = before.ZoneBounds()
	}
	return floorDiv(latest, 60)
}

// date is a day of the calendar.
type date struct {
	year    int
	month   time.Month
	day     int
	weekday time.Weekday
}

// civil is the date of a day counted from 1970-01-01, a Thursday.
func civil(day int64) date {
	year, month, dayOfMonth := time.Unix(day*24*60*60, 0).UTC().Date()
	weekday := day + int64(time.Thursday)
	return date{year, month, dayOfMonth, time.Weekday(weekday - 7*floorDiv(weekday, 7))}
}

// dayOf counts the days from 1970-01-01 to a date.
func dayOf(year int, month time.Month, day int) int64 {
	return floorDiv(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix(), 24*60*60)
}

// floorDiv divides towards the past, also before 1970.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
