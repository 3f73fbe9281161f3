package tree

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cairn-backup/cairn/chunkstore"
)

// bigTree stores a directory of several leaves, with a file whose content list has nodes of its own, a hole and a folder.
func bigTree(t *testing.T, m *memory) (Ref, map[chunkstore.ID]bool) {
	t.Helper()
	ctx := context.Background()
	chunks := make(map[chunkstore.ID]bool)
	chunk := func(n int) chunkstore.ID {
		id := chunkstore.ID{1, byte(n), byte(n >> 8), byte(n >> 16), 9}
		chunks[id] = true
		return id
	}
	below := NewWriter(m)
	check(t, below.Add(ctx, &Entry{Name: "inside", Type: File, Size: 5, Content: []Extent{{ID: chunk(1), Length: 5}}}))
	sub, err := below.Finish(ctx)
	check(t, err)
	w := NewWriter(m)
	dir := &Entry{Name: "a", Type: Directory}
	dir.SetChild(sub)
	check(t, w.Add(ctx, dir))
	big := &Entry{Name: "big", Type: File}
	content := NewContentWriter(m)
	for i := range 20_000 {
		check(t, content.Add(ctx, Extent{ID: chunk(10 + i), Length: 7}))
		big.Size += 7
	}
	check(t, content.Finish(ctx, big))
	check(t, w.Add(ctx, big))
	for i := range 6000 {
		check(t, w.Add(ctx, &Entry{Name: fmt.Sprintf("f%05d", i), Type: File, Size: 9,
			Content: []Extent{{ID: chunk(100_000 + i), Length: 4}, {Length: 5}}}))
	}
	ref, err := w.Finish(ctx)
	check(t, err)
	return ref, chunks
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestReferencesReachEveryNodeAndChunk(t *testing.T) {
	m := newMemory()
	ref, chunks := bigTree(t, m)
	nodes := map[chunkstore.ID]bool{}
	found := map[chunkstore.ID]bool{}
	todo := []chunkstore.ID{ref.ID}
	for len(todo) > 0 {
		id := todo[0]
		todo = todo[1:]
		if nodes[id] {
			continue
		}
		nodes[id] = true
		node, err := m.LoadNode(context.Background(), id)
		check(t, err)
		check(t, References(node, func(id chunkstore.ID, isNode bool) {
			if isNode {
				todo = append(todo, id)
			} else {
				found[id] = true
			}
		}))
	}
	if len(nodes) != len(m.nodes) || len(found) != len(chunks) {
		t.Errorf("reached %d nodes of %d and %d chunks of %d", len(nodes), len(m.nodes), len(found), len(chunks))
	}
	if err := References(nil, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("an empty node: %v", err)
	}
}

func TestOneChunkThatIsNotThereSpoilsAFileAndOneNodeADirectory(t *testing.T) {
	ctx := context.Background()
	m := newMemory()
	ref, _ := bigTree(t, m)
	d, err := OpenDir(ctx, m, ref.ID)
	check(t, err)
	asked := map[chunkstore.ID]bool{}
	all := func(id chunkstore.ID) (bool, error) { asked[id] = true; return true, nil }
	if ok, err := d.EveryNode(ctx, ref.ID, all); !ok || err != nil || len(asked) < 3 {
		t.Fatalf("%v, %v: %d nodes", ok, err, len(asked))
	}
	but := func(missing chunkstore.ID) func(chunkstore.ID) (bool, error) {
		return func(id chunkstore.ID) (bool, error) { return id != missing, nil }
	}
	for id := range asked {
		if ok, err := d.EveryNode(ctx, ref.ID, but(id)); ok || err != nil {
			t.Errorf("without node %s: %v, %v", id, ok, err)
		}
	}
	e, err := d.Lookup(ctx, "big")
	check(t, err)
	clear(asked)
	if ok, err := EveryChunk(ctx, m, e, all); !ok || err != nil || len(asked) < 20_002 {
		t.Fatalf("%v, %v: %d chunks", ok, err, len(asked))
	}
	n := 0
	for id := range asked {
		if n++; n > 50 {
			break
		}
		if ok, err := EveryChunk(ctx, m, e, but(id)); ok || err != nil {
			t.Errorf("without chunk %s: %v, %v", id, ok, err)
		}
	}
}
