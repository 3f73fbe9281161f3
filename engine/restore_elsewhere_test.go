//go:build linux

package engine_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// Two backups at once store the same content, each in a pack of its own. When one is damaged, the other will do: for
// verify and for a restore alike.
func TestARestoreTakesWhatIsDamagedFromAnotherPack(t *testing.T) {
	v := newVault(t, true)
	content := noisy(300<<10, 9)
	s, err := v.repo.Begin(t.Context(), index.SessionOptions{Source: "first"})
	v.check(err)
	batch := s.NewBatch()
	w := tree.NewWriter(s)
	v.check(w.Add(t.Context(), v.storeFile(batch, "file", content)))
	second := v.backup("second", map[string][]byte{"file": content})
	v.check(batch.Flush(t.Context()))
	_, err = s.Commit(t.Context(), &index.Point{Root: v.finish(w)})
	v.check(err)
	packs := v.packs(chunkstore.KindData)
	if len(packs) != 2 {
		t.Fatalf("the content lies in %d packs", len(packs))
	}
	for _, name := range packs {
		whole := v.objects()[name]
		v.overwrite(name, 0, len(whole))
		v.open()
		target := filepath.Join(t.TempDir(), "restored")
		result, err := engine.Restore(t.Context(), v.repo, second, "/", target, engine.RestoreOptions{})
		v.check(err)
		got, err := os.ReadFile(filepath.Join(target, "file"))
		if err != nil || result.Problems != 0 || !bytes.Equal(got, content) {
			t.Errorf("without %s: %d problems, %v", name, result.Problems, err)
		}
		v.check(os.WriteFile(filepath.Join(v.dir, name), whole, 0o644))
	}
}
