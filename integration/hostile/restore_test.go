//go:build linux

package hostile

import (
	"math"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/chunkstore"
)

// A name that would lead out of the directory makes its whole node invalid; what stands in other nodes is restored.
func TestNamesThatLeadElsewhereAreNeverMade(t *testing.T) {
	for what, name := range map[string]string{
		"dot dot": "..", "dot": ".", "nothing": "", "slash": "../elsewhere/pwned", "absolute": "/tmp/cairn-hostile-pwned", "NUL": "a\x00b", "lone slash": "/",
	} {
		t.Run(what, func(t *testing.T) {
			v := newVillain(t, true)
			v.commit(func(save func([]byte) chunkstore.ID) chunkstore.ID {
				inside := save(leaf(kindLeaf, bad{name: "pwned", kind: typeFile, mode: 0o644}))
				file := save(leaf(kindLeaf, bad{name: name, kind: typeFile, mode: 0o666}))
				folder := save(leaf(kindLeaf, bad{name: name, kind: typeDir, mode: 0o777, child: inside}))
				link := save(leaf(kindLeaf, bad{name: name, kind: typeSymlink, target: "/"}))
				return save(leaf(kindLeaf,
					bad{name: "file", kind: typeDir, mode: 0o755, child: file},
					bad{name: "folder", kind: typeDir, mode: 0o755, child: folder},
					bad{name: "good", kind: typeFile, mode: 0o600},
					bad{name: "link", kind: typeDir, mode: 0o755, child: link}))
			})
			said, code := v.restore()
			if code != 3 || v.target("good") != 0o600 {
				t.Errorf("exit code %d, the good file has mode %v\n%s", code, v.target("good"), said)
			}
			if _, err := os.Lstat("/tmp/cairn-hostile-pwned"); err == nil {
				t.Error("a file was made in /tmp")
			}
			listing := v.mount("ls -lR evil/latest/; cat evil/latest/good")
			if !strings.Contains(listing, "good") {
				t.Errorf("the mount shows\n%s", listing)
			}
		})
	}
}

// The classic: a symlink out of the target, and then the same name again as a directory, with files in it.
func TestASymlinkIsNeverFollowedByWhatComesBelowIt(t *testing.T) {
	v := newVillain(t, true)
	v.commit(func(save func([]byte) chunkstore.ID) chunkstore.ID {
		outside := v.path("out/elsewhere")
		inside := save(leaf(kindLeaf, bad{name: "kept", kind: typeFile, mode: 0o600}, bad{name: "pwned", kind: typeFile, mode: 0o666}))
		first := save(leaf(kindLeaf, bad{name: "l", kind: typeSymlink, target: outside}))
		second := save(leaf(kindLeaf, bad{name: "l", kind: typeDir, mode: 0o777, child: inside}))
		third := save(leaf(kindLeaf, bad{name: "l", kind: typeFile, mode: 0o644}))
		// The inner node says of each that it begins with another name, in the right order.
		return save(inner(1, part{"a", first}, part{"b", second}, part{"c", third}, part{"d", first}))
	})
	for _, flags := range [][]string{nil, {"--overwrite"}, {"--overwrite"}} {
		if said, code := v.restore(flags...); code != 3 && code != 0 {
			t.Errorf("%v: exit code %d\n%s", flags, code, said)
		}
	}
	v.mount("ls -lR evil/latest/; cat evil/latest/l/pwned evil/latest/l")
	if said, code := v.run("verify", "--read-data"); code == 2 {
		t.Errorf("verify: exit code %d\n%s", code, said)
	}
}

func TestASymlinkInTheTargetIsNotFollowed(t *testing.T) {
	v := newVillain(t, true)
	v.commit(func(save func([]byte) chunkstore.ID) chunkstore.ID {
		inside := save(leaf(kindLeaf, bad{name: "kept", kind: typeFile, mode: 0o600}, bad{name: "pwned", kind: typeFile, mode: 0o666}))
		return save(leaf(kindLeaf, bad{name: "d", kind: typeDir, mode: 0o755, child: inside}, bad{name: "f", kind: typeFile, mode: 0o644}))
	})
	for _, flags := range [][]string{nil, {"--overwrite"}} {
		v.must(os.RemoveAll(v.path("out")))
		v.must(os.MkdirAll(v.path("out/target"), 0o755))
		v.must(os.Symlink(v.path("out/elsewhere"), v.path("out/target/d")))
		v.must(os.Symlink(v.path("out/canary"), v.path("out/target/f")))
		said, code := v.restore(flags...)
		if want := map[bool]int{false: 1, true: 0}[flags != nil]; code != want {
			t.Errorf("%v: exit code %d, want %d\n%s", flags, code, want, said)
		}
	}
	if !v.target("d").IsDir() || !v.target("f").IsRegular() {
		t.Errorf("d is %v, f is %v", v.target("d"), v.target("f"))
	}
}

func TestDeviceNodesAreMadeOnDemandOnly(t *testing.T) {
	v := newVillain(t, true)
	v.entries(
		bad{name: "disk", kind: typeBlock, mode: 0o666, rdev: unix.Mkdev(7, 200)},
		bad{name: "fifo", kind: typeFIFO, mode: 0o600},
		bad{name: "file", kind: typeFile, mode: 0o600},
		bad{name: "mem", kind: typeChar, mode: 0o666, rdev: unix.Mkdev(1, 3)})
	said, code := v.restore()
	if code != 3 || v.target("disk") != 0 || v.target("mem") != 0 || v.target("fifo") == 0 || v.target("file") == 0 {
		t.Errorf("exit code %d, disk %v, mem %v, fifo %v, file %v", code, v.target("disk"), v.target("mem"), v.target("fifo"), v.target("file"))
	}
	for _, want := range []string{"/disk", "/mem", "device node left out", "hint: --devices"} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
	v.must(os.RemoveAll(v.path("out")))
	if said, code = v.restore("--devices=false"); code != 0 || v.target("disk") != 0 || !strings.Contains(said, "2 device nodes were left out") {
		t.Errorf("--devices=false: exit code %d, disk %v\n%s", code, v.target("disk"), said)
	}
	if os.Geteuid() != 0 {
		return
	}
	v.must(os.RemoveAll(v.path("out")))
	if said, code = v.restore("--devices"); code != 0 || v.target("disk")&os.ModeDevice == 0 || v.target("mem")&os.ModeCharDevice == 0 {
		t.Errorf("--devices: exit code %d, disk %v, mem %v\n%s", code, v.target("disk"), v.target("mem"), said)
	}
}

// The mount shows setuid files and devices as they were, and the kernel honours neither.
func TestTheMountHonoursNeitherSetuidNorDevices(t *testing.T) {
	v := newVillain(t, true)
	v.entries(
		bad{name: "null", kind: typeChar, mode: 0o666, rdev: unix.Mkdev(1, 3)},
		bad{name: "setuid", kind: typeFile, mode: 0o4755})
	said := v.mount("ls -l evil/latest/; cat evil/latest/null; grep ' fuse.cairn ' /proc/self/mounts")
	if !strings.Contains(said, "-rwsr-xr-x") || !strings.Contains(said, "nosuid,nodev") || !strings.Contains(strings.ToLower(said), "permission denied") {
		t.Errorf("the mount says\n%s", said)
	}
}

// An owner of 2^32-1 means "leave it as it is" to the kernel: the bit would lend out the rights of whoever restores.
func TestNoSetuidForAnOwnerThatCannotBe(t *testing.T) {
	v := newVillain(t, true)
	v.entries(bad{name: "f", kind: typeFile, mode: 0o4755, uid: math.MaxUint32})
	if said, code := v.restore(); v.target("f")&os.ModeSetuid != 0 {
		t.Errorf("exit code %d, mode %v\n%s", code, v.target("f"), said)
	}
}

func TestNumbersWithoutMeasureDoNoHarm(t *testing.T) {
	const most = math.MaxInt64
	for what, e := range map[string]bad{
		"size":         {kind: typeFile, size: most},
		"hole":         {kind: typeFile, size: most, content: []extent{{length: most}}},
		"short":        {kind: typeFile, size: 10, content: []extent{{length: 1 << 50, id: chunkstore.ID{1}}}},
		"no chunk":     {kind: typeFile, size: 1 << 40, content: []extent{{length: 1 << 40, id: chunkstore.ID{1}}}},
		"no list":      {kind: typeFile, size: 1 << 62, list: chunkstore.ID{9}},
		"links":        {kind: typeFile, links: math.MaxUint32},
		"mode":         {kind: typeFile, mode: math.MaxUint32},
		"uid":          {kind: typeFile, uid: math.MaxUint32, mode: 0o4755},
		"late":         {kind: typeFile, mtime: most},
		"early":        {kind: typeFile, mtime: math.MinInt64},
		"sums":         {kind: typeDir, sums: [4]uint64{most, most, most, most}},
		"rdev":         {kind: typeChar, rdev: math.MaxUint64},
		"target":       {kind: typeSymlink, target: strings.Repeat("x/", 1<<19)},
		"empty target": {kind: typeSymlink},
		"target NUL":   {kind: typeSymlink, target: "a\x00b"},
		"xattr":        {kind: typeFile, xattr: [2]string{"no.such.space", strings.Repeat("x", 1<<20)}},
		"xattr NUL":    {kind: typeFile, xattr: [2]string{"user.a\x00b", "x"}},
		"security":     {kind: typeFile, xattr: [2]string{"security.capability", "xx"}},
	} {
		t.Run(what, func(t *testing.T) {
			v := newVillain(t, true)
			e.name, e.mode = "e", e.mode|0o644
			e2 := e
			e2.name = "e2"
			v.entries(e, e2, bad{name: "good", kind: typeFile, mode: 0o600})
			said, code := v.restore()
			if code != 0 && code != 3 || v.target("good") == 0 {
				t.Errorf("restore: exit code %d, the good file is %v\n%.2000s", code, v.target("good"), said)
			}
			if listing := v.mount("ls -lR evil/latest/; stat evil/latest/e; head -c 100000 evil/latest/e | wc -c; readlink evil/latest/e | wc -c; getfattr -d -m - evil/latest/e; df ."); !strings.Contains(listing, "good") {
				t.Errorf("the mount shows\n%.2000s", listing)
			}
			for _, args := range [][]string{{"ls", "-l", "evil:/"}, {"find", "evil"}, {"stats"}, {"points"}, {"verify"}, {"versions", "evil:/e"}, {"cat", "evil:/good"}} {
				if said, code := v.run(args...); code == 2 {
					t.Errorf("%v: exit code %d\n%.2000s", args, code, said)
				}
			}
		})
	}
}
