package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

func (v *vault) lost() []engine.LostTree {
	v.t.Helper()
	lost, err := engine.LostAndFound(v.t.Context(), v.repo, engine.LostOptions{Problem: func(object string, err error) { v.t.Errorf("%s: %v", object, err) }})
	v.check(err)
	return lost
}

// read gives a file of a restore point.
func (v *vault) read(p *index.Point, path string) []byte {
	v.t.Helper()
	e, err := tree.Find(v.t.Context(), v.repo, p.Root.ID, path)
	v.check(err)
	var all []byte
	for x, err := range tree.Extents(v.t.Context(), v.repo, e) {
		v.check(err)
		data, err := v.repo.ReadChunk(v.t.Context(), x.ID, nil)
		v.check(err)
		all = append(all, data...)
	}
	return all
}

func TestALostTreeIsFoundAndComesBack(t *testing.T) {
	for _, plain := range []bool{true, false} {
		t.Run(fmt.Sprintf("plain %v", plain), func(t *testing.T) {
			v := newVault(t, plain)
			kept := v.backup("docs", map[string][]byte{"a": []byte("kept"), "folder/b": bytes.Repeat([]byte("b"), 100_000)})
			lost := v.backup("docs", map[string][]byte{"a": []byte("lost"), "folder/b": bytes.Repeat([]byte("b"), 100_000)})
			if got := v.lost(); len(got) != 0 {
				t.Fatalf("found %v before anything is lost", got)
			}
			v.check(os.Remove(filepath.Join(v.dir, "points", fmt.Sprintf("%016x", lost.Sequence)))) // the record alone
			v.open()
			found := v.lost()
			if len(found) != 1 || found[0].ID != lost.Root.ID || found[0].Totals != lost.Root.Totals || found[0].Stored.IsZero() {
				t.Fatalf("found %+v, want %+v", found, lost.Root)
			}
			result, err := engine.Adopt(t.Context(), v.repo, found[0], engine.AdoptOptions{Source: "found"})
			v.check(err)
			if p := result.Point; result.Problems != 0 || p.Source != "found" || p.Stats.Files != 2 || p.Root != lost.Root || p.Sequence <= kept.Sequence {
				t.Errorf("adopted as %+v", p)
			}
			v.open()
			if got := v.read(result.Point, "a"); string(got) != "lost" {
				t.Errorf("reads %q", got)
			}
			if got := v.lost(); len(got) != 0 {
				t.Errorf("still lost: %v", got)
			}
		})
	}
}

func TestATreeIsFoundInPacksThatNoIndexObjectLists(t *testing.T) {
	v := newVault(t, true)
	p := v.backup("docs", map[string][]byte{"a": []byte("one")})
	v.backup("other", map[string][]byte{"a": []byte("two")})
	v.check(v.repo.RemovePoint(t.Context(), p))
	v.check(os.RemoveAll(filepath.Join(v.dir, "index")))
	v.open()
	if got := v.lost(); len(got) != 1 || got[0].ID != p.Root.ID {
		t.Errorf("found %+v", got)
	}
}

func TestWhatIsGoneOfALostTreeIsTold(t *testing.T) {
	v := newVault(t, true)
	p := v.backup("docs", map[string][]byte{"a": []byte("a"), "b": bytes.Repeat([]byte("b"), 1000)})
	v.check(v.repo.RemovePoint(t.Context(), p))
	loc, ok, err := v.repo.Locate(v.repo.Store().ChunkID([]byte("a")))
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	v.check(os.Remove(filepath.Join(v.dir, filepath.FromSlash(loc.Pack.ObjectName()))))
	v.check(os.RemoveAll(filepath.Join(v.dir, "index")))
	v.open()
	told := map[string]error{}
	result, err := engine.Adopt(t.Context(), v.repo, v.lost()[0], engine.AdoptOptions{Source: "found", Problem: func(path string, err error) { told[path] = err }})
	v.check(err)
	if len(told) != 2 || result.Problems != 2 || result.Point.Stats.Errors != 2 || len(result.Point.Problems) != 2 {
		t.Errorf("told of %v, %d problems, recorded %v", told, result.Problems, result.Point.Problems)
	}
}

func TestATreeWhoseTopIsGoneIsNotAdopted(t *testing.T) {
	v := newVault(t, true)
	p := v.backup("docs", map[string][]byte{"a": []byte("a")})
	v.check(v.repo.RemovePoint(t.Context(), p))
	found := v.lost()
	for name := range v.packPaths() {
		v.check(os.Remove(name))
	}
	v.open()
	if _, err := engine.Adopt(t.Context(), v.repo, found[0], engine.AdoptOptions{Source: "found"}); err == nil {
		t.Error("adopted")
	}
	entries, err := os.ReadDir(filepath.Join(v.dir, "points"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
}
