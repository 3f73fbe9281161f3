package fs

import (
	"errors"
	"time"
)

// Options of a mount; the zero value is a sound default.
type Options struct {
	// AllowOther lets other users into the mount, as far as the permissions
	// in the restore points allow. Root always does.
	AllowOther bool
	// Log receives one line for each thing an operator should know: damage
	// met by a reader, points that cannot be listed. Nil is silence.
	Log func(line string)
	// Now is the clock that ages such as @3d are measured by. Nil leaves
	// names that need a clock unresolved.
	Now func() time.Time
	// Debug logs every request of the kernel through the standard logger.
	Debug bool
	// Poll is the pause between two looks for new and forgotten restore
	// points while nobody asks; zero is 5 seconds. Those who ask are shown
	// what there was a second ago at most.
	Poll time.Duration
	// CacheBytes bounds the opened frames kept in memory; zero leaves the
	// store's own bound.
	CacheBytes int64
	// Device is the path of the FUSE device; empty is /dev/fuse.
	Device string
}

// Errors of Mount and Unmount, to be asked for with errors.Is. Their text
// says what to do next.
var (
	ErrNotDirectory = errors.New("not a directory")
	ErrNotEmpty     = errors.New("the directory is not empty: mount on an empty one")
	ErrMounted      = errors.New("a file system is mounted there already: unmount it first or choose another directory")
	ErrNotMounted   = errors.New("no cairn file system is mounted there")
	ErrNoDevice     = errors.New("the FUSE device is missing: load the kernel module (modprobe fuse), and in a container pass --device /dev/fuse --cap-add SYS_ADMIN")
	ErrNoHelper     = errors.New("fusermount3 is missing: install the package fuse3, or mount as root")
	ErrUnsupported  = errors.New("mounting needs Linux: use restore, cat and ls on this system")
)
