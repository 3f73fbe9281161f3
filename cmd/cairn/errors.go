package main

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/chunkstore/keys"
	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/engine/source"
	"github.com/cairn-backup/cairn/fs"
	"github.com/cairn-backup/cairn/index"
)

// The exit codes. A script can tell a backup that missed some files (3) from one that did not happen (1).
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitPartial     = 3
	exitInterrupted = 130
)

// usageError is a command line that makes no sense.
type usageError struct {
	message string
	advice  string
}

func usagef(format string, args ...any) *usageError {
	return &usageError{message: fmt.Sprintf(format, args...)}
}

func (e *usageError) Error() string { return e.message }

func (e *usageError) hint(format string, args ...any) *usageError {
	e.advice = fmt.Sprintf(format, args...)
	return e
}

// failure is an error of this package with its own advice.
type failure struct {
	message string
	advice  string
	cause   error
}

func failf(advice, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &failure{message: err.Error(), advice: advice, cause: errors.Unwrap(err)}
}

func (e *failure) Error() string { return e.message }
func (e *failure) Unwrap() error { return e.cause }

// errPartial says that a command did what it could; what it could not has been printed already.
var errPartial = errors.New("some of it could not be done")

// exitCode ends the program with the code of another one, which has printed why.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// partial is errPartial when there were problems.
func partial(problems int64) error {
	if problems > 0 {
		return errPartial
	}
	return nil
}

// report prints an error with its hint and gives the exit code.
func (p *program) report(err error) int {
	var usage *usageError
	var code exitCode
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errInterrupted):
		p.note("cairn: interrupted; nothing that was complete has changed")
		return exitInterrupted
	case err == errPartial:
		return exitPartial
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &usage):
		p.note("cairn: %s", usage.message)
		p.hint(usage.advice)
		return exitUsage
	}
	p.note("cairn: %s", safeLines(err.Error()))
	p.hint(advice(err))
	return exitFailed
}

func (p *program) hint(advice string) {
	if advice != "" {
		p.note("hint: %s", advice)
	}
}

// safeLines keeps line breaks (joined errors have one each) but nothing else that could steer a terminal.
func safeLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.Map(func(r rune) rune {
			if r < ' ' && r != '\t' || r == 0x7f {
				return '?'
			}
			return r
		}, line)
	}
	return strings.Join(lines, "\n       ")
}

// hints says what to do next, by kind of error, the special before the general.
var hints = []struct {
	kind   error
	advice string
}{
	{keys.ErrWrongKey, "check the passphrase or the key file; any key that was added with `cairn key add` opens the repository"},
	{chunkstore.ErrKeyNotNeeded, "if you know that it was made without encryption, give --no-encryption; if it was encrypted, trust nothing that is there now"},
	{chunkstore.ErrKeyNeeded, "give --key-file, --password-file, or CAIRN_PASSWORD"},
	{chunkstore.ErrRepositoryExists, "use it as it is, or choose another place for a new one"},
	{chunkstore.ErrNoRepository, "check --repo, or make a repository there with `cairn init`"},
	{chunkstore.ErrLastSlot, "add another key first (`cairn key add`): without any, nobody could read the repository"},
	{chunkstore.ErrPlain, "it needs no key: whoever reaches it can read it"},
	{chunkstore.ErrNoSlot, "`cairn key list` shows the key slots"},
	{source.ErrEmpty, "is a disk not mounted? an empty directory is not backed up"},
	{source.ErrRepository, "back up what is outside the repository"},
	{fs.ErrNotDirectory, "make the directory first"},
	{engine.ErrTarget, "make room at the target, or choose another with --to; with --overwrite the same command goes on"},
	{syscall.ENOSPC, "free some space at the repository and run the command again: nothing that was complete is lost"},
	{syscall.EROFS, "the repository lies on a read-only file system"},
	{chunkstore.ErrDamaged, "`cairn verify --read-data` shows what is damaged, and `cairn repair` mends what parity can"},
	{chunkstore.ErrMissing, "`cairn verify` shows what is missing"},
	{destination.ErrNotFound, "`cairn verify` shows what is missing"},
	{syscall.EMFILE, "this process may have too few files open: allow more with `ulimit -n` and run the command again"},
	{syscall.ENFILE, "the whole system has too many files open: try again later"},
	{syscall.EACCES, "run it as a user who may, or as root"},
	{syscall.ENOTDIR, "a part of that path is a file: name a directory"},
	{syscall.EPERM, "run it as a user who may, or as root"},
}

func advice(err error) string {
	var own *failure
	if errors.As(err, &own) && own.advice != "" {
		return own.advice
	}
	var newer *chunkstore.VersionError
	if errors.As(err, &newer) {
		return "use a newer cairn for this repository"
	}
	var space *engine.SpaceError
	if errors.As(err, &space) {
		return "free some space at the repository, leave something out with --exclude, or start all the same with --ignore-space"
	}
	var inTheWay *engine.InTheWayError
	if errors.As(err, &inTheWay) {
		return "choose an empty directory, or replace what is there with --overwrite"
	}
	var missing *index.MissingError
	if errors.As(err, &missing) {
		return "`cairn verify` shows what is missing"
	}
	for _, h := range hints {
		if errors.Is(err, h.kind) {
			return h.advice
		}
	}
	return ""
}
