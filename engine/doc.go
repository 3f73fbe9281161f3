// Package engine takes, restores, verifies, repairs and prunes backups.
//
// The central calls are [Backup], which makes a restore point of a source, [Restore], which writes one back to
// a file system, Verify, which finds damage, and Repair, which mends it. Each takes an open
// [index.Repository] and an options struct whose zero value is sound, tells of its progress through a
// [Progress], and ends within a second when its context is cancelled, leaving the repository whole.
//
// A backup is a pipeline: walkers list directories and compare them with the newest restore point of the same
// source; runs of neighbouring small files, and pieces of big ones, go to workers that read, cut, hash, deduplicate
// and seal them; a directory is stored when all that is in it has been. What flows in is a
// [source.Source], what flows out are chunks, tree nodes and, at the very end, one record.
//
// The engine never reads a place in a pack itself, never decides what a source contains, deletes
// chunks in [Prune] alone, and never prints: what there is to say goes to callbacks, and the clock comes from the caller.
package engine
