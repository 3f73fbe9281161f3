package engine

import (
	"errors"
	"syscall"
)

// ErrTooManyFiles is in the error of a run that needed more open files than the process, or the system, may have. Going on
// would leave out one entry after the other, for a reason that has nothing to do with them.
var ErrTooManyFiles = errors.New("out of file descriptors")

// tooManyFiles says whether err comes of too many open files.
func tooManyFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
