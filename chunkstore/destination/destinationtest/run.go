package destinationtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cairn-backup/cairn/chunkstore/destination"
)

// Run tests the destinations that open makes: a new, empty one at each call.
func Run(t *testing.T, open func(t *testing.T) destination.Destination) {
	for name, test := range map[string]func(*testing.T, destination.Destination){
		"WhatWasCreatedIsReadBack":            readBack,
		"CreateNeverTakesAnothersPlace":       createIsExclusive,
		"OfManyCreatorsOneWins":               createRace,
		"ReadsEndWhereTheObjectEnds":          readRanges,
		"WhatIsNotThereIsNotFound":            notFound,
		"ListingsFollowThePrefix":             listings,
		"AListingStopsAtTheCallersError":      listingStops,
		"RemovedObjectsAreGone":               removal,
		"NamesThatAreNoneAreRefused":          names,
		"ACancelledContextStopsEverything":    cancelled,
		"ReplaceShowsTheOldOrTheNew":          replace,
		"StatAgreesWithTheListing":            stat,
		"TheClockAgreesWithTimesOfObjects":    clock,
		"FreeSpaceIsPartOfTheTotal":           space,
		"ReadersAndWritersDoNotHinderOneMore": concurrent,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// noise makes bytes that no compression or guess reproduces.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(uint64(n), 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func create(t *testing.T, d destination.Destination, name string, body []byte) {
	t.Helper()
	if err := d.Create(t.Context(), name, body); err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
}

func read(t *testing.T, d destination.Destination, name string, size int) []byte {
	t.Helper()
	p := make([]byte, size+1)
	n, err := d.ReadAt(t.Context(), name, p, 0)
	if err != io.EOF {
		t.Fatalf("read %s beyond its end: %v, not io.EOF", name, err)
	}
	return p[:n]
}

func list(t *testing.T, d destination.Destination, prefix string) []string {
	t.Helper()
	names := []string{}
	err := d.List(t.Context(), prefix, func(i destination.Info) error {
		names = append(names, i.Name)
		return nil
	})
	if err != nil {
		t.Fatalf("list %q: %v", prefix, err)
	}
	slices.Sort(names)
	return names
}

func readBack(t *testing.T, d destination.Destination) {
	for i, n := range []int{0, 1, 4096, 3<<20 + 5} {
		name := fmt.Sprintf("packs/ab/%02x", i)
		body := noise(n)
		create(t, d, name, body)
		if got := read(t, d, name, n); !bytes.Equal(got, body) {
			t.Errorf("%d bytes: %d others came back", n, len(got))
		}
	}
}

func createIsExclusive(t *testing.T, d destination.Destination) {
	create(t, d, "points/1", []byte("first"))
	if err := d.Create(t.Context(), "points/1", []byte("second")); !errors.Is(err, destination.ErrExists) {
		t.Errorf("create over an object: %v, not ErrExists", err)
	}
	if got := read(t, d, "points/1", 16); string(got) != "first" {
		t.Errorf("the object changed to %q", got)
	}
	if got := list(t, d, ""); len(got) != 1 {
		t.Errorf("the refused create left something: %v", got)
	}
}

func createRace(t *testing.T, d destination.Destination) {
	const writers = 8
	for round := range 4 {
		name := fmt.Sprintf("points/%d", round)
		errs := make([]error, writers)
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() { errs[i] = d.Create(t.Context(), name, []byte{byte(i)}) })
		}
		wg.Wait()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner < 0:
				winner = i
			case err == nil:
				t.Errorf("%s: both %d and %d won", name, winner, i)
			case !errors.Is(err, destination.ErrExists):
				t.Errorf("%s: %v, not ErrExists", name, err)
			}
		}
		if got := read(t, d, name, 1); winner < 0 || !bytes.Equal(got, []byte{byte(winner)}) {
			t.Errorf("%s: %d won, and %v lies there", name, winner, got)
		}
	}
}

func readRanges(t *testing.T, d destination.Destination) {
	body := noise(10_000)
	create(t, d, "packs/aa/1", body)
	for _, c := range []struct {
		off    int64
		length int
		want   int
		err    error
	}{{0, 10_000, 10_000, nil}, {4096, 100, 100, nil}, {9_990, 20, 10, io.EOF}, {10_000, 5, 0, io.EOF}, {99_999, 5, 0, io.EOF}, {9_999, 1, 1, nil}} {
		p := make([]byte, c.length)
		n, err := d.ReadAt(t.Context(), "packs/aa/1", p, c.off)
		if n == c.length && err == io.EOF {
			err = nil // as for io.ReaderAt
		}
		if n != c.want || err != c.err {
			t.Errorf("%d bytes at %d: %d, %v; want %d, %v", c.length, c.off, n, err, c.want, c.err)
		} else if n > 0 && !bytes.Equal(p[:n], body[c.off:c.off+int64(n)]) {
			t.Errorf("%d bytes at %d are others", c.length, c.off)
		}
	}
}

func notFound(t *testing.T, d destination.Destination) {
	create(t, d, "packs/aa/1", nil)
	for _, name := range []string{"config", "packs/aa/2", "packs/bb/1", "packs/aa", "packs/aa/1/2"} {
		if _, err := d.ReadAt(t.Context(), name, make([]byte, 1), 0); !errors.Is(err, destination.ErrNotFound) {
			t.Errorf("read %s: %v, not ErrNotFound", name, err)
		}
		if err := d.Remove(t.Context(), name); !errors.Is(err, destination.ErrNotFound) {
			t.Errorf("remove %s: %v, not ErrNotFound", name, err)
		}
		if _, err := destination.Stat(t.Context(), d, name); !errors.Is(err, destination.ErrNotFound) {
			t.Errorf("stat %s: %v, not ErrNotFound", name, err)
		}
	}
}

func listings(t *testing.T, d destination.Destination) {
	if got := list(t, d, ""); len(got) != 0 {
		t.Errorf("an empty destination lists %v", got)
	}
	all := []string{"config", "index/1", "packs/aa/aa01", "packs/aa/aa02", "packs/ab/ab01", "packsy", "spare/config"}
	for _, name := range all {
		create(t, d, name, []byte(name))
	}
	for _, prefix := range []string{"", "p", "packs", "packs/", "packs/a", "packs/aa", "packs/aa/", "packs/aa/aa0", "packs/aa/aa01", "config", "none/", "index/2"} {
		want := []string{}
		for _, name := range all {
			if strings.HasPrefix(name, prefix) {
				want = append(want, name)
			}
		}
		if got := list(t, d, prefix); !slices.Equal(got, want) {
			t.Errorf("prefix %q lists %v, not %v", prefix, got, want)
		}
	}
}

func listingStops(t *testing.T, d destination.Destination) {
	create(t, d, "index/1", nil)
	create(t, d, "index/2", nil)
	stop, calls := errors.New("enough"), 0
	err := d.List(t.Context(), "index/", func(destination.Info) error {
		calls++
		return stop
	})
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("%d calls, then %v", calls, err)
	}
}

func removal(t *testing.T, d destination.Destination) {
	create(t, d, "index/1", []byte("x"))
	read(t, d, "index/1", 1)
	if err := d.Remove(t.Context(), "index/1"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ReadAt(t.Context(), "index/1", make([]byte, 1), 0); !errors.Is(err, destination.ErrNotFound) {
		t.Errorf("read a removed object: %v, not ErrNotFound", err)
	}
	if got := list(t, d, ""); len(got) != 0 {
		t.Errorf("a removed object is listed: %v", got)
	}
	create(t, d, "index/1", []byte("again"))
	if got := read(t, d, "index/1", 5); string(got) != "again" {
		t.Errorf("the new object reads %q", got)
	}
}

func names(t *testing.T, d destination.Destination) {
	for _, name := range []string{"", "/x", "x/", "a//b", "..", "../x", "a/../b", "a/./b", ".x", "a b", "a\\b", "a\x00", "a:b", "ü", strings.Repeat("x", 300)} {
		if err := d.Create(t.Context(), name, nil); !errors.Is(err, destination.ErrName) {
			t.Errorf("create %q: %v, not ErrName", name, err)
		}
	}
}

func cancelled(t *testing.T, d destination.Destination) {
	create(t, d, "index/1", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Create(ctx, "index/2", noise(100)); !errors.Is(err, context.Canceled) {
		t.Errorf("create: %v", err)
	}
	if _, err := d.ReadAt(ctx, "index/1", make([]byte, 1), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("read: %v", err)
	}
	if err := d.List(ctx, "", func(destination.Info) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("list: %v", err)
	}
	if err := d.Remove(ctx, "index/1"); !errors.Is(err, context.Canceled) {
		t.Errorf("remove: %v", err)
	}
	if got := list(t, d, ""); !slices.Equal(got, []string{"index/1"}) {
		t.Errorf("afterwards there is %v", got)
	}
}
