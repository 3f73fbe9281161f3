//go:build linux

package engine_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/engine/source/files"
	"github.com/cairn-backup/cairn/index"
)

// benchTree is the tree in CAIRN_BENCH_TREE, or one of 2,000 files that look like source code, 30 MB.
func benchTree(b *testing.B) string {
	b.Helper()
	if dir := os.Getenv("CAIRN_BENCH_TREE"); dir != "" {
		return dir
	}
	dir := b.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 2000 {
		var text strings.Builder
		for size := 2000 + random.IntN(26_000); text.Len() < size; {
			fmt.Fprintf(&text, "\tif (%x != node->field[%d])\n\t\treturn -EINVAL;\n", random.Uint32(), random.IntN(50))
		}
		path := filepath.Join(dir, fmt.Sprint(i%100), fmt.Sprint(i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

func benchRepository(b *testing.B) *index.Repository {
	b.Helper()
	d, err := local.New(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		b.Fatal(err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	store, err := chunkstore.Init(b.Context(), d, chunkstore.InitOptions{Recipients: []age.Recipient{id.Recipient()}, Now: now})
	if err != nil {
		b.Fatal(err)
	}
	repo, err := index.Open(b.Context(), store, index.Options{CacheDir: b.TempDir(), Now: func() time.Time { return now }, Random: rand.NewChaCha8([32]byte{}), Host: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { repo.Close(); store.Close() })
	return repo
}

func benchBackup(b *testing.B, repo *index.Repository, dir string) *index.Point {
	b.Helper()
	src, err := files.New([]string{dir}, files.Options{})
	if err != nil {
		b.Fatal(err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	result, err := engine.Backup(b.Context(), repo, src, engine.BackupOptions{Source: "bench", Now: func() time.Time { return now }})
	if err != nil {
		b.Fatal(err)
	}
	return result.Point
}

func BenchmarkFirstBackup(b *testing.B) {
	dir := benchTree(b)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		repo := benchRepository(b)
		b.StartTimer()
		b.SetBytes(benchBackup(b, repo, dir).Stats.Bytes)
	}
}

func BenchmarkUnchangedBackup(b *testing.B) {
	dir := benchTree(b)
	repo := benchRepository(b)
	files := benchBackup(b, repo, dir).Stats.Files
	b.ReportAllocs()
	for b.Loop() {
		benchBackup(b, repo, dir)
	}
	b.ReportMetric(float64(files)*float64(b.N)/b.Elapsed().Seconds(), "files/s")
}
