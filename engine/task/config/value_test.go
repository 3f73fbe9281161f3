package config

import (
	"reflect"
	"testing"
	"time"
)

func TestDurationsAreReadWithTheirUnits(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"30d": 30 * day, "12h": 12 * time.Hour, "1d12h": 36 * time.Hour, "1w": 7 * day, "1y": 365 * day,
		"90s": 90 * time.Second, "1h 30m": 90 * time.Minute, "0s": 0, "100y": 100 * 365 * day,
	} {
		var got Duration
		if err := got.UnmarshalText([]byte(text)); err != nil || time.Duration(got) != want {
			t.Errorf("%q is read as %s, %v", text, time.Duration(got), err)
		}
	}
	for _, text := range []string{"", " ", "5", "d", "-1d", "1.5h", "1x", "1mo", "1h5", "101y", "99999999999999999999s", "60y60y", "٣d"} {
		if err := new(Duration).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}

func TestDurationsAreWrittenAsPeopleDo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		30 * 24 * time.Hour: "30d", 36 * time.Hour: "1d12h", 90 * time.Second: "1m30s", 0: "0s", time.Millisecond: "0s",
	} {
		if got := Duration(d).String(); got != want {
			t.Errorf("%s is written as %s, want %s", d, got, want)
		}
	}
}

func TestRatesAreReadAndWrittenInTheirLargestUnit(t *testing.T) {
	for text, want := range map[string]string{
		"50 MiB/s": "50 MiB/s", "50MiB/s": "50 MiB/s", "1024 KiB/s": "1 MiB/s", "50 MB/s": "50000000 B/s", "1.5 GiB/s": "1536 MiB/s",
		"64KiB/s": "64 KiB/s", "2 TiB/s": "2 TiB/s",
	} {
		var r Rate
		if err := r.UnmarshalText([]byte(text)); err != nil || r.String() != want {
			t.Errorf("%q is read as %s, %v", text, r, err)
		}
	}
	for _, text := range []string{"", "/s", "50", "50 MiB", "-1 MiB/s", "50 bananas/s", "0/s", "1 B/s", "NaN/s", "16 EiB/s"} {
		if err := new(Rate).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}

func TestTheNearestWordIsSuggestedOnlyIfItIsNear(t *testing.T) {
	known := keysOf(reflect.TypeFor[Task]())
	for word, want := range map[string]string{
		"sorces": "sources", "source": "sources", "Timezone": "timezone", "time-zone": "timezone", "read_limit": "read-limit",
		"nightly": "", "": "", "x": "", "fulll": "full", "tasg": "tags",
	} {
		if got, _ := nearest(word, known); got != want {
			t.Errorf("%q: suggested %q, want %q", word, got, want)
		}
	}
}
