package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

// bigDir stores a directory of n files, leaving out those that skip says.
func bigDir(t testing.TB, m *memory, n int, skip func(int) bool) Ref {
	t.Helper()
	w := NewWriter(m)
	for i := range n {
		if skip(i) {
			continue
		}
		e := Entry{Name: fmt.Sprintf("file-%08d", i), Type: File, Mode: 0o644, Size: int64(i + 1), Mtime: int64(i) * 1e9,
			Inode: uint64(i), Content: []Extent{{idOf(i), int64(i + 1)}}}
		if err := w.Add(t.Context(), &e); err != nil {
			t.Fatal(err)
		}
	}
	ref, err := w.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func none(int) bool { return false }

func TestMillionEntriesInOneDirectoryWorkWithBoundedNodes(t *testing.T) {
	n := 1_000_000
	if testing.Short() || raceEnabled {
		n = 50_000
	}
	m := newMemory()
	ref := bigDir(t, m, n, none)
	if ref.Entries != int64(n) || ref.Files != int64(n) || ref.Bytes != int64(n)*int64(n+1)/2 {
		t.Errorf("sums %+v", ref.Totals)
	}
	if m.largest > 2*nodeMax {
		t.Errorf("a node of %d bytes", m.largest)
	}
	d, err := OpenDir(t.Context(), m, ref.ID)
	if err != nil {
		t.Fatal(err)
	}
	if d.Totals() != ref.Totals {
		t.Errorf("sums from the root node %+v, want %+v", d.Totals(), ref.Totals)
	}
	for _, i := range []int{0, 1, n / 3, n - 1} {
		e, err := d.Lookup(t.Context(), fmt.Sprintf("file-%08d", i))
		if err != nil || e.Size != int64(i+1) {
			t.Errorf("entry %d: %+v, %v", i, e, err)
		}
	}
	for _, name := range []string{"", "a", "file-", "file-00000005x", "z"} {
		if _, err := d.Lookup(t.Context(), name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v, want not exist", name, err)
		}
	}
	m.loads = 0
	for e, err := range d.Entries(t.Context(), fmt.Sprintf("file-%08d", n/2)) {
		if err != nil || e.Size != int64(n/2+2) {
			t.Errorf("first entry after the middle: %+v, %v", e, err)
		}
		break
	}
	if m.loads > 3 {
		t.Errorf("%d nodes read to go on from the middle", m.loads)
	}
	seen := 0
	for e, err := range d.Entries(t.Context(), "") {
		if err != nil || e.Size != int64(seen+1) {
			t.Fatalf("entry %d: %+v, %v", seen, e, err)
		}
		seen++
	}
	if seen != n {
		t.Errorf("%d entries, want %d", seen, n)
	}
}

func TestOneMoreEntryRewritesFewNodes(t *testing.T) {
	m := newMemory()
	without := bigDir(t, m, 50_000, func(i int) bool { return i == 777 })
	nodes := len(m.nodes)
	with := bigDir(t, m, 50_000, none)
	if fresh := len(m.nodes) - nodes; fresh > 6 {
		t.Errorf("%d new nodes of %d for one new entry", fresh, nodes)
	}
	m.loads = 0
	var changes []Change
	if err := Diff(t.Context(), m, without.ID, with.ID, func(c Change) error { changes = append(changes, c); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(changes) != 1 || changes[0].Path != "file-00000777" || changes[0].Kind != Added {
		t.Errorf("changes %+v", changes)
	}
	if m.loads > 16 {
		t.Errorf("%d nodes read to compare", m.loads)
	}
}

func TestLostLeafCostsItsEntriesAlone(t *testing.T) {
	m := newMemory()
	ref := bigDir(t, m, 20_000, none)
	d, err := OpenDir(t.Context(), m, ref.ID)
	if err != nil || d.level != 1 {
		t.Fatal(d, err)
	}
	gone := d.children[1]
	delete(m.nodes, gone.id)
	seen, failures := int64(0), 0
	for _, err := range d.Entries(t.Context(), "") {
		if err == nil {
			seen++
			continue
		}
		failures++
		if node := (*NodeError)(nil); !errors.As(err, &node) || node.ID != gone.id {
			t.Errorf("%v does not name the node", err)
		}
	}
	if failures != 1 || seen != ref.Entries-gone.totals.Entries {
		t.Errorf("%d entries and %d errors", seen, failures)
	}
	lost := 0
	err = WalkDamaged(t.Context(), m, ref.ID, func(string, *Entry) error { return nil }, func(path string, err error) error { lost++; return nil })
	if err != nil || lost != 1 {
		t.Errorf("walk: %v, %d lost", err, lost)
	}
	if Walk(t.Context(), m, ref.ID, func(string, *Entry) error { return nil }) == nil {
		t.Error("Walk goes past a lost leaf")
	}
}

func TestEmptyDirectoryHasANode(t *testing.T) {
	m := newMemory()
	id := m.store(t, dir{})
	d, err := OpenDir(t.Context(), m, id)
	if err != nil {
		t.Fatal(err)
	}
	for range d.Entries(t.Context(), "") {
		t.Error("an entry")
	}
}

func TestWriterCanBeUsedAgain(t *testing.T) {
	m := newMemory()
	w := NewWriter(m)
	var refs []Ref
	for range 2 {
		if err := w.Add(t.Context(), &Entry{Name: "a", Type: FIFO}); err != nil {
			t.Fatal(err)
		}
		ref, err := w.Finish(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, ref)
	}
	if refs[0] != refs[1] {
		t.Error("two equal directories differ")
	}
}
