//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// cost is what one run of a command took.
type cost struct {
	Wall float64 `json:"wallSeconds"`
	CPU  float64 `json:"cpuSeconds"` // user and system
	Peak int64   `json:"peakBytes"`  // resident memory, of the largest single process
}

// run runs a command to its end and measures it. Before the clock starts, what earlier steps wrote is put on disk.
func run(env []string, name string, args ...string) (cost, error) {
	syscall.Sync()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	began := time.Now()
	err := cmd.Run()
	took := time.Since(began)
	if err != nil {
		return cost{}, fmt.Errorf("%s: %w\n%s", cmd, err, tail(stderr.String()))
	}
	return costOf(cmd, took), nil
}

// costOf reads what a process that has ended used.
func costOf(cmd *exec.Cmd, took time.Duration) cost {
	state := cmd.ProcessState
	c := cost{Wall: took.Seconds(), CPU: (state.UserTime() + state.SystemTime()).Seconds()}
	if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
		c.Peak = usage.Maxrss << 10
	}
	return c
}

func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// shell runs a line of shell, for steps that are commands of the system with their output thrown away.
func shell(line string, args ...string) (cost, error) {
	return run(nil, "/bin/sh", append([]string{"-c", line, "sh"}, args...)...)
}
