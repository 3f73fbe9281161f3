// Command limits takes cairn where memory would run out if it grew with what is backed up: a tree of a million small
// files, and one file of 100 GB that is almost all hole. Both are backed up, backed up again, verified, mounted and read,
// and restored and compared; the peak of the resident memory of each step must stay below a bound (300 MiB).
//
//	go run ./integration/limits [-files N] [-gigabytes N] [-bound MiB] [-dir DIR] [-only files|sparse]
//
// It takes minutes, some 10 GB below DIR for a million files, and Linux. `make limits` runs it; `make test` does not.
package main
