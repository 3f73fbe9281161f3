package frame

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sourceText is n bytes of Go's own source files, as a backup would meet them.
func sourceText(b *testing.B, n int) []byte {
	b.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		b.Fatal(err)
	}
	var text []byte
	err = filepath.WalkDir(filepath.Join(strings.TrimSpace(string(root)), "src"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if text = append(text, content...); len(text) >= n {
			return fs.SkipAll
		}
		return err
	})
	if err != nil || len(text) < n {
		b.Fatalf("%d bytes of source: %v", len(text), err)
	}
	return text[:n]
}

const benchFrame = 1 << 20

func benchSeal(b *testing.B, data []byte, key *Key) {
	dst := make([]byte, 0, benchFrame+key.Overhead())
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	sealed := 0
	for b.Loop() {
		sealed = 0
		for at := 0; at < len(data); at += benchFrame {
			sealed += len(testCodec.Seal(dst, data[at:at+benchFrame], key, Place{uint32(at)}))
		}
	}
	b.ReportMetric(float64(sealed)/float64(len(data)), "stored/byte")
}

func benchOpen(b *testing.B, data []byte, key *Key) {
	var sealed [][]byte
	for at := 0; at < len(data); at += benchFrame {
		sealed = append(sealed, testCodec.Seal(nil, data[at:at+benchFrame], key, Place{}))
	}
	dst := make([]byte, 0, benchFrame+16)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		for _, frame := range sealed {
			if _, err := testCodec.Open(dst, frame, key, Place{}); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	b.Run("source", func(b *testing.B) { benchSeal(b, sourceText(b, 16<<20), testKey(b)) })
	b.Run("random", func(b *testing.B) { benchSeal(b, randomBytes(16<<20), testKey(b)) })
	b.Run("zeros", func(b *testing.B) { benchSeal(b, make([]byte, 16<<20), testKey(b)) })
	b.Run("plain key", func(b *testing.B) { benchSeal(b, randomBytes(16<<20), PlainKey()) })
}

func BenchmarkOpen(b *testing.B) {
	b.Run("source", func(b *testing.B) { benchOpen(b, sourceText(b, 16<<20), testKey(b)) })
	b.Run("random", func(b *testing.B) { benchOpen(b, randomBytes(16<<20), testKey(b)) })
	b.Run("zeros", func(b *testing.B) { benchOpen(b, bytes.Repeat([]byte{0}, 16<<20), testKey(b)) })
}

func BenchmarkLooksRandom(b *testing.B) {
	data := randomBytes(benchFrame)
	for b.Loop() {
		if !looksRandom(data) {
			b.Fatal("random data looks compressible")
		}
	}
}
