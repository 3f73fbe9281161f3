//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

const perFolder = 1000

// makeFiles makes files of 20 to 500 bytes, a thousand in each directory; a tenth of all stands in one alone.
func makeFiles(source string, n int) error {
	line := []byte("the quick brown fox jumps over the lazy dog, and then it does so again and again\n")
	for i := range n {
		folder := filepath.Join(source, fmt.Sprintf("d%04d", i/perFolder))
		if i >= n-n/10 {
			folder = filepath.Join(source, "many")
		}
		if i%perFolder == 0 {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return err
			}
		}
		content := fmt.Appendf(nil, "file number %d\n", i)
		for range i % 7 {
			content = append(content, line...)
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("f%07d", i)), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// makeSparse makes a file "big" with a megabyte of data at each whole 2^30 bytes and some at its end; "tail" is its end.
func makeSparse(source string, length int64) error {
	f, err := os.Create(filepath.Join(source, "big"))
	if err != nil {
		return err
	}
	defer f.Close()
	data := make([]byte, 1<<20)
	state := uint64(1)
	fill := func(b []byte) {
		for i := range b {
			state = state*6364136223846793005 + 1442695040888963407
			b[i] = byte(state >> 56)
		}
	}
	for at := int64(0); at < length; at += 1 << 30 {
		fill(data)
		if _, err := f.WriteAt(data, at); err != nil {
			return err
		}
	}
	tail := make([]byte, 100_000)
	fill(tail)
	if _, err := f.WriteAt(tail, length-int64(len(tail))); err != nil {
		return err
	}
	return errors.Join(f.Close(), os.WriteFile(filepath.Join(source, "tail"), tail, 0o644))
}

// same compares two trees: names, types, sizes, space taken, and the content of all but large files, of which it
// compares the first megabyte after each 2^30 bytes.
func same(a, b string) error {
	count := 0
	err := filepath.WalkDir(a, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(a, path)
		if err != nil {
			return err
		}
		count++
		return sameEntry(path, filepath.Join(b, rel))
	})
	if err != nil {
		return err
	}
	restored := 0
	err = filepath.WalkDir(b, func(string, fs.DirEntry, error) error { restored++; return nil })
	if restored != count {
		return errors.Join(err, fmt.Errorf("%d entries were restored, want %d", restored, count))
	}
	return err
}

func sameEntry(a, b string) error {
	x, err := os.Lstat(a)
	if err != nil {
		return err
	}
	y, err := os.Lstat(b)
	if err != nil {
		return err
	}
	if x.Mode() != y.Mode() || !x.ModTime().Equal(y.ModTime()) {
		return fmt.Errorf("%s is %v of %v, restored as %v of %v", a, x.Mode(), x.ModTime(), y.Mode(), y.ModTime())
	}
	if !x.Mode().IsRegular() {
		return nil
	}
	if x.Size() != y.Size() || blocks(y) > blocks(x)+blocks(x)/4+1024 {
		return fmt.Errorf("%s has %d bytes in %d blocks, restored %d in %d", a, x.Size(), blocks(x), y.Size(), blocks(y))
	}
	f, err := os.Open(a)
	if err != nil {
		return err
	}
	defer f.Close()
	g, err := os.Open(b)
	if err != nil {
		return err
	}
	defer g.Close()
	p, q := make([]byte, min(x.Size(), 1<<20)), make([]byte, min(x.Size(), 1<<20))
	for at := int64(0); at < x.Size(); at += 1 << 30 {
		n, err := f.ReadAt(p, at)
		if err != nil && err != io.EOF {
			return err
		}
		m, err := g.ReadAt(q, at)
		if err != nil && err != io.EOF {
			return err
		}
		if !bytes.Equal(p[:n], q[:m]) {
			return fmt.Errorf("%s differs from %s behind byte %d", b, a, at)
		}
	}
	return nil
}

// blocks is the space that a file takes, in 512 bytes.
func blocks(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks
	}
	return 0
}
