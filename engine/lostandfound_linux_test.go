package engine_test

import (
	"testing"

	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/index"
)

// When the backup of an adopted tree read its files nobody knows, so the next one reads them all.
func TestABackupDoesNotRelyOnTheTimesOfAnAdoptedPoint(t *testing.T) {
	f := newFarm(t)
	f.write("a", "a")
	if err := f.repo.RemovePoint(t.Context(), f.backup(engine.BackupOptions{})); err != nil {
		t.Fatal(err)
	}
	lost, err := engine.LostAndFound(t.Context(), f.repo, engine.LostOptions{})
	if err != nil || len(lost) != 1 {
		t.Fatalf("%v, %v", lost, err)
	}
	if _, err := engine.Adopt(t.Context(), f.repo, lost[0], engine.AdoptOptions{Source: "farm"}); err != nil {
		t.Fatal(err)
	}
	if p := f.backup(engine.BackupOptions{}); p.Kind != index.Full || p.Stats.Read == 0 || p.Stats.Added != 0 {
		t.Errorf("%s, %d bytes read, %d new", p.Kind, p.Stats.Read, p.Stats.Added)
	}
}
