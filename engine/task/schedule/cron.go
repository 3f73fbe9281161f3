package schedule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/robfig/cron/v3"
)

const (
	dayMinutes = 24 * 60

	// calendarCycle is the days after which the calendar repeats, weekdays
	// included: 400 years. What doesn't come in one cycle never comes.
	calendarCycle = 146097

	// anyValue is the bit in which the parser notes that a field is a star.
	anyValue = 1 << 63
)

// An expression is a parsed cron expression: the local minutes that it names.
// The parser is robfig/cron's; when a minute comes is worked out here, since
// that library skips what daylight saving skips and gives up after five years.
type expression struct {
	clock                  []int64 // minutes of the day, ascending
	days, months, weekdays uint64  // bit n for value n
	either                 bool    // neither day field is * (*/2 counts as restricted): one of them is enough
}

var parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// parseExpression reads five fields or a name. Without an expression it gives
// the problem and the remedy.
func parseExpression(text string) (e *expression, problem, remedy string) {
	const fiveFields = "write minute, hour, day of the month, month and day of the week, such as 30 3 * * 1-5"
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "@") {
		text = strings.ToLower(text)
	}
	fields := strings.Fields(text)
	switch {
	case strings.HasPrefix(text, "@every"):
		return nil, "@every counts from the start of the daemon, so that restarts would move it",
			"write */15 * * * * or 0 */6 * * * instead"
	case strings.HasPrefix(text, "@"):
	case strings.Contains(text, "TZ="):
		return nil, "it carries a time zone of its own", "name the time zone in the task and leave the five fields here"
	case len(fields) == 6:
		return nil, "it has six fields, and a schedule has no seconds", "take the seconds (or the year) out: " + fiveFields
	case len(fields) != 5:
		return nil, fmt.Sprintf("it has %d fields instead of 5", len(fields)), fiveFields
	default:
		if problem, remedy := checkFields(fields); problem != "" {
			return nil, problem, remedy
		}
		fields[4] = sundayAsZero(fields[4])
		text = strings.Join(fields, " ")
	}
	parsed, err := parser.Parse(text)
	bits, ok := parsed.(*cron.SpecSchedule)
	if err != nil || !ok {
		return nil, fmt.Sprint(err), fiveFields
	}
	e = &expression{
		days: bits.Dom, months: bits.Month, weekdays: bits.Dow,
		either: bits.Dom&anyValue == 0 && bits.Dow&anyValue == 0,
	}
	for m := range int64(dayMinutes) {
		if bits.Hour>>(m/60)&1 == 1 && bits.Minute>>(m%60)&1 == 1 {
			e.clock = append(e.clock, m)
		}
	}
	if _, ok := e.next(0); !ok {
		return nil, "no day of the calendar ever matches it", "look at the day of the month and the month: 31 2 is 31 February"
	}
	return e, "", ""
}

// checkFields rejects what the parser would take without a word in a sense
// that nobody means.
func checkFields(fields []string) (problem, remedy string) {
	names := []string{"minute", "hour", "day of the month", "month", "day of the week"}
	values := []int{60, 24, 31, 12, 7}
	for i, field := range fields {
		for item := range strings.SplitSeq(field, ",") {
			span, step, stepped := strings.Cut(item, "/")
			if item == "" || (span != "*" && strings.ContainsAny(span, "*?")) && span != "?" {
				return fmt.Sprintf("the %s %q is not a list of values", names[i], field),
					"write *, a value such as 5, a range such as 1-5, or several of them between commas"
			}
			if n, err := strconv.Atoi(step); stepped && err == nil && n >= values[i] {
				return fmt.Sprintf("a step of %d in the %s is longer than its %d values, so it would mean just the first", n, names[i], values[i]),
					"a step starts afresh in each field: use a smaller one and put the rest into the next field"
			}
		}
	}
	return "", ""
}

// sundayAsZero turns the 7 that other crons take for Sunday into 0. The
// parser's own message stands for what it can't turn, such as 5-7/2.
func sundayAsZero(field string) string {
	items := strings.Split(field, ",")
	for i, item := range items {
		if from, to, ok := strings.Cut(item, "-"); item == "7" {
			items[i] = "0"
		} else if ok && to == "7" && from == "7" {
			items[i] = "0"
		} else if ok && to == "7" {
			items[i] = from + "-6,0"
		}
	}
	return strings.Join(items, ",")
}

// onDay says whether the expression names minutes of a day.
func (e *expression) onDay(d date) bool {
	if e.months>>uint(d.month)&1 == 0 {
		return false
	}
	byDate := e.days>>uint(d.day)&1 == 1
	byWeekday := e.weekdays>>uint(d.weekday)&1 == 1
	if e.either {
		return byDate || byWeekday
	}
	return byDate && byWeekday
}

// nextDay is the first day not before the given one that has minutes.
func (e *expression) nextDay(day int64) (int64, bool) {
	for limit := day + calendarCycle; day <= limit; {
		d := civil(day)
		switch {
		case e.months>>uint(d.month)&1 == 0:
			day = dayOf(d.year, d.month+1, 1)
		case e.onDay(d):
			return day, true
		default:
			day++
		}
	}
	return 0, false
}

// previousDay is the last day not after the given one that has minutes.
func (e *expression) previousDay(day int64) (int64, bool) {
	for limit := day - calendarCycle; day >= limit; {
		d := civil(day)
		switch {
		case e.months>>uint(d.month)&1 == 0:
			day -= int64(d.day)
		case e.onDay(d):
			return day, true
		default:
			day--
		}
	}
	return 0, false
}

// next is the first minute not before the given one.
func (e *expression) next(minute int64) (int64, bool) {
	today := floorDiv(minute, dayMinutes)
	day, ok := e.nextDay(today)
	if !ok || len(e.clock) == 0 {
		return 0, false
	}
	if day == today {
		i, _ := slices.BinarySearch(e.clock, minute-today*dayMinutes)
		if i < len(e.clock) {
			return today*dayMinutes + e.clock[i], true
		}
		if day, ok = e.nextDay(today + 1); !ok {
			return 0, false
		}
	}
	return day*dayMinutes + e.clock[0], true
}

// previous is the last minute not after the given one.
func (e *expression) previous(minute int64) (int64, bool) {
	today := floorDiv(minute, dayMinutes)
	day, ok := e.previousDay(today)
	if !ok || len(e.clock) == 0 {
		return 0, false
	}
	if day == today {
		i, _ := slices.BinarySearch(e.clock, minute-today*dayMinutes+1)
		if i > 0 {
			return today*dayMinutes + e.clock[i-1], true
		}
		if day, ok = e.previousDay(today - 1); !ok {
			return 0, false
		}
	}
	return day*dayMinutes + e.clock[len(e.clock)-1], true
}
