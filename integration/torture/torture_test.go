//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// A short run of every chapter. `make torture` goes on for longer.
func TestNothingIsLost(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting disks that fill up and break takes root")
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "cairn")
	// Without the race detector, which takes many times the memory that one of the limits allows.
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/cairn-backup/cairn/cmd/cairn").CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	s := &show{bin: bin, work: filepath.Join(dir, "work"), seed: 1, tally: newTally(t.Logf), slice: 2 * time.Second, hang: time.Second, goes: 1, lanes: 6}
	if err := s.round(0); err != nil {
		t.Error(err)
	}
	for _, row := range s.tally.sorted() {
		t.Logf("%3d %s: %s %v", row.Times, row.Chapter, row.Fault, row.Notes)
	}
}

// The harness must see what is wrong, or else its silence means nothing.
func TestTheHarnessSeesWhatIsLost(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"a": "alpha", "b": "beta", "c": "gamma"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m, err := bodies{}.read(dir)
	if err != nil {
		t.Fatal(err)
	}
	same := func(lost map[string][]span) bool { return m.compare(dir, lost) == nil }
	if !same(nil) {
		t.Error("the same tree is found to differ")
	}
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("alpxa"), 0o644); err != nil {
		t.Fatal(err)
	}
	if same(nil) || same(map[string][]span{"a": {{0, 3}}}) || !same(map[string][]span{"a": {{3, 1}}}) {
		t.Error("a wrong byte is judged wrongly")
	}
	if err := os.Remove(filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	if lost := map[string][]span{"a": {{3, 1}}}; same(lost) {
		t.Error("a missing file is not seen")
	} else if lost["b"] = nil; !same(lost) {
		t.Error("a file that is told to be lost is missed")
	}
}
