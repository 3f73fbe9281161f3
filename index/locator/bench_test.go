package locator

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/cairn-backup/cairn/chunkstore"
)

// benchChunks is how many chunks the benchmarks fold; CAIRN_BENCH_CHUNKS sets it (16000000 is 1 TB of data).
func benchChunks(b *testing.B) int {
	s := os.Getenv("CAIRN_BENCH_CHUNKS")
	if s == "" {
		return 1 << 20
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		b.Fatalf("CAIRN_BENCH_CHUNKS=%q is no number of chunks", s)
	}
	return n
}

// benchObject is how many chunks one index object lists at most.
const benchObject = 256 << 10

// benchCache folds n chunks, an object at a time, and reports the whole as chunks/s.
func benchCache(b *testing.B, dir string, n int) *Cache {
	rng := rand.New(rand.NewPCG(uint64(n), 0))
	c := open(b, dir)
	for i := 0; n > 0; i++ {
		part := min(n, benchObject)
		fold(b, c, fmt.Sprintf("%032x", i), some(rng, part))
		n -= part
	}
	return c
}

// known returns ids that are in the cache, spread over it.
func known(b *testing.B, n int) []chunkstore.ID {
	rng := rand.New(rand.NewPCG(uint64(n), 0))
	var ids []chunkstore.ID
	for n > 0 {
		part := min(n, benchObject)
		for _, p := range some(rng, part) {
			for i := 0; i < len(p.Chunks); i += 61 {
				ids = append(ids, p.Chunks[i].ID)
			}
		}
		n -= part
	}
	rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	return ids
}

// BenchmarkLookup measures the budget of the design (64 bytes a chunk on disk, 2 in memory), folding, opening and
// looking up. make bench runs it with CAIRN_BENCH_CHUNKS=16000000.
func BenchmarkLookup(b *testing.B) {
	n := benchChunks(b)
	dir := b.TempDir()
	c := benchCache(b, dir, n)
	ids := known(b, n)
	b.Run("hit", func(b *testing.B) {
		for i := range b.N {
			if _, ok, err := c.Lookup(ids[i%len(ids)]); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
		s := c.Stats()
		b.ReportMetric(float64(s.Disk)/float64(n), "disk-B/chunk")
		b.ReportMetric(float64(s.Memory)/float64(n), "memory-B/chunk")
		b.ReportMetric(float64(s.Runs), "runs")
	})
	b.Run("miss", func(b *testing.B) {
		rng := rand.New(rand.NewPCG(99, 0))
		var id chunkstore.ID
		for range b.N {
			fill(rng, id[:])
			if _, ok, err := c.Lookup(id); ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for i := rand.IntN(len(ids)); pb.Next(); i++ {
				if _, ok, err := c.Lookup(ids[i%len(ids)]); !ok || err != nil {
					b.Error(ok, err)
				}
			}
		})
	})
	b.Run("open", func(b *testing.B) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i := range b.N {
			o, err := Open(dir, repository, nil)
			if err != nil {
				b.Fatal(err)
			}
			if _, ok, err := o.Lookup(ids[i%len(ids)]); !ok || err != nil {
				b.Fatal(ok, err)
			}
			o.Close()
		}
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(b.N)/float64(n), "heap-B/chunk")
	})
}

func BenchmarkFold(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 0))
	packs := some(rng, benchObject)
	b.ReportAllocs()
	for range b.N {
		c, err := Open(b.TempDir(), repository, nil)
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Fold(context.Background(), []string{"a"}, packs); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
	b.ReportMetric(float64(benchObject)*float64(b.N)/b.Elapsed().Seconds(), "chunks/s")
}
