package local

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Where renaming cannot refuse a name that is taken, linking does.
func TestLinkingNeverTakesAnothersPlace(t *testing.T) {
	dir := t.TempDir()
	temporary, path := filepath.Join(dir, "temporary"), filepath.Join(dir, "object")
	for i, body := range []string{"first", "second"} {
		if err := os.WriteFile(temporary, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		err := linkNew(temporary, path)
		if i == 0 && err != nil || i == 1 && !errors.Is(err, fs.ErrExist) {
			t.Errorf("link %s: %v", body, err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "first" {
		t.Errorf("%q, %v", got, err)
	}
	if err := linkNew(filepath.Join(dir, "none"), filepath.Join(dir, "other")); err == nil {
		t.Error("what is not there was linked")
	}
}

func TestTheDeviceIsTheNearestParents(t *testing.T) {
	dir := t.TempDir()
	here, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	later, err := New(filepath.Join(dir, "made", "later"))
	if err != nil {
		t.Fatal(err)
	}
	device, err := here.Device()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := later.Device(); err != nil || got != device {
		t.Errorf("%d, %v; the parent is on %d", got, err, device)
	}
}
