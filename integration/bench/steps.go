//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// bench is one run of everything.
type bench struct {
	work   string
	cairn  string // the program
	rounds int
	log    func(format string, args ...any)

	samples map[key][]cost
	sizes   map[key][]cost // Peak holds bytes
}

// key names what was measured.
type key struct{ tree, step, who string }

func (b *bench) add(tree, step, who string, c cost) {
	k := key{tree, step, who}
	b.samples[k] = append(b.samples[k], c)
	b.log("%-6s %-34s %-7s %8.3f s  CPU %8.3f s  peak %4d MiB", tree, step, who, c.Wall, c.CPU, c.Peak>>20)
}

// The steps, in the words of the tables.
const (
	stepFirst     = "first backup"
	stepUnchanged = "unchanged second backup"
	stepChanged   = "5 % of files changed"
	stepRestore   = "restore of everything"
	stepVerify    = "verify --read-data"
	stepSize      = "repository size"
	stepFind      = "find -printf '%s %T@'"
	stepMount     = "mount until ls answers"
	stepList      = "find with sizes in the mount"
	stepListAgain = "find with sizes, second time"
	stepCopy      = "cp -r out of the mount"
	stepCat       = "cat of a large file in the mount"
	stepCatAgain  = "cat, second time"
	stepRandom    = "2,000 random 4 KiB reads"
	stepServe     = "mount, memory while serving"
	stepPassword  = "points, unlocked by passphrase"
	stepKeyFile   = "points, unlocked by key file"
)

// round measures everything once on one tree. Repositories are new in each round, so that each backup is a first one.
func (b *bench) round(name, tree string, number int) error {
	dir := filepath.Join(b.work, "round")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	password := filepath.Join(dir, "password")
	tools := []*tool{cairn(b.cairn, filepath.Join(dir, "cairn")), restic(filepath.Join(dir, "restic"), password)}
	for _, t := range tools {
		if err := os.MkdirAll(t.dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(password, []byte("correct horse battery staple\n"), 0o600); err != nil {
		return err
	}
	for _, t := range tools {
		if _, err := t.run(t.initialise); err != nil {
			return err
		}
	}
	steps := []func(string, string, int, []*tool) error{b.backups, b.restores, b.verifies, b.mounts, b.unlocking}
	for _, step := range steps {
		if err := step(name, tree, number, tools); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}

// each runs one step with both tools; the one that goes first changes from round to round.
func (b *bench) each(tree, step string, number int, tools []*tool, args func(*tool) []string) error {
	for i := range tools {
		t := tools[(i+number)%len(tools)]
		if err := b.warm(tree, t); err != nil {
			return err
		}
		c, err := t.run(args(t))
		if err != nil {
			return fmt.Errorf("%s: %w", step, err)
		}
		b.add(tree, step, t.name, c)
	}
	return nil
}

// warm puts into the page cache what a step may read: some machines give it up within seconds when nobody uses it.
func (b *bench) warm(tree string, t *tool) error {
	if err := warm(filepath.Join(b.work, tree)); err != nil {
		return err
	}
	return warm(t.repository())
}

func (b *bench) backups(name, tree string, number int, tools []*tool) error {
	backup := func(t *tool) []string { return t.backup(tree) }
	if err := b.each(name, stepFirst, number, tools, backup); err != nil {
		return err
	}
	for _, t := range tools {
		_, bytes, err := measureTree(t.repository())
		if err != nil {
			return err
		}
		k := key{name, stepSize, t.name}
		b.sizes[k] = append(b.sizes[k], cost{Peak: bytes})
		b.log("%-6s %-34s %-7s %8.1f MiB", name, stepSize, t.name, float64(bytes)/(1<<20))
	}
	if err := b.each(name, stepUnchanged, number, tools, backup); err != nil {
		return err
	}
	if err := warm(tree); err != nil {
		return err
	}
	c, err := shell(`find "$1" -printf '%s %T@\n' > /dev/null`, tree)
	if err != nil {
		return err
	}
	b.add(name, stepFind, "find", c)
	if name != treeSmall {
		return nil
	}
	if err := change(tree, number); err != nil {
		return fmt.Errorf("change files: %w", err)
	}
	return b.each(name, stepChanged, number, tools, backup)
}

// restores leaves the copies for the end of the round: ext4 makes files several times slower for a while after many were
// removed (it does not give a freed inode out again at once), and whoever came next would pay for it.
func (b *bench) restores(name, tree string, number int, tools []*tool) error {
	for i := range tools {
		t := tools[(i+number)%len(tools)]
		target := filepath.Join(t.dir, "restored")
		if err := b.warm(name, t); err != nil {
			return err
		}
		c, err := t.run(t.restore(tree, target))
		if err != nil {
			return fmt.Errorf("%s: %w", stepRestore, err)
		}
		b.add(name, stepRestore, t.name, c)
	}
	target := filepath.Join(b.work, "round", "copied")
	if err := warm(tree); err != nil {
		return err
	}
	c, err := run(nil, "cp", "-a", tree, target)
	if err != nil {
		return err
	}
	b.add(name, stepRestore, "cp -a", c)
	return nil
}

func (b *bench) verifies(name, _ string, number int, tools []*tool) error {
	return b.each(name, stepVerify, number, tools, func(t *tool) []string { return t.verify })
}

// unlocking measures what a passphrase costs on top of a key file.
func (b *bench) unlocking(name, _ string, _ int, tools []*tool) error {
	if name != treeSmall {
		return nil
	}
	t := tools[0]
	password := filepath.Join(b.work, "round", "password")
	if _, err := t.run([]string{"key", "add", "--new-password-file", password}); err != nil {
		return err
	}
	c, err := t.run([]string{"points"})
	if err != nil {
		return err
	}
	b.add(name, stepKeyFile, t.name, c)
	if c, err = t.run([]string{"points", "--password-file", password}); err != nil {
		return err
	}
	b.add(name, stepPassword, t.name, c)
	return nil
}
