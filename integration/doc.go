// Package integration holds what can only be seen from outside: the built program run the way a person
// runs it, on real directories and real mounts, and the rules of the house itself.
//
//   - testdata/*.txtar are scripts of commands with what each must print (testscript); they double as
//     documentation of the command line.
//   - house_test.go fails when an import runs against the order of the rooms, when a file or function
//     outgrows its bound, or when code below cmd asks the machine for the time by itself.
//   - fidelity builds a tree with everything a file system can hold and compares two trees entry by entry.
//   - faultdisk is a disk that records, fails, hangs and loses what was not synced; its tests cut the power after each call.
//   - torture kills, damages and starves the program and writes docs/RELIABILITY.md (`make torture`).
//   - bench measures cairn beside restic and cp -a (`make bench`).
//   - demo.sh is `make demo`.
//
// Nothing here is imported by the program.
package integration
