package fs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// fsType is what the kernel lists as the type of cairn's mounts.
const fsType = "fuse.cairn"

// busyFor is how long an unmount waits for a mount that is in use, looking every busyPause.
const (
	busyFor   = 2 * time.Second
	busyPause = 50 * time.Millisecond
)

// mountEntry is one mount of this process's namespace.
type mountEntry struct {
	dir    string
	fsType string
	device string // major:minor
}

func (m *mountEntry) ours() bool { return m.fsType == fsType }

// mountAt gives the topmost mount at exactly dir, nil when there is none. It reads the kernel's list and never looks into the
// mount, which might not answer.
func mountAt(dir string) (*mountEntry, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	mounts, err := parseMounts(f)
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		if mounts[i].dir == dir {
			return &mounts[i], nil
		}
	}
	return nil, nil
}

// parseMounts reads /proc/self/mountinfo (proc(5)): id, parent, device, root, mount point, options, optional fields up to "-",
// type, source, options. Lines that do not fit are passed over.
func parseMounts(r io.Reader) ([]mountEntry, error) {
	var mounts []mountEntry
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		before, after, ok := strings.Cut(line, " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if ok && len(fields) >= 5 && len(rest) >= 1 {
			mounts = append(mounts, mountEntry{dir: unescape(fields[4]), fsType: unescape(rest[0]), device: fields[2]})
		}
		if err == io.EOF {
			return mounts, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// unescape undoes the octal form that the kernel gives to spaces, tabs, newlines and backslashes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Unmount ends the cairn mount at dir, also one whose process is dead, and returns once the directory is free. ErrNotMounted
// when there is none, or another file system. A mount that is in use is detached after two seconds; see [Mounted.Unmount].
func Unmount(dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	// The last element is the mount, which may be dead: only what leads to it may be looked at.
	if parent, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		abs = filepath.Join(parent, filepath.Base(abs))
	}
	if to, err := os.Readlink(abs); err == nil {
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(abs), to)
		}
		return Unmount(to)
	}
	_, err = unmount(abs)
	return err
}

// unmount ends the mount at the absolute path dir; lazily says that it was in use and only detached.
func unmount(dir string) (lazily bool, err error) {
	there, err := mountAt(dir)
	if err != nil {
		return false, err
	}
	if there == nil || !there.ours() {
		return false, ErrNotMounted
	}
	for waited := time.Duration(0); waited < busyFor; waited += busyPause {
		if err = release(dir, false); !errors.Is(err, syscall.EBUSY) {
			break
		}
		time.Sleep(busyPause)
	}
	if err == nil {
		return false, nil
	}
	if there, listErr := mountAt(dir); listErr == nil && (there == nil || !there.ours()) {
		return false, nil // somebody else was faster
	}
	return true, detach(dir)
}

// detach takes the mount away from the directory at once; it ends when nobody uses it any more.
func detach(dir string) error { return release(dir, true) }

// release unmounts: by itself as root, through fusermount3 as anybody else, who may unmount only his own.
func release(dir string, lazily bool) error {
	if os.Geteuid() == 0 {
		flags := unix.UMOUNT_NOFOLLOW
		if lazily {
			flags |= unix.MNT_DETACH
		}
		return unix.Unmount(dir, flags)
	}
	args := []string{"-u", "-q", dir}
	if lazily {
		args = []string{"-u", "-z", "-q", dir}
	}
	out, err := exec.Command("fusermount3", args...).CombinedOutput()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return ErrNoHelper
	case err != nil && !lazily:
		return fmt.Errorf("fusermount3: %s: %w", bytes.TrimSpace(out), syscall.EBUSY) // it does not tell why in a form to rely on
	case err != nil:
		return fmt.Errorf("fusermount3: %s: %w", bytes.TrimSpace(out), err)
	}
	return nil
}
