//go:build linux

package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	files := flag.Int("files", 1_000_000, "small files in the first tree")
	gigabytes := flag.Int64("gigabytes", 100, "length of the sparse file, 2^30 bytes")
	bound := flag.Int64("bound", 300, "most resident memory of any step, MiB")
	dir := flag.String("dir", "", "work below this directory (a temporary one)")
	only := flag.String("only", "", "files or sparse")
	flag.Parse()
	if err := run(*files, *gigabytes<<30, *bound<<20, *dir, *only); err != nil {
		fmt.Fprintln(os.Stderr, "limits:", err)
		os.Exit(1)
	}
}

// bench is a place to work in, and what went beyond the bound there.
type bench struct {
	dir    string
	bound  int64 // bytes
	beyond []string
}

func run(files int, length, bound int64, parent, only string) error {
	dir, err := os.MkdirTemp(parent, "cairn-limits-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, bound: bound}
	build := exec.Command("go", "build", "-o", b.path("cairn"), "./cmd/cairn")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the program: %w\n%s", err, out)
	}
	for _, w := range []struct {
		name string
		make func(source string) error
		read string // a shell's work in the restore point's folder of the mount; $1 is the source
	}{
		{"files", func(source string) error { return makeFiles(source, files) },
			`test "$(find . -type f -size -100k | wc -l)" = "$(find "$1" -type f | wc -l)" && diff -r d0000 "$1/d0000" && diff -r d0007 "$1/d0007"`},
		{"sparse", func(source string) error { return makeSparse(source, length) },
			`for at in 0 1 2 7 50 99; do cmp -n 4000000 -i "$((at<<30))" big "$1/big" || exit 1; done; tail -c 100000 big | cmp - "$1/tail" && stat -c "%s %b" big`},
	} {
		if only != "" && only != w.name {
			continue
		}
		source := b.path(w.name)
		if err := os.Mkdir(source, 0o755); err != nil {
			return err
		}
		began := time.Now()
		if err := w.make(source); err != nil {
			return fmt.Errorf("make %s: %w", source, err)
		}
		fmt.Printf("%-8s %-24s %7.1f s\n", w.name, "made", time.Since(began).Seconds())
		if err := b.story(w.name, source, w.read); err != nil {
			return err
		}
		if err := os.RemoveAll(source); err != nil {
			return err
		}
	}
	if len(b.beyond) > 0 {
		return fmt.Errorf("more than %d MiB: %s", bound>>20, strings.Join(b.beyond, ", "))
	}
	return nil
}

// story takes a source through everything.
func (b *bench) story(name, source, read string) error {
	target := b.path("restored")
	for _, step := range [][]string{
		{"init", "init"},
		{"first backup", "backup", source},
		{"backup of no change", "backup", source},
		{"full backup", "backup", "--full", source},
		{"find", "find", name, "no-such-name"},
		{"verify", "verify"},
		{"verify --read-data", "verify", "--read-data"},
		{"restore", "restore", name, "--to", target},
	} {
		if err := b.step(name, step[0], step[1:]...); err != nil {
			return err
		}
	}
	if err := same(source, target); err != nil {
		return err
	}
	if err := os.RemoveAll(target); err != nil {
		return err
	}
	if err := b.mounted(name, source, read); err != nil {
		return err
	}
	// As on a host that never saw the repository.
	if err := os.RemoveAll(b.path("cache")); err != nil {
		return err
	}
	if err := b.step(name, "points, without a cache", "points"); err != nil {
		return err
	}
	return os.RemoveAll(b.path("repository"))
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) command(args ...string) *exec.Cmd {
	cmd := exec.Command(b.path("cairn"), args...)
	cmd.Dir = b.dir
	cmd.Env = append(os.Environ(), "HOME="+b.dir, "XDG_CACHE_HOME="+b.path("cache"), "CAIRN_CACHE_DIR="+b.path("cache/cairn"),
		"CAIRN_REPO="+b.path("repository"), "CAIRN_KEY_FILE="+b.path("key"))
	return cmd
}

// step runs one command to its end and notes its peak.
func (b *bench) step(name, title string, args ...string) error {
	cmd := b.command(args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.Discard, &out
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: cairn %q: %w\n%.4000s", name, args, err, &out)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return fmt.Errorf("the system does not tell what cairn %q used", args)
	}
	b.note(name, title, time.Since(began), usage.Maxrss<<10)
	return nil
}

func (b *bench) note(name, title string, took time.Duration, peak int64) {
	mark := ""
	if peak > b.bound {
		mark = "  BEYOND THE BOUND"
		b.beyond = append(b.beyond, fmt.Sprintf("%s of %s (%d MiB)", title, name, peak>>20))
	}
	fmt.Printf("%-8s %-24s %7.1f s %5d MiB%s\n", name, title, took.Seconds(), peak>>20, mark)
}

// mounted reads everything through a mount.
func (b *bench) mounted(name, source, read string) (err error) {
	dir := b.path("mount")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	serving := b.command("mount", dir)
	var out bytes.Buffer
	serving.Stdout, serving.Stderr = &out, &out
	if err := serving.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- serving.Wait() }()
	defer func() {
		if failed := b.command("umount", dir).Run(); failed != nil && err == nil {
			err = fmt.Errorf("umount: %w", failed)
		}
		if failed := <-ended; failed != nil && err == nil {
			err = fmt.Errorf("mount: %w\n%.4000s", failed, &out)
		}
	}()
	if err := appears(dir, ended); err != nil {
		return err
	}
	for _, script := range []string{"find . | wc -l", "find . -printf '%s\\n' | wc -l", read} {
		began := time.Now()
		shell := exec.Command("sh", "-c", "cd \"$2/$3/latest/\" && "+script, "sh", source, dir, name)
		if said, err := shell.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: in the mount: %s: %w\n%.4000s", name, script, err, said)
		}
		peak, err := highWater(serving.Process.Pid)
		if err != nil {
			return err
		}
		b.note(name, "mount: "+strings.Fields(script)[0], time.Since(began), peak)
	}
	return nil
}

func appears(dir string, ended <-chan error) error {
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); {
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			return err
		}
		if strings.Contains(string(mounts), " "+dir+" ") {
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("the mount ended: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("the mount at %s does not come up", dir)
}

// highWater is the peak of a process's resident memory so far.
func highWater(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, fmt.Errorf("process %d tells no peak", pid)
	}
	n, err := strconv.ParseInt(fields[0], 10, 64)
	return n << 10, err
}
