//go:build linux

package fs

import (
	"fmt"
	"testing"

	"github.com/cairn-backup/cairn/index/tree"
)

func TestReadingInOrderOpensWhatComesNext(t *testing.T) {
	s := newShelf(t)
	dir := folderOf{"big": random(9, 40*chunkSize)}
	for i := range 40 {
		dir[fmt.Sprintf("small-%02d", i)] = random(uint64(10+i), chunkSize)
	}
	s.back("docs", "2026-11-20T10:00", dir)
	v := newView(s, s, Options{})
	v.ahead = newAhead(t.Context(), v, 0) // its work is done by hand below

	find := func(name string) *tree.Entry {
		e, err := tree.Find(t.Context(), s, s.points[0].Root.ID, name)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	read := func(name string, off int64) {
		if _, err := v.read(t.Context(), find(name), off, chunkSize); err != nil {
			t.Fatal(err)
		}
		for len(v.ahead.queue) > 0 {
			v.ahead.serve(<-v.ahead.queue)
		}
	}
	opened := func(name string, chunk int) bool {
		loc := s.places[find(name).Content[chunk].ID]
		return s.opened[touch{loc.Pack, loc.Offset}]
	}

	read("big", 0)
	if !opened("big", 39) {
		t.Error("the rest of a file that is read from its beginning was not opened")
	}
	read("small-10", 0)
	if opened("small-18", 0) {
		t.Error("reading one small file opened its neighbours")
	}
	read("small-14", 0)
	if !opened("small-18", 0) || !opened("small-22", 0) {
		t.Error("reading small files in order did not open what comes next")
	}
}
