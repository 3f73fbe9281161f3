//go:build linux

// Command bench measures cairn beside restic and cp -a on one machine in one run, and writes what it found, with what
// was to be reached, to docs/BENCHMARKS.md and docs/benchmarks.json. `make bench` runs it.
//
// Two trees are measured: the source of Linux 6.1 (about 80,000 files) and a few large files, made
// deterministically, half of their bytes compressible. Each round takes new repositories; the tools take turns within a
// round. The figure of a step is the median of its rounds. Before each step everything dirty is written to disk, so that nobody
// pays for another's writes, and what the step will read is read once, so that it is in the page cache.
//
//   - main.go: flags and the order of things
//   - tool.go: how each tool is called
//   - steps.go: the steps; mount.go: those in a mount
//   - measure.go: running a command and what it took
//   - data.go: the two trees
//   - report.go: the tables
package main
