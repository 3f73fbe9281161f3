//go:build linux

package fidelity

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A user without privilege gets content, modes and times back, is told of the owners, and gets no setuid file of another's.
func TestRestoreWithoutPrivilegeKeepsWhatItMay(t *testing.T) {
	const nobody = 65534
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(source, 0o755))
	must(os.WriteFile(filepath.Join(source, "mine"), []byte("mine"), 0o644))
	must(os.WriteFile(filepath.Join(source, "setuid"), []byte("of root"), 0o755))
	must(os.Chmod(filepath.Join(source, "setuid"), 0o755|os.ModeSetuid))
	must(os.Mkdir(filepath.Join(source, "closed"), 0o555))
	must(os.Chmod(filepath.Join(source, "mine"), 0o604))
	root := os.Geteuid() == 0
	if root {
		must(os.Chown(filepath.Join(source, "mine"), nobody, nobody))
		must(os.Chown(dir, nobody, nobody))
		for parent := dir; parent != os.TempDir() && parent != "/"; parent = filepath.Dir(parent) {
			must(os.Chmod(parent, 0o755))
		}
		must(os.Chmod(filepath.Dir(program.binary), 0o755))
	}
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(program.binary, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CACHE_HOME="+dir+"/cache", "XDG_CONFIG_HOME="+dir+"/config", "CAIRN_CACHE_DIR="+dir+"/cache/cairn",
			"CAIRN_REPO="+dir+"/repository", "CAIRN_KEY_FILE="+dir+"/key")
		if root {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			t.Fatalf("cairn %s: %v\n%s", strings.Join(args, " "), err, &out)
		}
		return out.String()
	}
	run("init")
	run("backup", "source")
	said := run("restore", "source", "--to", "restored")
	if root && !strings.Contains(said, "only root may give files away") {
		t.Errorf("the restore says %q, want that owners were not restored", said)
	}
	want := map[string]os.FileMode{"mine": 0o604, "setuid": 0o755, "closed": 0o555 | os.ModeDir}
	if !root {
		want["setuid"] |= os.ModeSetuid // the user's own
	}
	for name, mode := range want {
		info, err := os.Lstat(filepath.Join(dir, "restored", name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: mode %v, want %v (%v)", name, info.Mode(), mode, err)
			continue
		}
		if before, err := os.Lstat(filepath.Join(source, name)); err != nil || !before.ModTime().Equal(info.ModTime()) {
			t.Errorf("%s: time %v, want %v (%v)", name, info.ModTime(), before.ModTime(), err)
		}
	}
}
