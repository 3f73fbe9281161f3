package source

import (
	"context"
	"errors"

	"github.com/cairn-backup/cairn/index/tree"
)

// Source is something that can be backed up. It shows itself as a tree of directories.
type Source interface {
	// Describe says what the source is; it may be called at any time.
	Describe() Description
	// Root opens the topmost directory and fills e with its metadata, the name empty. An error here ends the
	// backup: the source as a whole is missing, empty of paths, or not to be read.
	Root(ctx context.Context, e *tree.Entry) (Dir, error)
}

// Description says what a restore point records about its source.
type Description struct {
	Kind     string   // "files", ...
	Paths    []string // absolute paths that were asked for
	Settings string   // what else chose the content (excludes and the like), for people and for comparison
}

// Dir is an open directory of a source. Names, Stat, Dir and File may be called from several goroutines at once.
type Dir interface {
	// Names gives the names in the directory that are to be backed up, sorted by their bytes.
	Names(ctx context.Context) ([]string, error)
	// Stat fills e with the metadata of the entry called name, save what Details adds. The error is ErrSkip
	// when the entry is not to be backed up after all, and fs.ErrNotExist when it has vanished.
	Stat(name string, e *tree.Entry) error
	// Details adds to e, which Stat has filled, what takes more calls: the target of a symlink and the xattrs.
	Details(e *tree.Entry) error
	// Dir opens the directory e, which Stat has filled.
	Dir(e *tree.Entry) (Dir, error)
	// File opens the regular file e, which Stat has filled, for reading.
	File(e *tree.Entry) (File, error)
	// Close frees the directory. Directories and files opened through it stay open.
	Close() error
}

// File is an open regular file of a source, used by one goroutine at a time.
type File interface {
	// ReadAt reads like io.ReaderAt.
	ReadAt(p []byte, off int64) (int, error)
	// Stat fills e with the file's metadata as it is now, save its name and what Details adds.
	Stat(e *tree.Entry) error
	// Details adds the xattrs to e.
	Details(e *tree.Entry) error
	// Data gives the next run of bytes at or behind off that is not a hole: [start, end). start is size when only a
	// hole follows. A source that knows no holes gives off and size.
	Data(off, size int64) (start, end int64, err error)
	Close() error
}

// Sentinel errors of sources.
var (
	// ErrSkip says that an entry is left out on purpose.
	ErrSkip = errors.New("left out")
	// ErrEmpty says that there is nothing in a source: perhaps a disk that is not mounted.
	ErrEmpty = errors.New("the source is empty")
	// ErrRepository says that the source is the repository itself, or lies in it.
	ErrRepository = errors.New("the source is the repository itself")
)
