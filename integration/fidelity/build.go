//go:build linux

package fidelity

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Built says what Build could not make here, for want of privilege or of support by the file system.
type Built struct {
	Omitted []string
}

// HugeSize is the length of the sparse file "sparse/huge": over 4 GiB, of which a few ranges are data.
const HugeSize = 4<<30 + 12345

// Build makes the tree in dir, which must be empty and stays the tree's root. An entry outside, dir + ".outside", is
// the other name of a hard link that leaves the tree.
func Build(dir string) (*Built, error) {
	b := &builder{root: os.Geteuid() == 0}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	defer unix.Close(fd)
	for _, part := range []func(int){b.files, b.names, b.sparse, b.symlinks, b.special, b.modes, b.owners, b.attributes, b.acls, b.crowd, b.deep, b.links} {
		part(fd)
	}
	outside := dir + ".outside"
	b.check("link to the outside", unix.Linkat(fd, "half-outside", unix.AT_FDCWD, outside, 0))
	b.times(fd) // last: making entries changes times
	if b.err != nil {
		return nil, b.err
	}
	return &b.built, nil
}

type builder struct {
	root  bool
	built Built
	err   error // the first
}

// check keeps the first error.
func (b *builder) check(what string, err error) {
	if b.err == nil && err != nil {
		b.err = fmt.Errorf("build tree: %s: %w", what, err)
	}
}

// optional notes what is not supported here.
func (b *builder) optional(what string, err error) {
	if errors.Is(err, unix.ENOTSUP) || (!b.root && errors.Is(err, unix.EPERM)) {
		b.built.Omitted = append(b.built.Omitted, what)
		return
	}
	b.check(what, err)
}

// in makes a directory and calls fn with its descriptor.
func (b *builder) in(dir int, name string, fn func(fd int)) {
	b.check("directory "+name, unix.Mkdirat(dir, name, 0o755))
	if b.err != nil {
		return
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	b.check("open "+name, err)
	if err == nil {
		fn(fd)
		unix.Close(fd)
	}
}

// file makes a file that holds data at offset 0.
func (b *builder) file(dir int, name string, data []byte) {
	b.ranges(dir, name, int64(len(data)), map[int64][]byte{0: data})
}

// ranges makes a file of a size, with data at some offsets and holes in between.
func (b *builder) ranges(dir int, name string, size int64, data map[int64][]byte) {
	if b.err != nil {
		return
	}
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o644)
	b.check("file "+name, err)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	b.check("set length of "+name, f.Truncate(size))
	for offset, p := range data {
		_, err := f.WriteAt(p, offset)
		b.check("write "+name, err)
	}
}

// noise gives bytes that do not compress and are the same each time.
func noise(n int, seed uint64) []byte {
	p := make([]byte, (n+7)/8*8)
	x := seed*2654435761 + 88172645463325252
	for i := 0; i < len(p); i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(p[i:], x)
	}
	return p[:n]
}

func prose(n int) []byte {
	var text strings.Builder
	for i := 0; text.Len() < n; i++ {
		fmt.Fprintf(&text, "line %d of a text that compresses well and never repeats exactly\n", i)
	}
	return []byte(text.String()[:n])
}

func (b *builder) files(dir int) {
	b.in(dir, "files", func(fd int) {
		for _, n := range []int{0, 1, 4095, 4096, 4097, 16 << 10, 64<<10 + 1, 256 << 10, 1 << 20, 3<<20 + 7} {
			b.file(fd, fmt.Sprintf("noise-%d", n), noise(n, uint64(n)))
			b.file(fd, fmt.Sprintf("prose-%d", n), prose(n))
		}
		b.file(fd, "big-noise", noise(21<<20+5, 99))
		b.file(fd, "big-prose", prose(17<<20+1))
		b.file(fd, "twin-1", noise(700<<10, 7))
		b.file(fd, "twin-2", noise(700<<10, 7))
		b.file(fd, "written-zeros", make([]byte, 300<<10))
		b.in(fd, "empty-directory", func(int) {})
	})
}

func (b *builder) names(dir int) {
	b.in(dir, "names", func(fd int) {
		for i, name := range []string{
			" ", "  two  spaces ", "-rf", "--help", "new\nline", "\n", "tab\there", "bell\a", "escape\x1b[31m", "\x7f", "\x01",
			"not-utf8-\xff\xfe", "\x80", "half-\xc3", "\u00e9", "e\u0301", "日本語", "🗄", "\u202egnp.exe", "quote'", `double"quote`, `back\slash`,
			"$HOME", "`id`", "*", "?", "[a]", "{a,b}", "!", "~", "#", "%s%n", "a:b", "con", "nul.", "...", ".hidden", "latest", "@3d", ".versions",
			strings.Repeat("n", 255), strings.Repeat("\xe4", 255), "UPPER", "upper", "Upper",
		} {
			b.file(fd, name, fmt.Appendf(nil, "name %d", i))
		}
		b.in(fd, "directory\nwith newline", func(fd int) { b.file(fd, "inner\xff", []byte("x")) })
		b.in(fd, "directory-\xff", func(fd int) { b.file(fd, "inner", []byte("y")) })
	})
}

func (b *builder) sparse(dir int) {
	b.in(dir, "sparse", func(fd int) {
		b.ranges(fd, "huge", HugeSize, map[int64][]byte{
			0: noise(100<<10, 1), 1<<30 + 4096: noise(1<<20, 2), 4<<30 - 8192: noise(16<<10, 3), 4<<30 + 12000: []byte("the end comes after this"),
		})
		b.ranges(fd, "all-hole", 10<<20, nil)
		b.ranges(fd, "hole-first", 2<<20, map[int64][]byte{1 << 20: noise(1<<20, 4)})
		b.ranges(fd, "hole-last", 2<<20, map[int64][]byte{0: noise(64<<10, 5)})
		b.ranges(fd, "hole-in-the-middle", 6<<20, map[int64][]byte{0: noise(1<<20, 6), 5 << 20: prose(1 << 20)})
		b.ranges(fd, "holes-everywhere", 8<<20, func() map[int64][]byte {
			m := make(map[int64][]byte)
			for off := int64(0); off < 8<<20; off += 256 << 10 {
				m[off] = noise(64<<10, uint64(off))
			}
			return m
		}())
		b.ranges(fd, "small-hole", 12<<10, map[int64][]byte{8 << 10: noise(4<<10, 8)})
	})
}

func (b *builder) symlinks(dir int) {
	b.in(dir, "symlinks", func(fd int) {
		for name, target := range map[string]string{
			"relative": "../files/noise-1", "dangling": "nowhere/at all", "absolute": "/etc/passwd", "to-directory": "../files", "to-itself": "to-itself",
			"up": "..", "odd-target": "new\nline \xff", "long": strings.Repeat("l/", 2047) + "e", "dot": ".",
		} {
			b.check("symlink "+name, unix.Symlinkat(target, fd, name))
		}
		if b.root {
			b.check("owner of a symlink", unix.Fchownat(fd, "relative", 1234, 5678, unix.AT_SYMLINK_NOFOLLOW))
			b.optional("attributes of symlinks", lsetxattr(fd, "dangling", "trusted.cairn", []byte("on a link")))
		}
	})
}

func (b *builder) special(dir int) {
	b.in(dir, "special", func(fd int) {
		for _, n := range []struct {
			name string
			mode uint32
			dev  uint64
			root bool
		}{
			{"fifo", unix.S_IFIFO | 0o640, 0, false}, {"socket", unix.S_IFSOCK | 0o755, 0, false},
			{"null", unix.S_IFCHR | 0o666, unix.Mkdev(1, 3), true}, {"loop", unix.S_IFBLK | 0o660, unix.Mkdev(7, 0), true},
			{"large-numbers", unix.S_IFCHR | 0o600, unix.Mkdev(1000, 300000), true},
		} {
			if n.root && !b.root {
				b.built.Omitted = append(b.built.Omitted, "device nodes")
				continue
			}
			b.check("node "+n.name, unix.Mknodat(fd, n.name, n.mode, int(n.dev)))
			b.check("mode of "+n.name, unix.Fchmodat(fd, n.name, n.mode&0o7777, 0))
		}
		if b.root {
			b.check("owner of a fifo", unix.Fchownat(fd, "fifo", 7, 8, unix.AT_SYMLINK_NOFOLLOW))
			b.optional("attributes of devices", lsetxattr(fd, "null", "trusted.cairn", []byte("on a device")))
		}
	})
}

func (b *builder) modes(dir int) {
	b.in(dir, "modes", func(fd int) {
		for _, mode := range []uint32{0, 0o001, 0o200, 0o400, 0o444, 0o600, 0o640, 0o664, 0o666, 0o755, 0o777, 0o1644, 0o2755, 0o4755, 0o6711, 0o7777} {
			if !b.root && mode&0o400 == 0 {
				continue // not even its owner could back it up
			}
			name := fmt.Sprintf("file-%04o", mode)
			b.file(fd, name, []byte(name))
			b.check("mode of "+name, unix.Fchmodat(fd, name, mode, 0))
		}
		dirs := []uint32{0o700, 0o755, 0o777, 0o1777, 0o2775, 0o4755, 0o7777}
		if b.root {
			dirs = append(dirs, 0, 0o555, 0o500)
		}
		for _, mode := range dirs {
			name := fmt.Sprintf("dir-%04o", mode)
			b.in(fd, name, func(fd int) {
				b.file(fd, "inside", []byte(name))
				b.in(fd, "deeper", func(int) {})
			})
			b.check("mode of "+name, unix.Fchmodat(fd, name, mode, 0))
		}
	})
}

func (b *builder) owners(dir int) {
	if !b.root {
		b.built.Omitted = append(b.built.Omitted, "owners")
		return
	}
	b.in(dir, "owners", func(fd int) {
		for _, o := range [][2]int{{0, 0}, {1, 1}, {1234, 5678}, {65534, 65534}, {4000000000, 4000000001}, {0, 42}} {
			name := fmt.Sprintf("%d-%d", o[0], o[1])
			b.file(fd, name, []byte(name))
			b.check("owner of "+name, unix.Fchownat(fd, name, o[0], o[1], unix.AT_SYMLINK_NOFOLLOW))
			b.in(fd, "dir-"+name, func(sub int) {
				b.file(sub, "inside", nil)
				b.check("owner of dir", unix.Fchown(sub, o[0], o[1]))
			})
		}
		b.file(fd, "setuid", []byte("#!/bin/true"))
		b.check("owner of setuid", unix.Fchownat(fd, "setuid", 1234, 5678, unix.AT_SYMLINK_NOFOLLOW))
		b.check("mode of setuid", unix.Fchmodat(fd, "setuid", 0o6755, 0))
	})
}

// lsetxattr sets an attribute by the descriptor of the directory and a name.
func lsetxattr(dir int, name, attr string, value []byte) error {
	return unix.Lsetxattr(fmt.Sprintf("/proc/self/fd/%d/%s", dir, name), attr, value, 0)
}

func (b *builder) attributes(dir int) {
	b.in(dir, "attributes", func(fd int) {
		set := func(name, attr string, value []byte) {
			b.optional("attribute "+attr, lsetxattr(fd, name, attr, value))
		}
		for _, name := range []string{"one", "many", "capability", "large", "same-1", "same-2"} {
			b.file(fd, name, []byte(name))
		}
		set("one", "user.comment", []byte("plain text"))
		set("many", "user.empty", nil)
		set("many", "user.binary", []byte{0, 1, 2, 0xff, 0, '\n'})
		set("many", "user.ünïcode", []byte("ü"))
		for i := range 20 {
			set("many", fmt.Sprintf("user.number.%02d", i), fmt.Appendf(nil, "%d", i))
		}
		set("large", "user.large", noise(3<<10, 77))
		set("same-1", "user.same", []byte("shared"))
		set("same-2", "user.same", []byte("shared"))
		b.in(fd, "directory", func(int) {})
		set("directory", "user.on-a-directory", []byte("yes"))
		if b.root {
			set("one", "trusted.cairn", []byte("only root sees this"))
			// vfs_cap_data, revision 2: cap_net_raw permitted and effective.
			set("capability", "security.capability", []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
		}
	})
}

// acl encodes POSIX ACL entries as their attribute holds them: version 2, then tag, permissions and id of each.
func acl(entries ...[3]uint32) []byte {
	p := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range entries {
		p = binary.LittleEndian.AppendUint16(p, uint16(e[0]))
		p = binary.LittleEndian.AppendUint16(p, uint16(e[1]))
		p = binary.LittleEndian.AppendUint32(p, e[2])
	}
	return p
}

func (b *builder) acls(dir int) {
	const userObj, user, groupObj, group, mask, other, none = 1, 2, 4, 8, 16, 32, 0xffffffff
	access := acl([3]uint32{userObj, 6, none}, [3]uint32{user, 4, 1234}, [3]uint32{groupObj, 4, none}, [3]uint32{group, 6, 5678}, [3]uint32{mask, 6, none}, [3]uint32{other, 0, none})
	inherited := acl([3]uint32{userObj, 7, none}, [3]uint32{user, 7, 4321}, [3]uint32{groupObj, 5, none}, [3]uint32{mask, 7, none}, [3]uint32{other, 5, none})
	b.in(dir, "acls", func(fd int) {
		b.file(fd, "file", []byte("with an ACL"))
		b.optional("ACLs", lsetxattr(fd, "file", "system.posix_acl_access", access))
		b.in(fd, "inherits", func(sub int) {
			b.file(sub, "made-before", []byte("no ACL"))
			b.optional("default ACLs", unix.Fsetxattr(sub, "system.posix_acl_default", inherited, 0))
			b.file(sub, "made-after", []byte("inherited"))
			b.in(sub, "directory", func(fd int) { b.file(fd, "inside", nil) })
		})
	})
}

// crowd is a directory of many small entries, some of them equal.
func (b *builder) crowd(dir int) {
	b.in(dir, "crowd", func(fd int) {
		for i := range 800 {
			b.file(fd, fmt.Sprintf("file-%04d", i*7919%800), prose(i%97*13))
		}
	})
}

// deep is a path of more than 5,000 bytes.
func (b *builder) deep(dir int) {
	level := strings.Repeat("deep", 50)
	var down func(fd, depth int)
	down = func(fd, depth int) {
		b.file(fd, "file", fmt.Appendf(nil, "depth %d", depth))
		if depth < 26 {
			b.in(fd, level, func(fd int) { down(fd, depth+1) })
		} else {
			b.check("symlink at the bottom", unix.Symlinkat("file", fd, "bottom"))
		}
	}
	b.in(dir, "deep", func(fd int) { down(fd, 0) })
}

func (b *builder) links(dir int) {
	b.file(dir, "half-outside", []byte("its other name is outside the tree"))
	b.in(dir, "links", func(fd int) {
		b.file(fd, "first", noise(5000, 11))
		b.file(fd, "big", noise(6<<20, 12))
		b.ranges(fd, "sparse", 3<<20, map[int64][]byte{2 << 20: noise(4096, 13)})
		b.check("fifo", unix.Mknodat(fd, "fifo", unix.S_IFIFO|0o600, 0))
		b.check("symlink", unix.Symlinkat("first", fd, "symlink"))
		b.in(fd, "another", func(sub int) {
			for _, name := range []string{"first", "big", "sparse", "fifo", "symlink"} {
				b.check("link "+name, unix.Linkat(fd, name, sub, name+"-again", 0))
				b.check("link "+name, unix.Linkat(fd, name, sub, name+"-once-more", 0))
			}
		})
		b.in(fd, "closed", func(sub int) {
			b.file(sub, "a", []byte("in a directory that nobody may enter"))
			b.check("link", unix.Linkat(sub, "a", fd, "z-out-of-closed", 0))
			if b.root {
				b.check("mode", unix.Fchmod(sub, 0))
			}
		})
	})
}

// times gives everything at the top, and in "times", times that are easily lost.
func (b *builder) times(dir int) {
	b.in(dir, "times", func(fd int) {
		for name, t := range map[string]time.Time{
			"epoch": time.Unix(0, 0), "one-nanosecond": time.Unix(0, 1), "before-the-epoch": time.Unix(-1000000, 999999999), "last-nanosecond": time.Unix(1700000000, 999999999),
			"after-2038": time.Unix(1<<31+5, 123456789), "far": time.Date(2400, 2, 29, 0, 0, 0, 7, time.UTC), "moon": time.Date(1969, 7, 20, 20, 17, 40, 5, time.UTC),
		} {
			b.file(fd, name, []byte(name))
			b.in(fd, "dir-"+name, func(sub int) { b.file(sub, "inside", nil) })
			b.check("symlink", unix.Symlinkat(name, fd, "link-"+name))
			for _, n := range []string{name, "dir-" + name, "link-" + name} {
				b.time(fd, n, t)
			}
		}
	})
	for i, name := range []string{"files", "names", "sparse", "links", "crowd", "deep", "times"} {
		b.time(dir, name, time.Unix(1600000000+int64(i), int64(i)*1111111+1))
	}
	b.time(dir, ".", time.Unix(1500000000, 42))
}

func (b *builder) time(dir int, name string, t time.Time) {
	ts := unix.NsecToTimespec(t.UnixNano())
	b.check("time of "+name, unix.UtimesNanoAt(dir, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
}
