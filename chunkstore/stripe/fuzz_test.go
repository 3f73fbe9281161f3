package stripe

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
)

// FuzzReadingForeignBytes reads anything as an object: it may fail, but neither panic nor take memory for what is not there.
func FuzzReadingForeignBytes(f *testing.F) {
	f.Add(Encode([]byte("small"), Shape{10, 2}, testSeed), uint16(0), byte(0))
	f.Add(Encode(randomBytes(50_000), Shape{4, 1}, testSeed), uint16(300), byte(1))
	f.Add([]byte{}, uint16(0), byte(0))
	f.Fuzz(func(t *testing.T, data []byte, at uint16, change byte) {
		if int(at) < len(data) {
			data = bytes.Clone(data)
			data[at] ^= change
		}
		// Cells that the fuzzer cannot make pass are sealed for it, so that it gets behind the checksum.
		if len(data) >= CellSize && change == 0xff {
			if l, ok := layoutOf(data); ok {
				newStamp(l, testSeed).seal(data[:CellSize], 0)
			}
		}
		ctx, m := context.Background(), &memory{data: data}
		l, err := Probe(ctx, m, int64(len(data)), testSeed)
		if err != nil {
			return
		}
		r := NewReader(OneObject(m, l), l, testSeed)
		payload := make([]byte, min(l.Length, 1<<20))
		var lost *LostError
		if err := r.ReadAt(ctx, payload, 0); err != nil && !errors.As(err, &lost) {
			t.Fatal(err)
		}
		if l.cells() > 10_000 {
			return
		}
		if _, err := r.Check(ctx, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Rebuild(ctx, io.Discard); err != nil {
			t.Fatal(err)
		}
	})
}
