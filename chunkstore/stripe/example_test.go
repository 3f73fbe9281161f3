package stripe_test

import (
	"bytes"
	"context"
	"fmt"

	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

// stored is an object in memory, as a destination would hold it.
type stored struct{ *bytes.Reader }

func (s stored) ReadAt(_ context.Context, p []byte, off int64) (int, error) {
	return s.Reader.ReadAt(p, off)
}

func Example() {
	const seed = 42 // made from the object's name, so that no other object's cells pass
	object := stripe.Encode(bytes.Repeat([]byte("payload "), 10_000), stripe.Shape{Data: 10, Parity: 2}, seed)
	clear(object[8000:12000]) // a bad sector or two

	ctx, source := context.Background(), stored{bytes.NewReader(object)}
	layout, err := stripe.Probe(ctx, source, int64(len(object)), seed)
	if err != nil {
		fmt.Println(err)
		return
	}
	reader := stripe.NewReader(stripe.OneObject(source, layout), layout, seed)
	p := make([]byte, 15)
	if err := reader.ReadAt(ctx, p, 8000); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s, %v, %d cell healed\n", p, layout.Shape, reader.Healed())
	// Output: payload payload, 10+2, 1 cell healed
}
