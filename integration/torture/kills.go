//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const killChapter = "kill -9"

// killer kills commands at random moments of the time that they usually take.
type killer struct {
	*arena
	t     *tally
	usual map[string]time.Duration // by command; how long it takes when it is left alone
}

// fileSize bounds the files of the tree, bytes.
const fileSize = 200 << 10

// kills runs steps until the deadline, at least so many.
func kills(t *tally, a *arena, least int, until time.Time) error {
	k := &killer{a, t, map[string]time.Duration{}}
	if _, err := a.must("init", "--parity", []string{"4+2", "10+2", "1+1"}[a.chance.IntN(3)]); err != nil {
		return err
	}
	if err := a.garden.grow(60, fileSize); err != nil {
		return err
	}
	if err := a.backup(a.garden.dir); err != nil {
		return err
	}
	for n := 0; n < least || time.Now().Before(until); n++ {
		fault, err := k.step()
		t.tried(killChapter, fault, err)
		if err != nil {
			return fmt.Errorf("step %d: %s: %w", n, fault, err)
		}
	}
	if err := errors.Join(a.verified(true), a.restoreAll()); err != nil {
		t.tried(killChapter, "everything restored at the end of a round", err)
		return err
	}
	t.tried(killChapter, "everything restored at the end of a round", nil)
	return nil
}

// step kills one command, and looks that nothing is lost and the next run succeeds.
func (k *killer) step() (fault string, err error) {
	if err := k.garden.change(fileSize); err != nil {
		return "change the tree", err
	}
	underway := map[string]manifest{}
	if underway["docs"], err = k.kept.read(k.garden.dir); err != nil {
		return "read the tree", err
	}
	switch k.chance.IntN(10) {
	case 0, 1, 2:
		fault, err = "backup", k.kill("backup", k.garden.dir)
	case 3, 4:
		fault, err = "prune", k.kill("prune", "--max-unused", "0")
	case 5:
		fault, err = "forget", k.forget()
	case 6:
		fault, err = "repair", k.repair()
	case 7:
		fault, err = "restore", k.halfRestore()
	case 8:
		fault, err = "mount", k.mount()
	default:
		fault, err = "backup beside prune, both killed", k.both()
	}
	if err != nil {
		return fault, err
	}
	if err := k.settle(underway); err != nil {
		return fault, err
	}
	if k.chance.IntN(3) == 0 {
		if err := k.age(); err != nil {
			return fault, err
		}
	}
	return fault, k.next()
}

// next is the next run: everything succeeds.
func (k *killer) next() error {
	if err := k.backup(k.garden.dir); err != nil {
		return err
	}
	if k.chance.IntN(2) == 0 {
		if _, err := k.must("prune", "--max-unused", "0"); err != nil {
			return err
		}
	}
	if names := k.names("docs@"); len(names) > 6 {
		if _, err := k.must("forget", "--source", "docs", "--keep-last", "4"); err != nil {
			return err
		}
		for _, name := range names[:len(names)-4] {
			delete(k.points, name)
		}
	}
	if err := k.settle(nil); err != nil {
		return err
	}
	if err := k.verified(k.chance.IntN(4) == 0); err != nil {
		return err
	}
	return k.restore(k.anyPoint())
}

// moment is when to kill a command.
func (k *killer) moment(name string) time.Duration {
	usual := cmp.Or(k.usual[name], 300*time.Millisecond)
	return time.Duration(k.chance.Float64() * 1.1 * float64(usual))
}

// kill starts a command and kills it, if it has not ended before.
func (k *killer) kill(args ...string) error {
	wait, err := k.killed(args...)
	if err != nil {
		return err
	}
	return wait()
}

// killed does so in the background.
func (k *killer) killed(args ...string) (wait func() error, err error) {
	var stderr strings.Builder
	cmd := k.command(context.Background(), args...)
	cmd.Stdout, cmd.Stderr = io.Discard, &stderr
	moment := k.moment(args[0])
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	began := time.Now()
	timer := time.AfterFunc(moment, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	return func() error {
		err := cmd.Wait()
		timer.Stop()
		var exit *exec.ExitError
		switch {
		case err == nil:
			k.usual[args[0]] = (cmp.Or(k.usual[args[0]], time.Since(began)) + time.Since(began)) / 2
			return nil
		case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled():
			return nil
		}
		return fmt.Errorf("cairn %s: %w: %s", strings.Join(args, " "), err, last(stderr.String(), 700))
	}, nil
}

func (k *killer) forget() error {
	names := k.names("docs@")
	for _, name := range names[:max(0, len(names)-2)] {
		k.loose[name] = true
	}
	return k.kill("forget", "--source", "docs", "--keep-last", "2")
}

// repair spoils a few objects within the parity, kills the repair, and lets it end the second time.
func (k *killer) repair() error {
	objects, err := findObjects(k.repo)
	if err != nil {
		return err
	}
	for _, i := range k.chance.Perm(len(objects))[:min(3, len(objects))] { // no object twice: that would be beyond the parity
		o := objects[i]
		if o.kind == "session" || o.kind == "foreign" {
			continue
		}
		if _, err := o.spoilWithin(k.chance); err != nil {
			return err
		}
	}
	if err := k.kill("repair"); err != nil {
		return err
	}
	_, err = k.must("repair")
	return err
}

// halfRestore kills a restore; restoring over what it left makes it whole.
func (k *killer) halfRestore() error {
	name, target := k.anyPoint(), filepath.Join(k.dir, "half")
	defer os.RemoveAll(target)
	if err := k.kill("restore", name, "--to", target); err != nil {
		return err
	}
	if _, err := k.must("restore", name, "--to", target, "--overwrite"); err != nil {
		return err
	}
	return k.points[name].compare(target, nil)
}

// mount kills a mount while somebody reads it. The reader may get errors, and never wrong bytes.
func (k *killer) mount() error {
	dir := filepath.Join(k.dir, "mnt")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	cmd := k.command(context.Background(), "mount", dir)
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = syscall.Unmount(dir, syscall.MNT_DETACH)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if err := mounted(dir); err != nil {
		return err
	}
	name := k.anyPoint()
	copied := filepath.Join(k.dir, "copied")
	defer os.RemoveAll(copied)
	source, point, _ := strings.Cut(name, "@")
	timer := time.AfterFunc(k.moment("mount"), func() { _ = cmd.Process.Kill() })
	began := time.Now()
	err := exec.Command("cp", "-a", filepath.Join(dir, source, point), copied).Run()
	if timer.Stop() && err == nil {
		k.usual["mount"] = time.Since(began)
		return k.points[name].compare(copied, nil)
	}
	return nil
}

// mounted waits until a mount answers.
func mounted(dir string) error {
	for range 2000 {
		if text, err := os.ReadFile("/proc/self/mountinfo"); err == nil && strings.Contains(string(text), " "+dir+" ") {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("no mount on %s after 10 s", dir)
}

// both kills a backup and a prune that run at once.
func (k *killer) both() error {
	var waits []func() error
	for _, args := range [][]string{{"backup", k.garden.dir}, {"prune", "--max-unused", "0"}} {
		wait, err := k.killed(args...)
		if err != nil {
			return err
		}
		waits = append(waits, wait)
	}
	return errors.Join(waits[0](), waits[1]())
}

// halfway kills backups of something larger, and looks at what the next one has to store again.
func halfway(t *tally, a *arena) error {
	const fault = "a backup is killed on its way; the next one stores the rest"
	if _, err := a.must("init", "--parity", "4+2"); err != nil {
		return err
	}
	big := garden{filepath.Join(a.dir, "big"), a.chance}
	if err := big.grow(60, 4<<20); err != nil {
		return err
	}
	whole := filepath.Join(a.dir, "whole")
	began := time.Now()
	if _, err := a.must("backup", "--source", "first", big.dir); err != nil {
		return err
	}
	k := &killer{a, t, map[string]time.Duration{"backup": time.Since(began)}}
	size, err := sizeOf(filepath.Join(a.repo, "packs"))
	if err != nil {
		return err
	}
	if err := errors.Join(os.Rename(a.repo, whole), os.RemoveAll(filepath.Join(a.dir, "cache"))); err != nil {
		return err
	}
	if _, err := a.must("init", "--parity", "4+2"); err != nil {
		return err
	}
	if err := k.kill("backup", big.dir); err != nil {
		return err
	}
	stored, err := sizeOf(filepath.Join(a.repo, "packs"))
	if err != nil {
		return err
	}
	if err := a.backup(big.dir); err != nil {
		return err
	}
	all, err := sizeOf(filepath.Join(a.repo, "packs"))
	if err == nil && all > size+size/10+stored/10 {
		err = fmt.Errorf("whole it takes %d bytes; %d were there after the kill, and %d after the next run", size, stored, all)
	}
	err = errors.Join(err, a.verified(true), a.restoreAll())
	t.tried(killChapter, fault, err)
	return err
}

// sizeOf adds up the objects below a directory. What is in progress does not count.
func sizeOf(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, ".in-progress") {
			return err
		}
		info, err := d.Info()
		size += info.Size()
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return size, err
}

const pauseChapter = "paused for days"

// pause stops a process for what its disk takes for two days, in which others forget and prune, and lets it go on.
func pause(t *tally, a *arena) error {
	if _, err := a.must("init", "--parity", "4+2"); err != nil {
		return err
	}
	if err := a.garden.grow(40, fileSize); err != nil {
		return err
	}
	for range 3 {
		if err := errors.Join(a.garden.change(fileSize), a.backup(a.garden.dir)); err != nil {
			return err
		}
	}
	err := a.pauseBackup()
	t.tried(pauseChapter, "a backup is stopped, others forget and prune, it goes on", err)
	if err != nil {
		return err
	}
	err = a.pausePrune()
	t.tried(pauseChapter, "a prune is stopped, others back up, forget and prune, it goes on", err)
	return err
}

// pauseBackup stops a backup that relies on what only points refer to that are then forgotten.
func (a *arena) pauseBackup() error {
	late := filepath.Join(a.dir, "late")
	if err := exec.Command("cp", "-a", a.garden.dir, late).Run(); err != nil {
		return err
	}
	if err := (garden{late, a.chance}).grow(20, fileSize); err != nil {
		return err
	}
	underway, err := a.kept.read(late)
	if err != nil {
		return err
	}
	wait, err := a.stopped([]string{"backup", late}, time.Duration(a.chance.IntN(150))*time.Millisecond)
	if err != nil {
		return err
	}
	err = errors.Join(a.otherTree(), a.age(), a.forgetDocs(), a.pruneTwice())
	if err := errors.Join(err, wait()); err != nil {
		return err
	}
	return errors.Join(a.settle(map[string]manifest{"late": underway}), a.verified(true), a.restoreAll())
}

// pausePrune stops a prune that may have condemned what others then use.
func (a *arena) pausePrune() error {
	wait, err := a.stopped([]string{"prune", "--max-unused", "0"}, time.Duration(a.chance.IntN(120))*time.Millisecond)
	if err != nil {
		return err
	}
	err = errors.Join(a.backup(a.garden.dir), a.age(), a.garden.change(fileSize), a.backup(a.garden.dir), a.forgetDocs(), a.pruneTwice())
	if err := errors.Join(err, wait()); err != nil {
		return err
	}
	return errors.Join(a.settle(nil), a.verified(true), a.restoreAll())
}

// stopped starts a command and stops it; what it returns lets it go on and waits for it. It is on a host of its own: on
// one host a process that is stopped while it writes the cache of the index keeps the others waiting for it.
func (a *arena) stopped(args []string, after time.Duration) (wait func() error, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	cmd := a.command(ctx, args...)
	cmd.Env = append(cmd.Env, "XDG_CACHE_HOME="+filepath.Join(a.dir, "otherhost"))
	var result outcome
	var done sync.WaitGroup
	started := make(chan struct{})
	done.Go(func() {
		var stderr strings.Builder
		cmd.Stderr = &stderr
		err := cmd.Start()
		close(started)
		if err == nil {
			err = cmd.Wait()
		}
		result = outcome{args: strings.Join(args, " "), stderr: stderr.String()}
		if err != nil {
			result.code, result.stderr = 1, result.stderr+err.Error()
		}
	})
	<-started
	if cmd.Process == nil {
		cancel()
		return nil, errors.New(result.String())
	}
	time.Sleep(after)
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGSTOP)
	return func() error {
		defer cancel()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGCONT)
		done.Wait()
		if result.code != 0 {
			return errors.New(result.String())
		}
		return nil
	}, nil
}

// otherTree replaces most of the tree, so that what it held before is soon in no point.
func (a *arena) otherTree() error {
	if err := os.RemoveAll(filepath.Join(a.garden.dir, "d1")); err != nil {
		return err
	}
	return errors.Join(a.garden.grow(5, fileSize), a.backup(a.garden.dir))
}

func (a *arena) forgetDocs() error {
	names := a.names("docs@")
	for _, name := range names[:len(names)-1] {
		delete(a.points, name)
	}
	_, err := a.must("forget", "--source", "docs", "--keep-last", "1")
	return err
}

func (a *arena) pruneTwice() error {
	for range 2 {
		if _, err := a.must("prune", "--max-unused", "0"); err != nil {
			return err
		}
		if err := a.age(); err != nil {
			return err
		}
	}
	return nil
}
