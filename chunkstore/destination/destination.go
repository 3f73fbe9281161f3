package destination

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Errors that callers ask for with errors.Is. Everything else that a destination returns is an error of the place
// itself (I/O, network, rights) and says nothing about whether the object is there.
var (
	// ErrExists: Create met an object of that name. The object is untouched.
	ErrExists = errors.New("object exists already")
	// ErrNotFound: there is no object of that name.
	ErrNotFound = errors.New("object not found")
	// ErrUnavailable: reading failed for a reason that says nothing of the object, and not for good: no right to it, no
	// file handle left. Any other error of reading counts as damage of the bytes asked for.
	ErrUnavailable = errors.New("cannot be read now")
	// ErrName: the name is not one that a destination takes; see [CheckName].
	ErrName = errors.New("not a name for an object")
)

// InProgress stands in the name of everything that is still being written. Such a name is never an object.
const InProgress = ".in-progress"

// Info describes one object.
type Info struct {
	Name     string
	Size     int64     // bytes
	Modified time.Time // by the destination's own clock
}

// Destination holds the objects of one repository. Its methods may be called from many goroutines and processes at
// once.
type Destination interface {
	// Create stores body under name if no object has that name, and returns ErrExists otherwise. When it returns nil
	// the object is whole and durable; when it returns an error, or the host dies, there is no object of that name
	// (unless the error came after the place had taken it: a caller that tries again may then meet ErrExists).
	// The body is not kept after the return.
	Create(ctx context.Context, name string, body []byte) error
	// ReadAt reads len(p) bytes from byte off of the object. Fewer are returned only with an error: io.EOF where the
	// object ends, ErrNotFound where there is none.
	ReadAt(ctx context.Context, name string, p []byte, off int64) (int, error)
	// List calls fn for each object whose name begins with prefix, in no particular order, and stops at fn's first
	// error, which it returns. What is in progress is not listed. No object is no error.
	List(ctx context.Context, prefix string, fn func(Info) error) error
	// Remove deletes an object; ErrNotFound when there is none.
	Remove(ctx context.Context, name string) error
}

// Stater tells one object's size without a listing. Use [Stat], which falls back on List.
type Stater interface {
	Stat(ctx context.Context, name string) (Info, error)
}

// Replacer puts a new body in the place of an object, or creates it: readers see the old one or the new one, whole.
type Replacer interface {
	Replace(ctx context.Context, name string, body []byte) error
}

// Clock reads the destination's own clock, the one that Info.Modified is taken from.
type Clock interface {
	Now(ctx context.Context) (time.Time, error)
}

// Spacer tells how many bytes can still be written and how many the place holds in all.
type Spacer interface {
	Free(ctx context.Context) (free, total int64, err error)
}

// Leftovers lists what interrupted writes left behind (names that contain [InProgress]). Remove takes these names.
type Leftovers interface {
	Leftovers(ctx context.Context, fn func(Info) error) error
}

// Devicer tells the device (st_dev) that holds the objects, for places on this host.
type Devicer interface {
	Device() (uint64, error)
}

// Directory tells the absolute path of the folder that holds the objects, for places on this host.
type Directory interface {
	Directory() string
}

// Stat describes one object: by the destination's own ability, or else by a listing. ErrNotFound when there is none.
func Stat(ctx context.Context, d Destination, name string) (Info, error) {
	if s, ok := d.(Stater); ok {
		return s.Stat(ctx, name)
	}
	var found *Info
	err := d.List(ctx, name, func(i Info) error {
		if i.Name == name {
			found = &i
		}
		return nil
	})
	if err != nil {
		return Info{}, err
	}
	if found == nil {
		return Info{}, fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	return *found, nil
}

// CheckName returns ErrName unless name is made of elements of ASCII letters, digits, '-', '_' and '.' with one slash
// between them, no element begins with a dot, and the whole is at most 512 bytes and each element at most 200: what
// every file system and object store takes.
func CheckName(name string) error {
	if len(name) == 0 || len(name) > 512 {
		return fmt.Errorf("%q: %w", name, ErrName)
	}
	for element := range strings.SplitSeq(name, "/") {
		if element == "" || element[0] == '.' || len(element) > 200 {
			return fmt.Errorf("%q: %w", name, ErrName)
		}
		for _, c := range []byte(element) {
			switch {
			case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
			default:
				return fmt.Errorf("%q: %w", name, ErrName)
			}
		}
	}
	return nil
}
