//go:build linux

package hostile

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/cairn-backup/cairn/chunkstore"
)

// A pack can say of a node that it has another id than it has, so that a directory contains itself. With a key that the
// villain has, nothing but the id itself tells.
func TestADirectoryThatContainsItselfIsDamage(t *testing.T) {
	for _, plain := range []bool{true, false} {
		t.Run(fmt.Sprintf("plain=%v", plain), func(t *testing.T) {
			v := newVillain(t, plain)
			other := chunkstore.ID{7, 7, 7}
			node := leaf(kindLeaf, bad{name: "again", kind: typeDir, mode: 0o755, child: other}, bad{name: "file", kind: typeFile, mode: 0o644})
			w := v.store.NewWriter(chunkstore.KindTree, chunkstore.WriterOptions{})
			b := w.NewBatch()
			v.must(b.Add(t.Context(), other, node))
			v.must(b.Flush(t.Context()))
			v.must(w.Close(t.Context()))
			if _, err := v.repo.RebuildIndex(t.Context()); err != nil {
				t.Fatal(err)
			}
			v.commit(func(save func([]byte) chunkstore.ID) chunkstore.ID {
				return save(leaf(kindLeaf, bad{name: "good", kind: typeFile, mode: 0o600}, bad{name: "loop", kind: typeDir, mode: 0o755, child: other}))
			})
			said, code := v.restore()
			if code != 3 || v.target("good") != 0o600 {
				t.Errorf("restore: exit code %d, the good file is %v\n%s", code, v.target("good"), said)
			}
			v.mount("ls -lR evil/latest/; ls evil/latest/loop/again/again/again")
			for _, args := range [][]string{{"find", "evil"}, {"verify"}, {"verify", "--read-data"}, {"stats"}} {
				if said, code := v.run(args...); code == 2 {
					t.Errorf("%v: exit code %d\n%.2000s", args, code, said)
				}
			}
		})
	}
}

// Twenty levels of ten entries that are all the same directory: more entries than anybody can visit, in 21 nodes.
func TestATreeThatMultipliesIsVerifiedNodeByNode(t *testing.T) {
	v := newVillain(t, true)
	v.commit(func(save func([]byte) chunkstore.ID) chunkstore.ID {
		id := save(leaf(kindLeaf, bad{name: "end", kind: typeFile, mode: 0o644}))
		for range 20 {
			var entries []bad
			for i := range 10 {
				entries = append(entries, bad{name: fmt.Sprint(i), kind: typeDir, mode: 0o755, child: id, sums: [4]uint64{math.MaxInt64, 1, 1, math.MaxInt64}})
			}
			id = save(leaf(kindLeaf, entries...))
		}
		return id
	})
	for _, args := range [][]string{{"verify"}, {"ls", "evil:/1/2/3"}, {"stats"}, {"points"}, {"cat", "evil:/0/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/end"}} {
		if said, code := v.run(args...); code != 0 {
			t.Errorf("%v: exit code %d\n%.2000s", args, code, said)
		}
	}
	v.mount("ls evil/latest/1/2/3/4/5/6/7/8/9/1/2/3/4/5/6/7/8/9/1/2")
}

func TestAVeryDeepTreeHasItsWay(t *testing.T) {
	const depth = 3000
	v := newVillain(t, true)
	v.commit(func(save func([]byte) chunkstore.ID) chunkstore.ID {
		id := save(leaf(kindLeaf, bad{name: "end", kind: typeFile, mode: 0o644}))
		for range depth {
			id = save(leaf(kindLeaf, bad{name: "d", kind: typeDir, mode: 0o755, child: id}))
		}
		return id
	})
	if said, code := v.restore(); code != 0 {
		t.Errorf("restore: exit code %d\n%.2000s", code, said)
	}
	for _, args := range [][]string{{"verify"}, {"find", "evil", "end"}} {
		if said, code := v.run(args...); code != 0 {
			t.Errorf("%v: exit code %d\n%.2000s", args, code, said)
		}
	}
	v.mount("find evil/latest/ -name end | wc -c")
}

// The nodes here are no directories at all, or lie about themselves.
func TestNodesThatMakeNoSenseAreDamageOfTheirDirectory(t *testing.T) {
	huge := binary.AppendUvarint([]byte{kindLeaf, 1}, math.MaxUint64)
	many := append(binary.AppendUvarint([]byte{kindLeaf, 1}, 1<<20), make([]byte, 11<<20)...)
	good := leaf(kindLeaf, bad{name: "x", kind: typeFile, mode: 0o644})
	for what, node := range map[string][]byte{
		"empty": {}, "one byte": {kindLeaf}, "unknown kind": {9, 1}, "later version": {kindLeaf, 200, 0},
		"giant count": huge, "a million": many, "cut": good[:len(good)-1], "too long": append(append([]byte{}, good...), 0),
		"root inside": leaf(kindRoot, bad{kind: typeDir}), "unordered": leaf(kindLeaf, bad{name: "b", kind: typeFile}, bad{name: "a", kind: typeFile}),
		"twice": leaf(kindLeaf, bad{name: "a", kind: typeSymlink, target: "/"}, bad{name: "a", kind: typeDir}), "no type": leaf(kindLeaf, bad{name: "a"}),
		"level 200": inner(200, part{"a", chunkstore.ID{1}}), "no children": inner(1), "level 0": inner(0, part{"a", chunkstore.ID{1}}),
		"list": {3, 1, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0},
	} {
		t.Run(what, func(t *testing.T) {
			v := newVillain(t, true)
			v.commit(func(save func([]byte) chunkstore.ID) chunkstore.ID {
				id := save(node)
				return save(leaf(kindLeaf,
					bad{name: "dir", kind: typeDir, mode: 0o755, child: id},
					bad{name: "good", kind: typeFile, mode: 0o600},
					bad{name: "list", kind: typeFile, mode: 0o600, size: 5 << 20, list: id}))
			})
			if said, code := v.restore(); code != 3 || v.target("good") == 0 {
				t.Errorf("restore: exit code %d\n%.2000s", code, said)
			}
			if said, code := v.run("verify"); code != 3 {
				t.Errorf("verify: exit code %d\n%.2000s", code, said)
			}
			v.mount("ls -lR evil/latest/; cat evil/latest/list | wc -c")
		})
	}
}

func TestNamesThatTerminalsAndKernelsDislikeAreShownSafely(t *testing.T) {
	v := newVillain(t, true)
	v.entries(
		bad{name: "\x1b]0;pwned\x07", kind: typeFile, mode: 0o644},
		bad{name: "-rf", kind: typeFile, mode: 0o644},
		bad{name: "a\nb", kind: typeFile, mode: 0o644},
		bad{name: strings.Repeat("l", 300), kind: typeFile, mode: 0o644},
		bad{name: strings.Repeat("m", 70_000), kind: typeFile, mode: 0o644},
		bad{name: "\xff\xfe", kind: typeFile, mode: 0o644})
	if said, code := v.restore(); code != 3 || v.target("-rf") == 0 || v.target("\xff\xfe") == 0 || strings.Contains(said, "\x1b") {
		t.Errorf("restore: exit code %d\n%q", code, said)
	}
	v.mount("ls -l evil/latest/ | wc -l")
}

// The record of a restore point names its source and itself; both become folders of the mount.
func TestRecordsWithNamesOfFoldersElsewhereDoNoHarm(t *testing.T) {
	for _, names := range [][2]string{{"..", "2026-11-23T21-05-00Z"}, {"../../up", "x"}, {"a/b", "x"}, {"evil", ".."}, {"evil", "latest"}, {"evil", "@3d"},
		{"evil", "a/b"}, {"evil", ".versions"}, {"\x1b[2J", "x"}, {strings.Repeat("s", 5000), "x"}} {
		t.Run(fmt.Sprintf("%.20q@%.20q", names[0], names[1]), func(t *testing.T) {
			v := newVillain(t, true)
			v.entries(bad{name: "good", kind: typeFile, mode: 0o600})
			record := fmt.Sprintf(`{"format":1,"sequence":2,"name":%q,"source":%q,"started":"2026-11-23T21:05:00Z","finished":"2026-11-23T21:05:00Z","root":{"id":"%064d"}}`,
				names[1], strings.ReplaceAll(names[0], "\x1b", "!"), 0)
			v.must(v.store.PutObject(t.Context(), chunkstore.TypePoint, fmt.Sprintf("%016x", 2), []byte(record)))
			if listing := v.mount("ls -laR . ; cat evil/*/good"); !strings.Contains(listing, "good") {
				t.Errorf("the mount shows\n%.2000s", listing)
			}
			v.run("points")
			v.run("verify")
			v.run("stats")
			v.restore()
			if _, err := os.Lstat(v.path("up")); err == nil {
				t.Error("something was made outside")
			}
		})
	}
}
