// Command cairn keeps backups as a file system: it takes them, mounts them, restores them and checks them.
//
// This package reads flags, calls engine, fs and index, and prints. It decides nothing about backups.
// One file a command; besides them:
//
//   - main.go: signals, memory settings, the exit code
//   - app.go: the list of commands and what they share
//   - args.go: flags may stand before or after arguments
//   - open.go: the only place that knows which destinations there are and how keys are given
//   - errors.go: the only place that turns errors into exit codes and hints
//   - output.go, progress.go: what is printed, on a terminal and in a pipe
//
// Results go to standard output, all else to standard error. The clock and the source of randomness
// enter the program here and are handed down.
package main
