package tree_test

import (
	"context"
	"fmt"
	"log"

	"github.com/zeebo/blake3"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/index/tree"
)

// nodes stands for a repository.
type nodes map[chunkstore.ID][]byte

func (n nodes) SaveNode(_ context.Context, node []byte) (chunkstore.ID, error) {
	id := chunkstore.ID(blake3.Sum256(node))
	n[id] = append([]byte{}, node...)
	return id, nil
}

func (n nodes) LoadNode(_ context.Context, id chunkstore.ID) ([]byte, error) { return n[id], nil }

// A tree is written from the bottom up and read from the top down.
func Example() {
	ctx, repository := context.Background(), nodes{}

	w := tree.NewWriter(repository)
	for _, name := range []string{"a.txt", "b.txt"} {
		if err := w.Add(ctx, &tree.Entry{Name: name, Type: tree.File, Mode: 0o644, Size: 5,
			Content: []tree.Extent{{ID: chunkstore.ID{1}, Length: 5}}}); err != nil {
			log.Fatal(err)
		}
	}
	top, err := w.Finish(ctx)
	if err != nil {
		log.Fatal(err)
	}
	root := &tree.Entry{Type: tree.Directory, Mode: 0o750}
	root.SetChild(top)
	ref, err := tree.SaveRoot(ctx, repository, root)
	if err != nil {
		log.Fatal(err)
	}

	err = tree.Walk(ctx, repository, ref.ID, func(path string, e *tree.Entry) error {
		fmt.Printf("%s %q\n", e.FileMode(), path)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ref.Files, "files,", ref.Bytes, "bytes")
	// Output:
	// drwxr-x--- ""
	// -rw-r--r-- "a.txt"
	// -rw-r--r-- "b.txt"
	// 2 files, 10 bytes
}
