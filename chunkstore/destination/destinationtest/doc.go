// Package destinationtest is the suite of tests that every destination runs: what [destination.Destination] promises,
// and what the optional abilities promise where an implementation has them.
//
// [Run] takes a constructor; an implementation's own test is a few lines. The suite never looks behind the interface.
package destinationtest
