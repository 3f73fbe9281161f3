//go:build linux

// Command torture tries to make the program lose something, and writes down what it tried: `make torture`
// (DURATION=10m, SEED=1). It runs the real binary, kills it, damages what it stored, fills its disk, and compares every
// restore point with what was backed up, byte by byte. The outcome goes to docs/RELIABILITY.md.
//
// The chapters take turns until the time is over; each round of each chapter has a seed of its own, printed, from
// which it can be played again (-seed N -round R -only CHAPTER). What a kill meets depends on the machine's mood, so such a round may
// take several goes to fail again. Where something is lost the round's folder is kept.
//
//   - kills.go: kill -9 at random moments, and processes that are paused for days
//   - damage.go: bits, ranges, objects; within the parity and beyond it
//   - writers.go: eight backups at once, with a verify, a prune and a mount in between
//   - limits.go: full disks, disks that fail, hang or crawl, few files, little memory
//   - arena.go: a repository with what must be in it; tree.go: what is backed up; tally.go and report.go: the outcome
package main
