package stripe

import (
	"context"
	"io"
	"testing"
)

const benchPayload = 32 << 20

var benchShape = Shape{10, 2}

func BenchmarkEncode(b *testing.B) {
	payload := randomBytes(benchPayload)
	builder := NewBuilder(int(Layout{benchShape, benchPayload}.Size()))
	b.SetBytes(benchPayload)
	b.ReportAllocs()
	for b.Loop() {
		builder.Reset()
		builder.Append(payload)
		builder.Finish(benchShape, testSeed)
	}
}

func BenchmarkSealAndCheckCells(b *testing.B) {
	object := Encode(randomBytes(benchPayload), benchShape, testSeed)
	stamp := newStamp(Layout{benchShape, benchPayload}, testSeed)
	b.SetBytes(int64(len(object)))
	for b.Loop() {
		for at := 0; at < len(object); at += CellSize {
			if !stamp.good(object[at:at+CellSize], int64(at/CellSize)) {
				b.Fatal("bad cell")
			}
		}
	}
}

func benchRead(b *testing.B, o *object, step int) {
	r := o.reader()
	buf := make([]byte, step)
	b.SetBytes(int64(len(o.payload) / step * step))
	b.ReportAllocs()
	for b.Loop() {
		for off := 0; off+step <= len(o.payload); off += step {
			if err := r.ReadAt(context.Background(), buf, int64(off)); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkReadHealthy(b *testing.B) {
	o := build(randomBytes(benchPayload), benchShape)
	b.Run("4KiB", func(b *testing.B) { benchRead(b, o, 4<<10) })
	b.Run("256KiB", func(b *testing.B) { benchRead(b, o, 256<<10) })
	b.Run("4MiB", func(b *testing.B) { benchRead(b, o, 4<<20) })
}

func BenchmarkReadScattered(b *testing.B) {
	o := build(randomBytes(benchPayload), benchShape)
	for cell := int64(0); cell < o.layout.cells(); cell += 50 {
		o.hurt(cell)
	}
	benchRead(b, o, 1<<20)
}

func BenchmarkReadLostShards(b *testing.B) {
	o := build(randomBytes(benchPayload), benchShape)
	clear(o.data[:2*o.layout.Rows()*CellSize])
	benchRead(b, o, 1<<20)
}

func BenchmarkCheck(b *testing.B) {
	o := build(randomBytes(benchPayload), benchShape)
	b.SetBytes(int64(len(o.data)))
	b.ReportAllocs()
	for b.Loop() {
		if report, err := o.reader().Check(context.Background(), nil); err != nil || report.Bad > 0 {
			b.Fatal(report, err)
		}
	}
}

func BenchmarkRebuild(b *testing.B) {
	o := build(randomBytes(benchPayload), benchShape)
	clear(o.data[:2*o.layout.Rows()*CellSize])
	b.SetBytes(int64(len(o.data)))
	for b.Loop() {
		if _, err := o.reader().Rebuild(context.Background(), io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
