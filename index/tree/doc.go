// Package tree keeps the directories of a restore point as immutable nodes.
//
// A directory is a small search tree of nodes: leaves of about 64 KiB hold its entries, sorted by the
// bytes of their names, and inner nodes above them name the first entry of each leaf. A small directory
// is one leaf. A node is stored under its chunk id, so equal directories are stored once, and two trees
// are compared by comparing ids. Where a leaf ends depends on the names around the cut alone: an entry
// added to a directory of a million rewrites one leaf and the nodes above it.
//
// The central types:
//
//   - [Entry] is one name with its metadata and its content list.
//   - [Writer] takes the entries of one directory in order and gives a [Ref]; [SaveRoot] ends a tree.
//   - [Dir] reads one directory; [Find], [Walk] and [Diff] go through whole trees.
//   - [Content] finds the chunk that holds an offset of a file, also in files of millions of chunks.
//
// Nodes come from a [Loader] and go to a [Saver]; the package never looks up a chunk's place, never touches
// a file system and keeps no state between calls. Decoded entries share memory with each other and must
// not be modified.
package tree
