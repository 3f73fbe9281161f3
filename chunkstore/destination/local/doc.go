// Package local is the destination that is a directory of this host.
//
// [Local] keeps an object as one file under its name. A file is written as NAME.in-progress-RANDOM in its own folder,
// synced, given its final name without ever taking the place of another, and the folder is synced: after a crash at
// any instruction an object is whole or absent.
//
// Besides the four verbs it tells sizes, replaces, lists leftovers, and knows its device, path, free space and clock.
// Files that it did not write are listed like any other: whether they belong there is for the caller to say. It never
// follows the directory elsewhere, and never makes it before the first Create.
package local
