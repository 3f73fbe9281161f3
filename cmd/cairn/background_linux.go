package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// backgroundEnv tells the process that a mount with --background starts that it is the one to serve. Its
// file descriptor 3 is a pipe: one byte in it says that the mount answers.
const backgroundEnv = "CAIRN_MOUNT_READY_PIPE"

// mountInBackground starts this program again, to serve, and waits until the mount answers. Until then the
// two share the terminal, so that a passphrase can be asked for and errors are seen.
func (p *program) mountInBackground(c *cli.Context) error {
	log, err := p.logFile(c) // find out now that it cannot be written
	if err != nil {
		return err
	}
	log.Close()
	ready, tell, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start the mount: %w", err)
	}
	defer ready.Close()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start the mount: %w", err)
	}
	child := exec.Command(self, foregroundArgs(os.Args[1:])...)
	child.Stdin, child.Stdout, child.Stderr = p.in, os.Stdout, os.Stderr
	child.Env = append(os.Environ(), backgroundEnv+"=1")
	child.ExtraFiles = []*os.File{tell}
	if err := child.Start(); err != nil {
		return fmt.Errorf("start the mount: %w", err)
	}
	tell.Close()
	if n, err := ready.Read(make([]byte, 1)); n == 1 && err == nil {
		return child.Process.Release()
	}
	var exit *exec.ExitError
	if err := child.Wait(); errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exitCode(exit.ExitCode())
	}
	return failf("run it without --background to see why", "the mount ended before it was ready")
}

// foregroundArgs is a command line without --background.
func foregroundArgs(args []string) []string {
	var kept []string
	for i, arg := range args {
		if arg == "--" {
			return append(kept, args[i:]...)
		}
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if strings.HasPrefix(arg, "-") && (name == "background" || name == "b") {
			continue
		}
		kept = append(kept, arg)
	}
	return kept
}

// detach, in the process that mountInBackground started, leaves the terminal and tells that the mount answers.
func (p *program) detach(c *cli.Context) (bool, error) {
	if p.getenv(backgroundEnv) == "" {
		return false, nil
	}
	log, err := p.logFile(c)
	if err != nil {
		return true, err
	}
	defer log.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return true, fmt.Errorf("leave the terminal: %w", err)
	}
	defer null.Close()
	// A child of a shell's job is no leader of its group, so it may begin a session of its own; if it is one, it
	// stays in the shell's, which does no harm.
	_, _ = unix.Setsid()
	for to, from := range []*os.File{null, null, log} {
		if err := unix.Dup3(int(from.Fd()), to, 0); err != nil {
			return true, fmt.Errorf("leave the terminal: %w", err)
		}
	}
	ready := os.NewFile(3, "ready")
	_, err = io.WriteString(ready, "1")
	if err = errors.Join(err, ready.Close()); err != nil {
		return true, fmt.Errorf("tell that the mount is ready: %w", err)
	}
	return true, nil
}
