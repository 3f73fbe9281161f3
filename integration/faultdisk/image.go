package faultdisk

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// Image is what a disk holds: files and folders by their path, slashes between, no slash in front. The root is not
// in it. The contents are shared and must not be changed.
type Image struct {
	Files   map[string][]byte
	Folders map[string]bool
}

// Read takes the image of a directory. Symlinks and special files are left out.
func Read(dir string) (Image, error) {
	image := Image{map[string][]byte{}, map[string]bool{}}
	err := filepath.WalkDir(dir, func(full string, d fs.DirEntry, err error) error {
		if err != nil || full == dir {
			return err
		}
		name, err := filepath.Rel(dir, full)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if d.IsDir() {
			image.Folders[name] = true
		} else if d.Type().IsRegular() {
			image.Files[name], err = os.ReadFile(full)
		}
		return err
	})
	return image, err
}

// Write makes dir hold the image and nothing else.
func (i Image) Write(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(i.Folders)) {
		if err := os.Mkdir(filepath.Join(dir, filepath.FromSlash(name)), 0o755); err != nil {
			return err
		}
	}
	for name, content := range i.Files {
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Sum is the same for the same image only.
func (i Image) Sum() [32]byte {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(i.Folders)) {
		fmt.Fprintf(h, "%d %s\n", len(name), name)
	}
	for _, name := range slices.Sorted(maps.Keys(i.Files)) {
		fmt.Fprintf(h, "%d %s %x\n", len(name), name, sha256.Sum256(i.Files[name]))
	}
	return [32]byte(h.Sum(nil))
}

// inode is a file or a folder, with or without a name.
type inode struct {
	number  uint64
	names   map[string]*inode // of a folder; nil of a file
	content []byte
}

// build makes the tree of an image. The root has number 1; next gives the others.
func (i Image) build(next func() uint64) *inode {
	root := &inode{number: 1, names: map[string]*inode{}}
	all := map[string]*inode{".": root}
	for _, name := range slices.Sorted(maps.Keys(i.Folders)) { // a folder sorts before what is in it
		folder := &inode{number: next(), names: map[string]*inode{}}
		all[path.Dir(name)].names[path.Base(name)] = folder
		all[name] = folder
	}
	for _, name := range slices.Sorted(maps.Keys(i.Files)) {
		all[path.Dir(name)].names[path.Base(name)] = &inode{number: next(), content: i.Files[name]}
	}
	return root
}

// image is what hangs on a root.
func (n *inode) image() Image {
	image := Image{map[string][]byte{}, map[string]bool{}}
	var walk func(dir string, n *inode)
	walk = func(dir string, n *inode) {
		for name, child := range n.names {
			full := path.Join(dir, name)
			if child.names == nil {
				image.Files[full] = child.content
				continue
			}
			image.Folders[full] = true
			walk(full, child)
		}
	}
	walk("", n)
	return image
}
