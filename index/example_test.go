package index_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"time"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// A backup of one file, and the way back from the restore point to its bytes.
func Example() {
	if err := example(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// docs 2026-11-23T21-05-00Z number 1
	// hello
}

func example(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "cairn-example-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	place, err := local.New(dir)
	if err != nil {
		return err
	}
	now := time.Date(2026, 11, 23, 21, 5, 0, 0, time.UTC)
	store, err := chunkstore.Init(ctx, place, chunkstore.InitOptions{Plain: true, Now: now})
	if err != nil {
		return err
	}
	repo, err := index.Open(ctx, store, index.Options{Now: func() time.Time { return now }, Random: rand.Reader})
	if err != nil {
		return err
	}
	defer repo.Close()

	session, err := repo.Begin(ctx, index.SessionOptions{Source: "docs"})
	if err != nil {
		return err
	}
	defer session.Abort(ctx) // does nothing after Commit
	batch := session.NewBatch()
	id, _, err := batch.Store(ctx, []byte("hello"))
	if err != nil {
		return err
	}
	if err := batch.Flush(ctx); err != nil {
		return err
	}
	w := tree.NewWriter(session)
	if err := w.Add(ctx, &tree.Entry{Name: "greeting", Type: tree.File, Size: 5, Content: []tree.Extent{{ID: id, Length: 5}}}); err != nil {
		return err
	}
	root, err := w.Finish(ctx)
	if err != nil {
		return err
	}
	if _, err := session.Commit(ctx, &index.Point{Root: root}); err != nil {
		return err
	}

	points, err := repo.Points(ctx)
	if err != nil {
		return err
	}
	p, err := index.Resolve(points, "docs", index.Latest, now)
	if err != nil {
		return err
	}
	fmt.Println(p.Source, p.Name, "number", p.Sequence)
	e, err := tree.Find(ctx, repo, p.Root.ID, "/greeting")
	if err != nil {
		return err
	}
	data, err := repo.ReadChunk(ctx, e.Content[0].ID, nil)
	if err != nil {
		return err
	}
	fmt.Println(string(data))
	return nil
}
