//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const linuxSource = "/usr/src/linux-source-6.1.tar.xz"

// smallTree unpacks the source of Linux.
func smallTree(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	cmd := exec.Command("tar", "-xJf", linuxSource, "-C", dir, "--strip-components=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("unpack %s: %w\n%s", linuxSource, err, out)
	}
	return nil
}

// largeFiles are the names and sizes, in megabytes of 10^6 bytes, of the tree of large files.
var largeFiles = []struct {
	name      string
	megabytes int64
}{{"database.bin", 800}, {"image.bin", 250}, {"archive.bin", 150}}

// largeTree writes the large files: runs of 256 KiB, by turns of random bytes and of words drawn from a list
// of 4,096, from a generator with a fixed seed.
func largeTree(dir string, scale float64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i, file := range largeFiles {
		f, err := os.Create(filepath.Join(dir, file.name))
		if err != nil {
			return err
		}
		w := bufio.NewWriterSize(f, 1<<20)
		if err := writeMixed(w, rand.New(rand.NewPCG(uint64(i), 2026)), int64(float64(file.megabytes)*scale*1e6)); err != nil {
			return err
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

func writeMixed(w *bufio.Writer, random *rand.Rand, size int64) error {
	const run = 256 << 10
	words := make([]string, 4096)
	for i := range words {
		words[i] = fmt.Sprintf("%x ", random.Uint64()>>(random.UintN(48)))
	}
	block := make([]byte, 0, run+32)
	for i := 0; size > 0; i++ {
		block = block[:0]
		if i%2 == 0 {
			for len(block) < run {
				block = binary.LittleEndian.AppendUint64(block, random.Uint64())
			}
		} else {
			for len(block) < run {
				block = append(block, words[random.UintN(uint(len(words)))]...)
			}
		}
		n := min(size, run)
		if _, err := w.Write(block[:n]); err != nil {
			return err
		}
		size -= n
	}
	return nil
}

// change appends a line to one file in twenty, others in each round.
func change(dir string, round int) error {
	n := 0
	return eachFile(dir, func(path string, info fs.FileInfo) error {
		n++
		if n%20 != round%20 || info.Size() == 0 {
			return nil
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = fmt.Fprintf(f, "/* changed in round %d */\n", round)
		return err
	})
}

// measureTree counts regular files and their bytes.
func measureTree(dir string) (files, bytes int64, err error) {
	err = eachFile(dir, func(_ string, info fs.FileInfo) error {
		files++
		bytes += info.Size()
		return nil
	})
	return files, bytes, err
}

func eachFile(dir string, fn func(path string, info fs.FileInfo) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return fn(path, info)
	})
}

// warm reads a tree, so that it lies in the page cache.
func warm(dir string) error {
	_, err := shell(`find "$1" -type f -print0 | xargs -0 cat > /dev/null`, dir)
	return err
}

// subtree finds the directory of the tree whose number of files is nearest to what is wanted.
func subtree(dir string, wanted int) (string, error) {
	counts := map[string]int{}
	err := eachFile(dir, func(path string, _ fs.FileInfo) error {
		rel, err := filepath.Rel(dir, filepath.Dir(path))
		for err == nil && rel != "." {
			counts[rel]++
			rel = filepath.Dir(rel)
		}
		return err
	})
	best, bestOff := "", 1<<62
	for rel, n := range counts {
		off := max(n-wanted, wanted-n)
		if off < bestOff || off == bestOff && strings.Compare(rel, best) < 0 {
			best, bestOff = rel, off
		}
	}
	return best, err
}
