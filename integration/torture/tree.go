//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// manifest is what a tree held: by path, a file's content, or a directory.
type manifest map[string]node

type node struct {
	mode    fs.FileMode
	sum     [32]byte
	content []byte // shared with other manifests
	link    string
}

// bodies keeps one copy of each content that any manifest has.
type bodies map[[32]byte][]byte

// read takes the manifest of a directory.
func (b bodies) read(dir string) (manifest, error) {
	m := manifest{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		n := node{mode: info.Mode()}
		switch {
		case info.Mode().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			n.sum = sha256.Sum256(content)
			if b[n.sum] == nil {
				b[n.sum] = content
			}
			n.content = b[n.sum]
		case info.Mode()&fs.ModeSymlink != 0:
			if n.link, err = os.Readlink(path); err != nil {
				return err
			}
		}
		m[name] = n
		return nil
	})
	return m, err
}

// span is a range of a file that is known to be lost.
type span struct{ Offset, Length int64 }

// compare tells how a directory differs from the manifest, but for what is known to be lost: whole entries with what is
// below them (nil), or ranges of files.
func (m manifest) compare(dir string, lost map[string][]span) error {
	found, err := bodies{}.read(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(m)) {
		want, got := m[name], found[name]
		if _, ok := found[name]; !ok {
			if !within(lost, name) {
				errs = append(errs, fmt.Errorf("%s is missing", name))
			}
			continue
		}
		if want.mode != got.mode || want.link != got.link {
			errs = append(errs, fmt.Errorf("%s: mode %v, not %v", name, got.mode, want.mode))
		}
		if want.sum != got.sum && !differsOnly(want.content, got.content, lost[name]) && !within(lost, filepath.Dir(name)) {
			errs = append(errs, fmt.Errorf("%s: other bytes than were backed up, outside of what is told to be lost", name))
		}
	}
	for name := range found {
		if _, ok := m[name]; !ok {
			errs = append(errs, fmt.Errorf("%s was never backed up", name))
		}
	}
	if len(errs) > maxLost {
		errs = append(errs[:maxLost], fmt.Errorf("and %d more", len(errs)-maxLost))
	}
	return errors.Join(errs...)
}

// within tells whether a path, or a directory above it, is lost.
func within(lost map[string][]span, name string) bool {
	for ; ; name = filepath.Dir(name) {
		if spans, ok := lost[name]; ok && (spans == nil || len(spans) > 0) {
			return true
		}
		if name == "." || name == "/" {
			return false
		}
	}
}

// differsOnly tells whether two contents are the same outside of the spans. Spans of length 0 stand for all of it.
func differsOnly(want, got []byte, spans []span) bool {
	if len(spans) == 0 {
		return false
	}
	if len(want) != len(got) {
		return false
	}
	want, got = bytes.Clone(want), bytes.Clone(got)
	for _, s := range spans {
		clear(want[min(s.Offset, int64(len(want))):min(s.Offset+s.Length, int64(len(want)))])
		clear(got[min(s.Offset, int64(len(got))):min(s.Offset+s.Length, int64(len(got)))])
	}
	return bytes.Equal(want, got)
}

// garden is a directory that grows.
type garden struct {
	dir    string
	chance *rand.Rand
}

// grow makes so many files, of up to size bytes, half of them compressible.
func (g garden) grow(files, size int) error {
	for range files {
		name := filepath.Join(g.dir, fmt.Sprintf("d%d", g.chance.IntN(4)), fmt.Sprintf("e%d", g.chance.IntN(3)), fmt.Sprintf("f%06x", g.chance.IntN(1<<24)))
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, g.content(size), 0o644)); err != nil {
			return err
		}
	}
	link := filepath.Join(g.dir, "link")
	if _, err := os.Lstat(link); err == nil {
		return nil
	}
	return os.Symlink("d0", link)
}

func (g garden) content(size int) []byte {
	content := make([]byte, g.chance.IntN(size))
	seed := g.chance.Uint64()
	noise := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24), byte(seed >> 32), byte(seed >> 40)})
	_, _ = noise.Read(content)
	if g.chance.IntN(2) == 0 {
		for i := range content {
			content[i] = "etaoin shrdlu\n"[content[i]%14]
		}
	}
	return content
}

// change alters some files, drops some and adds some.
func (g garden) change(size int) error {
	var files []string
	err := filepath.WalkDir(g.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for range 1 + g.chance.IntN(4) {
		path := files[g.chance.IntN(len(files))]
		switch g.chance.IntN(3) {
		case 0:
			err = os.Remove(path)
		case 1:
			err = os.WriteFile(path, g.content(size), 0o644)
		default: // in the middle
			content, readErr := os.ReadFile(path)
			if readErr != nil || len(content) == 0 {
				continue
			}
			content[g.chance.IntN(len(content))] ^= 0xff
			err = os.WriteFile(path, content, 0o644)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return g.grow(1+g.chance.IntN(3), size)
}
