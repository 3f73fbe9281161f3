//go:build linux

package engine_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

func benchmarkRestore(b *testing.B, f *restoreFixture, point *index.Point) {
	b.Helper()
	dir := b.TempDir()
	var files int64
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		target := filepath.Join(dir, fmt.Sprint(i))
		result, err := engine.Restore(context.Background(), f.repo, point, "/", target, engine.RestoreOptions{})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(result.Bytes)
		files += result.Files
		// Targets stay until the end: ext4 is slow to make files for some seconds after many were removed.
	}
	b.ReportMetric(float64(files)/b.Elapsed().Seconds(), "files/s")
}

func BenchmarkRestoreSmallFiles(b *testing.B) {
	f := newRestoreFixture(b, false)
	line := "static int cairn_%d_%d(struct file *file, loff_t offset) { return offset + %d; }\n"
	plan := make(map[string]planned)
	for d := range 100 {
		sub := make(map[string]planned)
		for i := range 60 {
			sub[fmt.Sprintf("file-%d.c", i)] = plainFile(strings.Repeat(fmt.Sprintf(line, d, i, i*d), 20+(d*i)%360))
		}
		plan[fmt.Sprintf("dir-%d", d)] = directory(sub)
	}
	benchmarkRestore(b, f, f.save(b, directory(plan)))
}

func BenchmarkRestoreBigFiles(b *testing.B) {
	f := newRestoreFixture(b, false)
	plan := make(map[string]planned)
	for i := range 4 {
		plan[fmt.Sprint(i)] = planned{Entry: tree.Entry{Type: tree.File, Mode: 0o600}, data: noisy(64<<20, uint64(i))}
	}
	benchmarkRestore(b, f, f.save(b, directory(plan)))
}
