package main

import "golang.org/x/sys/unix"

// keepMemoryPrivate keeps the keys in this process's memory out of core dumps, and from other processes of the same user
// (ptrace, /proc/PID/mem). The first also covers a core pattern that is a pipe, which asks for no limit; the limit is for
// the programs that this one starts. Neither can fail on a process that may run at all; if it did, what the user
// asked for still ought to be done.
func keepMemoryPrivate() {
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
}
