package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// valueError is why a value cannot be read, with what to write instead.
type valueError struct{ what, remedy string }

func (e *valueError) Error() string { return e.what + "; " + e.remedy }

// Duration is a length of time in whole seconds, written with units: y (365 days), w, d, h, m and s, as in "1d12h".
type Duration time.Duration

// maxDuration bounds what is read, so that sums of two never overflow.
const maxDuration = 100 * 365 * 24 * time.Hour

var durationUnits = []struct {
	letter byte
	length time.Duration
}{
	{'y', 365 * 24 * time.Hour}, {'w', 7 * 24 * time.Hour}, {'d', 24 * time.Hour},
	{'h', time.Hour}, {'m', time.Minute}, {'s', time.Second},
}

const durationRemedy = `write numbers with units, such as "30d", "12h", "1d12h" or "90s"`

// UnmarshalText reads a duration; the error is a *valueError.
func (d *Duration) UnmarshalText(text []byte) error {
	rest := strings.TrimSpace(string(text))
	if strings.HasPrefix(rest, "-") {
		return &valueError{fmt.Sprintf("%q is negative", text), durationRemedy}
	}
	if rest == "" {
		return &valueError{fmt.Sprintf("%q is no duration", text), durationRemedy}
	}
	var sum time.Duration
	for rest != "" {
		end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if end <= 0 {
			return &valueError{fmt.Sprintf("%q is no duration", text), durationRemedy}
		}
		unit := unitLength(rest[end])
		if unit == 0 {
			return &valueError{fmt.Sprintf("%q is no duration", text), durationRemedy}
		}
		n, err := strconv.ParseInt(rest[:end], 10, 64)
		if err != nil || n > int64(maxDuration/unit) || sum+time.Duration(n)*unit > maxDuration {
			return &valueError{fmt.Sprintf("%q is longer than 100 years", text), "write a shorter duration, or leave it out"}
		}
		sum += time.Duration(n) * unit
		rest = strings.TrimLeft(rest[end+1:], " ")
	}
	*d = Duration(sum)
	return nil
}

func unitLength(letter byte) time.Duration {
	for _, u := range durationUnits {
		if u.letter == letter {
			return u.length
		}
	}
	return 0
}

// String writes a duration so that it reads back the same; parts of a second are dropped.
func (d Duration) String() string {
	var b strings.Builder
	rest := time.Duration(d)
	for _, u := range durationUnits[2:] { // "30d" says more than "4w2d"
		if n := rest / u.length; n > 0 {
			fmt.Fprintf(&b, "%d%c", n, u.letter)
			rest -= n * u.length
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}

// MarshalText is [Duration.String].
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Rate is a number of bytes a second, written as "50 MiB/s". Zero is no limit.
type Rate int64

// minRate is the least that gets a backup anywhere: a frame of 1 MiB in a quarter of a minute.
const minRate = 64 << 10

const rateRemedy = `write a size and "/s", such as "50 MiB/s"`

// UnmarshalText reads a rate; the error is a *valueError.
func (r *Rate) UnmarshalText(text []byte) error {
	size, ok := strings.CutSuffix(strings.TrimSpace(string(text)), "/s")
	if !ok {
		return &valueError{fmt.Sprintf("%q is no rate", text), rateRemedy}
	}
	n, err := humanize.ParseBytes(size)
	if err != nil || n > math.MaxInt64 {
		return &valueError{fmt.Sprintf("%q is no rate", text), rateRemedy}
	}
	if n < minRate {
		return &valueError{fmt.Sprintf("%q is slower than 64 KiB/s, at which no backup ends", text), "write a higher limit, or leave it out for none"}
	}
	*r = Rate(n)
	return nil
}

// String writes a rate so that it reads back the same: in the largest unit that it is a whole number of.
func (r Rate) String() string {
	for i, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if size := Rate(1) << (40 - 10*i); r > 0 && r%size == 0 {
			return fmt.Sprintf("%d %s/s", r/size, unit)
		}
	}
	return fmt.Sprintf("%d B/s", int64(r))
}

// MarshalText is [Rate.String].
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }
