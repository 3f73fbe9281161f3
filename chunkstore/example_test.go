package chunkstore_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
)

// A repository is made, a chunk is stored and read back from its place.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "repository")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	place, err := local.New(dir)
	if err != nil {
		log.Fatal(err)
	}
	store, err := chunkstore.Init(ctx, place, chunkstore.InitOptions{Plain: true, Now: time.Now()})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	var stored []chunkstore.Placed // what an index would remember
	w := store.NewWriter(chunkstore.KindData, chunkstore.WriterOptions{Stored: func(p chunkstore.Pack) error {
		stored = append(stored, p.Chunks...)
		return nil
	}})
	data := []byte("what went in comes out")
	b := w.NewBatch()
	if err := b.Add(ctx, store.ChunkID(data), data); err != nil {
		log.Fatal(err)
	}
	if err := b.Flush(ctx); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(ctx); err != nil {
		log.Fatal(err)
	}

	back, err := store.Read(ctx, stored[0].ID, stored[0].Location, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(back))
	// Output: what went in comes out
}
