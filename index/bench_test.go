package index

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/cairn-backup/cairn/chunkstore"
)

// BenchmarkStore measures the path of every chunk of a backup, hashing included: of chunks that are new, that are in the
// index, and the share that is not hashing, with chunks of 64 bytes.
func BenchmarkStore(b *testing.B) {
	for _, c := range []struct {
		name  string
		size  int
		known bool
	}{{"new/64KiB", 64 << 10, false}, {"known/64KiB", 64 << 10, true}, {"known/64B", 64, true}} {
		b.Run(c.name, func(b *testing.B) {
			f := newFixture(b)
			const distinct = 2000
			data := make([]byte, c.size)
			if c.known {
				s := f.begin(f.repo, "bench")
				batch := s.NewBatch()
				for i := range uint64(distinct) {
					binary.LittleEndian.PutUint64(data, i)
					_, _, err := batch.Store(context.Background(), data)
					f.check(err)
				}
				f.check(batch.Flush(context.Background()))
				_, err := s.Commit(context.Background(), &Point{Root: f.tree(s, "a", "x")})
				f.check(err)
			}
			s := f.begin(f.repo, "bench")
			var next atomic.Uint64
			b.SetBytes(int64(c.size))
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				batch := s.NewBatch()
				data := make([]byte, c.size)
				for pb.Next() {
					n := next.Add(1)
					if c.known {
						n %= distinct
					}
					binary.LittleEndian.PutUint64(data, n)
					if _, added, err := batch.Store(context.Background(), data); err != nil || added == c.known {
						b.Error(added, err)
						return
					}
				}
				if err := batch.Flush(context.Background()); err != nil {
					b.Error(err)
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "chunks/s")
		})
	}
}

// benchPacks returns packs as a backup of n chunks makes them, with random ids.
func benchPacks(n int) []chunkstore.Pack {
	rng := rand.New(rand.NewPCG(1, 1))
	var packs []chunkstore.Pack
	for n > 0 {
		p := chunkstore.Pack{Kind: chunkstore.KindData, Size: 32 << 20}
		binary.LittleEndian.PutUint64(p.ID[:], rng.Uint64())
		at := uint32(64)
		for ; n > 0 && len(p.Chunks) < 512; n-- {
			i := uint32(len(p.Chunks))
			l := chunkstore.Location{Pack: p.ID, Offset: at, Sealed: 700_000, Start: i % 16 << 16, Length: 1<<16 - rng.Uint32N(1<<14)}
			if i%16 == 15 {
				at += l.Sealed
			}
			var id chunkstore.ID
			for j := 0; j < len(id); j += 8 {
				binary.LittleEndian.PutUint64(id[j:], rng.Uint64())
			}
			p.Chunks = append(p.Chunks, chunkstore.Placed{ID: id, Location: l})
		}
		packs = append(packs, p)
	}
	return packs
}

func BenchmarkListing(b *testing.B) {
	packs := benchPacks(objectChunks)
	payload := encodeListing(packs)
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(int64(len(payload)))
		b.ReportAllocs()
		for range b.N {
			encodeListing(packs)
		}
		b.ReportMetric(float64(len(payload))/objectChunks, "B/chunk")
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(payload)))
		b.ReportAllocs()
		for range b.N {
			if _, err := decodeListing(payload); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	payload, err := encodePoint(goldenPoint())
	if err != nil {
		b.Fatal(err)
	}
	for range b.N {
		if _, err := decodePoint(payload); err != nil {
			b.Fatal(err)
		}
	}
}
