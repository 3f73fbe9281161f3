package chunkstore_test

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

var benchVariant = variant{shape: stripe.Shape{Data: 10, Parity: 2}}

// goSource reads Go's own source tree, up to limit bytes: text as backups meet it.
func goSource(b *testing.B, limit int) []byte {
	b.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		b.Fatalf("find Go's source: %v", err)
	}
	var all []byte
	err = filepath.WalkDir(filepath.Join(strings.TrimSpace(string(root)), "src"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		text, err := os.ReadFile(path)
		all = append(all, text...)
		if err == nil && len(all) >= limit {
			return fs.SkipAll
		}
		return err
	})
	if err != nil || len(all) == 0 {
		b.Fatalf("read Go's source: %v (%d bytes)", err, len(all))
	}
	return all[:min(limit, len(all))]
}

// benchWrite cuts, hashes and stores data from as many goroutines as there are processors.
func benchWrite(b *testing.B, data []byte) {
	r := newRepository(b, benchVariant)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	var size int64
	for b.Loop() {
		size = 0
		w := r.NewWriter(chunkstore.KindData, chunkstore.WriterOptions{Stored: func(p chunkstore.Pack) error {
			size += p.Size
			return nil
		}})
		var wg sync.WaitGroup
		n := runtime.GOMAXPROCS(0)
		for i := range n {
			part := data[len(data)/n*i : len(data)/n*(i+1)]
			wg.Go(func() {
				batch := w.NewBatch()
				for len(part) > 0 {
					cut := r.Chunker().Cut(part)
					if err := batch.Add(context.Background(), r.ChunkID(part[:cut]), part[:cut]); err != nil {
						b.Error(err)
						return
					}
					part = part[cut:]
				}
				if err := batch.Flush(context.Background()); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		if err := w.Close(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(size)/float64(len(data)), "stored/byte")
}

func BenchmarkWriteText(b *testing.B)  { benchWrite(b, goSource(b, 96<<20)) }
func BenchmarkWriteNoise(b *testing.B) { benchWrite(b, newSource(1).noise(96<<20)) }

// benchRead reads every frame of what was written, in the order of places.
func benchRead(b *testing.B, read func(s *chunkstore.Store, p chunkstore.Pack, refs []chunkstore.FrameRef) int64) {
	r := newRepository(b, benchVariant)
	data := goSource(b, 96<<20)
	var packs []chunkstore.Pack
	w := r.NewWriter(chunkstore.KindData, chunkstore.WriterOptions{Stored: func(p chunkstore.Pack) error {
		packs = append(packs, p)
		return nil
	}})
	batch := w.NewBatch()
	for rest := data; len(rest) > 0; {
		cut := r.Chunker().Cut(rest)
		if err := batch.Add(b.Context(), r.ChunkID(rest[:cut]), rest[:cut]); err != nil {
			b.Fatal(err)
		}
		rest = rest[cut:]
	}
	if err := batch.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := w.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		var total int64
		for _, p := range packs {
			total += read(r.Store, p, framesOf(p))
		}
		if total != int64(len(data)) {
			b.Fatalf("read %d bytes of %d", total, len(data))
		}
	}
}

// framesOf lists the frames of a pack.
func framesOf(p chunkstore.Pack) []chunkstore.FrameRef {
	var refs []chunkstore.FrameRef
	for _, c := range p.Chunks {
		ref := chunkstore.FrameRef{Offset: c.Location.Offset, Sealed: c.Location.Sealed}
		if len(refs) == 0 || refs[len(refs)-1] != ref {
			refs = append(refs, ref)
		}
	}
	return refs
}

func BenchmarkReadFrame(b *testing.B) {
	benchRead(b, func(s *chunkstore.Store, p chunkstore.Pack, refs []chunkstore.FrameRef) (total int64) {
		s.SetFrameCache(4 << 20)
		for _, ref := range refs {
			data, err := s.Frame(b.Context(), p.ID, ref.Offset, ref.Sealed)
			if err != nil {
				b.Fatal(err)
			}
			total += int64(len(data))
		}
		return total
	})
}

func BenchmarkReadFrames(b *testing.B) {
	benchRead(b, func(s *chunkstore.Store, p chunkstore.Pack, refs []chunkstore.FrameRef) (total int64) {
		err := s.Frames(b.Context(), p.ID, refs, func(_ chunkstore.FrameRef, opened []byte, err error) error {
			total += int64(len(opened))
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		return total
	})
}

func BenchmarkReadChunkCached(b *testing.B) {
	r := newRepository(b, benchVariant)
	want := write(b, r.Store, 4<<20, chunkstore.WriterOptions{})
	chunks := want.chunks()
	var buf []byte
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		c := chunks[i%len(chunks)]
		i++
		var err error
		if buf, err = r.Read(b.Context(), c.ID, c.Location, buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckReadData(b *testing.B) {
	benchRead(b, func(s *chunkstore.Store, p chunkstore.Pack, _ []chunkstore.FrameRef) (total int64) {
		c, err := s.CheckObject(b.Context(), p.ID.ObjectName(), true)
		if err != nil || !c.OK() {
			b.Fatal(c, err)
		}
		for _, chunk := range p.Chunks {
			total += int64(chunk.Location.Length)
		}
		return total
	})
}

func BenchmarkChunkID(b *testing.B) {
	r := newRepository(b, benchVariant)
	for _, n := range []int{1 << 10, 16 << 10, 64 << 10} {
		data := newSource(1).noise(n)
		b.Run(map[int]string{1 << 10: "1KiB", 16 << 10: "16KiB", 64 << 10: "64KiB"}[n], func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				r.ChunkID(data)
			}
		})
	}
}

func BenchmarkPutGetObject(b *testing.B) {
	r := newRepository(b, benchVariant)
	payload := newSource(1).chunk(2000)
	b.ReportAllocs()
	for b.Loop() {
		if err := r.ReplaceObject(b.Context(), chunkstore.TypeSession, "s", payload); err != nil {
			b.Fatal(err)
		}
		if _, err := r.GetObject(b.Context(), chunkstore.TypeSession, "s"); err != nil {
			b.Fatal(err)
		}
	}
}
