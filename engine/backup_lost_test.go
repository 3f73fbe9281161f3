//go:build linux

package engine_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/engine"
)

// lossy is a farm with a restore point, and the pack of its files' content, which is then taken away.
func lossy(t *testing.T) (f *farm, pack string) {
	t.Helper()
	f = newFarm(t)
	for i := range 20 {
		f.write(fmt.Sprintf("d%d/f", i), noise(byte(i), 2000))
	}
	f.backup(engine.BackupOptions{})
	err := f.repo.Store().Packs(t.Context(), func(p chunkstore.PackInfo) error {
		got, err := f.repo.Store().Table(t.Context(), p.ID)
		if err == nil && got.Kind == chunkstore.KindData {
			pack = filepath.Join(f.where, filepath.FromSlash(p.ID.ObjectName()))
		}
		return err
	})
	if err != nil || pack == "" {
		t.Fatalf("no pack of data: %v", err)
	}
	if err := os.Rename(pack, filepath.Join(t.TempDir(), "away")); err != nil {
		t.Fatal(err)
	}
	return f, pack
}

func TestBackupOverAPackThatIsGoneIsNoGoodBackup(t *testing.T) {
	f, pack := lossy(t)
	p := f.backup(engine.BackupOptions{})
	problem := f.problems["/"]
	if problem == nil || !strings.Contains(problem.Error(), filepath.Base(pack)) || !strings.Contains(problem.Error(), "repair --index") {
		t.Errorf("told were %v", f.problems)
	}
	if len(p.Problems) != 1 {
		t.Errorf("the restore point knows %v", p.Problems)
	}
}

func TestBackupReadsAgainWhatTheIndexHasForgotten(t *testing.T) {
	f, _ := lossy(t)
	done, err := engine.Repair(t.Context(), f.repo, engine.RepairOptions{Index: true})
	if err != nil || done.Forgotten == 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	p := f.backup(engine.BackupOptions{}) // an incremental one: no file has changed
	if len(f.problems) != 0 || p.Stats.Read == 0 {
		t.Errorf("problems %v, %d bytes read", f.problems, p.Stats.Read)
	}
	for i := range 20 {
		name := fmt.Sprintf("d%d/f", i)
		if got := f.contents(p)[name]; got.Content != noise(byte(i), 2000) {
			t.Errorf("%s: %d bytes that are not the file's", name, len(got.Content))
		}
	}
}

func TestBackupOverALostTreeIsNoGoodBackup(t *testing.T) {
	f := newFarm(t)
	f.write("d/f", noise(1, 2000))
	f.backup(engine.BackupOptions{})
	packs, err := filepath.Glob(filepath.Join(f.where, "packs", "*", "*"))
	if err != nil || len(packs) == 0 {
		t.Fatalf("packs: %v, %v", packs, err)
	}
	for _, p := range packs {
		if err := os.Truncate(p, 0); err != nil {
			t.Fatal(err)
		}
	}
	f.backup(engine.BackupOptions{})
	if f.problems["/"] == nil {
		t.Errorf("told were %v", f.problems)
	}
}

func TestRepairGoesOnPastWhatItCannotWrite(t *testing.T) {
	v := newVault(t, false)
	v.backup("docs", v.noise(20, 1<<20))
	sound := v.objects()
	config := filepath.Join(v.dir, "config")
	v.check(os.Remove(config))
	v.check(os.Mkdir(config, 0o700))
	for _, pack := range v.packs(chunkstore.KindData) {
		v.overwrite(pack, 100, 8)
	}
	done := v.repair(engine.RepairOptions{})
	if done.OK() || len(done.Repaired) != len(v.packs(chunkstore.KindData)) {
		t.Errorf("%+v", done)
	}
	if len(done.Findings) != 1 || done.Findings[0].Object != "config" || !strings.Contains(done.Findings[0].Message, "mending it failed") {
		t.Errorf("found %+v", done.Findings)
	}
	for _, pack := range v.packs(chunkstore.KindData) {
		if string(v.objects()[pack]) != string(sound[pack]) {
			t.Errorf("%s is not mended", pack)
		}
	}
}
