package index

import (
	"context"
	"testing"
)

// A backup that is killed has written packs, and had no time to list them.
func TestWhatAKilledBackupStoredIsNotStoredAgain(t *testing.T) {
	f := newFixture(t)
	killed := f.begin(f.repo, "docs")
	f.put(killed, "one", "two", "three")
	f.check(killed.data.Close(context.Background())) // durable
	// Here it is killed: no index object, the marker stays.
	next := f.begin(f.open(t.TempDir()), "docs")
	if _, added := f.put(next, "one", "two", "three", "four"); added != 1 {
		t.Errorf("%d chunks are stored by the next backup; one is new", added)
	}
}
