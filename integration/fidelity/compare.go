//go:build linux

package fidelity

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// Options tune Compare. The zero value compares everything that a restore to a disk can bring back.
type Options struct {
	// Links compares the link counts that the system reports. Without it only the names met in the tree count, which
	// is what a copy can bring back of a file that also has names elsewhere.
	Links bool
	// SkipTop leaves out these names at the top of the trees.
	SkipTop []string
	// HolesMayBeGone accepts data where the first tree has a hole, as long as it reads as zeros. Of large holes, samples are read.
	HolesMayBeGone bool
	// Most is how many differences are told; zero means 50.
	Most int
}

// Difference is one way in which an entry of the second tree is not what it is in the first.
type Difference struct {
	Path string // relative, raw bytes
	What string
}

func (d Difference) String() string { return fmt.Sprintf("%q: %s", d.Path, d.What) }

// Compare goes through two trees side by side, a being what is expected.
func Compare(a, b string, o Options) ([]Difference, error) {
	if o.Most == 0 {
		o.Most = 50
	}
	fa, err := unix.Open(a, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", a, err)
	}
	defer unix.Close(fa)
	fb, err := unix.Open(b, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", b, err)
	}
	defer unix.Close(fb)
	c := &comparer{Options: o, forth: make(map[inode]inode), back: make(map[inode]inode)}
	err = c.entry(fa, fb, ".", "")
	if errors.Is(err, errEnough) {
		err = nil
	}
	return c.found, err
}

// inode is the identity of a file.
type inode struct{ dev, ino uint64 }

type comparer struct {
	Options
	found       []Difference
	forth, back map[inode]inode // which file of one tree is which of the other
	bufA, bufB  []byte
}

var errEnough = errors.New("enough differences")

func (c *comparer) differ(path, format string, args ...any) error {
	c.found = append(c.found, Difference{path, fmt.Sprintf(format, args...)})
	if len(c.found) >= c.Most {
		return errEnough
	}
	return nil
}

// entry compares the entries called name in two directories.
func (c *comparer) entry(fa, fb int, name, path string) error {
	var a, b unix.Stat_t
	if err := unix.Fstatat(fa, name, &a, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("look at %q in the first tree: %w", path, err)
	}
	if err := unix.Fstatat(fb, name, &b, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return c.differ(path, "cannot be looked at: %v", err)
	}
	if a.Mode&unix.S_IFMT != b.Mode&unix.S_IFMT {
		return c.differ(path, "type is %o, not %o", b.Mode&unix.S_IFMT, a.Mode&unix.S_IFMT)
	}
	if err := c.stat(path, &a, &b); err != nil {
		return err
	}
	if err := c.xattrs(fa, fb, name, path); err != nil {
		return err
	}
	switch a.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return c.symlink(fa, fb, name, path)
	case unix.S_IFREG:
		return c.content(fa, fb, name, path, &a, &b)
	case unix.S_IFDIR:
		return c.dir(fa, fb, name, path)
	}
	return nil
}

func (c *comparer) stat(path string, a, b *unix.Stat_t) error {
	kind := a.Mode & unix.S_IFMT
	var err error
	check := func(differs bool, format string, args ...any) {
		if differs && err == nil {
			err = c.differ(path, format, args...)
		}
	}
	check(a.Mode != b.Mode, "mode is %04o, not %04o", b.Mode&0o7777, a.Mode&0o7777)
	check(a.Uid != b.Uid || a.Gid != b.Gid, "owner is %d:%d, not %d:%d", b.Uid, b.Gid, a.Uid, a.Gid)
	check(a.Mtim != b.Mtim, "modification time is %d.%09d, not %d.%09d", b.Mtim.Sec, b.Mtim.Nsec, a.Mtim.Sec, a.Mtim.Nsec)
	check(kind != unix.S_IFDIR && a.Size != b.Size, "size is %d, not %d", b.Size, a.Size)
	check((kind == unix.S_IFCHR || kind == unix.S_IFBLK) && a.Rdev != b.Rdev, "device is %x, not %x", b.Rdev, a.Rdev)
	if kind == unix.S_IFDIR || err != nil {
		return err
	}
	check(c.Links && a.Nlink != b.Nlink, "link count is %d, not %d", b.Nlink, a.Nlink)
	ia, ib := inode{a.Dev, a.Ino}, inode{b.Dev, b.Ino}
	other, met := c.forth[ia]
	back, used := c.back[ib]
	check(met && other != ib, "is not the same file as its other names")
	check(used && back != ia, "is one file with another name, and should be one of its own")
	c.forth[ia], c.back[ib] = ib, ia
	return err
}

func (c *comparer) symlink(fa, fb int, name, path string) error {
	read := func(fd int) string {
		buf := make([]byte, 8192)
		n, err := unix.Readlinkat(fd, name, buf)
		if err != nil {
			return "error " + err.Error()
		}
		return string(buf[:n])
	}
	if a, b := read(fa), read(fb); a != b {
		return c.differ(path, "points to %q, not %q", b, a)
	}
	return nil
}

func (c *comparer) xattrs(fa, fb int, name, path string) error {
	a, err := readXattrs(fa, name)
	if err != nil {
		return fmt.Errorf("attributes of %q in the first tree: %w", path, err)
	}
	b, err := readXattrs(fb, name)
	if err != nil {
		return c.differ(path, "attributes cannot be read: %v", err)
	}
	for _, attr := range sortedKeys(a, b) {
		va, ina := a[attr]
		vb, inb := b[attr]
		var err error
		switch {
		case !inb:
			err = c.differ(path, "attribute %s is missing", attr)
		case !ina:
			err = c.differ(path, "attribute %s is not in the first tree", attr)
		case va != vb:
			err = c.differ(path, "attribute %s is %q, not %q", attr, vb, va)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func sortedKeys(maps ...map[string]string) []string {
	var keys []string
	for _, m := range maps {
		for k := range m {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	return slices.Compact(keys)
}

// readXattrs reads by a path of two short parts, without opening the file: a FIFO would block, a device would act.
func readXattrs(dir int, name string) (map[string]string, error) {
	path := fmt.Sprintf("/proc/self/fd/%d/%s", dir, name)
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all := make(map[string]string)
	for _, attr := range strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if attr == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, attr, value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", attr, err)
		}
		all[attr] = string(value[:n])
	}
	return all, nil
}

func (c *comparer) dir(fa, fb int, name, path string) error {
	open := func(fd int) (int, []string, error) {
		sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, nil, err
		}
		// A descriptor of its own for the listing: os.File closes what it is given.
		lister, err := unix.Openat(sub, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return sub, nil, err
		}
		f := os.NewFile(uintptr(lister), path)
		defer f.Close()
		names, err := f.Readdirnames(-1)
		sort.Strings(names)
		return sub, names, err
	}
	a, inA, err := open(fa)
	if err != nil {
		return fmt.Errorf("list %q in the first tree: %w", path, err)
	}
	defer unix.Close(a)
	b, inB, err := open(fb)
	if b >= 0 {
		defer unix.Close(b)
	}
	if err != nil {
		return c.differ(path, "cannot be listed: %v", err)
	}
	if path == "" && len(c.SkipTop) > 0 {
		skip := func(name string) bool { return slices.Contains(c.SkipTop, name) }
		inA, inB = slices.DeleteFunc(inA, skip), slices.DeleteFunc(inB, skip)
	}
	for _, name := range inB {
		if _, there := slices.BinarySearch(inA, name); !there {
			if err := c.differ(join(path, name), "is not in the first tree"); err != nil {
				return err
			}
		}
	}
	for _, name := range inA {
		var err error
		if _, there := slices.BinarySearch(inB, name); !there {
			err = c.differ(join(path, name), "is missing")
		} else {
			err = c.entry(a, b, name, join(path, name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "/" + name
}

// content compares what two files hold, and where they have holes. Only ranges that are data in either are read.
func (c *comparer) content(fa, fb int, name, path string, sa, sb *unix.Stat_t) error {
	if sa.Size != sb.Size {
		return nil // told already
	}
	open := func(fd int) (*os.File, error) {
		f, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return os.NewFile(uintptr(f), path), err
	}
	a, err := open(fa)
	if err != nil {
		return fmt.Errorf("open %q in the first tree: %w", path, err)
	}
	defer a.Close()
	b, err := open(fb)
	if err != nil {
		return c.differ(path, "cannot be opened: %v", err)
	}
	defer b.Close()
	inA, err := dataRanges(a, sa.Size)
	if err != nil {
		return fmt.Errorf("holes of %q in the first tree: %w", path, err)
	}
	inB, err := dataRanges(b, sb.Size)
	if err != nil {
		return c.differ(path, "holes cannot be found: %v", err)
	}
	read := slices.Clone(inA)
	if dataA, dataB := total(inA), total(inB); dataB > dataA+slack {
		if !c.HolesMayBeGone {
			return c.differ(path, "%d bytes are data, not %d: holes are gone", dataB, dataA)
		}
		for off := int64(0); off < sa.Size; off += 64 << 20 {
			read = append(read, byteRange{off, min(off+4096, sa.Size)})
		}
	} else {
		read = append(read, inB...)
	}
	return c.compareRanges(a, b, path, merge(read))
}

// slack is how many bytes of holes a file may lose: file systems differ in their block sizes, and a hole shorter than the
// shortest chunk is not worth one.
const slack = 128 << 10

type byteRange struct{ from, to int64 }

func total(ranges []byteRange) (n int64) {
	for _, r := range ranges {
		n += r.to - r.from
	}
	return n
}

// dataRanges gives what the file system says is no hole.
func dataRanges(f *os.File, size int64) ([]byteRange, error) {
	var ranges []byteRange
	for off := int64(0); off < size; {
		from, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if err == unix.ENXIO {
			break
		}
		if err != nil {
			return nil, err
		}
		to, err := unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, byteRange{from, to})
		off = to
	}
	return ranges, nil
}

// merge sorts ranges and joins those that overlap or touch.
func merge(ranges []byteRange) []byteRange {
	slices.SortFunc(ranges, func(a, b byteRange) int { return int(min(max(a.from-b.from, -1), 1)) })
	var out []byteRange
	for _, r := range ranges {
		if n := len(out); n > 0 && r.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, r.to)
		} else {
			out = append(out, r)
		}
	}
	return out
}

func (c *comparer) compareRanges(a, b *os.File, path string, ranges []byteRange) error {
	if c.bufA == nil {
		c.bufA, c.bufB = make([]byte, 1<<20), make([]byte, 1<<20)
	}
	for _, r := range ranges {
		for off := r.from; off < r.to; off += 1 << 20 {
			n := min(r.to-off, 1<<20)
			pa, pb := c.bufA[:n], c.bufB[:n]
			if _, err := a.ReadAt(pa, off); err != nil && err != io.EOF {
				return fmt.Errorf("read %q in the first tree: %w", path, err)
			}
			if _, err := b.ReadAt(pb, off); err != nil {
				return c.differ(path, "cannot be read at %d: %v", off, err)
			}
			if !bytes.Equal(pa, pb) {
				i := 0
				for pa[i] == pb[i] {
					i++
				}
				return c.differ(path, "content differs from byte %d on", off+int64(i))
			}
		}
	}
	return nil
}
