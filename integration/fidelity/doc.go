// Package fidelity shows that what goes into a backup comes out of it, entry by entry.
//
// [Build] makes a tree of everything that a Unix file system can hold and that backup programs lose: holes, hard links,
// odd names, odd times, attributes, ACLs, devices, paths that no system call takes in one piece. [Compare] goes through two
// trees side by side and tells each [Difference]. The tests of the package run the real program: a backup of such a tree, then
// a restore, a mount that is looked at, and a copy out of the mount, each compared with the source.
//
// Build and Compare know nothing of cairn; they call the system by descriptors and single names only, so that depth is no
// limit. Compare must not read a mount of its own process: tests run it in a child.
package fidelity
