package tree

import (
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cairn-backup/cairn/chunkstore"
)

// longContent is a content list of n extents, some of them holes.
func longContent(n int) (xs []Extent, size int64) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		x := Extent{Length: 1 + r.Int64N(200_000)}
		if i%50 != 7 {
			x.ID = idOf(i)
		}
		xs = append(xs, x)
		size += x.Length
	}
	return xs, size
}

func TestLongContentListIsKeptOutsideTheDirectory(t *testing.T) {
	for _, n := range []int{0, 1, inlineExtents, inlineExtents + 1, 5_000, 60_000} {
		m := newMemory()
		xs, size := longContent(n)
		w := NewWriter(m)
		if err := w.Add(t.Context(), &Entry{Name: "f", Type: File, Size: size, Content: xs}); err != nil {
			t.Fatal(err)
		}
		ref, err := w.Finish(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		e, err := Find(t.Context(), m, ref.ID, "f")
		if err != nil {
			t.Fatal(err)
		}
		if (e.List != chunkstore.ID{}) != (n > inlineExtents) || m.largest > 2*nodeMax {
			t.Errorf("%d extents: list %x, largest node %d", n, e.List[:4], m.largest)
		}
		var got []Extent
		for x, err := range Extents(t.Context(), m, e) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, x)
		}
		if !slices.Equal(got, xs) {
			t.Errorf("%d extents come back as %d others", len(xs), len(got))
		}
		c, err := OpenContent(t.Context(), m, e)
		if err != nil || c.Size() != size {
			t.Fatal(c.Size(), size, err)
		}
		checkRandomAccess(t, c, xs)
	}
}

func checkRandomAccess(t *testing.T, c *Content, xs []Extent) {
	t.Helper()
	at := int64(0)
	step := max(1, len(xs)/300)
	for i, x := range xs {
		if i%step == 0 {
			for _, off := range []int64{at, at + x.Length - 1} {
				p, err := c.At(t.Context(), off)
				if err != nil || p.Extent != x || p.Offset != at {
					t.Fatalf("at %d: %+v, %v; want %+v at %d", off, p, err, x, at)
				}
			}
			for p, err := range c.Pieces(t.Context(), at+x.Length/2) {
				if err != nil || p.Extent != x || p.Offset != at {
					t.Fatalf("pieces from %d: %+v, %v", at, p, err)
				}
				break
			}
		}
		at += x.Length
	}
	for _, off := range []int64{-1, at, at + 1} {
		if _, err := c.At(t.Context(), off); !errors.Is(err, io.EOF) {
			t.Errorf("at %d of %d: %v", off, at, err)
		}
	}
}

func TestLostPartOfAContentListCostsThatRangeAlone(t *testing.T) {
	m := newMemory()
	xs, size := longContent(5_000)
	e := &Entry{Name: "f", Type: File, Size: size}
	w := NewContentWriter(m)
	for _, x := range xs {
		if err := w.Add(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	c, err := OpenContent(t.Context(), m, e)
	if err != nil || c.root.level != 1 {
		t.Fatal(c, err)
	}
	delete(m.nodes, c.root.spans[1].id)
	at, failures := int64(0), 0
	for p, err := range c.Pieces(t.Context(), 0) {
		if err != nil {
			failures++
		}
		if p.Offset != at {
			t.Fatalf("a piece at %d follows what ends at %d", p.Offset, at)
		}
		at = p.End()
	}
	if at != size || failures != 1 {
		t.Errorf("%d bytes of %d, %d failures", at, size, failures)
	}
}

func TestNeighbouringHolesAreJoined(t *testing.T) {
	w := NewContentWriter(newMemory())
	for _, x := range []Extent{{Length: 1}, {Length: 2}, {idOf(1), 3}, {Length: 0}, {Length: 4}} {
		if err := w.Add(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	var e Entry
	if err := w.Finish(t.Context(), &e); err != nil {
		t.Fatal(err)
	}
	if want := []Extent{{Length: 3}, {idOf(1), 3}, {Length: 4}}; !slices.Equal(e.Content, want) {
		t.Errorf("%v", e.Content)
	}
}
