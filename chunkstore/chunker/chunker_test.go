package chunker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func randomBytes(n int) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(p)
	return p
}

func newChunker(t testing.TB, key byte, p Params) *Chunker {
	t.Helper()
	c, err := New([32]byte{key}, p)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ends cuts all of data and returns where each chunk ends.
func ends(c *Chunker, data []byte) []int {
	var ends []int
	for at := 0; at < len(data); {
		at += c.Cut(data[at:])
		ends = append(ends, at)
	}
	return ends
}

var small = Params{Min: 256, Avg: 1 << 10, Max: 4 << 10}

func TestChunksKeepTheirBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Params{Min: rapid.IntRange(64, 1023).Draw(t, "min"), Avg: 1 << 10, Max: rapid.IntRange(1025, 5000).Draw(t, "max")}
		c, err := New([32]byte{rapid.Byte().Draw(t, "key")}, p)
		if err != nil {
			t.Fatal(err)
		}
		data := randomBytes(rapid.IntRange(0, 30_000).Draw(t, "length"))
		if rapid.Bool().Draw(t, "monotonous") {
			data = bytes.Repeat(data[:len(data)%7], 3000)
		}
		for at := 0; at < len(data); {
			n := c.Cut(data[at:])
			if n < 1 || n > p.Max || n < p.Min && at+n < len(data) {
				t.Fatalf("chunk of %d bytes at %d of %d", n, at, len(data))
			}
			at += n
		}
	})
}

// TestCutFollowsItsDescription compares with a byte-by-byte version.
func TestCutFollowsItsDescription(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Params{Min: rapid.IntRange(64, 1023).Draw(t, "min"), Avg: 1 << 10, Max: rapid.IntRange(1025, 5000).Draw(t, "max")}
		c, err := New([32]byte{rapid.Byte().Draw(t, "key")}, p)
		if err != nil {
			t.Fatal(err)
		}
		data := randomBytes(rapid.IntRange(0, 9000).Draw(t, "length"))
		if got, want := c.Cut(data), slowCut(c, data); got != want {
			t.Fatalf("cut at %d instead of %d", got, want)
		}
	})
}

func slowCut(c *Chunker, data []byte) int {
	p := c.params
	end := min(len(data), p.Max)
	if end <= p.Min {
		return end
	}
	hash := uint64(0)
	pairs := (end - p.Min) / 2
	for i := range pairs * 2 {
		at := p.Min + i
		hash = hash<<1 + c.gear[data[at]]
		last := p.Min + i/2*2 + 1
		n := 10 + 2
		if last >= p.Avg-p.Min*3/4 {
			n = 10 - 2
		}
		if hash<<1>>(64-n) == 0 {
			return at
		}
	}
	return end
}

func TestCuttingFindsBackAfterAnInsertion(t *testing.T) {
	c := newChunker(t, 1, Default)
	data := randomBytes(8 << 20)
	before := ends(c, data)
	const at, inserted = 1 << 20, 100
	changed := bytes.Join([][]byte{data[:at], randomBytes(inserted), data[at:]}, nil)
	kept := map[int]bool{}
	for _, end := range ends(c, changed) {
		kept[end] = true
	}
	moved := 0
	for _, end := range before {
		if end < at && !kept[end] {
			t.Errorf("the end at %d is before the insertion and moved", end)
		}
		if end >= at && !kept[end+inserted] {
			moved++
		}
	}
	if moved > 8 {
		t.Errorf("%d of %d ends behind the insertion moved", moved, len(before))
	}
}

func TestTheCutDependsOnTheFirstMaxBytesAlone(t *testing.T) {
	c := newChunker(t, 2, small)
	data := randomBytes(1 << 16)
	for at := 0; at+small.Max < len(data); {
		n := c.Cut(data[at : at+small.Max])
		if all := c.Cut(data[at:]); all != n {
			t.Fatalf("at %d: %d with %d bytes in view, %d with more", at, n, small.Max, all)
		}
		at += n
	}
}

func TestAnotherKeyCutsElsewhere(t *testing.T) {
	data := randomBytes(4 << 20)
	same := map[int]bool{}
	for _, end := range ends(newChunker(t, 1, Default), data) {
		same[end] = true
	}
	common := 0
	for _, end := range ends(newChunker(t, 2, Default), data) {
		if same[end] && end < len(data) {
			common++
		}
	}
	if common > 1 {
		t.Errorf("%d ends in common", common)
	}
}

func TestTheMeanIsCloseToTheAverage(t *testing.T) {
	data := randomBytes(32 << 20)
	mean := len(data) / len(ends(newChunker(t, 1, Default), data))
	if mean < Default.Avg*9/10 || mean > Default.Avg*11/10 {
		t.Errorf("chunks of %d bytes on average, not about %d", mean, Default.Avg)
	}
}

func TestSizesOutOfBoundsAreRefused(t *testing.T) {
	for _, p := range []Params{{}, {63, 1024, 4096}, {1024, 1024, 4096}, {256, 1024, 1024}, {256, 1000, 4096}, {256, 1024, 16<<20 + 1}, {64, 512, 1024}} {
		if _, err := New([32]byte{}, p); err == nil {
			t.Errorf("%+v was accepted", p)
		}
	}
}

// TestCutsArePinned compares with the ends from the time the format was fixed: other ones would store everything again.
func TestCutsArePinned(t *testing.T) {
	c := newChunker(t, 7, Default)
	data := make([]byte, 2<<20)
	state := uint32(1)
	for i := range data { // a generator of its own, which no library changes
		state = state*1664525 + 1013904223
		data[i] = byte(state >> 24)
	}
	text, err := os.ReadFile("testdata/ends.json")
	if err != nil {
		t.Fatal(err)
	}
	var want []int
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, ends(c, data)); diff != "" {
		t.Error(diff)
	}
}

func ExampleChunker_Cut() {
	c, err := New([32]byte{1}, Default)
	if err != nil {
		fmt.Println(err)
		return
	}
	data := bytes.Repeat([]byte("cairn"), 100_000)
	chunks := 0
	for len(data) > 0 {
		n := c.Cut(data) // data[:n] is the next chunk
		data = data[n:]
		chunks++
	}
	fmt.Println(chunks)
	// Output: 2
}
