//go:build linux

package main

import (
	"fmt"
	"path/filepath"
)

// tool is one of the two that are compared. Each keeps its repository, key and cache in a directory of its own.
type tool struct {
	name string
	dir  string
	bin  string
	env  []string

	initialise []string
	backup     func(tree string) []string
	restore    func(tree, target string) []string
	verify     []string
	mount      func(dir string) []string
	inMount    func(mount, tree string) string // where the newest restore point of a tree stands
}

func (t *tool) repository() string { return filepath.Join(t.dir, "repository") }

func (t *tool) run(args []string) (cost, error) {
	c, err := run(t.env, t.bin, args...)
	if err != nil {
		return c, fmt.Errorf("%s: %w", t.name, err)
	}
	return c, nil
}

func cairn(bin, dir string) *tool {
	t := &tool{name: "cairn", dir: dir, bin: bin}
	t.env = []string{
		"CAIRN_REPO=" + t.repository(), "CAIRN_KEY_FILE=" + filepath.Join(dir, "key"), "CAIRN_CACHE_DIR=" + filepath.Join(dir, "cache"),
		"CAIRN_PASSWORD=", "CAIRN_PASSWORD_FILE=",
	}
	t.initialise = []string{"init"}
	t.backup = func(tree string) []string { return []string{"backup", tree} }
	t.restore = func(tree, target string) []string {
		return []string{"restore", filepath.Base(tree), "--to", target}
	}
	t.verify = []string{"verify", "--read-data"}
	t.mount = func(dir string) []string { return []string{"mount", dir} }
	t.inMount = func(mount, tree string) string { return filepath.Join(mount, filepath.Base(tree), "latest") }
	return t
}

// restic runs with its defaults and a password file.
func restic(dir, passwordFile string) *tool {
	t := &tool{name: "restic", dir: dir, bin: "restic"}
	t.env = []string{
		"RESTIC_REPOSITORY=" + t.repository(), "RESTIC_PASSWORD_FILE=" + passwordFile, "RESTIC_CACHE_DIR=" + filepath.Join(dir, "cache"),
	}
	t.initialise = []string{"init"}
	t.backup = func(tree string) []string { return []string{"backup", tree} }
	t.restore = func(_, target string) []string { return []string{"restore", "latest", "--target", target} }
	t.verify = []string{"check", "--read-data"}
	t.mount = func(dir string) []string { return []string{"mount", dir} }
	t.inMount = func(mount, tree string) string { return filepath.Join(mount, "snapshots", "latest", tree) }
	return t
}
