package engine

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

var errNoSpace error = syscall.ENOSPC

// disksOf gives the names of the disks (sda, nvme0n1) on which the device numbered dev lies, through partitions, device
// mapper, software RAID and file systems with numbers of their own (btrfs). Empty when that cannot be told.
func disksOf(dev uint64) []string {
	if unix.Major(dev) == 0 {
		dev = mountedFrom(dev)
	}
	if dev == 0 {
		return nil
	}
	path, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(dev), unix.Minor(dev)))
	if err != nil {
		return nil
	}
	disks := disksBelow(path, 0)
	slices.Sort(disks)
	return slices.Compact(disks)
}

// disksBelow follows a block device in sysfs down to whole disks. Stacks are never deep; the bound is against loops.
func disksBelow(path string, depth int) []string {
	if depth > 16 {
		return nil
	}
	var disks []string
	lower, _ := os.ReadDir(filepath.Join(path, "slaves"))
	for _, l := range lower {
		if p, err := filepath.EvalSymlinks(filepath.Join(path, "slaves", l.Name())); err == nil {
			disks = append(disks, disksBelow(p, depth+1)...)
		}
	}
	if len(disks) > 0 {
		return disks
	}
	if _, err := os.Stat(filepath.Join(path, "partition")); err == nil {
		return disksBelow(filepath.Dir(path), depth+1)
	}
	if file, err := os.ReadFile(filepath.Join(path, "loop", "backing_file")); err == nil {
		var st unix.Stat_t
		if unix.Stat(strings.TrimSpace(string(file)), &st) == nil {
			return disksOf(uint64(st.Dev))
		}
	}
	return []string{filepath.Base(path)}
}

// mountedFrom finds the block device behind a file system whose device number is not that of one; 0 when there is none.
func mountedFrom(dev uint64) uint64 {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	number := fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev))
	for in := bufio.NewScanner(f); in.Scan(); {
		// id parent major:minor root mountpoint options [optional...] - type source options: proc(5)
		before, after, found := strings.Cut(in.Text(), " - ")
		fields, behind := strings.Fields(before), strings.Fields(after)
		if !found || len(fields) < 3 || len(behind) < 2 || fields[2] != number {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(behind[1], &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
			return uint64(st.Rdev)
		}
	}
	return 0
}
