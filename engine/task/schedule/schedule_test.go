package schedule

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the zones of these tests are the same on every machine

	"github.com/google/go-cmp/cmp"
)

func parse(t testing.TB, spec Spec) *Schedule {
	t.Helper()
	s, err := Parse(spec)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// at reads "2026-03-29 01:30" in UTC, or RFC 3339 with an offset.
func at(t testing.TB, text string) time.Time {
	t.Helper()
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02 15:04:05", time.RFC3339} {
		if v, err := time.Parse(layout, text); err == nil {
			return v
		}
	}
	t.Fatalf("%q is no time", text)
	return time.Time{}
}

// slots shows the slots after a time with their offset from UTC, full ones marked.
func slots(s *Schedule, after time.Time, n int) []string {
	var out []string
	for range n {
		slot := s.Next(after)
		text := slot.At.Format("Jan _2 15:04 -0700")
		if slot.Kind == Full {
			text += " full"
		}
		out = append(out, text)
		after = slot.At
	}
	return out
}

func TestDaylightSavingRunsEachSlotOnce(t *testing.T) {
	tests := []struct {
		name, zone, full, incremental, after string
		want                                 []string
	}{
		{"Paris skips 02:30", "Europe/Paris", "", "30 2 * * *", "2026-03-28T00:00:00+01:00",
			[]string{"Mar 28 02:30 +0100", "Mar 29 03:00 +0200", "Mar 30 02:30 +0200"}},
		{"Paris repeats 02:30", "Europe/Paris", "", "30 2 * * *", "2026-10-24T00:00:00+02:00",
			[]string{"Oct 24 02:30 +0200", "Oct 25 02:30 +0200", "Oct 26 02:30 +0100"}},
		{"Paris asked between the two 02:30", "Europe/Paris", "", "30 2 * * *", "2026-10-25T02:15:00+01:00",
			[]string{"Oct 26 02:30 +0100"}},
		{"Paris, 03:00 is the end of the gap and of the repeated hour", "Europe/Paris", "", "0 2,3 * * *", "2026-03-29T00:00:00+01:00",
			[]string{"Mar 29 03:00 +0200", "Mar 30 02:00 +0200"}},
		{"Paris, all of the gap is one slot", "Europe/Paris", "", "*/15 1-3 * * *", "2026-03-29T01:40:00+01:00",
			[]string{"Mar 29 01:45 +0100", "Mar 29 03:00 +0200", "Mar 29 03:15 +0200"}},
		{"Paris, an hourly one rests in the repeated hour", "Europe/Paris", "", "0 * * * *", "2026-10-25T01:30:00+02:00",
			[]string{"Oct 25 02:00 +0200", "Oct 25 03:00 +0100", "Oct 25 04:00 +0100"}},
		{"Paris, the gap moves the full one onto the other", "Europe/Paris", "15 2 * * 0", "0 3 * * *", "2026-03-28T00:00:00+01:00",
			[]string{"Mar 28 03:00 +0100", "Mar 29 03:00 +0200 full", "Mar 30 03:00 +0200"}},
		{"Paris, the gap moves the other onto the full one", "Europe/Paris", "0 3 * * 0", "15 2 * * *", "2026-03-28T00:00:00+01:00",
			[]string{"Mar 28 02:15 +0100", "Mar 29 03:00 +0200 full", "Mar 30 02:15 +0200"}},
		{"New York skips 02:30", "America/New_York", "", "30 2 * * *", "2026-03-07T00:00:00-05:00",
			[]string{"Mar  7 02:30 -0500", "Mar  8 03:00 -0400", "Mar  9 02:30 -0400"}},
		{"New York repeats 01:30", "America/New_York", "", "30 1 * * *", "2026-10-31T00:00:00-04:00",
			[]string{"Oct 31 01:30 -0400", "Nov  1 01:30 -0400", "Nov  2 01:30 -0500"}},
		{"New York has one 02:00 in autumn", "America/New_York", "", "0 2 * * *", "2026-10-31T12:00:00-04:00",
			[]string{"Nov  1 02:00 -0500", "Nov  2 02:00 -0500"}},
		{"Lord Howe skips half an hour", "Australia/Lord_Howe", "", "15 2 * * *", "2026-10-03T00:00:00+10:30",
			[]string{"Oct  3 02:15 +1030", "Oct  4 02:30 +1100", "Oct  5 02:15 +1100"}},
		{"Lord Howe doesn't skip 02:45", "Australia/Lord_Howe", "", "45 2 * * *", "2026-10-03T00:00:00+10:30",
			[]string{"Oct  3 02:45 +1030", "Oct  4 02:45 +1100", "Oct  5 02:45 +1100"}},
		{"Lord Howe repeats half an hour", "Australia/Lord_Howe", "", "*/15 1,2 * * *", "2026-04-05T01:20:00+11:00",
			[]string{"Apr  5 01:30 +1100", "Apr  5 01:45 +1100", "Apr  5 02:00 +1030", "Apr  5 02:15 +1030"}},
		{"Kathmandu never shifts", "Asia/Kathmandu", "0 0 1 * *", "0 0 * * *", "2026-03-30T12:00:00Z",
			[]string{"Mar 31 00:00 +0545", "Apr  1 00:00 +0545 full", "Apr  2 00:00 +0545"}},
		{"Kathmandu counts minutes of its own", "Asia/Kathmandu", "", "0 */12 * * *", "2026-03-29T06:14:00Z",
			[]string{"Mar 29 12:00 +0545", "Mar 30 00:00 +0545"}},
		{"a midnight that is skipped", "America/Santiago", "", "@daily", "2026-09-05T12:00:00-04:00",
			[]string{"Sep  6 01:00 -0300", "Sep  7 00:00 -0300"}},
		{"a day that is skipped", "Pacific/Apia", "", "0 12 * * *", "2011-12-29T00:00:00-10:00",
			[]string{"Dec 29 12:00 -1000", "Dec 31 00:00 +1400", "Dec 31 12:00 +1400"}},
	}
	for _, test := range tests {
		s := parse(t, Spec{Full: test.full, Incremental: test.incremental, Zone: test.zone})
		got := slots(s, at(t, test.after), len(test.want))
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.name, diff)
		}
	}
}

func TestNextAndLastAreEachOthersMirror(t *testing.T) {
	for _, zone := range []string{"Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"} {
		s := parse(t, Spec{Full: "15 2 * * sun", Incremental: "*/15 1-3 * * *", Zone: zone})
		for slot, end := s.Next(at(t, "2026-01-01 00:00")), at(t, "2027-01-01 00:00"); slot.At.Before(end); {
			next := s.Next(slot.At)
			for _, now := range []time.Time{slot.At, next.At.Add(-time.Nanosecond)} {
				if got := s.last(now); got != slot {
					t.Fatalf("%s: the last slot at %v is %v, want %v", zone, now, got, slot)
				}
			}
			slot = next
		}
	}
}

func TestFullWinsWhereBothFallTogether(t *testing.T) {
	s := parse(t, Spec{Full: "0 3 * * 7", Incremental: "0 */3 * * *", Zone: "UTC"})
	want := []string{"Nov 29 00:00 +0000", "Nov 29 03:00 +0000 full", "Nov 29 06:00 +0000", "Nov 29 09:00 +0000", "Nov 29 12:00 +0000"}
	if diff := cmp.Diff(want, slots(s, at(t, "2026-11-28 23:00"), 5)); diff != "" {
		t.Error(diff)
	}
	five := s.NextFive(at(t, "2026-11-28 23:00"))
	if len(five) != 5 || five[1].Kind != Full || five[4].At.Hour() != 12 {
		t.Errorf("NextFive gave %v", five)
	}
}

func TestOneOfTwoRestrictedDayFieldsIsEnough(t *testing.T) {
	s := parse(t, Spec{Incremental: "0 0 13 * fri", Zone: "UTC"})
	want := []string{"Nov  6 00:00 +0000", "Nov 13 00:00 +0000", "Nov 20 00:00 +0000", "Nov 27 00:00 +0000", "Dec  4 00:00 +0000", "Dec 11 00:00 +0000", "Dec 13 00:00 +0000"}
	if diff := cmp.Diff(want, slots(s, at(t, "2026-11-01 00:00"), len(want))); diff != "" {
		t.Error(diff)
	}
}

func TestIntervalsOfYearsWork(t *testing.T) {
	s := parse(t, Spec{Full: "0 12 29 2 *", Zone: "Europe/Paris"})
	for after, want := range map[string]string{
		"2026-11-26 00:00": "2028-02-29 11:00",
		"2028-02-29 11:00": "2032-02-29 11:00",
		"2096-03-01 00:00": "2104-02-29 11:00",
	} {
		if got := s.Next(at(t, after)); !got.At.Equal(at(t, want)) || got.Kind != Full {
			t.Errorf("after %s comes %v, want %s", after, got, want)
		}
	}
	st := NewState(at(t, "2026-11-26 00:00"))
	decision, _ := s.Due(st, at(t, "2027-11-26 00:00"))
	if want := at(t, "2028-02-29 11:00"); !decision.Again.Equal(want) || decision.Run != (Run{}) {
		t.Errorf("a year before its slot the task is told %+v, want to wait until %v", decision, want)
	}
}

func TestWhatCannotRunIsAnErrorThatSaysWhy(t *testing.T) {
	for _, test := range []struct {
		spec           Spec
		field, problem string
	}{
		{Spec{}, "schedule", "neither"},
		{Spec{Full: "  "}, "schedule", "neither"},
		{Spec{Full: "0 0 31 2 *"}, "full", "no day of the calendar"},
		{Spec{Full: "0 0 31 4,6,9,11 *"}, "full", "no day of the calendar"},
		{Spec{Full: "@daily", Incremental: "0 0 30 feb ?"}, "incremental", "no day of the calendar"},
		{Spec{Incremental: "0 30 3 * * *"}, "incremental", "six fields, and a schedule has no seconds"},
		{Spec{Incremental: "30 3 * *"}, "incremental", "4 fields instead of 5"},
		{Spec{Incremental: "60 3 * * *"}, "incremental", "above maximum"},
		{Spec{Incremental: "0 24 * * *"}, "incremental", "above maximum"},
		{Spec{Incremental: "0 0 0 * *"}, "incremental", "below minimum"},
		{Spec{Incremental: "0 0 * * 5-1"}, "incremental", "beyond end"},
		{Spec{Incremental: "0 0 * * 5-7/2"}, "incremental", "above maximum"},
		{Spec{Incremental: "0 0 * * noday"}, "incremental", "noday"},
		{Spec{Incremental: "*/90 * * * *"}, "incremental", "a step of 90 in the minute"},
		{Spec{Incremental: "0 */24 * * *"}, "incremental", "a step of 24 in the hour"},
		{Spec{Incremental: "*/0 * * * *"}, "incremental", "positive"},
		{Spec{Incremental: "*-5 * * * *"}, "incremental", "not a list"},
		{Spec{Incremental: "5,,6 * * * *"}, "incremental", "not a list"},
		{Spec{Incremental: ", * * * *"}, "incremental", "not a list"},
		{Spec{Incremental: "@every 1h"}, "incremental", "counts from the start"},
		{Spec{Incremental: "@reboot"}, "incremental", "unrecognized"},
		{Spec{Incremental: "TZ="}, "incremental", "time zone of its own"},
		{Spec{Incremental: "CRON_TZ=UTC 0 3 * * *"}, "incremental", "time zone of its own"},
		{Spec{Incremental: "@daily", Zone: "Europe/Pariss"}, "zone", "no such time zone"},
		{Spec{Incremental: "@daily", Zone: "../etc"}, "zone", "no such time zone"},
		{Spec{Incremental: "@daily", RetryFirst: -1}, "retry", "don't grow"},
		{Spec{Incremental: "@daily", RetryFirst: time.Hour, RetryMost: time.Minute}, "retry", "don't grow"},
	} {
		_, err := Parse(test.spec)
		var e *Error
		if !errors.As(err, &e) || e.Field != test.field || !strings.Contains(e.Problem, test.problem) || e.Remedy == "" {
			t.Errorf("%+v: got %v, want a problem of %q with %q", test.spec, err, test.field, test.problem)
		}
	}
}

func TestWaysToWriteTheSameExpression(t *testing.T) {
	after := at(t, "2026-11-26 00:00")
	for _, same := range [][]string{
		{"0 0 * * *", "@daily", "@midnight", " @Daily ", "0  0 * * ?"},
		{"0 0 * * 0", "@weekly", "0 0 * * 7", "0 0 * * SUN", "0 0 * * 7-7"},
		{"0 0 * * 0,5,6", "0 0 * * 5-7", "0 0 * * fri-sat,sun"},
		{"0 * * * *", "@hourly"},
		{"0 0 1 * *", "@monthly"},
		{"0 0 1 1 *", "@yearly", "@annually", "0 0 1 jan *"},
		{"0 0 13 * 5", "0 0 13 * FRI"},
	} {
		want := parse(t, Spec{Incremental: same[0]}).NextFive(after)
		for _, text := range same[1:] {
			if diff := cmp.Diff(want, parse(t, Spec{Incremental: text}).NextFive(after)); diff != "" {
				t.Errorf("%q is not %q:\n%s", text, same[0], diff)
			}
		}
	}
}

func TestWithoutAZoneTheHostsOwnCounts(t *testing.T) {
	s := parse(t, Spec{Incremental: "@daily"})
	if s.Zone() != time.Local || s.Next(at(t, "2026-11-26 00:00")).At.Location() != time.Local {
		t.Errorf("the zone is %v", s.Zone())
	}
}

func TestStateSurvivesAFile(t *testing.T) {
	now := at(t, "2026-11-26 12:34")
	st := NewState(now).Started(Run{Full, now, OnTime}).Failed(now).Delayed(now, time.Hour).Held(now, time.Minute).Disable()
	text, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	var back State
	if err := json.Unmarshal(text, &back); err != nil || back != st {
		t.Errorf("%s came back as %+v, %v", text, back, err)
	}
	if text, _ := json.Marshal(State{}); string(text) != "{}" {
		t.Errorf("an empty state is %s", text)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"*/5 1-3 * jan-mar 5-7", "@weekly", "TZ=", "@every 1h", "0 0 31 2 *", "1/2/3 - , * *", "0 0 ? * 7"} {
		f.Add(text)
	}
	now := time.Date(2026, 3, 29, 0, 30, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(Spec{Incremental: text, Zone: "Europe/Paris"})
		if err != nil {
			return
		}
		next := s.Next(now)
		if !next.At.After(now) || s.last(next.At) != next || s.last(next.At.Add(-1)).At.After(now) {
			t.Errorf("%q: the slot after %v is %v, before it %v", text, now, next, s.last(next.At.Add(-1)))
		}
	})
}
