//go:build linux

package fidelity

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// compareEnv makes the test binary a comparer: its value holds the trees and the options as JSON. Mounts are read this way,
// because a process must not read what it could be asked to serve, and so that a hanging mount hangs no test.
const compareEnv = "CAIRN_FIDELITY_COMPARE"

type comparison struct {
	A, B string
	Options
}

var program struct {
	binary string
	env    []string
	source string // the fearsome tree
}

func TestMain(m *testing.M) {
	if task := os.Getenv(compareEnv); task != "" {
		os.Exit(compareChild(task))
	}
	dir, err := os.MkdirTemp("", "cairn-fidelity-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := 1
	if err := prepare(dir); err != nil {
		fmt.Fprintln(os.Stderr, "prepare:", err)
	} else {
		code = m.Run()
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "clean up:", err)
	}
	os.Exit(code)
}

func compareChild(task string) int {
	var c comparison
	if err := json.Unmarshal([]byte(task), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	found, err := Compare(c.A, c.B, c.Options)
	for _, d := range found {
		fmt.Println(d)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return 0
}

// prepare builds the program, makes the tree and backs it up.
func prepare(dir string) error {
	program.binary = filepath.Join(dir, "cairn")
	program.source = filepath.Join(dir, "fearsome")
	program.env = append(os.Environ(), "HOME="+dir, "XDG_CACHE_HOME="+dir+"/cache", "XDG_CONFIG_HOME="+dir+"/config",
		"CAIRN_REPO="+dir+"/repository", "CAIRN_KEY_FILE="+dir+"/key", "CAIRN_CACHE_DIR="+dir+"/cache/cairn")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program.binary, "../../cmd/cairn")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	if err := os.Mkdir(program.source, 0o755); err != nil {
		return err
	}
	if _, err := Build(program.source); err != nil {
		return err
	}
	if _, err := cairn("init"); err != nil {
		return err
	}
	_, err := cairn("backup", program.source)
	return err
}

// cairn runs the program and gives what it says on stdout.
func cairn(args ...string) (string, error) {
	cmd := exec.Command(program.binary, args...)
	cmd.Env = program.env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("cairn %s: %w\n%s%s", strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.String(), nil
}

// compareInChild is Compare in a process of its own.
func compareInChild(t *testing.T, c comparison) {
	t.Helper()
	task, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), compareEnv+"="+string(task))
	out, err := cmd.CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("compare %s with %s: %v\n%s", c.B, c.A, err, out)
	}
}

// mounted mounts the repository for a test and gives the folder of the newest restore point.
func mounted(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mount")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := cairn("mount", "--background", dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := cairn("umount", dir); err != nil {
			t.Error(err)
		}
	})
	// The restore point itself, and not the symlink "latest", whose attributes are its own.
	point, err := exec.Command("readlink", filepath.Join(dir, "fearsome", "latest")).Output()
	if err != nil {
		t.Fatalf("no newest restore point in the mount: %v", err)
	}
	return filepath.Join(dir, "fearsome", strings.TrimSpace(string(point)))
}

func TestRestoreGivesBackTheFearsomeTree(t *testing.T) {
	target := filepath.Join(t.TempDir(), "restored")
	if _, err := cairn("restore", "fearsome", "--devices", "--to", target); err != nil {
		t.Fatal(err)
	}
	found, err := Compare(program.source, target, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range found {
		t.Error(d)
	}
}

func TestRestoreOverOlderFilesGivesBackTheFearsomeTree(t *testing.T) {
	target := filepath.Join(t.TempDir(), "restored")
	for range 2 {
		if _, err := cairn("restore", "fearsome", "--devices", "--overwrite", "--to", target); err != nil {
			t.Fatal(err)
		}
	}
	found, err := Compare(program.source, target, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range found {
		t.Error(d)
	}
}

func TestMountShowsTheFearsomeTree(t *testing.T) {
	compareInChild(t, comparison{program.source, mounted(t), Options{Links: true}})
}

func TestCopyOutOfTheMountGivesBackTheFearsomeTree(t *testing.T) {
	point := mounted(t)
	target := filepath.Join(t.TempDir(), "copy")
	copyTree(t, point, target)
	found, err := Compare(program.source, target, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range found {
		t.Error(d)
	}
}
