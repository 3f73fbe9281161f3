package files

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// errMounts says that more is mounted below the paths.
var errMounts = errors.New("other file systems are mounted below the source")

// Used gives what the file systems that the paths are on hold altogether, in bytes. It is an error when others are
// mounted below them that the backup goes into, as those may hold any amount.
func (s *Source) Used() (int64, error) {
	var used int64
	seen := make(map[uint64]bool)
	for _, p := range s.parts {
		if !s.o.OneFileSystem && mountsBelow(p.path) {
			return 0, errMounts
		}
		at, err := placeOf(p.path)
		if err != nil {
			return 0, err
		}
		if seen[at.device] {
			continue
		}
		seen[at.device] = true
		var st unix.Statfs_t
		if err := unix.Statfs(p.path, &st); err != nil {
			return 0, pathError("statfs", p.path, err)
		}
		used += int64(st.Blocks-st.Bfree) * st.Bsize
	}
	return used, nil
}

// mountsBelow says whether a file system that may hold files is mounted somewhere below path.
func mountsBelow(path string) bool {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return true
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return true
	}
	defer f.Close()
	prefix := strings.TrimSuffix(real, "/") + "/"
	for in := bufio.NewScanner(f); in.Scan(); {
		// id parent major:minor root mountpoint options [optional...] - type source options: proc(5)
		before, after, found := strings.Cut(in.Text(), " - ")
		fields, behind := strings.Fields(before), strings.Fields(after)
		if !found || len(fields) < 5 || len(behind) < 1 {
			return true
		}
		if strings.HasPrefix(fields[4], prefix) && fields[4] != prefix && !virtual[behind[0]] {
			return true
		}
	}
	return false
}

// virtual are the types of file systems whose files have no size.
var virtual = map[string]bool{
	"proc": true, "sysfs": true, "devtmpfs": true, "devpts": true, "cgroup": true, "cgroup2": true, "mqueue": true,
	"debugfs": true, "tracefs": true, "securityfs": true, "pstore": true, "bpf": true, "configfs": true,
	"autofs": true, "binfmt_misc": true, "fusectl": true, "nsfs": true, "rpc_pipefs": true, "efivarfs": true,
}
