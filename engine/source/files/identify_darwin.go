package files

import (
	"io/fs"
	"syscall"

	"github.com/cairn-backup/cairn/index/tree"
)

// identify adds what the portable FileInfo does not give.
func identify(e *tree.Entry, info fs.FileInfo) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	e.Device, e.Inode, e.Links = uint64(st.Dev), st.Ino, uint32(st.Nlink)
	e.UID, e.GID = st.Uid, st.Gid
	e.Ctime = st.Ctimespec.Nano()
	if e.Type == tree.CharDevice || e.Type == tree.BlockDevice {
		e.Rdev = uint64(st.Rdev)
	}
}
