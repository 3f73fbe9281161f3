//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
	"github.com/cairn-backup/cairn/chunkstore/keys"
)

const (
	writersChapter = "many writers"
	writerCount    = 8
	duplicateBound = 0.01
)

// writers lets eight backups of directories that share most of their content run at once, each on a host of its own, with a
// verify, a prune and a mount that is read in between.
func writers(t *tally, a *arena) error {
	if _, err := a.must("init", "--parity", "4+2"); err != nil {
		return err
	}
	dirs, err := a.overlapping()
	if err != nil {
		return err
	}
	for _, alike := range []struct {
		name  string
		first bool
	}{{"8 backups at once of what nobody has stored yet, beside verify, prune and a mount", true},
		{"8 backups at once of what is mostly stored, beside verify, prune and a mount", false}} {
		err := a.together(dirs)
		if err == nil {
			err = errors.Join(a.verified(true), a.restoreAll())
		}
		if err == nil {
			err = a.duplicates(t, alike.name, alike.first)
		}
		t.tried(writersChapter, alike.name, err)
		if err != nil {
			return err
		}
		for _, dir := range dirs {
			if err := (garden{dir, a.chance}).change(fileSize); err != nil {
				return err
			}
		}
	}
	return nil
}

// overlapping makes eight directories: four fifths of each are the same.
func (a *arena) overlapping() ([]string, error) {
	if err := a.garden.grow(60, fileSize); err != nil {
		return nil, err
	}
	var dirs []string
	for n := range writerCount {
		dir := filepath.Join(a.dir, fmt.Sprintf("writer%d", n))
		if err := exec.Command("cp", "-a", a.garden.dir, dir).Run(); err != nil {
			return nil, err
		}
		if err := (garden{dir, a.chance}).grow(15, fileSize); err != nil {
			return nil, err
		}
		dirs = append(dirs, dir)
	}
	return dirs, nil
}

// together runs all of them at once.
func (a *arena) together(dirs []string) error {
	held := make([]manifest, len(dirs))
	for i, dir := range dirs {
		var err error
		if held[i], err = a.kept.read(dir); err != nil {
			return err
		}
	}
	var wg sync.WaitGroup
	outcomes := make([]outcome, len(dirs)+2)
	run := func(i int, args ...string) {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			cmd := a.command(ctx, args...)
			cmd.Env = append(cmd.Env, "XDG_CACHE_HOME="+filepath.Join(a.dir, fmt.Sprintf("cache%d", i)))
			outcomes[i] = finish(cmd, args)
		})
	}
	stop, read := a.readMount()
	for i, dir := range dirs {
		run(i, "backup", "--json", dir)
	}
	run(len(dirs), "prune", "--max-unused", "0")
	run(len(dirs)+1, "verify")
	wg.Wait()
	close(stop)
	err := <-read
	for i, o := range outcomes {
		if o.code != 0 {
			err = errors.Join(err, errors.New(o.String()))
		} else if i < len(dirs) {
			err = errors.Join(err, a.enter(o, held[i]))
		}
	}
	return errors.Join(err, a.settle(nil))
}

// readMount mounts the repository and reads all of it again and again until it is stopped.
func (a *arena) readMount() (stop chan struct{}, read chan error) {
	stop, read = make(chan struct{}), make(chan error, 1)
	dir := filepath.Join(a.dir, "mnt")
	go func() {
		read <- func() error {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			cmd := a.command(context.Background(), "mount", dir)
			if err := cmd.Start(); err != nil {
				return err
			}
			defer func() {
				_ = cmd.Process.Signal(syscall.SIGINT)
				_ = cmd.Wait()
				_ = syscall.Unmount(dir, syscall.MNT_DETACH)
			}()
			if err := mounted(dir); err != nil {
				return err
			}
			for {
				var stderr strings.Builder
				cat := exec.Command("grep", "-r", "-c", "-e", "xyzzy", "--", dir)
				cat.Stderr = &stderr
				if err := cat.Run(); err != nil && stderr.Len() > 0 {
					return fmt.Errorf("read the mount: %w: %s", err, last(stderr.String(), 300))
				}
				select {
				case <-stop:
					return nil
				default:
				}
			}
		}()
	}()
	return stop, read
}

// duplicates counts what lies in the packs more than once. What several stored at the same moment a prune throws out.
func (a *arena) duplicates(t *tally, name string, first bool) error {
	before, err := a.duplicated()
	if err != nil {
		return err
	}
	if err := a.age(); err != nil {
		return err
	}
	for range 2 {
		if _, err := a.must("prune", "--max-unused", "0"); err != nil {
			return err
		}
	}
	after, err := a.duplicated()
	if err != nil {
		return err
	}
	t.note(writersChapter, name, "duplicates: %.2f %% of the bytes, %.2f %% after a prune", before*100, after*100)
	if after >= duplicateBound || !first && before >= duplicateBound {
		return fmt.Errorf("%.2f %% of the bytes in the packs are duplicates, %.2f %% after a prune", before*100, after*100)
	}
	return errors.Join(a.verified(true), a.restoreAll())
}

// duplicated is the part of the chunks' bytes that lies in packs for a second time.
func (a *arena) duplicated() (float64, error) {
	d, err := local.New(a.repo)
	if err != nil {
		return 0, err
	}
	s, err := chunkstore.Open(context.Background(), d, keys.IdentityFile(filepath.Join(a.dir, "key")))
	if err != nil {
		return 0, err
	}
	defer s.Close()
	seen := map[chunkstore.ID]bool{}
	all, twice := int64(0), int64(0)
	err = s.Packs(context.Background(), func(info chunkstore.PackInfo) error {
		pack, err := s.Table(context.Background(), info.ID)
		if err != nil {
			return err
		}
		for _, c := range pack.Chunks {
			all += int64(c.Location.Length)
			if seen[c.ID] {
				twice += int64(c.Location.Length)
			}
			seen[c.ID] = true
		}
		return nil
	})
	return float64(twice) / float64(max(1, all)), err
}
