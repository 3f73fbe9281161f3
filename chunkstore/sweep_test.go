package chunkstore_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cairn-backup/cairn/chunkstore"
)

func TestOnlyOldLeftoversAreSwept(t *testing.T) {
	r := newRepository(t, benchVariant)
	want := write(t, r.Store, 50_000, chunkstore.WriterOptions{})
	now := time.Now()
	left := map[string]time.Duration{
		"packs/ab/ab01.in-progress-1": 30 * time.Hour,
		"points/0001.in-progress-22":  25 * time.Hour,
		"points/0002.in-progress-333": time.Hour,
	}
	for name, age := range left {
		if err := os.MkdirAll(filepath.Dir(r.file(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.file(name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(r.file(name), now, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	files, bytes, err := r.Sweep(t.Context(), 24*time.Hour)
	if err != nil || files != 2 || bytes != 8 {
		t.Errorf("%d files, %d bytes, %v", files, bytes, err)
	}
	for name, age := range left {
		if _, err := os.Stat(r.file(name)); (err == nil) == (age > 24*time.Hour) {
			t.Errorf("%s, %v old: %v", name, age, err)
		}
	}
	mustReadAll(t, r.reopen(t), want)
}
