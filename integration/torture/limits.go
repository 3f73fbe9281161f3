//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cairn-backup/cairn/integration/faultdisk"
)

const (
	limitChapter = "limits"
	memoryFault  = "200 MiB of memory"
)

// trial is one fault of the place where the repository lies.
type trial struct {
	fault string
	run   func(l *limited) error
}

// limited is an arena whose repository lies on a disk that is to fail.
type limited struct {
	*arena
	t    *tally
	hang time.Duration
	goes int // how often what is left to chance is tried
}

var trials = []trial{
	{"disk full: tmpfs", (*limited).fullTmpfs},
	{"disk full: ext4 on a loop device", (*limited).fullExt4},
	{"disk full: at random moments of backup and prune", (*limited).fullFaultdisk},
	{"EIO: one write, sync or rename in 20", (*limited).flaky},
	{"EIO: one read in 20", (*limited).flakyReads},
	{"the disk is unplugged in the middle of a backup", (*limited).unplugged},
	{"the disk hangs in the middle of a backup, and comes back", (*limited).hangs},
	{"each call takes 2 ms", (*limited).slow},
	{"40 open files (ulimit -n)", (*limited).fewFiles},
	{memoryFault, (*limited).littleMemory},
}

// limits runs every trial once.
func limits(t *tally, make func(name string) (*arena, error), hang time.Duration, goes int) error {
	for i, trial := range trials {
		a, err := make(fmt.Sprintf("limit%d", i))
		if err != nil {
			return err
		}
		l := &limited{a, t, hang, goes}
		err = trial.run(l)
		var cannot *cannotError
		if errors.As(err, &cannot) {
			t.note(limitChapter, trial.fault, "not tried: %v", err)
			continue
		}
		t.tried(limitChapter, trial.fault, err)
		if err != nil {
			return fmt.Errorf("%s: %w", trial.fault, err)
		}
		if err := os.RemoveAll(a.dir); err != nil {
			return err
		}
	}
	return nil
}

// cannotError: this machine cannot be made to have the fault.
type cannotError struct{ error }

// begin makes a repository with a restore point.
func (l *limited) begin() error {
	if _, err := l.must("init", "--parity", "4+2"); err != nil {
		return err
	}
	if err := l.garden.grow(30, fileSize); err != nil {
		return err
	}
	return errors.Join(l.backup(l.garden.dir), l.garden.change(fileSize), l.backup(l.garden.dir))
}

// sound is what must hold once the fault is over: all is there, the next run succeeds.
func (l *limited) sound() error {
	underway, err := l.kept.read(l.garden.dir)
	if err != nil {
		return err
	}
	if err := errors.Join(l.settle(map[string]manifest{"docs": underway}), l.verified(true)); err != nil {
		return err
	}
	return errors.Join(l.backup(l.garden.dir), l.age(), l.pruneTwice(), l.verified(true), l.restoreAll())
}

// full grows the tree by more than the disk can take, and lets a backup run into that.
func (l *limited) full(room int) error {
	if err := l.garden.grow(room/fileSize*4, fileSize); err != nil {
		return err
	}
	for _, flags := range [][]string{{}, {"--ignore-space"}} {
		o := l.run(append(append([]string{"backup", "--json"}, flags...), l.garden.dir)...)
		if o.code != 1 || !strings.Contains(o.stderr, "full") && !strings.Contains(o.stderr, "are free") {
			return fmt.Errorf("a backup to a full disk: %s", o)
		}
	}
	for _, d := range []string{"d0", "d1", "d2", "d3"} {
		if err := os.RemoveAll(filepath.Join(l.garden.dir, d)); err != nil {
			return err
		}
	}
	return l.garden.grow(5, fileSize)
}

func (l *limited) fullTmpfs() error {
	if err := os.MkdirAll(l.repo, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", l.repo, "tmpfs", 0, "size=14m"); err != nil {
		return &cannotError{err}
	}
	defer syscall.Unmount(l.repo, syscall.MNT_DETACH)
	if err := errors.Join(l.begin(), l.full(14<<20)); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", l.repo, "tmpfs", syscall.MS_REMOUNT, "size=200m"); err != nil {
		return err
	}
	return l.sound()
}

func (l *limited) fullExt4() error {
	disk := filepath.Join(l.dir, "disk")
	if err := os.MkdirAll(l.repo, 0o755); err != nil {
		return err
	}
	for _, args := range [][]string{{"truncate", "-s", "24M", disk}, {"mkfs.ext4", "-q", disk}, {"mount", "-o", "loop", disk, l.repo}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return &cannotError{fmt.Errorf("%s: %w: %s", args[0], err, out)}
		}
	}
	defer exec.Command("umount", "-l", l.repo).Run()
	if err := errors.Join(l.begin(), l.full(24<<20)); err != nil {
		return err
	}
	// A prune takes away what was written in vain.
	if _, err := l.must("prune", "--max-unused", "0"); err != nil {
		return err
	}
	return l.sound()
}

// onFaultdisk runs work with the repository on a disk of our own.
func (l *limited) onFaultdisk(work func(d *faultdisk.Disk) error) error {
	if err := os.MkdirAll(l.repo, 0o755); err != nil {
		return err
	}
	d := faultdisk.New(faultdisk.Image{})
	unmount, err := d.Mount(l.repo)
	if err != nil {
		return &cannotError{err}
	}
	if err = l.begin(); err == nil {
		err = work(d)
	}
	d.Break(nil)
	if err == nil {
		err = l.sound()
	}
	_ = syscall.Unmount(l.repo, syscall.MNT_DETACH)
	_ = unmount()
	return err
}

func (l *limited) fullFaultdisk() error {
	return l.onFaultdisk(func(d *faultdisk.Disk) error {
		defer d.Limit(0)
		for range l.goes {
			if err := l.garden.change(fileSize); err != nil {
				return err
			}
			d.Limit(d.Used() + int64(l.chance.IntN(3*fileSize)))
			o := l.run("backup", "--json", "--ignore-space", l.garden.dir)
			if o.code != 0 && (o.code != 1 || !strings.Contains(o.stderr, "full")) {
				return fmt.Errorf("a backup to a full disk: %s", o)
			}
			if o.code == 0 {
				d.Limit(0)
				if err := l.took(o); err != nil {
					return err
				}
			}
			d.Limit(d.Used() + int64(l.chance.IntN(fileSize)))
			if o := l.run("prune", "--max-unused", "0"); o.code != 0 && o.code != 1 {
				return fmt.Errorf("a prune on a full disk: %s", o)
			}
			d.Limit(0)
			if err := l.settle(nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// took enters the restore point of a backup that succeeded in spite of all.
func (l *limited) took(o outcome) error {
	m, err := l.kept.read(l.garden.dir)
	return errors.Join(err, l.enter(o, m))
}

// sometimes is a fault of one in n of the calls of these kinds.
func (l *limited) sometimes(n int, ops ...faultdisk.Op) faultdisk.Fault {
	chance := rand.New(rand.NewPCG(l.chance.Uint64(), 3))
	var lock = make(chan struct{}, 1)
	return func(c faultdisk.Call) syscall.Errno {
		lock <- struct{}{}
		defer func() { <-lock }()
		for _, op := range ops {
			if c.Op == op && chance.IntN(n) == 0 {
				return syscall.EIO
			}
		}
		return 0
	}
}

func (l *limited) flaky() error {
	return l.onFaultdisk(func(d *faultdisk.Disk) error {
		return l.while(d, l.sometimes(20, faultdisk.Write, faultdisk.Sync, faultdisk.Rename, faultdisk.Unlink, faultdisk.Create))
	})
}

func (l *limited) flakyReads() error {
	return l.onFaultdisk(func(d *faultdisk.Disk) error { return l.while(d, l.sometimes(20, faultdisk.Get)) })
}

// while runs commands on a disk with a fault: they may do their work or say that they could not, and no more.
func (l *limited) while(d *faultdisk.Disk, fault faultdisk.Fault) error {
	for range l.goes {
		if err := l.garden.change(fileSize); err != nil {
			return err
		}
		underway, err := l.kept.read(l.garden.dir)
		if err != nil {
			return err
		}
		d.Break(fault)
		for _, args := range [][]string{{"backup", l.garden.dir}, {"prune", "--max-unused", "0"}, {"verify", "--read-data"}, {"repair"}} {
			o := l.run(args...)
			if o.code != 0 && o.code != 1 && o.code != 3 || o.code == 1 && o.stderr == "" {
				return fmt.Errorf("on a disk with EIO: %s", o)
			}
		}
		d.Break(nil)
		if err := l.settle(map[string]manifest{"docs": underway}); err != nil {
			return err
		}
	}
	return nil
}

func (l *limited) unplugged() error {
	return l.onFaultdisk(func(d *faultdisk.Disk) error {
		if err := l.garden.grow(10, fileSize); err != nil {
			return err
		}
		var left atomic.Int64
		left.Store(int64(20 + l.chance.IntN(60)))
		d.Break(func(faultdisk.Call) syscall.Errno {
			if left.Add(-1) < 0 {
				return syscall.EIO
			}
			return 0
		})
		o := l.run("backup", l.garden.dir)
		if o.code != 1 && left.Load() < 0 || o.code == 1 && o.stderr == "" {
			return fmt.Errorf("on a disk that is gone: %s", o)
		}
		return nil
	})
}

func (l *limited) hangs() error {
	return l.onFaultdisk(func(d *faultdisk.Disk) error {
		if err := l.garden.grow(10, fileSize); err != nil {
			return err
		}
		var calls atomic.Int64
		at := int64(20 + l.chance.IntN(40))
		l.t.note(limitChapter, "the disk hangs in the middle of a backup, and comes back", "for %v", l.hang)
		d.Break(func(faultdisk.Call) syscall.Errno {
			if calls.Add(1) == at {
				time.Sleep(l.hang)
			}
			return 0
		})
		return l.backup(l.garden.dir)
	})
}

func (l *limited) slow() error {
	return l.onFaultdisk(func(d *faultdisk.Disk) error {
		if err := l.garden.grow(5, fileSize); err != nil {
			return err
		}
		d.Break(func(faultdisk.Call) syscall.Errno {
			time.Sleep(2 * time.Millisecond)
			return 0
		})
		return errors.Join(l.backup(l.garden.dir), l.verified(true))
	})
}

// shell runs a command of the program in a shell that has limited itself.
func (l *limited) shell(limit string, args ...string) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := l.command(ctx, args...)
	cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", limit + ` && exec "$0" "$@"`, l.bin}, args...)
	return finish(cmd, args)
}

func (l *limited) fewFiles() error {
	if err := l.begin(); err != nil {
		return err
	}
	if err := l.garden.grow(100, fileSize/10); err != nil {
		return err
	}
	o := l.shell("ulimit -n 40", "backup", "--json", l.garden.dir)
	switch {
	case o.code == 0:
		if err := l.took(o); err != nil {
			return err
		}
		l.t.note(limitChapter, "40 open files (ulimit -n)", "the backup succeeds")
	case o.code == 1 && strings.Contains(o.stderr, "too many open files"):
		l.t.note(limitChapter, "40 open files (ulimit -n)", "the backup says so and ends")
	default:
		return fmt.Errorf("with 40 files: %s", o)
	}
	for _, args := range [][]string{{"verify", "--read-data"}, {"points"}} {
		if o := l.shell("ulimit -n 40", args...); o.code != 0 && !strings.Contains(o.stderr, "too many open files") {
			return fmt.Errorf("with 40 files: %s", o)
		}
	}
	return l.sound()
}

// memoryLimit is what the program is held to, bytes.
const memoryLimit = 200 << 20

func (l *limited) littleMemory() error {
	if err := l.begin(); err != nil {
		return err
	}
	if err := l.garden.grow(60, 6<<20); err != nil {
		return err
	}
	limit, undo := l.memoryLimit()
	defer undo()
	for _, args := range [][]string{{"backup", "--json", l.garden.dir}, {"verify", "--read-data"}} {
		o := l.shell(limit, args...)
		if o.code != 0 {
			return fmt.Errorf("within %d MiB: %s", memoryLimit>>20, o)
		}
		if args[0] == "backup" {
			if err := l.took(o); err != nil {
				return err
			}
		}
	}
	return l.sound()
}

// memoryLimit gives a shell command that holds what follows to the limit: a control group where one can be made.
func (l *limited) memoryLimit() (command string, undo func()) {
	name := "cairn-torture-" + strconv.Itoa(os.Getpid())
	for _, kind := range []struct{ root, file string }{{"/sys/fs/cgroup", "memory.max"}, {"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}} {
		group := filepath.Join(kind.root, name)
		if os.Mkdir(group, 0o755) != nil {
			continue
		}
		undo := func() { _ = os.Remove(group) }
		if _, err := os.Stat(filepath.Join(group, kind.file)); err == nil &&
			os.WriteFile(filepath.Join(group, kind.file), []byte(strconv.Itoa(memoryLimit)), 0o644) == nil {
			l.t.note(limitChapter, memoryFault, "by a control group")
			return fmt.Sprintf("export GOMEMLIMIT=180MiB && echo $$ > %s/cgroup.procs", group), undo
		}
		undo()
	}
	l.t.note(limitChapter, memoryFault, "by ulimit -v (1.5 GiB of addresses) and GOMEMLIMIT")
	return "export GOMEMLIMIT=200MiB && ulimit -v 1572864", func() {}
}
